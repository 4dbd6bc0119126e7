//! The part of a change that takes long if the configuration is large: parsing a file or reading an
//! old version, deciding, comparing. It is a job that may run on any thread.
//!
//! ```text
//! Output::Plan(job) ──▶ another thread: job.run() ──▶ Input::Planned
//! ```
//! Changes are one after another, so the version that the job began with is the current one when
//! it comes back.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_proto::ids::{BackendId, IdSource};
use weir_proto::request::{ChangeOptions, ChangeRequest, Code, Refusal};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::Spec;

use super::{ChangeId, past};
use crate::planner::{self, FileSettings, Load, Plan, Sources, losses, merge};
use crate::record::{Base, PastVersions};

/// The planning of one change.
#[must_use = "the change waits for it"]
pub struct PlanJob {
    pub(super) id: ChangeId,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) request: ChangeRequest,
    pub(super) options: ChangeOptions,
    pub(super) ids: IdSource,
    pub(super) past: Box<dyn PastVersions>,
    /// The file as it was last applied.
    pub(super) base: Base,
    /// Backends that are not up.
    pub(super) down: BTreeSet<BackendId>,
    /// Present for a dry run, which answers with its effect.
    pub(super) load: Option<Box<Load>>,
}

/// The result of a [`PlanJob`].
#[derive(Debug)]
pub struct Planned {
    pub(super) id: ChangeId,
    pub(super) ids: IdSource,
    pub(super) result: Result<Decided, Refusal>,
    /// The process settings of the file that was read, if it is one that can be applied.
    settings: Option<Box<FileSettings>>,
}

impl Planned {
    /// The process settings of the file that was read for a change; no change applies them.
    pub fn take_settings(&mut self) -> Option<(ChangeId, Box<FileSettings>)> {
        Some((self.id, self.settings.take()?))
    }
}

/// A plan, and the version that it makes if it changes anything.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) plan: Plan,
    pub(super) next: Option<Box<NextVersion>>,
}

/// The next version, for the shards and for the disk.
#[derive(Debug)]
pub(super) struct NextVersion {
    pub(super) snapshot: Snapshot,
    pub(super) spec: Spec,
    pub(super) base: Base,
    /// Keys in which the spec differs from the base.
    pub(super) drift_keys: usize,
}

impl core::fmt::Debug for PlanJob {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let PlanJob { id, snapshot, request, options, .. } = self;
        write!(f, "PlanJob {{ {id} of version {}: {request:?}, {options:?} }}", snapshot.version)
    }
}

impl PlanJob {
    /// Decides what the request changes. The text of a file is parsed here, once.
    pub fn run(self) -> Planned {
        let PlanJob { id, snapshot, request, options, mut ids, past: versions, base, down, load } =
            self;
        let past = |version| -> Result<_, Refusal> {
            let record = past(&*versions, version)?;
            Ok((record.spec, record.base))
        };
        let sources = Sources { ids: &mut ids, past: &past, base: &base };
        let result = planner::decide(&snapshot, &request, &options, sources);
        let mut settings = None;
        let result = result.and_then(|mut plan| {
            settings = plan.settings.take();
            if let Some(next) = &plan.snapshot {
                let mut losses = losses::of_traffic(&snapshot, next, |it| !down.contains(&it.id));
                refuse_unconfirmed(&losses, &request, &options)?;
                // A file says the same of itself.
                losses.retain(|loss| !plan.warnings.contains(loss));
                plan.warnings.splice(0..0, losses);
            }
            if let Some(load) = load {
                let next = plan.snapshot.as_ref().unwrap_or(&snapshot);
                plan.told = Some(planner::tell((&snapshot, next), &plan.kills, &load));
            }
            let next = plan.snapshot.take();
            let next = next.map(|snapshot| Box::new(NextVersion::new(snapshot, plan.base.clone())));
            Ok(Decided { plan, next })
        });
        Planned { id, ids, result, settings }
    }

    /// Prepares the answer for the case that [`PlanJob::run`] panics: the change is refused.
    pub fn on_panic(&self) -> impl FnOnce(&str) -> Planned + Send + 'static {
        let (id, ids) = (self.id, self.ids.clone());
        move |panic| {
            let message = format!("weir has made a mistake while it planned: {panic}");
            let hint = "nothing has changed; please report it with the command";
            let result = Err(Refusal::new(Code::Failed, message, hint));
            Planned { id, ids, result, settings: None }
        }
    }
}

impl NextVersion {
    fn new(snapshot: Snapshot, base: Base) -> NextVersion {
        let spec = snapshot.spec();
        let drift_keys = drift_keys(&base, &spec);
        NextVersion { snapshot, spec, base, drift_keys }
    }
}

/// The number of keys in which what is in force differs from the file as it was last applied.
pub(super) fn drift_keys(base: &Base, spec: &Spec) -> usize {
    base.as_deref().map_or(0, |base| merge::drift(base, spec).len())
}

/// Refuses a change that takes something away, unless it is confirmed (`--yes`, `--force`) or a dry
/// run.
fn refuse_unconfirmed(
    losses: &[String],
    request: &ChangeRequest,
    options: &ChangeOptions,
) -> Result<(), Refusal> {
    let is_forced = matches!(request, ChangeRequest::Apply { force: true, .. });
    if options.yes || is_forced || options.dry_run || losses.is_empty() {
        return Ok(());
    }
    let hint = "add --yes to do it, or --dry-run to see all of it";
    Err(Refusal::new(Code::NeedsYes, losses.join("; "), hint))
}
