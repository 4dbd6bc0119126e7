//! Starts the process that is to take over: the same command line, with `--upgrade` and this end of
//! a channel as its standard input.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::streams;

/// systemd counts on the process that it has started (sd_watchdog_enabled(3)); the next one takes
/// its place.
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// Where the program is that this process was started from. When another file has taken its place
/// the kernel calls the old one deleted.
///
/// # Errors
/// /proc does not say.
pub(crate) fn own_program() -> Result<PathBuf, String> {
    let path = std::env::current_exe().map_err(|error| format!("/proc/self/exe: {error}"))?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or(path.clone(), PathBuf::from))
}

/// The command line of this process after the program, for the next one.
///
/// # Errors
/// It is no `weir run`.
pub(crate) fn arguments(shards: Option<u16>) -> Result<Vec<OsString>, String> {
    arguments_of(std::env::args_os().skip(1), shards)
}

fn arguments_of(
    own: impl Iterator<Item = OsString>,
    shards: Option<u16>,
) -> Result<Vec<OsString>, String> {
    let mut own = own.filter(|it| it != "--upgrade").peekable();
    if own.peek().is_none_or(|verb| verb != "run") {
        return Err("only `weir run` can be upgraded".to_owned());
    }
    let mut kept = Vec::new();
    while let Some(argument) = own.next() {
        let is_shards = argument == "--shards";
        if shards.is_none() || !(is_shards || argument.to_string_lossy().starts_with("--shards=")) {
            kept.push(argument);
        } else if is_shards {
            own.next();
        }
    }
    kept.push("--upgrade".into());
    if let Some(shards) = shards {
        kept.extend(["--shards".into(), shards.to_string().into()]);
    }
    Ok(kept)
}

/// Starts it.
///
/// # Errors
/// The program cannot be started.
pub(crate) fn spawn(
    program: &Path,
    arguments: &[OsString],
    channel: OwnedFd,
) -> Result<Child, String> {
    let text = |error: std::io::Error| format!("{}: {error}", program.display());
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::from(channel)).env_remove(WATCHDOG_PID);
    // This process's own are a pipe to itself.
    if let Some([out, err]) = streams::as_given().map_err(text)? {
        command.stdout(out).stderr(err);
    }
    command.spawn().map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_gets_the_same_command_line_once() {
        let of = |line: &str, shards| {
            let words = line.split_whitespace().map(OsString::from);
            arguments_of(words, shards).map(|it| it.join(" ".as_ref()).into_string().unwrap())
        };
        for (line, shards, next) in [
            ("run", None, "run --upgrade"),
            ("run -c weir.toml --upgrade", None, "run -c weir.toml --upgrade"),
            ("run --shards 4 -c f", None, "run --shards 4 -c f --upgrade"),
            ("run --shards 4 -c f", Some(2), "run -c f --upgrade --shards 2"),
            ("run --shards=4 --upgrade", Some(2), "run --upgrade --shards 2"),
        ] {
            assert_eq!(of(line, shards).as_deref(), Ok(next), "{line} {shards:?}");
        }
        assert!(of("demo", None).is_err());
        assert!(of("", None).is_err());
    }
}
