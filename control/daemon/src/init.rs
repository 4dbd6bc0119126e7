//! `weir init --from FILE`: the TCP part of a peer's configuration as weir.toml, and a note for
//! each thing in it that could not be carried over.
//!
//! Pure: [`convert`] makes a [`Conversion`] of bytes. Only [`disk`] reads files. A parser for each
//! language makes a [`draft`], which is written in one way.

mod access;
mod discover;
mod disk;
mod draft;
mod emit;
mod haproxy;
mod nginx;
mod note;
mod remarks;
mod routes;
mod units;

use std::path::Path;

use clap::ValueEnum;

pub use note::{Level, Note};

use crate::streams;
use draft::Draft;
use note::{At, Notes, error};

/// The most bytes of one file.
pub const FILE_MAX: usize = 16 * 1024 * 1024;

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// haproxy.cfg
    Haproxy,
    /// nginx.conf with a stream block
    Nginx,
}

/// How a file is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Found out from the name and the content if absent.
    pub peer: Option<Peer>,
    /// Sections of HAProxy in `mode http` are relayed as TCP.
    pub http_as_tcp: bool,
}

/// A file, and where to find what it refers to.
pub trait Surroundings {
    /// The files that an `include` names, with their names, in the order of their names.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn include(&self, pattern: &str) -> Result<Vec<(String, Vec<u8>)>, String>;

    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
}

/// The outcome of a file.
#[derive(Clone, Debug, Default)]
pub struct Conversion {
    /// weir.toml; absent if the file is wrong or has nothing that weir can do.
    pub toml: Option<String>,
    /// In the order of the file.
    pub notes: Vec<Note>,
    /// Notes for which there was no room.
    pub more_notes: usize,
    /// How many listeners, pools and backends `toml` has.
    pub counts: [usize; 3],
}

impl Conversion {
    /// 0: something was carried over. 1: the file is wrong. 3: it has nothing that weir can do.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let is_wrong = self.notes.iter().any(|note| note.level == Level::Error);
        match self.toml {
            Some(_) => 0,
            None if is_wrong => 1,
            None => 3,
        }
    }

    /// The last line: how much was carried over, and how much there is to read.
    #[must_use]
    pub fn summary(&self, name: &str) -> String {
        let name = weir_proto::outside::cleaned(name, note::FILE_NAME_MAX);
        let of_level = |level| self.notes.iter().filter(|note| note.level == level).count();
        let (warnings, notes) = (of_level(Level::Warning), of_level(Level::Note));
        let tail = format!("{}, {}", counted(warnings, "warning"), counted(notes, "note"));
        let [listeners, pools, backends] = self.counts;
        match self.exit_code() {
            0 => format!(
                "{name}: {}, {}, {}; {tail}",
                counted(listeners, "listener"),
                counted(pools, "pool"),
                counted(backends, "backend")
            ),
            1 => format!("{name}: {}", counted(of_level(Level::Error), "error")),
            _ => format!("{name}: nothing in it could be carried over; {tail}"),
        }
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Reads `bytes` as the configuration of a peer; `name` is what notes call it.
pub fn convert(name: &str, bytes: &[u8], wanted: Wanted, around: &dyn Surroundings) -> Conversion {
    let mut notes = Notes::default();
    let mut draft = Draft::default();
    match text_of(name, bytes, &mut notes) {
        None => {}
        Some(text) => match wanted.peer.or_else(|| recognise(name, bytes)) {
            Some(Peer::Haproxy) => {
                haproxy::read(name, text, (wanted.http_as_tcp, around), &mut draft, &mut notes);
            }
            Some(Peer::Nginx) => nginx::read(name, text, around, &mut draft, &mut notes),
            None => {
                let remark = error("it is not known whose file this is")
                    .because("neither the sections of HAProxy nor the blocks of nginx are in it")
                    .instead("name the peer by --kind haproxy or --kind nginx");
                notes.add(&At::line(name, 1), remark);
            }
        },
    }
    let written = if notes.has_errors() { None } else { emit::write(name, draft, &mut notes) };
    if notes.has_errors() {
        // What follows from them would hide them.
        notes.keep_errors();
    }
    let counts = written.as_ref().map_or([0; 3], |it| it.counts);
    let (notes, more_notes) = notes.sorted();
    Conversion { toml: written.map(|it| it.toml), notes, more_notes, counts }
}

/// The bytes, if they can be a configuration.
fn text_of<'a>(name: &str, bytes: &'a [u8], notes: &mut Notes) -> Option<&'a [u8]> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let line = |at: usize| bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    let zero = bytes.iter().position(|byte| *byte == 0);
    let (line, remark) = if bytes.len() > FILE_MAX {
        (1, error("the file is too long").because("more than 16 MiB are not read"))
    } else if let Some(zero) = zero {
        (line(zero), error("this is not a text file").because("it has a zero byte"))
    } else if bytes.iter().all(u8::is_ascii_whitespace) {
        (1, error("the file is empty"))
    } else {
        return Some(bytes);
    };
    notes.add(&At::line(name, line), remark);
    None
}

/// Whose file it is: by its first words, or by its name where they leave it open.
fn recognise(name: &str, bytes: &[u8]) -> Option<Peer> {
    const SECTIONS: [&[u8]; 5] = [b"global", b"defaults", b"frontend", b"listen", b"backend"];
    let lines = bytes.split(|byte| *byte == b'\n').take(LINES_LOOKED_AT).map(<[u8]>::trim_ascii);
    let (mut sections, mut blocks) = (0_usize, 0_usize);
    for line in lines.filter(|line| !line.starts_with(b"#")) {
        let first = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        let has_condition =
            line.windows(4).any(|it| it == b" if ") || line.windows(8).any(|it| it == b" unless ");
        let is_block = line.ends_with(b"}") && (line.contains(&b';') || !has_condition);
        if line.ends_with(b";") || line.ends_with(b"{") || is_block {
            blocks += 1;
        } else if SECTIONS.contains(&first) {
            sections += 1;
        }
    }
    let is_cfg = Path::new(name).extension().is_some_and(|it| it.eq_ignore_ascii_case("cfg"));
    match (sections > 0, blocks > 0) {
        (true, false) => Some(Peer::Haproxy),
        (false, true) => Some(Peer::Nginx),
        // Both, or neither.
        _ if is_cfg || name.contains("haproxy") => Some(Peer::Haproxy),
        _ if name.contains("nginx") => Some(Peer::Nginx),
        (true, true) if sections > blocks => Some(Peer::Haproxy),
        (true, true) => Some(Peer::Nginx),
        (false, false) => None,
    }
}

/// Lines in which the kind of a file is looked for.
const LINES_LOOKED_AT: usize = 10_000;

/// `weir init`: reads the file at `path` (`-` is stdin), prints weir.toml on stdout and the notes
/// on stderr, and gives the exit code.
pub(crate) fn command(path: &Path, wanted: Wanted) -> u8 {
    let name = path.display().to_string();
    let name = if name == "-" { "stdin".to_owned() } else { name };
    let bytes = match disk::read(path) {
        Ok(bytes) => bytes,
        Err(why) => {
            streams::err(&format!("error: {}", weir_proto::outside::spelled(&why)));
            return 1;
        }
    };
    let conversion = convert(&name, &bytes, wanted, &disk::Host::beside(path));
    for note in &conversion.notes {
        streams::err(&note.to_string());
    }
    if conversion.more_notes > 0 {
        streams::err(&format!("{} more notes are not shown", conversion.more_notes));
    }
    streams::err(&conversion.summary(&name));
    let told = conversion.toml.as_deref().map_or(Ok(()), streams::out);
    if told.is_err() { 1 } else { conversion.exit_code() }
}

#[cfg(test)]
mod tests;
