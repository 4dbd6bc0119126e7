//! What is written down of those who change something, or try to: a line in the log and an event.

use core::fmt::Display;

use weir_proto::answer::Answer;
use weir_proto::request::Refusal;

use super::gate::Principal;
use super::roles::{self, Role};

/// The most characters of a client's words that go into the log and the events.
const WORDS_MAX: usize = 200;

/// One request that is written down.
pub(crate) struct Audit<'a> {
    principal: &'a Principal,
    /// The words of weirctl for it.
    command: String,
    /// The version in force when it came.
    version: u64,
}

/// A request as the events keep it: see [`weir_proto::answer::EventRow`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditEvent {
    pub(crate) subject: String,
    pub(crate) text: String,
}

impl<'a> Audit<'a> {
    /// Begins when the request has come; nothing is written yet.
    pub(crate) fn begin(
        principal: &'a Principal,
        request: &impl Display,
        version: u64,
    ) -> Audit<'a> {
        Audit { principal, command: clip(&request.to_string()), version }
    }

    /// The principal's role is not enough.
    pub(crate) fn not_permitted(self, needed: Role) -> AuditEvent {
        let Audit { principal, command, version } = &self;
        let (uid, gid, pid) = principal.numbers();
        let (role, needed) = (roles::word(principal.role()), needed.word());
        tracing::warn!(uid, gid, pid, role, needed, ?command, version, "audit: not permitted");
        self.event(&format!("not permitted: it needs {needed}, the peer has {role}"))
    }

    /// The command was done, or refused for another reason. The version in force is now `now`.
    pub(crate) fn end(self, answer: &Result<Answer, Refusal>, now: u64) -> AuditEvent {
        let Audit { principal, command, version: asked_at } = &self;
        let role = roles::word(principal.role());
        let (before, after) = versions(answer, *asked_at, now);
        let (uid, gid, pid) = principal.numbers();
        match answer {
            Ok(_) => {
                tracing::info!(uid, gid, pid, role, ?command, before, after, "audit: done");
                self.event(&format!("done: version {before} → {after}"))
            }
            Err(Refusal { message, .. }) => {
                let why = clip(message);
                tracing::warn!(
                    uid,
                    gid,
                    pid,
                    role,
                    ?command,
                    before,
                    after,
                    ?why,
                    "audit: refused"
                );
                self.event(&format!("refused: version {before} → {after}: {why}"))
            }
        }
    }

    fn event(&self, outcome: &str) -> AuditEvent {
        let subject = match self.principal.numbers() {
            (Some(uid), Some(gid), Some(pid)) => format!("uid {uid} gid {gid} pid {pid}"),
            _ => "http".to_owned(),
        };
        AuditEvent { subject, text: format!("{}: {outcome}", self.command) }
    }
}

/// The versions before and after a command. Changes stand in line, so the version in force when
/// one came is not always the one that it changed; but each makes exactly the next one.
fn versions(answer: &Result<Answer, Refusal>, asked_at: u64, now: u64) -> (u64, u64) {
    match answer {
        // Without an undo nothing has changed.
        Ok(Answer::Changed(changed)) if changed.dry_run || changed.undo.is_empty() => {
            (changed.version, changed.version)
        }
        Ok(Answer::Changed(changed)) => (changed.version.saturating_sub(1), changed.version),
        Ok(_) | Err(_) => (asked_at, now),
    }
}

/// At most [`WORDS_MAX`] characters, without any that move the cursor or begin a line: no client
/// writes lines of its own into the log.
fn clip(text: &str) -> String {
    let mut clipped: String = text.chars().take(WORDS_MAX).map(plain).collect();
    if text.chars().nth(WORDS_MAX).is_some() {
        clipped.push('…');
    }
    clipped
}

fn plain(letter: char) -> char {
    if letter.is_control() { '·' } else { letter }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_proto::answer::{Changed, Said};
    use weir_proto::request::{ChangeOptions, ChangeRequest, Code, Command};

    #[test]
    fn a_clients_words_make_no_lines_of_their_own() {
        let change = ChangeRequest::BackendRemove {
            name: format!("web/b1\nINFO audit: done\u{1b}[2J{}", "x".repeat(1 << 20)),
            force: true,
        };
        let options = ChangeOptions { dry_run: true, if_version: None };
        let text = clip(&Command::Change { change, options }.to_string());
        assert!(text.starts_with("backend remove web/b1·INFO audit: done·[2Jxxx"), "{text}");
        assert_eq!(text.chars().count(), WORDS_MAX + 1);
    }

    #[test]
    fn the_versions_are_those_of_the_change_itself() {
        let changed = |version, undo: &str, dry_run| {
            Ok(Answer::Changed(Changed {
                version,
                before: None,
                after: None,
                summary: String::new(),
                undo: undo.into(),
                dry_run,
                shards_adopted: 1,
                shards: 1,
            }))
        };
        // Two others went first.
        assert_eq!(versions(&changed(7, "weirctl …", false), 4, 7), (6, 7));
        assert_eq!(versions(&changed(7, "", false), 4, 7), (7, 7));
        assert_eq!(versions(&changed(7, "weirctl …", true), 4, 7), (7, 7));
        assert_eq!(versions(&Ok(Answer::Said(Said { text: "".into() })), 4, 4), (4, 4));
        let refused = Err(Refusal::new(Code::Failed, "shards are late", ""));
        assert_eq!(versions(&refused, 4, 5), (4, 5));
    }
}
