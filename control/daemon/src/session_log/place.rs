//! Where the session log goes.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_control_core::session_log::{LineMaker, LogTarget, LoggedSessions};

use crate::log;

/// journald's socket (systemd-journald.service(8)).
const JOURNAL: &str = "/run/systemd/journal/socket";

/// How long journald may take for one record.
const PATIENCE: Duration = Duration::from_millis(250);

/// An open log.
#[derive(Debug)]
pub(super) enum LogPlace {
    Stderr,
    Journald(UnixDatagram),
    File { path: PathBuf, file: File },
}

/// Some records could not be written.
#[derive(Debug)]
pub(super) struct RefusedRecords {
    /// How many.
    pub(super) records: usize,
    pub(super) why: String,
}

impl LogPlace {
    /// # Errors
    /// A sentence for the operator.
    pub(super) fn open(to: LogTarget) -> Result<LogPlace, String> {
        Ok(match to {
            LogTarget::Stderr => LogPlace::Stderr,
            LogTarget::Journald => {
                let text = |error| {
                    format!(
                        "the session log cannot reach {}: {error}\nhint: is systemd-journald \
                         running? or give it a file: session-log = {{ to = \"/var/log/weir/…\" }}",
                        journal()
                    )
                };
                let socket = UnixDatagram::unbound().map_err(text)?;
                socket.set_write_timeout(Some(PATIENCE)).map_err(text)?;
                socket.connect(journal()).map_err(text)?;
                LogPlace::Journald(socket)
            }
            LogTarget::File(path) => {
                let file = open_file(&path)?;
                LogPlace::File { path, file }
            }
        })
    }

    /// Opens a file again by its name. False if it is no file.
    ///
    /// # Errors
    /// It cannot be opened; the one that is open stays.
    pub(super) fn reopen(&mut self) -> Result<bool, String> {
        let LogPlace::File { path, file } = self else { return Ok(false) };
        *file = open_file(path)?;
        Ok(true)
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// The number of records that were lost, and why.
    pub(super) fn write(
        &mut self,
        lines: &mut LineMaker,
        logged: LoggedSessions,
    ) -> Result<(), RefusedRecords> {
        let count = logged.rows.len();
        match self {
            LogPlace::Stderr => {
                let text = lines.lines(logged);
                text.split_inclusive('\n').for_each(log::say_line);
                Ok(())
            }
            LogPlace::File { path, file } => {
                let text = lines.lines(logged);
                // A line that is torn by a full disk ends before the next one begins.
                file.write_all(text.as_bytes()).map_err(|error| {
                    let _ = file.write_all(b"\n");
                    RefusedRecords { records: count, why: format!("{}: {error}", path.display()) }
                })
            }
            LogPlace::Journald(socket) => {
                for (sent, datagram) in lines.datagrams(logged).into_iter().enumerate() {
                    // One that takes none takes no others of this batch either.
                    send(socket, &datagram).map_err(|error| RefusedRecords {
                        records: count - sent,
                        why: format!("{}: {error}", journal()),
                    })?;
                }
                Ok(())
            }
        }
    }
}

/// Sends one datagram. journald that was started again has another socket of the same name.
fn send(socket: &UnixDatagram, datagram: &[u8]) -> std::io::Result<()> {
    match socket.send(datagram) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => {
            socket.connect(journal())?;
            socket.send(datagram).map(drop)
        }
        result => result.map(drop),
    }
}

/// Builds with debug assertions let a test have another one: WEIR_TEST_JOURNAL.
fn journal() -> String {
    let other = if cfg!(debug_assertions) { std::env::var("WEIR_TEST_JOURNAL").ok() } else { None };
    other.unwrap_or_else(|| JOURNAL.to_owned())
}

fn open_file(path: &Path) -> Result<File, String> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    opened.map_err(|error| {
        let directory = path.parent().unwrap_or(path).display();
        format!(
            "the session log {} cannot be opened: {error}\nhint: weir's user must be able to \
             write there: ls -ld {directory}",
            path.display()
        )
    })
}
