//! The files and the environment of a host, for `weir init`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{FILE_MAX, Surroundings};

/// Files that one include may name.
const INCLUDED_MAX: usize = 1000;

/// Reads a file, or stdin if it is called `-`. A byte beyond [`FILE_MAX`] is enough to know that it
/// is too long.
///
/// # Errors
/// Why it cannot be read, with its name.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let limit = u64::try_from(FILE_MAX).unwrap_or(u64::MAX) + 1;
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    match read {
        Ok(_) => Ok(bytes),
        Err(fault) if fault.kind() == io::ErrorKind::IsADirectory => {
            Err(format!("{} is a directory: name the file in it", path.display()))
        }
        Err(fault) => Err(format!("cannot read {}: {fault}", path.display())),
    }
}

/// This host, as the main file sees it.
pub(super) struct Host {
    /// Relative includes are taken from here, as nginx does.
    base: PathBuf,
}

impl Host {
    pub(super) fn beside(path: &Path) -> Host {
        Host { base: path.parent().unwrap_or(Path::new("")).to_owned() }
    }
}

impl Surroundings for Host {
    fn include(&self, pattern: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let whole = self.base.join(pattern);
        let mut paths = vec![PathBuf::new()];
        for part in whole.components() {
            let part = part.as_os_str();
            paths = match part.to_str() {
                Some(text) if text.contains(['*', '?', '[']) => {
                    paths.iter().flat_map(|path| matching(path, text)).collect()
                }
                _ => paths.iter().map(|path| path.join(part)).collect(),
            };
            if paths.len() > INCLUDED_MAX {
                return Err(format!("it names more than {INCLUDED_MAX} files"));
            }
        }
        paths.sort();
        let read_one = |path: &PathBuf| Ok((path.display().to_string(), read(path)?));
        paths.iter().map(read_one).collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

/// The entries of a directory whose names fit, without hidden ones.
fn matching(directory: &Path, pattern: &str) -> Vec<PathBuf> {
    let place = if directory == Path::new("") { Path::new(".") } else { directory };
    let names = fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let fits = |name: &OsStr| {
        let name = name.to_string_lossy();
        (!name.starts_with('.') || pattern.starts_with('.'))
            && fits(pattern.as_bytes(), name.as_bytes())
    };
    names.filter(|name| fits(name)).take(INCLUDED_MAX + 1).map(|it| directory.join(it)).collect()
}

/// glob(7) of one name: `*`, `?` and `[a-z]`, in time that grows with the product of the lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        let step = match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, from));
                at += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => class(&pattern[at..], name[from]),
            Some(byte) => (*byte == name[from]).then_some(1),
            None => None,
        };
        match (step, star) {
            (Some(length), _) => (at, from) = (at + length, from + 1),
            (None, Some((behind, taken))) => {
                (at, from) = (behind, taken + 1);
                star = Some((behind, taken + 1));
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// The length of a class at the start of `pattern` if `byte` is in it. A bracket that is not closed
/// is a letter.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let end = pattern.iter().skip(2).position(|it| *it == b']').map(|end| end + 2);
    let Some(end) = end else { return (byte == b'[').then_some(1) };
    let (inverted, members) = match &pattern[1..end] {
        [b'!' | b'^', members @ ..] if !members.is_empty() => (true, members),
        members => (false, members),
    };
    let mut rest = members;
    let mut found = false;
    while let Some((first, tail)) = rest.split_first() {
        rest = match tail {
            [b'-', last, tail @ ..] => {
                found |= (*first..=*last).contains(&byte);
                tail
            }
            tail => {
                found |= *first == byte;
                tail
            }
        };
    }
    (found != inverted).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn patterns_fit_as_the_shell_takes_them() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?.cfg", "1.cfg", true),
            ("?.cfg", "12.cfg", false),
            ("[0-9][!a]*", "5b.conf", true),
            ("[0-9][!a]*", "5a.conf", false),
            ("[x", "[x", true),
            ("[]a]", "]", true),
            ("", "a", false),
        ] {
            assert_eq!(
                super::fits(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
        let stars = "*a".repeat(2000);
        assert!(!super::fits(stars.as_bytes(), "a".repeat(1500).as_bytes()));
    }
}
