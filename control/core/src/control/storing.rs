//! The version that the disk makes durable. Nothing else waits for the disk.
//!
//! ```text
//! begin_append ──▶ Storing ──on_appended──▶ outcome ──taken by the change──▶ published or refused
//! ```

use std::time::Duration;

use weir_core::base::clock::Now;
use weir_proto::answer::{Author, EventKind};
use weir_proto::ids::Version;
use weir_proto::request::Refusal;
use weir_proto::snapshot::Snapshot;

use super::{Clocks, Control, failed};
use crate::record::{Appended, Record};
use crate::timestamp::rfc3339;

/// An append that takes longer is in the log and the events, once.
const APPEND_LATE: Duration = Duration::from_secs(5);

/// One append. A change is made at a time, so there is one at most.
#[derive(Debug)]
pub(super) struct Storing {
    version: Version,
    since: Now,
    is_late: bool,
    outcome: Option<Result<(), String>>,
}

impl Control {
    /// Asks the disk to keep `next`, which no shard has been sent.
    ///
    /// # Errors
    /// The disk takes nothing. Nothing has changed then.
    pub(super) fn begin_append(
        &mut self,
        next: &Snapshot,
        summary: &str,
        by: Author,
        moment: Clocks,
    ) -> Result<(), Refusal> {
        let (version, at) = (next.version, rfc3339(moment.wall_ms));
        let record = Record::new(version.0, at, by, summary.to_owned(), next.spec());
        self.versions.append(record).map_err(refuse)?;
        let since = moment.now;
        self.storing = Some(Storing { version, since, is_late: false, outcome: None });
        Ok(())
    }

    /// An append has ended. The change that waits for it goes on.
    pub fn on_appended(&mut self, appended: Appended) {
        let Appended { version, outcome } = appended;
        match &mut self.storing {
            Some(storing) if storing.version == version => storing.outcome = Some(outcome),
            _ => tracing::error!(
                "the disk has answered for version {version}, which no change waits for"
            ),
        }
    }

    /// The disk will not answer any more: its thread has ended.
    pub fn on_store_lost(&mut self, moment: Clocks) {
        let text = "the thread that writes the state has ended: no change can be made";
        tracing::error!("{text}; start weir again");
        self.events.push(EventKind::Process, "state".to_owned(), text.to_owned(), moment.wall_ms);
        if let Some(storing) = self.storing.as_mut().filter(|storing| storing.outcome.is_none()) {
            let version = storing.version;
            let why = format!("{text}; version {version} may be there when weir starts again");
            storing.outcome = Some(Err(why));
        }
    }

    /// Takes the outcome of the append of `version`; `None` while there is none. After a refusal
    /// nothing has changed.
    pub(super) fn take_appended(&mut self, version: Version) -> Option<Result<(), Refusal>> {
        let is_over = |it: &mut Storing| it.version == version && it.outcome.is_some();
        let outcome = self.storing.take_if(is_over)?.outcome?;
        Some(outcome.map_err(refuse))
    }

    /// Writes down once that an append takes long. The change goes on waiting: the version may yet
    /// become durable.
    pub(super) fn watch_append(&mut self, moment: Clocks) {
        let Some(storing) = &mut self.storing else { return };
        if storing.is_late || storing.outcome.is_some() || moment.now - storing.since < APPEND_LATE
        {
            return;
        }
        storing.is_late = true;
        let text = format!("the disk has not taken version {} yet", storing.version);
        tracing::warn!("{text}: changes wait for it, traffic does not");
        self.events.push(EventKind::Process, "state".to_owned(), text, moment.wall_ms);
    }
}

fn refuse(why: String) -> Refusal {
    tracing::error!("the change was refused, it could not be made durable: {why}");
    failed(why)
}
