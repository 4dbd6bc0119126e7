//! `config edit`: the configuration in force in an editor, and what comes of it as one change.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use signal_hook::consts::SIGINT;
use weir_proto::answer::ConfigText;
use weir_proto::request::{ApplyMode, ChangeOptions, ChangeRequest};

use super::config::{self, File};
use super::{Console, change};
use crate::exit::{Exit, Failure};
use crate::render::human::plain;
use crate::render::json;

/// Files of earlier edits that may be in the way.
const KEPT_MAX: u32 = 100;

pub(super) fn run(
    force: bool,
    options: ChangeOptions,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let editor = editor(|name| std::env::var(name).ok(), console.interactive)?;
    let before = config::export(None, &mut console.client_before_a_question()?)?;
    let wanted = options.if_version.filter(|wanted| *wanted != before.version);
    if let Some(wanted) = wanted {
        let message = format!("the configuration is at version {}, not {wanted}", before.version);
        return Err(Failure::new(Exit::Conflict, message, "weirctl config history"));
    }
    let options = ChangeOptions { if_version: Some(before.version), ..options };
    let keys = Keys::watch()?;
    let draft = Draft::write(&before)?;
    loop {
        let edited = keys.unless_they_end_it(|| draft.edit(&editor));
        let file = match edited.and_then(|()| config::read_file(&draft.0, console)) {
            Ok(file) if file.toml == before.toml => {
                draft.remove();
                return unchanged(before.version, console);
            }
            Ok(file) => file,
            Err(failure) if draft.is(&before) => {
                draft.remove();
                return Err(failure);
            }
            Err(failure) => return Err(draft.kept(failure)),
        };
        let is_tried = options.dry_run;
        match keys.unless_they_end_it(|| apply(file, force, &options, console)) {
            Ok(()) if is_tried => {
                console.say(&format!("the text is kept in {}", draft.0.display()));
                return Ok(Exit::Done);
            }
            Ok(()) => {
                draft.remove();
                return Ok(Exit::Done);
            }
            Err(failure) if again(&failure, console) => {}
            Err(failure) => return Err(draft.kept(failure)),
        }
    }
}

/// The command of an editor: `$VISUAL`, else `$EDITOR`, else vi, which needs a terminal.
fn editor(variable: impl Fn(&str) -> Option<String>, is_terminal: bool) -> Result<String, Failure> {
    let said = ["VISUAL", "EDITOR"].into_iter().filter_map(variable);
    match said.into_iter().find(|command| !command.trim().is_empty()) {
        Some(command) => Ok(command),
        None if is_terminal => Ok("vi".to_owned()),
        None => {
            let message = "there is no terminal for an editor";
            let hint = "set EDITOR to a command that changes the file it is given, or use \
                        weirctl config apply FILE --partial";
            Err(Failure::usage(message, hint))
        }
    }
}

fn apply(
    file: File,
    force: bool,
    options: &ChangeOptions,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let File { toml, origin } = file;
    let change = ChangeRequest::Apply { toml, origin, mode: ApplyMode::Edit, force };
    let (answer, _client) = change::ask(&change, options, console)?;
    change::made(&answer, console)
}

fn unchanged(version: u64, console: &mut Console<'_>) -> Result<Exit, Failure> {
    #[derive(Serialize)]
    struct Unchanged {
        version: u64,
        before: Option<()>,
        after: Option<()>,
        summary: &'static str,
        undo: &'static str,
    }
    let summary = "no change";
    if console.json {
        let same = Unchanged { version, before: None, after: None, summary, undo: "" };
        console.write(&json::document(&same, console.style))?;
    } else {
        console.say("the text is as it was: nothing has changed");
    }
    Ok(Exit::Done)
}

/// Asks whether a text that was refused is to be edited again, if another text could help.
fn again(failure: &Failure, console: &mut Console<'_>) -> bool {
    let is_of_the_text = ["invalid", "needs_force", "not_found"].contains(&failure.code);
    if !console.interactive || !is_of_the_text {
        return false;
    }
    let _ = failure.say(false, console.err);
    let _ = write!(console.err, "Edit it again? [Y/n] ");
    let _ = console.err.flush();
    let mut line = String::new();
    let read = console.input.read_line(&mut line);
    // The end of the input is no answer.
    read.is_ok_and(|bytes| bytes > 0) && matches!(line.trim(), "" | "y" | "Y" | "yes")
}

/// The text while it is edited.
struct Draft(PathBuf);

impl Draft {
    fn write(config: &ConfigText) -> Result<Draft, Failure> {
        let directory = std::env::temp_dir();
        let cannot = |path: &PathBuf, error: std::io::Error| {
            let message = format!("cannot write {}: {error}", path.display());
            Failure::new(Exit::Failed, message, "set TMPDIR to a directory that you may write to")
        };
        let mut path = directory.clone();
        for number in 0..KEPT_MAX {
            let name = format!("weir-{}-{}-{number}.toml", config.version, std::process::id());
            path = directory.join(name);
            // It is closed to others, and never a link that somebody has laid there.
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            match file {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(cannot(&path, error)),
                Ok(mut file) => {
                    let draft = Draft(path);
                    return match file.write_all(config.toml.as_bytes()) {
                        Ok(()) => Ok(draft),
                        Err(error) => {
                            draft.remove();
                            Err(cannot(&draft.0, error))
                        }
                    };
                }
            }
        }
        Err(cannot(&path, ErrorKind::AlreadyExists.into()))
    }

    /// Runs the editor. Its command may have arguments, as for git.
    fn edit(&self, editor: &str) -> Result<(), Failure> {
        let script = format!("{editor} \"$@\"");
        let status = Command::new("/bin/sh").args(["-c", &script, "sh"]).arg(&self.0).status();
        let what = match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => format!("the editor ended with {status}"),
            Err(error) => format!("cannot start an editor: {error}"),
        };
        let message = format!("{what} ({}); nothing has changed", plain(editor));
        Err(Failure::new(Exit::Failed, message, "set VISUAL or EDITOR to an editor"))
    }

    fn is(&self, config: &ConfigText) -> bool {
        fs::read(&self.0).is_ok_and(|bytes| bytes == config.toml.as_bytes())
    }

    fn remove(&self) {
        // In the directory for such files, it does no harm.
        let _ = fs::remove_file(&self.0);
    }

    /// The failure, and where the text is now.
    fn kept(&self, mut failure: Failure) -> Failure {
        let path = self.0.display();
        failure.hint =
            format!("the text is kept in {path}; what it would change: weirctl config diff {path}");
        failure
    }
}

/// Ctrl-C ends weirctl, but not while an editor has the terminal or weir is asked.
struct Keys {
    may_end: Arc<AtomicBool>,
}

impl Keys {
    fn watch() -> Result<Keys, Failure> {
        let may_end = Arc::new(AtomicBool::new(true));
        signal_hook::flag::register_conditional_default(SIGINT, Arc::clone(&may_end)).map_err(
            |error| Failure::new(Exit::Failed, format!("cannot watch for Ctrl-C: {error}"), ""),
        )?;
        Ok(Keys { may_end })
    }

    fn unless_they_end_it<T>(&self, work: impl FnOnce() -> T) -> T {
        self.may_end.store(false, Ordering::Relaxed);
        let done = work();
        self.may_end.store(true, Ordering::Relaxed);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visual_comes_before_editor_and_vi_needs_a_terminal() {
        let of = |visual: &str, fallback: &str, is_terminal| {
            let variable = |name: &str| {
                let value = if name == "VISUAL" { visual } else { fallback };
                (value != "-").then(|| value.to_owned())
            };
            editor(variable, is_terminal).map_err(|failure| failure.exit)
        };
        assert_eq!(of("code --wait", "ed", false).as_deref(), Ok("code --wait"));
        assert_eq!(of("-", "ed", false).as_deref(), Ok("ed"));
        assert_eq!(of(" ", "ed", true).as_deref(), Ok("ed"));
        assert_eq!(of("-", "-", true).as_deref(), Ok("vi"));
        assert_eq!(of("-", "", false), Err(Exit::Usage));
    }
}
