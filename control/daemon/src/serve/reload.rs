//! SIGHUP: the file is merged into what is in force, or everything stays as it is. And the lines
//! that each signal writes, at every level: no signal does anything, or nothing, without one.

use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use weir_proto::answer::{Answer, EventKind};
use weir_proto::outside::cleaned;
use weir_proto::request::{ChangeOptions, ChangeRequest, Refusal};

use super::{DRAIN_DEFAULT, Shared, own_author};
use crate::log::AUDIT;
use crate::rt;
use crate::signals::Signal;
use weir_control_core::control::Input;
use weir_control_core::events::Kept;
use weir_control_core::file::Settings;

/// The longest file that SIGHUP reads, in bytes: many times that of the most backends.
const FILE_MAX: u64 = 32 << 20;

/// Conflicts of one reload that are written down.
const CONFLICTS_MAX: usize = 20;
/// Bytes of the text about one.
const CONFLICT_BYTES_MAX: usize = 400;

/// How reloads went, and the settings that they are compared with.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    /// Of the file at the start; empty without one.
    pub(crate) settings: OnceCell<Settings>,
    pub(crate) done: Cell<u64>,
    pub(crate) refused: Cell<u64>,
    /// The last file was refused, and none was applied since.
    pub(crate) is_stale: Cell<bool>,
    /// When a file was last applied, in milliseconds since 1970; 0: never.
    pub(crate) applied_ms: Cell<u64>,
}

impl Reloads {
    /// A whole file is in use now, by a signal or by a command.
    pub(super) fn applied(&self, wall_ms: u64) {
        self.is_stale.set(false);
        self.applied_ms.set(wall_ms);
    }
}

/// The outcome of a reload: the version in force before and after, or why nothing has changed.
type Reloaded = Result<(u64, u64), String>;

impl Shared {
    /// Of the hash of clients under maglev: the engine's.
    pub(crate) fn hash_seed(&self) -> (u64, u64) {
        self.reloads.settings.get().map(|settings| settings.hash_key).unwrap_or_default().seed()
    }

    /// SIGHUP: the file is merged, and nothing is forced. Whatever is wrong is logged, and nothing
    /// changes.
    pub(super) async fn reload(&self, file: Option<&Path>) {
        let command = match file {
            Some(file) => format!("SIGHUP {}", file.display()),
            None => "SIGHUP".to_owned(),
        };
        let version = self.control().snapshot.version.0;
        let outcome = match file {
            Some(file) => self.apply(file).await,
            None => Err("weir was started without -c FILE, there is nothing to read".to_owned()),
        };
        let (counter, kept) = match &outcome {
            Ok(_) => (&self.reloads.done, Kept::Change),
            Err(_) => (&self.reloads.refused, Kept::Refusal),
        };
        counter.set(counter.get() + 1);
        match outcome {
            Ok(_) => self.reloads.applied(rt::wall_ms()),
            Err(_) => self.reloads.is_stale.set(true),
        }
        let text = match &outcome {
            Ok((before, after)) => {
                tracing::info!(target: AUDIT, command = command.as_str(), before, after, "audit: done");
                format!("{command}: done: version {before} → {after}")
            }
            Err(why) => {
                let now = self.control().snapshot.version.0;
                let end = if now == version { "; nothing has changed" } else { "" };
                tracing::error!(target: AUDIT, "{command}: {why}{end}");
                format!("{command}: refused: {why}")
            }
        };
        self.keep(kept, text);
    }

    /// Keeps an event about a reload.
    fn keep(&self, kept: Kept, text: String) {
        let (kind, subject) = (EventKind::Reload, "SIGHUP".to_owned());
        self.handle(Input::Audited { kept, kind, subject, text });
    }

    async fn apply(&self, file: &Path) -> Reloaded {
        let (origin, path) = (file.display().to_string(), file.to_owned());
        let read = rt::blocking(move || read_regular(&path)).await;
        let toml = read.map_err(|error| error.to_string())?;
        let before = self.control().snapshot.version.0;
        let change = ChangeRequest::apply(toml, origin.clone());
        let (options, by) = (ChangeOptions::default(), own_author());
        let (outcome, settings) = self.change_and_settings(change, options, by).await;
        if let Some(settings) = settings {
            self.tell_of_a_restart(&settings, &origin);
        }
        match outcome {
            Ok(Answer::Changed(changed)) if changed.version == before => {
                tracing::info!("SIGHUP: {origin} has not changed since it was last applied");
                Ok((before, before))
            }
            Ok(Answer::Changed(changed)) => {
                tracing::info!("SIGHUP: {origin} is in use as version {}", changed.version);
                Ok((before, changed.version))
            }
            Ok(_) => Ok((before, before)),
            Err(refusal) => Err(self.refused(refusal)),
        }
    }

    /// Why the file was not applied. Each conflict has its own line, in the log and the events.
    fn refused(&self, refusal: Refusal) -> String {
        let Refusal { message, hint, conflicts, .. } = refusal;
        if conflicts.is_empty() {
            return format!("{message}; {hint}");
        }
        for conflict in conflicts.iter().take(CONFLICTS_MAX) {
            let text = cleaned(&format!("conflict: {conflict}"), CONFLICT_BYTES_MAX);
            tracing::error!(target: AUDIT, "SIGHUP: {text}");
            self.keep(Kept::Refusal, text);
        }
        let count = conflicts.len();
        format!(
            "{count} keys were changed in the file and at run time, to different values; {hint}"
        )
    }

    /// Says which settings of the file are not those that weir runs with: no reload applies them.
    fn tell_of_a_restart(&self, settings: &Settings, origin: &str) {
        let Some(running) = self.reloads.settings.get() else { return };
        let differ = running.differences(settings);
        if !differ.is_empty() {
            let keys = differ.join(", ");
            let text = format!("[weir] {keys} of {origin} will be in use after a restart only");
            tracing::warn!(target: AUDIT, "SIGHUP: {text}");
            self.keep(Kept::Refusal, text);
        }
    }
}

/// Writes a line about a signal that has come.
pub(super) fn tell(signal: Signal, has_session_log: bool) {
    match signal {
        Signal::Interrupt => tracing::info!(target: AUDIT, "SIGINT: ends at once"),
        Signal::Terminate => {
            let most = DRAIN_DEFAULT.as_secs();
            tracing::info!(target: AUDIT, "SIGTERM: drains for {most} s at most, then ends");
        }
        Signal::Quit => {
            tracing::info!(target: AUDIT, "SIGQUIT: drains, and ends with the last session");
        }
        Signal::Reload => tracing::info!(target: AUDIT, "SIGHUP: reads the file again"),
        Signal::Reopen if has_session_log => {
            tracing::info!(target: AUDIT, "SIGUSR1: opens the session log again");
        }
        Signal::Reopen => tracing::warn!(
            target: AUDIT,
            "SIGUSR1: weir writes to stderr and has no log file to open again; what rotates the \
             file behind stderr copies and truncates it"
        ),
        Signal::Upgrade => {
            tracing::info!(target: AUDIT, "SIGUSR2: starts another weir, which takes over");
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
