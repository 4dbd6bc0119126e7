//! One step of a check: bytes to send, or bytes to expect.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most steps of one check.
pub const CHECK_STEPS_MAX: usize = 64;

/// The most bytes that one step sends or expects.
pub const CHECK_TEXT_MAX: usize = 4096;

/// One step, written `send PING\r\n` or `expect +PONG`, with the escapes of [`unescape`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckStep {
    Send(String),
    Expect(String),
}

impl CheckStep {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let (CheckStep::Send(text) | CheckStep::Expect(text)) = self;
        unescape(text).unwrap_or_default()
    }

    /// The steps of a text in which `;` stands between two.
    ///
    /// # Errors
    /// As of one.
    pub fn list(text: &str) -> Result<Vec<CheckStep>, String> {
        text.split(';').map(|step| step.trim_start().parse()).collect()
    }
}

impl fmt::Display for CheckStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckStep::Send(text) => write!(f, "send {text}"),
            CheckStep::Expect(text) => write!(f, "expect {text}"),
        }
    }
}

impl FromStr for CheckStep {
    type Err = String;

    fn from_str(text: &str) -> Result<CheckStep, String> {
        let shown: String = text.chars().take(64).collect();
        let bytes = |text: &str| match unescape(text) {
            None => Err(format!("{shown:?} has a bad escape: they are \\r \\n \\t \\\\ \\xNN")),
            Some(bytes) if bytes.is_empty() => Err(format!("{shown:?} is empty")),
            Some(bytes) if bytes.len() > CHECK_TEXT_MAX => {
                Err(format!("{} bytes; at most {CHECK_TEXT_MAX} are possible", bytes.len()))
            }
            // A semicolon stands between two steps where they are one text.
            Some(_) => Ok(text.replace(';', "\\x3b")),
        };
        if let Some(text) = text.strip_prefix("send ") {
            bytes(text).map(CheckStep::Send)
        } else if let Some(text) = text.strip_prefix("expect ") {
            bytes(text).map(CheckStep::Expect)
        } else {
            Err(format!("{shown:?} is not a step: write \"send TEXT\" or \"expect TEXT\""))
        }
    }
}

impl Serialize for CheckStep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CheckStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CheckStep, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The bytes that a text of a check stands for: `\r`, `\n`, `\t`, `\\` and `\xNN` are escapes.
/// `None` if an escape is bad.
#[must_use]
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'\\' => b'\\',
            b'x' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let high = digit(rest.next()?)?;
                let low = digit(rest.next()?)?;
                u8::try_from(high * 16 + low).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_as_they_are_written() {
        let steps = CheckStep::list("expect 220 ; send EHLO a\\x3bb\\r\\n;expect  250").unwrap();
        assert_eq!(steps[0], CheckStep::Expect("220 ".to_owned()), "spaces at the end count");
        assert_eq!(steps[1].bytes(), b"EHLO a;b\r\n");
        assert_eq!(steps[2].bytes(), b" 250");
        let text = steps.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        assert_eq!(CheckStep::list(&text), Ok(steps));
        let step: CheckStep = "send a;b".parse().unwrap();
        assert_eq!((step.to_string().as_str(), step.bytes()), ("send a\\x3bb", b"a;b".to_vec()));
        let long = format!("send {}", "x".repeat(CHECK_TEXT_MAX + 1));
        for text in ["", "send", "send ", "say hello", "expect \\q", "expect \\x1", &long] {
            let wrong = text.parse::<CheckStep>().unwrap_err();
            assert!(wrong.len() < 200, "{wrong}");
        }
    }
}
