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
use crate::planner::{self, FileSettings, Plan, Sources, losses};
use crate::record::PastVersions;

/// The planning of one change.
#[must_use = "the change waits for it"]
pub struct PlanJob {
    pub(super) id: ChangeId,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) request: ChangeRequest,
    pub(super) options: ChangeOptions,
    pub(super) ids: IdSource,
    pub(super) past: Box<dyn PastVersions>,
    /// Backends that are not up.
    pub(super) down: BTreeSet<BackendId>,
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
    pub(super) next: Option<NextVersion>,
}

/// The next version, for the shards and for the disk.
#[derive(Debug)]
pub(super) struct NextVersion {
    pub(super) snapshot: Snapshot,
    pub(super) spec: Spec,
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
        let PlanJob { id, snapshot, request, options, mut ids, past: versions, down } = self;
        let past = |version| past(&*versions, version).map(|record| record.spec);
        let sources = Sources { ids: &mut ids, past: &past };
        let result = planner::decide(&snapshot, &request, &options, sources);
        let mut settings = None;
        let result = result.and_then(|mut plan| {
            settings = plan.settings.take();
            if let Some(next) = &plan.snapshot {
                plan.warnings = losses::of_traffic(&snapshot, next, |it| !down.contains(&it.id));
                plan.warnings.extend(losses_of_a_whole(&request, &snapshot, next, &*versions));
                refuse_unconfirmed(&plan, &options)?;
            }
            let next = plan.snapshot.take();
            let next = next.map(|snapshot| NextVersion { spec: snapshot.spec(), snapshot });
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

/// Refuses a change that takes something away, unless it is confirmed (`--yes`) or a dry run.
fn refuse_unconfirmed(plan: &Plan, options: &ChangeOptions) -> Result<(), Refusal> {
    if options.yes || options.dry_run || plan.warnings.is_empty() {
        return Ok(());
    }
    let hint = "add --yes to do it, or --dry-run to see all of it";
    Err(Refusal::new(Code::NeedsYes, plan.warnings.join("; "), hint))
}

/// Losses other than traffic, for a request that replaces the whole configuration.
fn losses_of_a_whole(
    request: &ChangeRequest,
    current: &Snapshot,
    next: &Snapshot,
    versions: &dyn PastVersions,
) -> Vec<String> {
    let acts = match request {
        ChangeRequest::Apply { .. } => {
            losses::of_acts(current, next, last_file(versions, current.version.0).as_ref())
        }
        // It names the version that it wants: changes by hand since then are meant to go.
        ChangeRequest::Rollback { .. } => None,
        _ => return Vec::new(),
    };
    losses::of_listeners(current, next).into_iter().chain(acts).collect()
}

/// How many versions are searched for the last one that a file made.
const LOOKED_AT_MAX: usize = 200;

/// The last configuration that came from a file, by `apply` or at the first start; `None` if that
/// was more than [`LOOKED_AT_MAX`] versions ago.
fn last_file(versions: &dyn PastVersions, newest: u64) -> Option<Spec> {
    let rows = versions.history(newest.checked_add(1), LOOKED_AT_MAX).ok()?;
    // Only a version from a file has such a summary; every other one begins with another verb.
    let mut of_files = rows.iter().filter(|row| planner::is_of_a_file(&row.summary));
    of_files.find_map(|row| Some(versions.get(row.version).ok()??.spec))
}
