//! The version that the disk makes durable. Nothing else waits for the disk.
//!
//! ```text
//! bound ──▶ Storing, Output::Append ──Input::Appended──▶ sent to every shard, or refused
//! ```

use std::time::Duration;

use weir_core::base::clock::Now;
use weir_proto::answer::{Author, EventKind, Note};
use weir_proto::confirm::Confirm;
use weir_proto::request::Refusal;
use weir_proto::snapshot::Snapshot;

use super::planning::NextVersion;
use super::{Clocks, Control, Output, failed};
use crate::planner::Plan;
use crate::record::{Appended, Base, Record, Unconfirmed};
use crate::sockets::Sockets;
use crate::timestamp::rfc3339;

/// An append that takes longer is in the log and the events, once.
const APPEND_LATE: Duration = Duration::from_secs(5);

/// A version that can be served and is not durable yet.
#[derive(Debug)]
pub(super) struct BoundVersion {
    pub(super) plan: Plan,
    pub(super) next: Box<NextVersion>,
    pub(super) sockets: Sockets,
}

/// One append. A change is made at a time, so there is one at most.
#[derive(Debug)]
pub(super) struct Storing {
    pub(super) plan: Plan,
    pub(super) snapshot: Snapshot,
    pub(super) base: Base,
    pub(super) drift_keys: usize,
    pub(super) sockets: Sockets,
    pub(super) terms: Option<Unconfirmed>,
    since: Now,
    is_late: bool,
    pub(super) outcome: Option<Result<(), String>>,
}

impl Control {
    /// Asks the disk to keep a version, which no shard has been sent.
    pub(super) fn begin_append(
        &mut self,
        bound: BoundVersion,
        (by, note): (Author, &Note),
        confirm: Option<&Confirm>,
        moment: Clocks,
    ) -> Storing {
        let BoundVersion { plan, next, sockets } = bound;
        let NextVersion { snapshot, spec, base, drift_keys } = *next;
        let (version, at) = (snapshot.version.0, rfc3339(moment.wall_ms));
        let record = Record::new(version, at, by, plan.summary.clone(), spec);
        let terms = confirm.map(|confirm| Unconfirmed {
            previous: self.snapshot.version.0,
            within_ms: confirm.within_ms,
            until_ms: moment.wall_ms.saturating_add(confirm.within_ms),
            guards: confirm.guards.clone(),
        });
        let record = record.with_note(note.clone()).with_base(base.clone());
        let record = record.with_terms(terms.clone());
        self.outputs.push(Output::Append(record));
        let since = moment.now;
        let (is_late, outcome) = (false, None);
        Storing { plan, snapshot, base, drift_keys, sockets, terms, since, is_late, outcome }
    }

    /// An append has ended. The change that waits for it goes on.
    pub(super) fn on_appended(&mut self, appended: Appended) {
        let Appended { version, outcome } = appended;
        match self.changes.storing() {
            Some(storing) if storing.snapshot.version == version => storing.outcome = Some(outcome),
            _ => tracing::error!(
                "the disk has answered for version {version}, which no change waits for"
            ),
        }
    }

    /// Writes down what the store has to say of itself; it is in the log already.
    pub(super) fn on_store_said(&mut self, text: String, moment: Clocks) {
        self.events.push(EventKind::Process, "state".to_owned(), text, moment.wall_ms);
    }

    /// The disk will not answer any more: its thread has ended.
    pub(super) fn on_store_lost(&mut self, moment: Clocks) {
        let text = "the thread that writes the state has ended: no change can be made";
        tracing::error!("{text}; start weir again");
        self.events.push(EventKind::Process, "state".to_owned(), text.to_owned(), moment.wall_ms);
        if let Some(storing) = self.changes.storing().filter(|storing| storing.outcome.is_none()) {
            let version = storing.snapshot.version;
            let why = format!("{text}; version {version} may be there when weir starts again");
            storing.outcome = Some(Err(why));
        }
    }

    /// Writes down once that an append takes long. The change goes on waiting: the version may yet
    /// become durable.
    pub(super) fn watch_append(&mut self, moment: Clocks) {
        let Some(storing) = self.changes.storing() else { return };
        if storing.is_late || storing.outcome.is_some() || moment.now - storing.since < APPEND_LATE
        {
            return;
        }
        storing.is_late = true;
        let text = format!("the disk has not taken version {} yet", storing.snapshot.version);
        tracing::warn!("{text}: changes wait for it, traffic does not");
        self.events.push(EventKind::Process, "state".to_owned(), text, moment.wall_ms);
    }
}

/// The refusal of a version that the disk has not taken. Nothing has changed.
pub(super) fn refuse(why: String) -> Refusal {
    tracing::error!("the change was refused, it could not be made durable: {why}");
    failed(why)
}
