//! The standard streams of the process. No other file of the daemon names them: a write to one can
//! fail, and can wait for ever, and only what serves nobody may meet that.

use std::io::{self, IsTerminal, PipeReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

/// Writes `text` to stdout, for verbs that serve nobody (check, doctor, demo).
///
/// # Errors
/// What write(2) said, unless the reader has gone away: `weir check FILE | head` is no failure.
pub(crate) fn out(text: &str) -> io::Result<()> {
    forgive(write(&mut io::stdout().lock(), text))
}

/// Writes `text` and a newline to stderr. There is nobody left to be told that it failed.
pub(crate) fn err(text: &str) {
    let _ = write(&mut io::stderr().lock(), &format!("{text}\n"));
}

fn write(to: &mut dyn Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

fn forgive(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// True if somebody reads stderr on a terminal.
pub(crate) fn err_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Stderr once more, for the thread that writes the log.
///
/// # Errors
/// Descriptors ran out.
pub(crate) fn err_again() -> io::Result<OwnedFd> {
    io::stderr().as_fd().try_clone_to_owned()
}

/// Makes stdout and stderr of this process a pipe and gives its other end, which has to be read as
/// long as the process lives: whatever a library or the standard library prints goes there from now
/// on, and never waits for whoever reads the log.
///
/// # Errors
/// Descriptors ran out.
pub(crate) fn divert() -> io::Result<PipeReader> {
    let (reader, writer) = io::pipe()?;
    let given = [io::stdout().as_fd().try_clone_to_owned()?, err_again()?];
    let _ = GIVEN.set(given); // once a process
    rustix::stdio::dup2_stdout(&writer)?;
    rustix::stdio::dup2_stderr(&writer)?;
    Ok(reader)
}

/// Stdout and stderr as this process was given them, for another one that it starts.
static GIVEN: OnceLock<[OwnedFd; 2]> = OnceLock::new();

/// Stdout and stderr as this process was given them; `None` while they are its own.
///
/// # Errors
/// Descriptors ran out.
pub(crate) fn as_given() -> io::Result<Option<[OwnedFd; 2]>> {
    let Some([out, err]) = GIVEN.get() else { return Ok(None) };
    Ok(Some([out.try_clone()?, err.try_clone()?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_went_away_is_forgiven() {
        let failed = |kind: io::ErrorKind| forgive(Err(kind.into())).map_err(|it| it.kind());
        assert_eq!(failed(io::ErrorKind::BrokenPipe), Ok(()));
        assert_eq!(failed(io::ErrorKind::StorageFull), Err(io::ErrorKind::StorageFull));
    }
}
