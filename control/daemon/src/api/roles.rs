//! Who may do what on the control socket: requests need a role, and peers have one.

#[cfg(test)]
mod tests;

use core::fmt;

use nix::unistd::{Group, User};
use weir_proto::request::{ChangeRequest, Code, Command, Refusal, Request};

use crate::rt::PeerCred;
pub(crate) use weir_control_core::file::Role;
use weir_control_core::file::{Grant, Who};

/// The role that a request needs. A new command does not compile until it is placed here.
pub(crate) fn needed(request: &Request) -> Role {
    match request {
        Request::Query(_) => Role::Viewer,
        Request::Command(command) if command.is_dry_run() => Role::Viewer,
        Request::Command(Command::Change { change, .. }) => needed_for(change),
        // They end no session that could not be ended by a forced removal.
        Request::Command(Command::Task(_) | Command::SessionKill(_)) => Role::Operator,
        Request::Command(
            Command::Drain | Command::Ready | Command::Upgrade { .. } | Command::Stop { .. },
        ) => Role::Admin,
    }
}

/// The role that a change needs.
fn needed_for(change: &ChangeRequest) -> Role {
    match change {
        ChangeRequest::ListenerState { .. }
        | ChangeRequest::BackendAdd { .. }
        | ChangeRequest::BackendSet { .. }
        | ChangeRequest::BackendPut { .. }
        | ChangeRequest::BackendRemove { .. }
        | ChangeRequest::BackendState { .. }
        | ChangeRequest::BackendWeight { .. }
        | ChangeRequest::Backends { .. } => Role::Operator,
        ChangeRequest::ListenerAdd { .. }
        | ChangeRequest::ListenerSet { .. }
        | ChangeRequest::ListenerPut { .. }
        | ChangeRequest::ListenerRemove { .. }
        | ChangeRequest::PoolAdd { .. }
        | ChangeRequest::PoolPut { .. }
        | ChangeRequest::PoolRemove { .. }
        | ChangeRequest::PoolSet { .. }
        | ChangeRequest::Apply { .. }
        | ChangeRequest::Rollback { .. }
        | ChangeRequest::Confirm => Role::Admin,
    }
}

/// An entry with the numbers that the kernel speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Anyone,
    Uid(u32),
    Gid(u32),
}

/// Every peer's role. Fixed for the life of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    rules: Vec<(Role, Match)>,
}

impl Roles {
    /// Root and `own`, weir's own effective uid, are admins in any case: both can do with the
    /// process what they like. Without a setting everybody else who may open the socket is an
    /// operator; with one they have the highest role that it gives them, or none.
    ///
    /// # Errors
    /// The entries whose user or group this host does not know.
    pub(crate) fn new(setting: Option<&[Grant]>, own: u32) -> Result<Roles, Vec<String>> {
        let mut rules = vec![(Role::Admin, Match::Uid(0)), (Role::Admin, Match::Uid(own))];
        let mut unknown = Vec::new();
        for (role, who) in setting.unwrap_or(&[(Role::Operator, Who::Anyone)]) {
            match find(who) {
                Ok(found) => rules.push((*role, found)),
                Err(why) => unknown.push(why),
            }
        }
        if unknown.is_empty() { Ok(Roles { rules }) } else { Err(unknown) }
    }

    /// The peer's role; `None` if it has none.
    pub(crate) fn of(&self, peer: &PeerCred) -> Option<Role> {
        let fits = |rule: Match| match rule {
            Match::Anyone => true,
            Match::Uid(uid) => uid == peer.uid,
            Match::Gid(gid) => gid == peer.gid || peer.groups.contains(&gid),
        };
        self.rules.iter().filter(|(_, rule)| fits(*rule)).map(|(role, _)| *role).max()
    }
}

/// The number behind an entry.
fn find(who: &Who) -> Result<Match, String> {
    let unknown = |why: &dyn fmt::Display| format!("{who} in [weir] control-roles: {why}");
    match who {
        Who::Anyone => Ok(Match::Anyone),
        Who::Uid(id) => Ok(Match::Uid(*id)),
        Who::Gid(id) => Ok(Match::Gid(*id)),
        Who::User(name) => match User::from_name(name) {
            Ok(Some(user)) => Ok(Match::Uid(user.uid.as_raw())),
            Ok(None) => Err(unknown(&"this host has no such user")),
            Err(error) => Err(unknown(&error)),
        },
        Who::Group(name) => match Group::from_name(name) {
            Ok(Some(group)) => Ok(Match::Gid(group.gid.as_raw())),
            Ok(None) => Err(unknown(&"this host has no such group")),
            Err(error) => Err(unknown(&error)),
        },
    }
}

/// The role of one that may have none, as a word.
pub(crate) fn word(role: Option<Role>) -> &'static str {
    role.map_or("none", Role::word)
}

/// What a peer gets that asked for more than it may do.
pub(crate) fn refusal(needed: Role, has: Option<Role>, uid: u32) -> Refusal {
    let needed = needed.word();
    let has = match has {
        None => "no role".to_owned(),
        Some(role) => format!("the role {}", role.word()),
    };
    Refusal::new(
        Code::Denied,
        format!("not permitted: this needs the role {needed}, and uid {uid} has {has}"),
        format!(
            "run it as root (sudo weirctl …), or give the role in weir's file and restart weir: \
             [weir] control-roles = {{ {needed} = [\"uid:{uid}\"] }}"
        ),
    )
}
