//! nginx.conf as a tree of directives, with what it includes.

use crate::init::note::{At, Notes, error, note, quoted, warning};
use crate::init::{FILE_MAX, Surroundings};

/// Blocks in blocks, and includes in includes.
const DEPTH_MAX: usize = 32;
const INCLUDES_MAX: usize = 16;
/// Files in all; their bytes are at most [`FILE_MAX`].
const FILES_MAX: usize = 2000;
/// The longest word, in bytes.
const WORD_MAX: usize = 64 * 1024;

/// One directive; `block` is what it has in braces.
#[derive(Debug)]
pub(super) struct NginxDirective {
    pub(super) at: At,
    pub(super) words: Vec<String>,
    pub(super) block: Option<Vec<NginxDirective>>,
}

impl NginxDirective {
    pub(super) fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The words behind the name.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &str> {
        self.words.iter().skip(1).map(String::as_str)
    }

    /// The first of them; empty if there is none.
    pub(super) fn argument(&self) -> &str {
        self.words.get(1).map_or("", String::as_str)
    }

    pub(super) fn blocks(&self) -> &[NginxDirective] {
        self.block.as_deref().unwrap_or_default()
    }
}

/// Reads a file and what it includes.
pub(super) fn read(
    name: &str,
    text: &[u8],
    around: &dyn Surroundings,
    notes: &mut Notes,
) -> Vec<NginxDirective> {
    let mut parser = Parser { around, notes, files: 1, bytes: text.len() };
    parser.file(At::line(name, 1), text, (0, 0))
}

struct Parser<'a> {
    around: &'a dyn Surroundings,
    notes: &'a mut Notes,
    files: usize,
    bytes: usize,
}

/// A block that is open.
struct OpenBlock {
    at: At,
    words: Vec<String>,
    children: Vec<NginxDirective>,
}

impl Parser<'_> {
    /// The directives of one file, which stands `includes` includes and `depth` blocks deep.
    fn file(
        &mut self,
        first: At,
        text: &[u8],
        (includes, depth): (usize, usize),
    ) -> Vec<NginxDirective> {
        let mut tokens = Tokens { rest: text, line: 1 };
        let mut open: Vec<OpenBlock> = Vec::new();
        let mut top: Vec<NginxDirective> = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut at = first.clone();
        loop {
            let token = match tokens.next() {
                Ok(token) => token,
                Err(why) => {
                    self.broken(&first.on(tokens.line), why);
                    return Vec::new();
                }
            };
            if words.is_empty() {
                at = first.on(tokens.line);
            }
            match token {
                Token::Word(word) => words.push(word),
                Token::Semicolon if words.is_empty() => {
                    self.broken(&at, "a semicolon stands alone");
                    return Vec::new();
                }
                Token::Semicolon => {
                    let outer = open.first().map_or("", |block| block.words[0].as_str());
                    let words = std::mem::take(&mut words);
                    let place = (includes, depth + open.len());
                    let children = self.directive(&at, words, outer, place);
                    let into = open.last_mut().map_or(&mut top, |block| &mut block.children);
                    into.extend(children);
                }
                Token::Open => {
                    if words.is_empty() || depth + open.len() == DEPTH_MAX {
                        self.broken(&at, "a block has no name, or is too deep");
                        return Vec::new();
                    }
                    let words = std::mem::take(&mut words);
                    open.push(OpenBlock { at: at.clone(), words, children: Vec::new() });
                }
                Token::Close => {
                    let Some(OpenBlock { at: opened, words: name, children }) =
                        open.pop().filter(|_| words.is_empty())
                    else {
                        self.broken(&at, "a closing brace has no block, or a semicolon is missing");
                        return Vec::new();
                    };
                    let into = open.last_mut().map_or(&mut top, |block| &mut block.children);
                    into.push(NginxDirective { at: opened, words: name, block: Some(children) });
                }
                Token::End => break,
            }
        }
        if let Some(block) = open.last() {
            self.broken(&block.at, "this block is not closed");
            return Vec::new();
        }
        if !words.is_empty() {
            self.broken(&at, "a semicolon is missing at the end");
            return Vec::new();
        }
        top
    }

    /// A directive without a block, or what it includes. `outer` is the outermost block.
    fn directive(
        &mut self,
        at: &At,
        words: Vec<String>,
        outer: &str,
        (includes, depth): (usize, usize),
    ) -> Vec<NginxDirective> {
        match words.as_slice() {
            [name, pattern] if name == "include" && !["http", "mail"].contains(&outer) => {
                self.include(at, pattern, (includes + 1, depth))
            }
            _ => vec![NginxDirective { at: at.clone(), words, block: None }],
        }
    }

    fn broken(&mut self, at: &At, why: &str) {
        self.notes.add(at, error("this cannot be read").because(why));
    }

    fn include(&mut self, at: &At, pattern: &str, place: (usize, usize)) -> Vec<NginxDirective> {
        let what = format!("include {}", quoted(pattern));
        if place.0 > INCLUDES_MAX {
            self.notes.add(at, error(what).because("files include one another too deep"));
            return Vec::new();
        }
        let files = match self.around.include(pattern) {
            Ok(files) => files,
            Err(why) => {
                let hint = "the rest of the file was read without it";
                self.notes.add(at, warning(what).because(why).instead(hint));
                return Vec::new();
            }
        };
        if files.is_empty() {
            self.notes.add(at, note(&what).because("it names no file"));
        }
        let mut children = Vec::new();
        for (name, bytes) in files {
            self.bytes = self.bytes.saturating_add(bytes.len());
            if self.files == FILES_MAX || self.bytes > FILE_MAX {
                let why = "2000 files and 16 MiB are read at most";
                self.notes.add(at, error(&what).because(why));
                return Vec::new();
            }
            let first = At::file(self.files, &name);
            self.files += 1;
            if bytes.contains(&0) {
                self.broken(&first, "this is not a text file");
                continue;
            }
            children.extend(self.file(first, &bytes, place));
        }
        children
    }
}

enum Token {
    Word(String),
    Semicolon,
    Open,
    Close,
    End,
}

struct Tokens<'a> {
    rest: &'a [u8],
    line: usize,
}

impl Tokens<'_> {
    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.line += usize::from(*first == b'\n');
        Some(*first)
    }

    fn skip_blank(&mut self) {
        while let Some(first) = self.rest.first() {
            match first {
                b'#' => {
                    while self.rest.first().is_some_and(|it| *it != b'\n') {
                        self.take();
                    }
                }
                byte if byte.is_ascii_whitespace() => drop(self.take()),
                _ => return,
            }
        }
    }

    fn next(&mut self) -> Result<Token, &'static str> {
        self.skip_blank();
        match self.rest.first() {
            None => Ok(Token::End),
            Some(b';') => Ok(self.single(Token::Semicolon)),
            Some(b'{') => Ok(self.single(Token::Open)),
            Some(b'}') => Ok(self.single(Token::Close)),
            Some(quote @ (b'"' | b'\'')) => self.quoted(*quote),
            Some(_) => self.bare(),
        }
    }

    fn single(&mut self, token: Token) -> Token {
        self.take();
        token
    }

    fn quoted(&mut self, quote: u8) -> Result<Token, &'static str> {
        self.take();
        let mut word = Vec::new();
        loop {
            match self.take() {
                None => return Err("a quote is not closed"),
                Some(byte) if byte == quote => break,
                Some(b'\\') => word.extend(self.escaped()),
                Some(byte) => word.push(byte),
            }
            if word.len() > WORD_MAX {
                return Err("a word is too long: more than 64 KiB");
            }
        }
        let ends =
            self.rest.first().is_none_or(|it| it.is_ascii_whitespace() || b";{)".contains(it));
        if !ends {
            return Err("a quoted word does not end behind its quote");
        }
        Ok(Token::Word(String::from_utf8_lossy(&word).into_owned()))
    }

    fn bare(&mut self) -> Result<Token, &'static str> {
        let mut word = Vec::new();
        while let Some(first) = self.rest.first().copied() {
            match first {
                b';' | b'{' => break,
                byte if byte.is_ascii_whitespace() => break,
                // The brace of a variable opens no block.
                b'$' if self.rest.get(1) == Some(&b'{') => {
                    word.extend([self.take(), self.take()].into_iter().flatten());
                }
                b'\\' => {
                    self.take();
                    word.extend(self.escaped());
                }
                _ => word.extend(self.take()),
            }
            if word.len() > WORD_MAX {
                return Err("a word is too long: more than 64 KiB");
            }
        }
        Ok(Token::Word(String::from_utf8_lossy(&word).into_owned()))
    }

    /// Behind a backslash. One that escapes nothing stays.
    fn escaped(&mut self) -> Vec<u8> {
        match self.take() {
            Some(byte @ (b'"' | b'\'' | b'\\')) => vec![byte],
            Some(b't') => vec![b'\t'],
            Some(b'r') => vec![b'\r'],
            Some(b'n') => vec![b'\n'],
            Some(byte) => vec![b'\\', byte],
            None => vec![b'\\'],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::tests::Nothing;

    fn shown(directives: &[NginxDirective]) -> String {
        let one = |it: &NginxDirective| match &it.block {
            None => it.words.join(" "),
            Some(children) => format!("{} {{ {} }}", it.words.join(" "), shown(children)),
        };
        directives.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn directives_have_words_quotes_comments_and_blocks() {
        for (text, expected) in [
            ("a b;# x\r\n c 'd e' \"f\\\"\";", "a b; c d e f\""),
            ("s {\n\tu x { a 1; }\n}\n", "s { u x { a 1 } }"),
            ("hash $remote_addr${port};", "hash $remote_addr${port}"),
            ("a b#c; x\\;y;", "a b#c; x\\;y"),
            ("a ${b;c d}e;", "a ${b; c d}e"),
            ("m { ~^a 1; \"\" 2; }", "m { ~^a 1;  2 }"),
        ] {
            let mut notes = Notes::default();
            let read = read("f", text.as_bytes(), &Nothing, &mut notes);
            assert_eq!(shown(&read), expected, "{text}");
            assert!(!notes.has_errors(), "{text}");
        }
    }

    #[test]
    fn each_broken_file_is_an_error_at_its_line() {
        for (text, line) in [
            ("a\nb", 1),
            ("a;\n;", 2),
            ("a {\nb;", 1),
            ("a;\n}", 2),
            ("a {\nb }", 2),
            ("a \"b", 1),
            ("a \"b\"c;", 1),
            (&"a {".repeat(40), 1),
            (&"x".repeat(70_000), 1),
        ] {
            let mut notes = Notes::default();
            assert!(read("f", text.as_bytes(), &Nothing, &mut notes).is_empty(), "{text:.20}");
            let (notes, _) = notes.sorted();
            assert_eq!((notes.len(), notes[0].line), (1, line), "{text:.20} {notes:?}");
        }
    }
}
