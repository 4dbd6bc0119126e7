//! What is written down of those who change something, or try to: a line in the log and an event.

use weir_proto::answer::Answer;
use weir_proto::request::{Refusal, Request, Response};

use super::roles::{self, Role};
use crate::rt::{self, PeerCred};
use crate::serve::Shared;

/// The most characters of a client's words that go into the log and the events.
const WORDS_MAX: usize = 200;

/// One command of one peer.
pub(crate) struct Audit<'a> {
    peer: &'a PeerCred,
    role: Option<Role>,
    command: String,
    /// The version in force when the command came.
    version: u64,
}

impl<'a> Audit<'a> {
    /// Begins when the command has come; nothing is written yet.
    pub(crate) fn begin(
        shared: &Shared,
        request: &Request,
        (peer, role): (&'a PeerCred, Option<Role>),
    ) -> Audit<'a> {
        Audit { peer, role, command: command(request), version: version(shared) }
    }

    /// The peer's role was not enough.
    pub(crate) fn not_permitted(self, shared: &Shared, needed: Role) {
        let Audit { peer, role, command, version } = &self;
        let (role, needed) = (roles::word(*role), needed.word());
        tracing::warn!(
            uid = peer.uid,
            gid = peer.gid,
            pid = peer.pid,
            role,
            needed,
            ?command,
            version,
            "audit: not permitted"
        );
        self.event(shared, &format!("not permitted: it needs {needed}, the peer has {role}"));
    }

    /// The command was done, or refused for another reason.
    pub(crate) fn end(self, shared: &Shared, response: &Response) {
        let Audit { peer, role, command, version: asked_at } = &self;
        let role = roles::word(*role);
        let (before, after) = versions(response, *asked_at, version(shared));
        let (uid, gid, pid) = (peer.uid, peer.gid, peer.pid);
        match response {
            Response::Done(_) => {
                tracing::info!(uid, gid, pid, role, ?command, before, after, "audit: done");
                self.event(shared, &format!("done: version {before} → {after}"));
            }
            Response::Refused(Refusal { message, .. }) => {
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
                self.event(shared, &format!("refused: version {before} → {after}: {why}"));
            }
        }
    }

    fn event(&self, shared: &Shared, outcome: &str) {
        let PeerCred { uid, gid, pid, .. } = self.peer;
        let subject = format!("uid {uid} gid {gid} pid {pid}");
        let text = format!("{}: {outcome}", self.command);
        shared.control.borrow_mut().events.push("audit", subject, text, rt::wall_ms());
    }
}

fn version(shared: &Shared) -> u64 {
    shared.control.borrow().snapshot.version.0
}

/// The versions before and after a command. Changes stand in line, so the version in force when
/// one came is not always the one that it changed; but each makes exactly the next one.
fn versions(response: &Response, asked_at: u64, now: u64) -> (u64, u64) {
    match response {
        // Without an undo nothing has changed.
        Response::Done(Answer::Changed(changed)) if changed.dry_run || changed.undo.is_empty() => {
            (changed.version, changed.version)
        }
        Response::Done(Answer::Changed(changed)) => {
            (changed.version.saturating_sub(1), changed.version)
        }
        Response::Done(_) | Response::Refused(_) => (asked_at, now),
    }
}

/// A request in the words of weirctl, cut to a length and escaped: no client writes lines of its
/// own into the log.
fn command(request: &Request) -> String {
    clip(&request.to_string())
}

/// At most [`WORDS_MAX`] characters, without any that move the cursor or begin a line.
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
        let text = command(&Command::Change { change, options }.into());
        assert!(text.starts_with("backend remove web/b1·INFO audit: done·[2Jxxx"), "{text}");
        assert_eq!(text.chars().count(), WORDS_MAX + 1);
    }

    #[test]
    fn the_versions_are_those_of_the_change_itself() {
        let changed = |version, undo: &str, dry_run| {
            Response::Done(Answer::Changed(Changed {
                version,
                before: "null".into(),
                after: "null".into(),
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
        assert_eq!(versions(&Response::Done(Answer::Said(Said { text: "".into() })), 4, 4), (4, 4));
        let refused = Response::Refused(Refusal::new(Code::Failed, "shards are late", ""));
        assert_eq!(versions(&refused, 4, 5), (4, 5));
    }
}
