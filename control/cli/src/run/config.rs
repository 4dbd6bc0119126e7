//! `config apply` and `config diff`.

use std::io::Read;
use std::path::Path;

use serde::Serialize;
use weir_proto::answer::{Answer, ConfigText};
use weir_proto::conflict::{Conflict, Drift};
use weir_proto::frame::REQUEST_MAX;
use weir_proto::impact::{ChangeRow, Impact};
use weir_proto::request::{ApplyMode, ChangeOptions, ChangeRequest, Query};

use super::{Console, change, lines};
use crate::ask::Client;
use crate::exit::{Exit, Failure};
use crate::render::human::plain;
use crate::render::impact::impact;
use crate::render::{Tone, json};

pub(super) fn apply(
    file: &Path,
    (mode, force): (ApplyMode, bool),
    options: ChangeOptions,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let File { toml, origin } = read_file(file, console)?;
    let change = ChangeRequest::Apply { toml, origin, mode, force };
    let (answer, _client) = change::ask(&change, &options, console)?;
    change::made(&answer, console)?;
    Ok(Exit::Done)
}

pub(super) fn diff(
    target: Option<&str>,
    to: Option<u64>,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let difference = match target.map(|target| (target, target.parse::<u64>(), to)) {
        None => of_drift(console)?,
        Some((_, Ok(version), None)) => of_versions(None, version, console)?,
        Some((_, Ok(version), Some(to))) => of_versions(Some(version), to, console)?,
        Some((file, Err(_), None)) => against_file(file, console)?,
        Some((file, Err(_), Some(_))) => {
            let message = format!("{file} is no version, and only two versions can be compared");
            let hint = "weirctl config history shows them; a file alone is compared with now";
            return Err(Failure::new(Exit::Usage, message, hint));
        }
    };
    if console.json {
        console.write(&json::document(&difference, console.style))?;
    } else {
        let text = difference.text(console);
        console.write(&text)?;
    }
    Ok(if difference.different { Exit::No } else { Exit::Done })
}

/// The configuration in force against the file as it was last applied.
fn of_drift(console: &mut Console<'_>) -> Result<Difference, Failure> {
    let Answer::Drift(answer) = console.client()?.ask(Query::ConfigDrift)? else {
        return Err(Failure::unexpected());
    };
    if !answer.file_applied {
        console.say("note: no file was ever applied");
    }
    Ok(Difference {
        version: answer.version,
        target: "the file as it was last applied".to_owned(),
        different: !answer.drift.is_empty(),
        drift: answer.drift,
        ..Difference::default()
    })
}

/// One version against another; the current one if the first is left out.
fn of_versions(
    from: Option<u64>,
    to: u64,
    console: &mut Console<'_>,
) -> Result<Difference, Failure> {
    let mut client = console.client()?;
    let is_current = from.is_none();
    let [from, to] = [export(from, &mut client)?, export(Some(to), &mut client)?];
    Ok(Difference {
        version: from.version,
        is_current,
        target: format!("version {}", to.version),
        different: from.toml != to.toml,
        diff: lines::diff(&from.toml, &to.toml),
        ..Difference::default()
    })
}

/// The daemon says what a file would change: any viewer may ask.
fn against_file(target: &str, console: &mut Console<'_>) -> Result<Difference, Failure> {
    let File { toml, origin } = read_file(Path::new(target), console)?;
    let mut client = console.client()?;
    let Answer::Difference(answer) = client.ask(Query::ConfigDiff { toml, origin })? else {
        return Err(Failure::unexpected());
    };
    let changes = answer.current != answer.proposed;
    Ok(Difference {
        version: answer.version,
        is_current: true,
        target: target.to_owned(),
        different: changes || !answer.conflicts.is_empty(),
        summary: if changes { answer.summary } else { String::new() },
        diff: lines::diff(&answer.current, &answer.proposed),
        conflicts: answer.conflicts,
        changes: answer.changes,
        impact: Some(answer.impact),
        ..Difference::default()
    })
}

pub(super) fn export(version: Option<u64>, client: &mut Client) -> Result<ConfigText, Failure> {
    match client.ask(Query::ConfigExport { version })? {
        Answer::Config(config) => Ok(config),
        _ => Err(Failure::unexpected()),
    }
}

/// The longest file: a request has room for its name too.
const FILE_MAX: usize = REQUEST_MAX - (64 << 10);

/// A configuration file, and what its errors call it.
pub(super) struct File {
    pub(super) toml: String,
    pub(super) origin: String,
}

/// Reads a configuration file. `-` is stdin.
pub(super) fn read_file(file: &Path, console: &mut Console<'_>) -> Result<File, Failure> {
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
#[derive(Default, Serialize)]
struct Difference {
    /// The version that the diff starts from: the current one if no other was named.
    version: u64,
    #[serde(skip)]
    is_current: bool,
    target: String,
    different: bool,
    summary: String,
    diff: Vec<String>,
    /// Keys that the file and a change at run time disagree on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conflicts: Vec<Conflict>,
    /// Keys that are not in force as the file said when it was last applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drift: Vec<Drift>,
    /// For a file: every key that it would change.
    changes: Vec<ChangeRow>,
    /// For a file: its effect on what runs now.
    #[serde(skip_serializing_if = "Option::is_none")]
    impact: Option<Impact>,
}

impl Difference {
    fn text(&self, console: &Console<'_>) -> String {
        if !self.different {
            return "no difference\n".to_owned();
        }
        let mut text = String::new();
        for row in &self.drift {
            text += &format!("{}\n", plain(&row.to_string()));
        }
        for conflict in &self.conflicts {
            let word = console.style.paint("conflict:", Tone::Bad);
            text += &format!("{word} {}\n", plain(&conflict.to_string()));
        }
        for part in self.summary.split("; ").filter(|part| !part.is_empty()) {
            text += &format!("{}\n", plain(part));
        }
        if let Some(told) = &self.impact {
            text += &impact(told, console.style);
        }
        if !self.diff.is_empty() {
            let current = if self.is_current { " (current)" } else { "" };
            let (from, to) = (self.version, plain(&self.target));
            text += &format!("--- version {from}{current}\n+++ {to}\n");
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
