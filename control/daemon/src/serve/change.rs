//! Those who ask control for changes and wait for the outcome. A change whose client is gone goes
//! on; its outcome is dropped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use weir_proto::answer::{Answer, Author};
use weir_proto::ids::Version;
use weir_proto::request::{ChangeOptions, ChangeRequest, Refusal};

use super::{Shared, own_author};
use crate::rt;
use weir_control_core::control::{AskedChange, ChangeId, ChangeOutcome, Input};

/// The longest file that SIGHUP reads, in bytes: many times that of the most backends.
const FILE_MAX: u64 = 32 << 20;

/// The outcomes of changes, on their way to those who wait for them.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    last: u64,
    /// `None` until the change is answered.
    waited_for: BTreeMap<ChangeId, Option<ChangeOutcome>>,
}

impl Outcomes {
    /// A name for a change whose outcome is waited for.
    fn begin(&mut self) -> ChangeId {
        self.last += 1;
        let id = ChangeId(self.last);
        self.waited_for.insert(id, None);
        id
    }

    /// True if no outcome is waited for.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waited_for.is_empty()
    }

    /// The change has come to this.
    pub(super) fn put(&mut self, id: ChangeId, outcome: ChangeOutcome) {
        if let Some(place) = self.waited_for.get_mut(&id) {
            *place = Some(outcome);
        }
    }
}

/// Somebody waits for an outcome. Dropping it waits no more.
struct Waiter<'a> {
    shared: &'a Shared,
    id: ChangeId,
}

impl Waiter<'_> {
    fn take(&self) -> Option<ChangeOutcome> {
        self.shared.outcomes.borrow_mut().waited_for.get_mut(&self.id)?.take()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.shared.outcomes.borrow_mut().waited_for.remove(&self.id);
    }
}

impl Shared {
    /// Makes a change, and waits for its outcome.
    pub(super) async fn change(
        &self,
        request: ChangeRequest,
        options: ChangeOptions,
        by: Author,
    ) -> Result<Answer, Refusal> {
        let id = self.outcomes.borrow_mut().begin();
        let waiter = Waiter { shared: self, id };
        self.handle(Input::Change(AskedChange { id, request, options, by }));
        self.notice.until(|| waiter.take()).await
    }

    /// Blocked until every live shard that is not fenced has adopted `version`.
    pub(crate) async fn adopted(&self, version: Version) -> Result<(), Refusal> {
        self.notice.until(|| self.control().adopted(version)).await
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
