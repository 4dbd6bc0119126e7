//! `backend remove P/B --force` reaches what was removed before, too: sessions that run on under
//! its name are reset. That is no configuration and makes no version.

use weir_proto::answer::EventKind;
use weir_proto::ids::BackendId;
use weir_proto::request::{BackendAct, ChangeOptions, ChangeRequest, Code, Refusal};

use super::planning::Decided;
use super::{Clocks, Control};
use crate::planner::{self, Load, Plan};

impl Control {
    /// The removed identities whose sessions a change resets, beside what its plan says.
    pub(super) fn removed_to_kill(&self, request: &ChangeRequest) -> Vec<BackendId> {
        match request {
            ChangeRequest::BackendRemove { name, force: true } => {
                self.aggregate.removed_named(name)
            }
            ChangeRequest::Backends { names, act: BackendAct::Remove { force: true } } => {
                names.iter().flat_map(|name| self.aggregate.removed_named(name)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The state of traffic.
    pub fn load(&self) -> Load {
        Load {
            backends: self.aggregate.held(),
            listeners: self.aggregate.held_by_listener(),
            all: self.aggregate.sessions(),
            down: self.health.down().collect(),
            cut: Vec::new(),
        }
    }

    /// The state of traffic, with the sessions that `request` resets beside those of its plan.
    pub(super) fn load_for(&self, request: &ChangeRequest) -> Load {
        Load { cut: self.removed_to_kill(request), ..self.load() }
    }

    /// The decision about a removal of what is removed already and still has sessions; `None` for
    /// every other change.
    pub(super) fn decide_removed(
        &self,
        request: &ChangeRequest,
        options: &ChangeOptions,
    ) -> Option<Result<Decided, Refusal>> {
        let ChangeRequest::BackendRemove { name, force } = request else { return None };
        let (pool, backend) = name.split_once('/')?;
        if self.snapshot.pool(pool).is_some_and(|pool| pool.backend(backend).is_some()) {
            return None;
        }
        let lingering = self.aggregate.lingering_totals().filter(|(it, _)| it == name);
        let sessions: u64 = lingering.map(|(_, totals)| totals.sessions).sum();
        // Shards may not have told of its sessions yet: that hinders no kill.
        if sessions == 0 && (!*force || self.aggregate.removed_named(name).is_empty()) {
            return None;
        }
        if let Err(refusal) = planner::expect_version(&self.snapshot, options) {
            return Some(Err(refusal));
        }
        if !force {
            let message = format!("backend {name:?} is removed; sessions that run on: {sessions}");
            let hint = format!("to reset them: weirctl backend remove {name} --force");
            return Some(Err(Refusal::new(Code::NotFound, message, hint)));
        }
        let plan = Plan {
            snapshot: None,
            before: None,
            after: None,
            summary: format!("backend {name} was removed before; sessions reset: {sessions}"),
            undo: String::new(),
            kills: Vec::new(),
            warnings: Vec::new(),
            settings: None,
            base: self.base.clone(),
            told: options.dry_run.then(|| (Vec::new(), planner::of_kill(&self.load_for(request)))),
        };
        Some(Ok(Decided { plan, next: None }))
    }

    /// Resets the sessions of these backends on every shard.
    pub(super) fn kill(&mut self, backends: &[BackendId]) {
        if backends.is_empty() {
            return;
        }
        for backend in backends {
            self.each_live(|shard| shard.pending.kill(*backend));
        }
        self.flush();
    }

    /// Writes down a kill that made no version.
    pub(super) fn tell_killed(&mut self, summary: &str, moment: Clocks) {
        tracing::info!("{summary}");
        let subject = format!("version {}", self.snapshot.version);
        self.events.push(EventKind::Config, subject, summary.to_owned(), moment.wall_ms);
    }
}
