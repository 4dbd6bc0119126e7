//! Entries of `control-roles` in the file: whom they name, and the role that these have.

use core::fmt;
use core::str::FromStr;

pub use weir_proto::role::Role;

/// Whom an entry of `control-roles` means, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// `anyone`: whoever may open the socket.
    Anyone,
    /// `uid:1000`
    Uid(u32),
    /// `user:alice`
    User(String),
    /// `gid:1000`, the primary group or a supplementary one.
    Gid(u32),
    /// `group:weir-admin`
    Group(String),
}

/// One entry of `[weir] control-roles`: these have this role.
pub type Grant = (Role, Who);

/// What an entry looks like, for hints.
pub(super) const WHO_HINT: &str =
    "\"user:NAME\", \"uid:NUMBER\", \"group:NAME\", \"gid:NUMBER\", or \"anyone\"";

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Who, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("\"{text}\" is no number"));
        match text.split_once(':') {
            None if text == "anyone" => Ok(Who::Anyone),
            None => Err(format!("\"{text}\" does not say what it is")),
            Some((_, "")) => Err(format!("\"{text}\" names nobody")),
            Some(("uid", id)) => number(id).map(Who::Uid),
            Some(("gid", id)) => number(id).map(Who::Gid),
            Some(("user", name)) => Ok(Who::User(name.to_owned())),
            Some(("group", name)) => Ok(Who::Group(name.to_owned())),
            Some((kind, _)) => Err(format!("there are no entries of the kind \"{kind}\"")),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Anyone => f.write_str("anyone"),
            Who::Uid(id) => write!(f, "uid:{id}"),
            Who::User(name) => write!(f, "user:{name}"),
            Who::Gid(id) => write!(f, "gid:{id}"),
            Who::Group(name) => write!(f, "group:{name}"),
        }
    }
}
