//! `config apply` and `config diff`.

use std::io::Read;
use std::path::Path;

use serde::Serialize;
use weir_proto::answer::{Answer, ConfigText};
use weir_proto::frame::REQUEST_MAX;
use weir_proto::request::{ChangeOptions, ChangeRequest, Query};

use super::{Console, change, lines};
use crate::ask::Client;
use crate::exit::{Exit, Failure};
use crate::render::human::plain;
use crate::render::{Tone, json};

pub(super) fn apply(
    file: &Path,
    options: ChangeOptions,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let File { toml, origin } = read_file(file, console)?;
    let change = ChangeRequest::Apply { toml, origin };
    let (answer, _client) = change::ask(&change, &options, console)?;
    change::made(&answer, console)?;
    Ok(Exit::Done)
}

pub(super) fn diff(target: &str, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let difference = match target.parse::<u64>() {
        Ok(version) => {
            let mut client = console.client()?;
            let now = export(None, &mut client)?;
            let then = export(Some(version), &mut client)?;
            Difference {
                version: now.version,
                target: format!("version {version}"),
                different: now.toml != then.toml,
                summary: String::new(),
                diff: lines::diff(&now.toml, &then.toml),
            }
        }
        Err(_) => against_file(target, console)?,
    };
    if console.json {
        console.write(&json::document(&difference, console.style))?;
    } else {
        let text = difference.text(console);
        console.write(&text)?;
    }
    Ok(if difference.different { Exit::No } else { Exit::Done })
}

/// The daemon says what a file would change: any viewer may ask.
fn against_file(target: &str, console: &mut Console<'_>) -> Result<Difference, Failure> {
    let File { toml, origin } = read_file(Path::new(target), console)?;
    let mut client = console.client()?;
    let Answer::Difference(answer) = client.ask(Query::ConfigDiff { toml, origin })? else {
        return Err(Failure::unexpected());
    };
    let different = answer.current != answer.proposed;
    Ok(Difference {
        version: answer.version,
        target: target.to_owned(),
        different,
        summary: if different { answer.summary } else { String::new() },
        diff: lines::diff(&answer.current, &answer.proposed),
    })
}

fn export(version: Option<u64>, client: &mut Client) -> Result<ConfigText, Failure> {
    match client.ask(Query::ConfigExport { version })? {
        Answer::Config(config) => Ok(config),
        _ => Err(Failure::unexpected()),
    }
}

/// The longest file: a request has room for its name too.
const FILE_MAX: usize = REQUEST_MAX - (64 << 10);

/// A configuration file, and what its errors call it.
struct File {
    toml: String,
    origin: String,
}

/// Reads a configuration file. `-` is stdin.
fn read_file(file: &Path, console: &mut Console<'_>) -> Result<File, Failure> {
    let stdin = file == Path::new("-");
    let origin = if stdin { "stdin".to_owned() } else { file.display().to_string() };
    let cannot = |error: std::io::Error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Failed, // 4 is for objects of the daemon
        };
        Failure::new(exit, format!("cannot read {origin}: {error}"), "name a file, or - for stdin")
    };
    // One byte more than fits shows that the file is too long; it is not read to its end.
    let most = FILE_MAX as u64 + 1;
    let mut bytes = Vec::new();
    let read = if stdin {
        console.input.take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.map_err(cannot)?;
    if bytes.len() > FILE_MAX {
        let message = format!("{origin} is longer than {FILE_MAX} bytes");
        return Err(Failure::new(Exit::Failed, message, "is it a weir.toml?"));
    }
    let toml = String::from_utf8(bytes).map_err(|error| {
        let message = format!("{origin} is not UTF-8: {}", error.utf8_error());
        Failure::new(Exit::Failed, message, "is it a weir.toml?")
    })?;
    Ok(File { toml, origin })
}

/// The answer of `config diff`.
#[derive(Serialize)]
struct Difference {
    /// The current version, which the diff starts from.
    version: u64,
    target: String,
    different: bool,
    summary: String,
    diff: Vec<String>,
}

impl Difference {
    fn text(&self, console: &Console<'_>) -> String {
        if !self.different {
            return "no difference\n".to_owned();
        }
        let mut text = String::new();
        for part in self.summary.split("; ").filter(|part| !part.is_empty()) {
            text += &format!("{}\n", plain(part));
        }
        if !self.diff.is_empty() {
            text +=
                &format!("--- version {} (current)\n+++ {}\n", self.version, plain(&self.target));
        }
        for line in &self.diff {
            let tone = match line.as_bytes().first() {
                Some(b'+') => Tone::Good,
                Some(b'-') => Tone::Bad,
                Some(b'@') => Tone::Dim,
                _ => Tone::Plain,
            };
            text += &format!("{}\n", console.style.paint(&plain(line), tone));
        }
        text
    }
}
