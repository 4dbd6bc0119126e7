//! Roles: they decide what a peer of the control socket may do.

use serde::{Deserialize, Serialize};

/// Permissions of a peer. Each role includes those of the roles before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Also changes the state of listeners, backends and sessions at run time.
    Operator,
    /// Also changes the configuration and ends the process.
    Admin,
}

impl Role {
    /// Every role, the mightiest first, as the file's keys.
    pub const ALL: [Role; 3] = [Role::Admin, Role::Operator, Role::Viewer];

    /// The word for it in the file, in messages and in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}
