//! What is written down of those who change something, or try to: a line in the log and an event.

use core::fmt::Display;

use weir_proto::answer::Answer;
use weir_proto::outside::cleaned;
use weir_proto::request::Refusal;

use super::gate::Principal;
use super::refusals::Cause;
use super::roles::{self, Role};
use crate::log::AUDIT;
use weir_control_core::events::Kept;

/// Bytes of a command that go into the log: it is whole, unless it is longer than anybody types.
const COMMAND_MAX: usize = 4096;
/// Bytes of it that go into an event.
const EVENT_COMMAND_MAX: usize = 240;
/// Bytes of the reason of a refusal.
const WHY_MAX: usize = 500;

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
    /// The ring that keeps it: what changed something is not displaced by what did not.
    pub(crate) kept: Kept,
}

impl<'a> Audit<'a> {
    /// Begins when the request has come; nothing is written yet.
    pub(crate) fn begin(
        principal: &'a Principal,
        request: &impl Display,
        version: u64,
    ) -> Audit<'a> {
        Audit { principal, command: cleaned(&request.to_string(), COMMAND_MAX), version }
    }

    /// The principal's role is not enough.
    pub(crate) fn not_permitted(self, needed: Role) -> AuditEvent {
        let Audit { principal, command, version } = &self;
        let (uid, gid, pid) = principal.numbers();
        let (role, needed) = (roles::word(principal.role()), needed.word());
        let (login, from) = (principal.login(), principal.from().map(tracing::field::display));
        tracing::warn!(
            target: AUDIT,
            uid, gid, pid, login, from, role, needed, command = command.as_str(), version,
            "audit: not permitted"
        );
        let outcome = format!("not permitted: it needs {needed}, the peer has {role}");
        self.event(&outcome, Kept::Refusal)
    }

    /// The command was done, or refused for another reason. The version in force is now `now`.
    pub(crate) fn end(self, answer: &Result<Answer, Refusal>, now: u64) -> AuditEvent {
        let Audit { principal, command, version: asked_at } = &self;
        let role = roles::word(principal.role());
        let (before, after) = versions(answer, *asked_at, now);
        let (uid, gid, pid) = principal.numbers();
        let (login, from) = (principal.login(), principal.from().map(tracing::field::display));
        let is_nothing = came_to_nothing(answer, (before, after));
        let kept = if is_nothing { Kept::Refusal } else { Kept::Change };
        match answer {
            Ok(_) => {
                tracing::info!(
                    target: AUDIT,
                    uid, gid, pid, login, from, role, command = command.as_str(), before, after,
                    "audit: done"
                );
                self.event(&format!("done: version {before} → {after}"), kept)
            }
            Err(Refusal { message, .. }) => {
                let why = cleaned(message, WHY_MAX);
                tracing::warn!(
                    target: AUDIT,
                    uid, gid, pid, login, from, role, command = command.as_str(), before, after,
                    why = why.as_str(),
                    "audit: refused"
                );
                let outcome = format!("refused: version {before} → {after}: {why}");
                self.event(&outcome, kept)
            }
        }
    }

    fn event(&self, outcome: &str, kept: Kept) -> AuditEvent {
        let subject = match self.principal.numbers() {
            (Some(uid), Some(gid), Some(pid)) => {
                let login = self.principal.login().map(|login| format!(" login {login}"));
                format!("uid {uid} gid {gid} pid {pid}{}", login.unwrap_or_default())
            }
            _ => {
                let from = self.principal.from();
                from.map_or_else(|| "http".to_owned(), |from| format!("http {from}"))
            }
        };
        // The events cut long texts, and the outcome is worth more than the end of the command.
        let command = cleaned(&self.command, EVENT_COMMAND_MAX);
        AuditEvent { subject, text: format!("{command}: {outcome}"), kept }
    }
}

/// Requests of `cause` that came to nothing and were not written down.
pub(crate) fn unwritten(cause: Cause, count: u64) -> AuditEvent {
    let text = format!("{count} more requests came to nothing and were not written down");
    tracing::warn!(target: AUDIT, "audit: {cause}: {text}");
    AuditEvent { subject: cause.to_string(), text, kept: Kept::Refusal }
}

/// True if the log may do without a line about it once a peer has had many: nothing has changed.
/// `versions` are those in force before and after.
pub(crate) fn came_to_nothing(answer: &Result<Answer, Refusal>, versions: (u64, u64)) -> bool {
    match answer {
        Ok(Answer::Changed(changed)) => changed.dry_run || changed.undo.is_empty(),
        Ok(_) => false,
        // A version that a shard has not adopted in time is refused and in force.
        Err(_) => versions.0 == versions.1,
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
        let options = ChangeOptions {
            dry_run: true,
            if_version: None,
            yes: false,
            ..ChangeOptions::default()
        };
        let principal = Principal::reader([127, 0, 0, 1].into());
        let audit = Audit::begin(&principal, &Command::Change { change, options }, 1);
        let (text, event) = (audit.command.clone(), audit.not_permitted(Role::Admin));
        assert!(text.starts_with("backend remove web/b1·INFO audit: done·[2Jxxx"), "{text}");
        assert!(text.len() <= COMMAND_MAX + 3, "{}", text.len());
        assert!(event.text.ends_with("xxx…: not permitted: it needs admin, the peer has viewer"));
        assert!(event.text.len() < 400, "{}", event.text);
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
                warnings: Vec::new(),
                unconfirmed: None,
                changes: Vec::new(),
                impact: None,
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
