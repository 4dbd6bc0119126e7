//! Lines of haproxy.cfg as words: quotes, escapes, comments and variables of the environment
//! (HAProxy's configuration manual, 2.2 and 2.3).

use std::collections::BTreeSet;

/// The most words of a line, and the most bytes of a line with its variables filled in.
const WORDS_MAX: usize = 64;
const LINE_MAX: usize = 64 * 1024;

/// One word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Bytes that are not UTF-8 are replaced.
    pub(super) text: String,
    /// The bytes, if they are not those of `text`.
    raw: Option<Box<[u8]>>,
}

impl Word {
    fn new(bytes: Vec<u8>) -> Word {
        match String::from_utf8(bytes) {
            Ok(text) => Word { text, raw: None },
            Err(fault) => {
                let text = String::from_utf8_lossy(fault.as_bytes()).into_owned();
                Word { text, raw: Some(fault.into_bytes().into()) }
            }
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(self.text.as_bytes())
    }
}

/// Finds the value of a variable, if it has one.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The words of one line. `unset` gets the names of variables that have no value.
///
/// # Errors
/// Why it cannot be divided into words.
pub(super) fn words(
    line: &[u8],
    variables: Variables<'_>,
    unset: &mut BTreeSet<String>,
) -> Result<Vec<Word>, &'static str> {
    let mut lexer = Lexer { rest: line, word: None, words: Vec::new(), length: 0 };
    let mut quote = Quote::None;
    while let Some((first, rest)) = lexer.rest.split_first() {
        lexer.rest = rest;
        match (*first, quote) {
            (b'\'', Quote::None) => quote = lexer.open(Quote::Single),
            (b'"', Quote::None) => quote = lexer.open(Quote::Double),
            (b'\'', Quote::Single) | (b'"', Quote::Double) => quote = Quote::None,
            (b'\\', Quote::None | Quote::Double) => lexer.escape(quote)?,
            (b'$', Quote::Double) => {
                let value = variable(&mut lexer.rest, variables, unset)?;
                lexer.push(value.as_bytes())?;
            }
            (b'#', Quote::None) => break,
            (byte, Quote::None) if byte.is_ascii_whitespace() => lexer.end()?,
            (byte, _) => lexer.push(&[byte])?,
        }
    }
    match quote {
        Quote::None => lexer.end()?,
        Quote::Single => return Err("a single quote is not closed"),
        Quote::Double => return Err("a double quote is not closed"),
    }
    Ok(lexer.words)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

struct Lexer<'a> {
    rest: &'a [u8],
    /// The word that has begun.
    word: Option<Vec<u8>>,
    words: Vec<Word>,
    length: usize,
}

impl Lexer<'_> {
    /// Quotes begin a word even if nothing is in them.
    fn open(&mut self, quote: Quote) -> Quote {
        self.word.get_or_insert_default();
        quote
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        self.length += bytes.len();
        if self.length > LINE_MAX {
            return Err("the line is too long: more than 64 KiB");
        }
        self.word.get_or_insert_default().extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<(), &'static str> {
        if let Some(word) = self.word.take() {
            if self.words.len() == WORDS_MAX {
                return Err("the line has too many words: more than 64");
            }
            self.words.push(Word::new(word));
        }
        Ok(())
    }

    /// Behind a backslash. One that escapes nothing stays.
    fn escape(&mut self, quote: Quote) -> Result<(), &'static str> {
        let (byte, length) = match *self.rest {
            [byte @ (b' ' | b'\\' | b'#' | b'\'' | b'"'), ..] => (byte, 1),
            [b'$', ..] if quote == Quote::Double => (b'$', 1),
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b't', ..] => (b'\t', 1),
            [b'x', high, low, ..] => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => return Err("\\x needs two hexadecimal digits"),
            },
            [b'x', ..] => return Err("\\x needs two hexadecimal digits"),
            _ => (b'\\', 0),
        };
        self.rest = &self.rest[length..];
        self.push(&[byte])
    }
}

/// The value of a hexadecimal digit.
pub(super) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok())
}

/// The value of the variable behind a dollar: `NAME`, `{NAME}` or `{NAME-default}`.
fn variable(
    rest: &mut &[u8],
    variables: Variables<'_>,
    unset: &mut BTreeSet<String>,
) -> Result<String, &'static str> {
    let braced = rest.first() == Some(&b'{');
    let text = &rest[usize::from(braced)..];
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'.';
    let length = text.iter().position(|byte| !is_name(byte)).unwrap_or(text.len());
    let name = String::from_utf8_lossy(&text[..length]).into_owned();
    let mut default = None;
    if braced {
        let Some(end) = text.iter().position(|byte| *byte == b'}') else {
            return Err("${ is not closed");
        };
        let tail = String::from_utf8_lossy(&text[length..end]).into_owned();
        default = tail.strip_prefix('-').map(str::to_owned);
        *rest = &text[end + 1..];
    } else {
        *rest = &text[length..];
    }
    if name.is_empty() {
        return Ok(if braced { String::new() } else { "$".to_owned() });
    }
    let value = variables(&name).or(default);
    if value.is_none() {
        unset.insert(name);
    }
    Ok(value.unwrap_or_default())
}

/// An address with its variables filled in: HAProxy does so outside of quotes, too.
pub(super) fn filled(
    text: &str,
    variables: Variables<'_>,
    unset: &mut BTreeSet<String>,
) -> Result<String, &'static str> {
    let mut out = String::new();
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        out += &String::from_utf8_lossy(&rest[..at]);
        rest = &rest[at + 1..];
        out += &variable(&mut rest, variables, unset)?;
        if out.len() > LINE_MAX {
            return Err("the address is too long");
        }
    }
    Ok(out + &String::from_utf8_lossy(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Vec<String>, &'static str> {
        let variables = |name: &str| (name == "DB").then(|| "10.0.0.1".to_owned());
        let words = words(line.as_bytes(), &variables, &mut BTreeSet::new())?;
        Ok(words.into_iter().map(|word| word.text).collect())
    }

    #[test]
    fn words_have_quotes_escapes_comments_and_variables() {
        for (line, expected) in [
            ("  bind\t*:80  # every address", vec!["bind", "*:80"]),
            ("# nothing", vec![]),
            ("a\\ b \\# \\\\ c\\d", vec!["a b", "#", "\\", "c\\d"]),
            ("'a # \"b' \"c 'd\" ''", vec!["a # \"b", "c 'd", ""]),
            ("se\"nd\"'x'", vec!["sendx"]),
            ("PING\\r\\n \\x41", vec!["PING\r\n", "A"]),
            (
                "\"$DB:80\" \"${DB}:81\" \"${NO-x}\" \"\\$DB\"",
                vec!["10.0.0.1:80", "10.0.0.1:81", "x", "$DB"],
            ),
            ("$DB '${DB}'", vec!["$DB", "${DB}"]),
        ] {
            assert_eq!(read(line).unwrap(), expected, "{line}");
        }
        for line in ["\"a", "'a", "\\x4", "\"${DB\"", &"a ".repeat(65), &"a".repeat(70_000)] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn bytes_stay_what_they_are() {
        let words = words(b"\\x80\\xff", &|_| None, &mut BTreeSet::new()).unwrap();
        assert_eq!(words[0].bytes(), [0x80, 0xff]);
    }

    #[test]
    fn an_address_has_variables_without_quotes() {
        let mut unset = BTreeSet::new();
        let variables = |name: &str| (name == "DB").then(|| "10.0.0.1".to_owned());
        assert_eq!(filled("${DB}:80", &variables, &mut unset).unwrap(), "10.0.0.1:80");
        assert_eq!(filled("$NO:80", &variables, &mut unset).unwrap(), ":80");
        assert_eq!(unset.into_iter().collect::<Vec<_>>(), ["NO"]);
    }
}
