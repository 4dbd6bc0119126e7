//! Changes of this process: one after another, each from the request to the answer.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use weir_proto::answer::{Answer, Author};
use weir_proto::ids::Version;
use weir_proto::request::{ChangeOptions, ChangeRequest, Refusal};

use super::{Shared, moment, own_author};
use crate::rt;
use weir_control_core::control::{Blocked, Change};
use weir_control_core::planner;

/// The longest file that SIGHUP reads, in bytes: many times that of the most backends.
const FILE_MAX: u64 = 32 << 20;
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
        let change = checked(change).await?;
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
        let path = file.to_owned();
        let toml = match rt::blocking(move || read_regular(&path)).await {
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

/// Refuses a file with errors: finding all of them in a large one takes seconds, so another thread
/// does it.
async fn checked(change: ChangeRequest) -> Result<ChangeRequest, Refusal> {
    let ChangeRequest::Apply { toml, origin } = change else { return Ok(change) };
    rt::blocking(move || {
        planner::read(&toml, &origin)?;
        Ok(ChangeRequest::Apply { toml, origin })
    })
    .await
}

/// The text of a file of at most [`FILE_MAX`] bytes. Never waits for a writer, as opening a FIFO
/// would.
fn read_regular(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if facts.len() > FILE_MAX {
        let what = format!("it has {} bytes, at most {FILE_MAX} are read", facts.len());
        return Err(io::Error::other(what));
    }
    let mut text = String::new();
    file.by_ref().take(FILE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_of_a_reasonable_size_is_read() {
        let folder = std::env::temp_dir().join(format!("weir-change-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        std::fs::write(path("good"), "[weir]\n").unwrap();
        assert_eq!(read_regular(&path("good")).unwrap(), "[weir]\n");
        let fault = |name: &str| read_regular(&path(name)).unwrap_err().to_string();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), Mode::RUSR).unwrap();
        assert_eq!(fault("fifo"), "it is not a regular file");
        assert_eq!(fault("."), "it is not a regular file");
        File::create(path("large")).unwrap().set_len(FILE_MAX + 1).unwrap();
        assert!(fault("large").starts_with("it has 33554433 bytes"));
        assert!(fault("none").starts_with("No such file"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
