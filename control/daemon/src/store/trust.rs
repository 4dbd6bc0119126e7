//! Who else may write the state: it is the configuration, so who may do that may do everything.
//!
//! As PostgreSQL and sshd do with theirs, weir refuses what every user may write and what belongs
//! to another user than root and its own. A group may be meant: that is a warning.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use weir_proto::complaint::Complaint;

/// The owner and the mode of a file or a directory.
#[derive(Clone, Copy, Debug)]
struct OwnerAndMode {
    uid: u32,
    mode: u32,
}

/// Looks at the directory and at those of `files` that are in it. Gives warnings.
///
/// # Errors
/// One belongs to a stranger or may be written by everybody.
pub(super) fn check(directory: &Path, files: &[&str]) -> Result<Vec<String>, Complaint> {
    let own = rustix::process::geteuid().as_raw();
    let mut warnings = Vec::new();
    let paths = files.iter().map(|name| ("the state file", directory.join(name)));
    for (what, path) in core::iter::once(("the state directory", directory.to_owned())).chain(paths)
    {
        let access = match std::fs::symlink_metadata(&path) {
            Ok(metadata) => OwnerAndMode::of(&metadata),
            // It is not there, or opening it will say more.
            Err(_) => continue,
        };
        warnings.extend(judge(what, &path, access, own)?);
    }
    Ok(warnings)
}

impl OwnerAndMode {
    fn of(metadata: &Metadata) -> OwnerAndMode {
        OwnerAndMode { uid: metadata.uid(), mode: metadata.mode() }
    }
}

/// A warning, if one is due. `own` is weir's own uid.
fn judge(
    what: &str,
    path: &Path,
    access: OwnerAndMode,
    own: u32,
) -> Result<Option<String>, Complaint> {
    let (path, mode) = (path.display(), access.mode & 0o7777);
    if access.uid != 0 && access.uid != own {
        return Err(Complaint::new(
            format!(
                "{what} {path} belongs to uid {}, who could put another configuration there; weir \
                 runs as uid {own}",
                access.uid
            ),
            format!("chown {own} {path}, or start weir as its owner"),
        ));
    }
    if mode & 0o002 != 0 {
        return Err(Complaint::new(
            format!("{what} {path} is writable by every user (mode {mode:04o})"),
            format!("see that it is what you left there, then: chmod go-w {path}"),
        ));
    }
    let is_shared = mode & 0o020 != 0;
    Ok(is_shared.then(|| {
        format!(
            "{what} {path} is writable by its group (mode {mode:04o}), so its members can change \
             the whole configuration; if that is not meant: chmod g-w {path}"
        )
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::tests::Directory;

    #[test]
    fn strangers_and_everybody_are_refused_and_a_group_is_warned_of() {
        let path = Path::new("/s");
        let judged = |uid, mode| judge("the state directory", path, OwnerAndMode { uid, mode }, 7);
        for (uid, mode) in [(7, 0o40700), (7, 0o100_600), (0, 0o40755), (7, 0o40555)] {
            assert_eq!(judged(uid, mode).unwrap(), None, "{uid} {mode:o}");
        }
        let group = judged(7, 0o42770).unwrap().unwrap();
        assert!(group.contains("(mode 2770)") && group.ends_with("chmod g-w /s"), "{group}");
        for mode in [0o40777, 0o41777, 0o100_602] {
            let refused = judged(7, mode).unwrap_err();
            assert!(refused.what.contains("by every user"), "{mode:o}: {refused:?}");
            assert!(refused.hint.ends_with("chmod go-w /s"), "{refused:?}");
        }
        let stranger = judged(8, 0o40700).unwrap_err();
        assert!(stranger.what.contains("belongs to uid 8"), "{stranger:?}");
        assert!(stranger.hint.starts_with("chown 7 /s"), "{stranger:?}");
    }

    #[test]
    fn each_file_that_is_there_is_looked_at() {
        let directory = Directory::new("trust");
        std::fs::create_dir_all(&directory.0).unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&directory.0, 0o700);
        let file = directory.0.join("b");
        assert_eq!(check(&directory.0, &["a", "b"]).unwrap(), [""; 0]);
        std::fs::write(&file, "").unwrap();
        mode(&file, 0o666);
        assert!(check(&directory.0, &["a", "b"]).unwrap_err().what.starts_with("the state file"));
        mode(&file, 0o660);
        mode(&directory.0, 0o770);
        assert_eq!(check(&directory.0, &["a", "b"]).unwrap().len(), 2);
    }
}
