//! What the process settings lay open: faults that keep weir from starting, and warnings.

use std::path::Path;

use weir_proto::complaint::Complaint;
use weir_proto::snapshot::Fault;

use super::roles::Roles;
use super::token;
use weir_control_core::file::Settings;

/// What keeps weir from serving with these settings.
pub(crate) fn faults(settings: &Settings) -> Vec<Fault> {
    settings.admin_token_file.as_deref().and_then(token_fault).into_iter().collect()
}

/// The token is a secret: only its owner and group may read it.
fn token_fault(path: &Path) -> Option<Fault> {
    let Complaint { what, hint } = token::read(path).err()?;
    Some(Fault::new("weir.admin-token-file", what, hint))
}

/// What an operator should know; weir serves anyway.
pub(crate) fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(admin) = settings.admin
        && !admin.ip().is_loopback()
    {
        let (reads, port) = ("reads names, addresses and counters", admin.port());
        let and = match settings.admin_token_file {
            None => "(it changes nothing)",
            Some(_) => "and sees the token of those who change something, as there is no TLS",
        };
        warnings.push(format!(
            "the admin address {admin} is not on loopback: everybody who reaches it {reads} {and}; \
             bind it to 127.0.0.1, or keep others away from port {port}"
        ));
    }
    if let (None, Some(token)) = (settings.admin, &settings.admin_token_file) {
        warnings.push(format!(
            "admin-token-file {} has no use: there is no admin address",
            token.display()
        ));
    }
    warnings
}

/// Entries of `control-roles` that this host does not know: `weir run` does not start with them,
/// and `weir check` only warns, since it may run on another host.
pub(crate) fn unknown_entries(settings: &Settings) -> Vec<String> {
    Roles::new(settings.control_roles.as_deref(), 0).err().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::tests::Directory;
    use weir_control_core::file::{Role, Who};

    #[test]
    fn a_token_is_there_and_not_for_everybody() {
        let directory = Directory::new("settings_audit");
        std::fs::create_dir_all(&directory.0).unwrap();
        let path = directory.0.join("token");
        let settings = Settings { admin_token_file: Some(path.clone()), ..Settings::default() };
        assert!(faults(&settings)[0].complaint.what.contains("No such file"));
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        for (mode, open) in [(0o644, true), (0o602, true), (0o600, false), (0o640, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let found = faults(&settings);
            assert_eq!(found.len(), usize::from(open), "{mode:o}: {found:?}");
        }
        for (text, is_token) in [
            ("", false),
            ("0123456789abcde", false),
            ("a b 0123456789abcdef", false),
            ("0123456789abcdef", true),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(faults(&settings).is_empty(), is_token, "{text:?}");
        }
        let of_a_directory =
            Settings { admin_token_file: Some(directory.0.clone()), ..Settings::default() };
        assert!(faults(&of_a_directory)[0].complaint.what.ends_with("is not a file"));
        assert!(faults(&Settings::default()).is_empty());
    }

    #[test]
    fn an_open_admin_address_is_warned_of() {
        let settings = |admin: &str, token: Option<&str>| Settings {
            admin: Some(admin.parse().unwrap()),
            admin_token_file: token.map(Into::into),
            ..Settings::default()
        };
        for admin in ["127.0.0.1:9650", "[::1]:9650", "127.8.9.1:1"] {
            assert!(warnings(&settings(admin, None)).is_empty(), "{admin}");
        }
        for admin in ["0.0.0.0:9650", "[::]:9650", "192.0.2.1:9650"] {
            let told = warnings(&settings(admin, None));
            assert!(told[0].contains(admin) && told[0].contains("9650"), "{told:?}");
        }
        let told = warnings(&settings("0.0.0.0:9650", Some("t")));
        assert!(told.len() == 1 && told[0].contains("sees the token"), "{told:?}");
        let of_nothing = Settings { admin_token_file: Some("t".into()), ..Settings::default() };
        assert!(warnings(&of_nothing)[0].contains("has no use"));
        assert!(warnings(&Settings::default()).is_empty());
    }

    #[test]
    fn unknown_names_are_told() {
        let who = Who::Group("no-such-group-here".into());
        let settings =
            Settings { control_roles: Some(vec![(Role::Admin, who)]), ..Settings::default() };
        assert_eq!(unknown_entries(&settings).len(), 1);
        assert!(unknown_entries(&Settings::default()).is_empty());
    }
}
