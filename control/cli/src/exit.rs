//! How weirctl ends: the exit codes of the contract, and what a failure says on stderr.

use std::io::{self, Write};

use serde::Serialize;
use weir_proto::conflict::Conflict;
use weir_proto::json::{self, Layout};
use weir_proto::request::{Code, Refusal};

use crate::render::human::plain;

/// The exit codes. They are a contract: scripts branch on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    /// The daemon refused or failed.
    Failed = 1,
    /// The command line makes no sense, or it needs a `--yes` or `--force` that it did not get.
    Usage = 2,
    /// The question was answered, and the answer is "no".
    No = 3,
    NotFound = 4,
    /// The daemon cannot be reached, or it does not answer.
    Unreachable = 5,
    /// `--wait` ran out.
    TimedOut = 6,
    /// `--if-version` named another version than the current one, or a file and a change at run
    /// time disagree.
    Conflict = 7,
    /// The socket may not be opened, or the peer's role is not enough.
    Denied = 8,
    /// Ctrl-C.
    Interrupted = 130,
}

/// The code of what weir does after a `--yes` only.
pub(crate) const NEEDS_YES: &str = "needs_yes";

/// Why a command was not done: what, where, why, and a command to paste.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// One word for programs: the `code` of the JSON error object.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Empty if there is nothing to suggest.
    pub(crate) hint: String,
    pub(crate) did_you_mean: Vec<String>,
    /// Keys that a file and a change at run time disagree on.
    pub(crate) conflicts: Vec<Conflict>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Failure {
        let code = match exit {
            Exit::Done => "done",
            Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::No => "no",
            Exit::NotFound => "not_found",
            Exit::Unreachable => "unreachable",
            Exit::TimedOut => "timed_out",
            Exit::Conflict => "conflict",
            Exit::Denied => "not_permitted",
            Exit::Interrupted => "interrupted",
        };
        let (message, hint) = (message.into(), hint.into());
        let (did_you_mean, conflicts) = (Vec::new(), Vec::new());
        Failure { exit, code, message, hint, did_you_mean, conflicts }
    }

    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message, hint)
    }

    /// The daemon answered with something that was not asked for.
    pub(crate) fn unexpected() -> Failure {
        let mut failure = Failure::new(
            Exit::Failed,
            "the daemon answered another question than the one that was asked",
            "use the weirctl that came with this weir",
        );
        failure.code = "protocol";
        failure
    }

    /// Says it on stderr: as text, or as the JSON error object.
    pub(crate) fn say(&self, json: bool, to: &mut dyn Write) -> io::Result<()> {
        if json {
            let error = ErrorBody {
                code: self.code,
                message: &self.message,
                hint: &self.hint,
                did_you_mean: &self.did_you_mean,
                conflicts: &self.conflicts,
            };
            let text = json::document(&ErrorEnvelope { error }, Layout::Line);
            return writeln!(to, "{text}");
        }
        // The errors of a file have lines of their own, and say what they are. Further lines are
        // indented: none can pass for one of ours.
        let mut lines = self.message.strip_prefix("error: ").unwrap_or(&self.message).lines();
        writeln!(to, "error: {}", plain(lines.next().unwrap_or_default()))?;
        for line in lines {
            writeln!(to, "  {}", plain(line))?;
        }
        if !self.did_you_mean.is_empty() {
            writeln!(to, "did you mean: {}", plain(&self.did_you_mean.join(", ")))?;
        }
        if !self.hint.is_empty() {
            writeln!(to, "hint: {}", plain(&self.hint))?;
        }
        Ok(())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let (exit, code) = match refusal.code {
            Code::Invalid => (Exit::Failed, "invalid"),
            Code::NotFound => (Exit::NotFound, "not_found"),
            Code::Exists => (Exit::Failed, "exists"),
            Code::Conflict => (Exit::Conflict, "conflict"),
            Code::Denied => (Exit::Denied, "not_permitted"),
            Code::NeedsYes => (Exit::Usage, NEEDS_YES),
            Code::NeedsForce => (Exit::Usage, "needs_force"),
            Code::Failed => (Exit::Failed, "failed"),
            Code::Upgrading => (Exit::Failed, "upgrading"),
        };
        Failure {
            exit,
            code,
            message: refusal.message,
            hint: refusal.hint,
            did_you_mean: refusal.did_you_mean,
            conflicts: refusal.conflicts,
        }
    }
}

impl Failure {
    /// The same, of the rest of `all`: those before it are done.
    pub(crate) fn after(mut self, done: usize, all: usize) -> Failure {
        if done > 0 && self.exit != Exit::Done {
            self.message += &format!("; {done} of {all} are done, the others are as they were");
        }
        self
    }
}

/// A failure to write to stdout. A reader that went away (`| head`) is not an error worth a word.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::new(Exit::Done, "", "");
        }
        Failure::new(Exit::Failed, format!("cannot write the answer to stdout: {error}"), "")
    }
}

#[derive(Serialize)]
struct ErrorEnvelope<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    hint: &'a str,
    did_you_mean: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    conflicts: &'a [Conflict],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_the_exit_code_of_the_contract() {
        let table = [
            (Code::Invalid, 1, "invalid"),
            (Code::NotFound, 4, "not_found"),
            (Code::Exists, 1, "exists"),
            (Code::Conflict, 7, "conflict"),
            (Code::Denied, 8, "not_permitted"),
            (Code::NeedsYes, 2, "needs_yes"),
            (Code::NeedsForce, 2, "needs_force"),
            (Code::Failed, 1, "failed"),
            (Code::Upgrading, 1, "upgrading"),
        ];
        for (code, exit, word) in table {
            let failure = Failure::from(Refusal::new(code, "m", "h"));
            assert_eq!((failure.exit as u8, failure.code), (exit, word), "{code:?}");
        }
        let own = [Exit::Done, Exit::Usage, Exit::No, Exit::Unreachable, Exit::TimedOut];
        assert_eq!(own.map(|exit| exit as u8), [0, 2, 3, 5, 6]);
        assert_eq!(Exit::Interrupted as u8, 130);
    }

    fn said(failure: &Failure, json: bool) -> String {
        let mut bytes = Vec::new();
        failure.say(json, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_failure_is_told_as_text_or_as_the_error_object() {
        let mut refusal = Refusal::new(Code::NotFound, "no pool \"wbe\"", "weirctl pool list");
        refusal.did_you_mean = vec!["web".into()];
        let failure = Failure::from(refusal);
        assert_eq!(
            said(&failure, false),
            "error: no pool \"wbe\"\ndid you mean: web\nhint: weirctl pool list\n"
        );
        assert_eq!(
            said(&failure, true),
            "{\"schema\":\"weir/v1\",\"error\":{\"code\":\"not_found\",\
             \"message\":\"no pool \\\"wbe\\\"\",\"hint\":\"weirctl pool list\",\
             \"did_you_mean\":[\"web\"]}}\n"
        );
        let bare = Failure::new(Exit::Failed, "a \u{1b}[31mred\u{1b}[0m word", "");
        assert_eq!(said(&bare, false), "error: a \\u{1b}[31mred\\u{1b}[0m word\n");
        let lines = Failure::new(Exit::Failed, "error: unknown key\n --> w.toml:2\nhint: x\r", "");
        assert_eq!(said(&lines, false), "error: unknown key\n   --> w.toml:2\n  hint: x\\r\n");
    }
}
