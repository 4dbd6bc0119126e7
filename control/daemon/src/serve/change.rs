//! The order of a change: decide, bind, make durable, send to every shard, wait for them, answer.

use std::path::Path;
use std::time::Duration;

use weir_proto::answer::{Answer, Author, Changed};
use weir_proto::ids::Version;
use weir_proto::request::{ChangeOptions, ChangeRequest, Code, Refusal};
use weir_proto::snapshot::Snapshot;

use super::{Shared, moment, own_author};
use crate::desk::Plan;
use crate::listen::Sockets;
use crate::rt;

/// How long the address of a listener that was removed just now is waited for.
const RELEASE_WAIT: Duration = Duration::from_secs(1);
const RELEASE_POLL: Duration = Duration::from_millis(10);

impl Shared {
    /// Makes a change. Until it is durable a refusal leaves everything as it was.
    pub(super) async fn change(
        &self,
        change: ChangeRequest,
        options: ChangeOptions,
        by: Author,
    ) -> Result<Answer, Refusal> {
        let _turn = self.turnstile.enter().await;
        let mut plan = self.control.borrow_mut().plan(&change, &options)?;
        let Some(next) = plan.snapshot.take() else {
            return Ok(self.changed(plan, &options));
        };
        // A dry run binds too, and lets go again: a taken address is what it is asked for.
        let sockets = self.bind(&next).await?;
        if options.dry_run {
            return Ok(self.changed(plan, &options));
        }
        let version = next.version;
        let told = (plan.summary.as_str(), plan.kill);
        self.control.borrow_mut().commit((next, sockets), told, by, moment())?;
        self.adopted(version).await?;
        Ok(self.changed(plan, &options))
    }

    /// Binds what is new in `next`.
    async fn bind(&self, next: &Snapshot) -> Result<Sockets, Refusal> {
        let polls = RELEASE_WAIT.as_millis() / RELEASE_POLL.as_millis();
        for _ in 0..polls {
            let (bound, may_pass) = {
                let control = self.control.borrow();
                let bound = control.bind(next);
                let may_pass =
                    bound.as_ref().is_err_and(|error| control.may_pass(error, rt::now()));
                (bound, may_pass)
            };
            match bound {
                Ok(sockets) => return Ok(sockets),
                Err(error) if !may_pass => return Err(error.refusal()),
                Err(_) => rt::sleep(RELEASE_POLL).await,
            }
        }
        self.control.borrow().bind(next).map_err(|error| error.refusal())
    }

    /// Waits until every live shard that is not fenced has adopted `version`.
    pub(super) async fn adopted(&self, version: Version) -> Result<(), Refusal> {
        let settled = || {
            let control = self.control.borrow();
            let rollout = &control.rollout;
            match (rollout.is_done(), rollout.is_late()) {
                (true, _) => Some(Ok(())),
                (_, true) => Some(Err(rollout.waiting())),
                (false, false) => None,
            }
        };
        self.notice.until(settled).await.map_err(|waiting| {
            Refusal::new(
                Code::Failed,
                format!(
                    "durable as version {version} but shards {waiting} have not adopted it yet"
                ),
                "it takes effect there as soon as they answer; watch: weirctl shards",
            )
        })
    }

    fn changed(&self, plan: Plan, options: &ChangeOptions) -> Answer {
        let control = self.control.borrow();
        let live = control.shards.iter().filter(|shard| shard.counts()).count();
        let waiting = control.rollout.waiting().iter().count();
        let count = |shards: usize| u16::try_from(shards).unwrap_or(u16::MAX);
        let Plan { before, after, summary, undo, .. } = plan;
        Answer::Changed(Changed {
            version: control.snapshot.version.0,
            before,
            after,
            summary,
            undo,
            dry_run: options.dry_run,
            shards_adopted: count(live.saturating_sub(waiting)),
            shards: count(live),
        })
    }

    /// SIGHUP: the file becomes one new version. Whatever is wrong is logged, and nothing changes.
    pub(super) async fn reload(&self, file: Option<&Path>) {
        let Some(file) = file else {
            tracing::warn!("SIGHUP: weir was started without -c FILE, there is nothing to read");
            return;
        };
        let origin = file.display().to_string();
        let toml = match std::fs::read_to_string(file) {
            Ok(toml) => toml,
            Err(error) => {
                tracing::error!("SIGHUP: {origin}: {error}; nothing has changed");
                return;
            }
        };
        let change = ChangeRequest::Apply { toml, origin: origin.clone() };
        match self.change(change, ChangeOptions::default(), own_author()).await {
            Ok(Answer::Changed(changed)) => {
                tracing::info!("SIGHUP: {origin} is in use as version {}", changed.version);
            }
            Ok(_) => {}
            Err(refusal) => tracing::error!("SIGHUP: {origin}: {}", refusal.message),
        }
    }
}
