//! Paths of weir's own that must not be symbolic links: whoever may change such a link would lead
//! weir, which may be root, to another place.

use std::path::{Path, PathBuf};

/// Why `path` is not used, if its last part is a symbolic link; `setting` names it.
pub(crate) fn link(setting: &str, path: &Path) -> Option<String> {
    // Without a slash at the end, which would follow the link.
    let path: PathBuf = path.components().collect();
    let there = std::fs::symlink_metadata(&path).ok()?;
    if !there.file_type().is_symlink() {
        return None;
    }
    let target = std::fs::read_link(&path).unwrap_or_default();
    Some(format!(
        "{setting} {} is a symbolic link (to {}), which weir does not follow; \
         name the place itself, or take the link away",
        path.display(),
        target.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Directory;

    #[test]
    fn only_a_link_is_a_link() {
        let directory = Directory::new("paths");
        std::fs::create_dir_all(directory.0.join("real")).unwrap();
        let path = directory.0.join("link");
        std::os::unix::fs::symlink("real", &path).unwrap();
        let told = link("the state directory", &path).unwrap();
        assert!(told.starts_with("the state directory /") && told.contains("(to real)"), "{told}");
        assert!(link("x", &path.join("")).is_some(), "a slash at the end hides nothing");
        assert!(link("x", &path.join(".")).is_some(), "nor does a dot");
        assert!(link("x", &directory.0.join("real")).is_none());
        assert!(link("x", &directory.0.join("nothing")).is_none());
    }
}
