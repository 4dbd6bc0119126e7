//! Words of a command as they are typed into a shell.

/// The text as one word of a POSIX shell: in quotes if it needs them, and for zsh, too.
#[must_use]
pub fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=%,+@".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_quotes_has_them() {
        for plain in ["pool=db", "10.0.0.0/8", "50%"] {
            assert_eq!(word(plain), plain);
        }
        assert_eq!(word("[::1]:80"), "'[::1]:80'");
        assert_eq!(word("route=sni=*.a pool=b"), "'route=sni=*.a pool=b'");
        assert_eq!(word("it's"), r"'it'\''s'");
        assert_eq!(word(""), "''");
    }
}
