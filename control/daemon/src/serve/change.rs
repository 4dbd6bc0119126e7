//! Changes of this process: one after another, each from the request to the answer.

use std::path::Path;
use std::time::Duration;

use weir_proto::answer::{Answer, Author};
use weir_proto::ids::Version;
use weir_proto::request::{ChangeOptions, ChangeRequest, Refusal};

use super::{Shared, moment, own_author};
use crate::rt;
use weir_control_core::control::{Blocked, Change};

/// How soon an address that is still held is tried again.
const RELEASE_POLL: Duration = Duration::from_millis(10);

impl Shared {
    /// Makes a change: see [`Change`] for its steps.
    pub(super) async fn change(
        &self,
        change: ChangeRequest,
        options: ChangeOptions,
        by: Author,
    ) -> Result<Answer, Refusal> {
        let _turn = self.change_lock.enter().await;
        let mut change = Change::new(change, options, by);
        let mut go_on = || change.go_on(&mut self.control.borrow_mut(), moment());
        let answer = loop {
            match go_on() {
                Ok(answer) => break answer,
                Err(Blocked::Address) => rt::sleep(RELEASE_POLL).await,
                Err(Blocked::Disk | Blocked::Shards) => {
                    break self.notice.until(|| go_on().ok()).await;
                }
            }
        };
        // Other backends may be checked now.
        self.notice.ring();
        answer
    }

    /// Blocked until every live shard that is not fenced has adopted `version`.
    pub(crate) async fn adopted(&self, version: Version) -> Result<(), Refusal> {
        self.notice.until(|| self.control.borrow().adopted(version)).await
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
