//! The bearer token of HTTP: who sends what is in `[weir] admin-token-file` may change things.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hyper::HeaderMap;
use hyper::header;
use weir_proto::complaint::Complaint;

use super::gate::Bearer;
use crate::rt;

/// The longest file that is taken for a token, in bytes.
const FILE_MAX: usize = 4096;
/// The shortest token, in bytes. A shorter one can be guessed.
pub(crate) const TOKEN_MIN: usize = 16;

/// Where the token is. It is read for each request that needs it, so that another token counts at
/// once.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenFile(pub(crate) Option<PathBuf>);

impl TokenFile {
    /// Judges by a request's headers who sends it.
    pub(crate) async fn judge(&self, headers: &HeaderMap) -> Bearer {
        let Some(path) = self.0.clone() else { return Bearer::Off };
        let mut said = headers.get_all(header::AUTHORIZATION).iter();
        let sent = match (said.next(), said.next()) {
            (Some(sent), None) => bearer(sent.as_bytes()).map(<[u8]>::to_vec),
            _ => None,
        };
        let Some(sent) = sent else { return Bearer::Missing };
        match rt::blocking(move || read(&path)).await {
            Ok(token) if is_same(token.as_bytes(), &sent) => Bearer::Right,
            Ok(_) => Bearer::Wrong,
            Err(complaint) => {
                tracing::error!("admin-token-file: {complaint}");
                Bearer::Unreadable
            }
        }
    }
}

/// The credentials of `Authorization: Bearer TOKEN`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Compares in a time that does not depend on where the difference is.
fn is_same(token: &[u8], sent: &[u8]) -> bool {
    let differ = token.iter().zip(sent).fold(0, |differ, (a, b)| differ | (a ^ b));
    token.len() == sent.len() && core::hint::black_box(differ) == 0
}

/// Reads the token: the text of the file without the space around it.
///
/// # Errors
/// It is not there, it can be read by every user, or it is no token.
pub(crate) fn read(path: &Path) -> Result<String, Complaint> {
    let shown = path.display();
    let hint = format!("(umask 077; openssl rand -hex 32 > {shown})");
    let fault = |what: String| Complaint::new(what, hint.clone());
    let failed = |error: std::io::Error| fault(format!("{shown}: {error}"));
    let there = std::fs::metadata(path).map_err(failed)?;
    if !there.is_file() {
        return Err(fault(format!("{shown} is not a file")));
    }
    if there.mode() & 0o007 != 0 {
        return Err(Complaint::new(
            format!("{shown} is open to every user (mode {:04o})", there.mode() & 0o7777),
            format!("chmod o= {shown}, and put a new token into it"),
        ));
    }
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX as u64).read_to_string(&mut text))
        .map_err(failed)?;
    let token = text.trim_ascii();
    let is_plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    if !(TOKEN_MIN..FILE_MAX).contains(&token.len()) || !is_plain {
        let what = format!(
            "{shown} has no token: it is one word of at least {TOKEN_MIN} visible ASCII characters"
        );
        return Err(fault(what));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_as_a_bearer_and_nothing_else() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        for other in [&b"abc"[..], b"Basic abc", b"Bearer", b""] {
            assert_eq!(bearer(other), None, "{other:?}");
        }
        assert_eq!(bearer(b"Bearer "), Some(&b""[..]));
    }

    #[test]
    fn a_token_is_the_same_only_whole() {
        assert!(is_same(b"abc", b"abc"));
        for other in [&b""[..], b"ab", b"abcd", b"abd", b"ABC"] {
            assert!(!is_same(b"abc", other), "{other:?}");
        }
    }
}
