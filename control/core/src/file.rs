//! weir.toml: read, checked with every fault shown at its place, and written from a spec.

pub mod advice;
mod diagnostic;
mod export;
mod grant;
mod hash_key;
mod reader;
pub mod reference;
mod spans;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeTable;
use weir_proto::complaint::Complaint;
use weir_proto::ids::{IdSource, Version};
use weir_proto::snapshot::{Fault, Snapshot};
use weir_proto::spec::{Size, Spec};

use crate::record::Retention;
use crate::session_log::SessionLogSettings;

pub use diagnostic::Diagnostic;
use diagnostic::{Problem, SourceText};
pub use export::export;
pub use grant::{Grant, Role, Who};
pub use hash_key::HashKey;
use reader::Reader;

/// How many shards the engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shards {
    /// One for each CPU that the process may use.
    Auto,
    /// 1 to [`SHARDS_MAX`].
    Count(u16),
}

impl Shards {
    /// The number of shards on a host with `cores` cores.
    pub fn count(&self, cores: u16) -> u16 {
        match self {
            Shards::Auto => cores,
            Shards::Count(count) => *count,
        }
    }
}

/// Errors of one file that are shown one by one.
const DIAGNOSTICS_MAX: usize = 20;

/// The most shards.
pub const SHARDS_MAX: u16 = 1024;

/// The table `[weir]`: read at start, not versioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub shards: Shards,
    /// The Unix socket that `weirctl` talks to.
    pub control: PathBuf,
    /// Who may do what on it. If absent, root and the user of weir are admins, and everybody else
    /// who may open it is an operator.
    pub control_roles: Option<Vec<Grant>>,
    /// The HTTP address; off if absent.
    pub admin: Option<SocketAddr>,
    /// Names by which HTTP may be called, beside localhost and addresses: host names in small
    /// letters, without a port.
    pub admin_hosts: Vec<String>,
    /// The most memory that the receive buffers of all shards may take, in bytes.
    pub buffers: Option<Size>,
    /// Keys maglev's hash of client addresses.
    pub hash_key: HashKey,
    /// The directory of the versions.
    pub state: PathBuf,
    /// How many versions are kept there, and for how long.
    pub history: Retention,
    /// The bearer token of changes over HTTP, which are refused if it is absent.
    pub admin_token_file: Option<PathBuf>,
    /// `None`: there is no session log.
    pub session_log: Option<SessionLogSettings>,
    /// The most health checks that begin in a second.
    pub checks: Option<u32>,
}

impl Settings {
    /// The keys that have another value in `other`. weir reads them at its start only.
    #[must_use]
    pub fn differences(&self, other: &Settings) -> Vec<&'static str> {
        let Settings {
            shards,
            control,
            control_roles,
            admin,
            admin_hosts,
            state,
            buffers,
            hash_key,
            history,
            admin_token_file,
            session_log,
            checks,
        } = self;
        let differs = [
            ("shards", *shards != other.shards),
            ("control", *control != other.control),
            ("control-roles", *control_roles != other.control_roles),
            ("admin", *admin != other.admin),
            ("admin-hosts", *admin_hosts != other.admin_hosts),
            ("buffers", *buffers != other.buffers),
            ("hash-key", *hash_key != other.hash_key),
            ("state", *state != other.state),
            ("history", *history != other.history),
            ("admin-token-file", *admin_token_file != other.admin_token_file),
            ("session-log", *session_log != other.session_log),
            ("checks", *checks != other.checks),
        ];
        differs.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect()
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            shards: Shards::Auto,
            control: PathBuf::from("/run/weir/control.sock"),
            control_roles: None,
            admin: None,
            admin_hosts: Vec::new(),
            buffers: None,
            hash_key: HashKey::default(),
            state: PathBuf::from("/var/lib/weir"),
            history: Retention::default(),
            admin_token_file: None,
            session_log: None,
            checks: None,
        }
    }
}

/// A file that was read and makes sense.
#[derive(Clone, Debug)]
pub struct File {
    pub settings: Settings,
    pub spec: Spec,
    source: Arc<SourceText>,
}

impl File {
    /// Faults of the spec that somebody else found, at their places in the file.
    pub fn diagnose(&self, faults: &[Fault]) -> Vec<Diagnostic> {
        let (root, _) = DeTable::parse_recoverable(&self.source.text);
        let problems = faults.iter().map(|fault| at_its_place(fault, root.get_ref())).collect();
        diagnostics(problems, &self.source)
    }
}

/// Reads and checks `text`; `origin` is what its errors call it.
///
/// # Errors
/// Its errors in the order of the text: at most [`DIAGNOSTICS_MAX`], then one that counts the rest.
pub fn parse(text: &str, origin: &str) -> Result<File, Vec<Diagnostic>> {
    let source = Arc::new(SourceText::new(origin, text));
    let root = table(text, &source)?;
    let mut reader = Reader::default();
    let settings = reader.file(root.get_ref());
    let spec = checked(reader, root.get_ref(), &source)?;
    Ok(File { settings, spec, source })
}

/// Reads a text that names some keys of some objects, and sets them in `spec`. A new object has the
/// defaults of the other keys.
///
/// # Errors
/// As of [`parse`].
pub fn parse_partial(text: &str, origin: &str, spec: Spec) -> Result<Spec, Vec<Diagnostic>> {
    let source = Arc::new(SourceText::new(origin, text));
    let root = table(text, &source)?;
    let mut reader = Reader::over(spec);
    reader.part(root.get_ref());
    checked(reader, root.get_ref(), &source)
}

/// The table of a text that is TOML.
fn table<'a>(
    text: &'a str,
    source: &Arc<SourceText>,
) -> Result<Spanned<DeTable<'a>>, Vec<Diagnostic>> {
    let (root, broken) = DeTable::parse_recoverable(text);
    if broken.is_empty() {
        return Ok(root);
    }
    let problems = broken.iter().map(|fault| Problem {
        span: fault.span().unwrap_or(0..0),
        complaint: Complaint::new(fault.message(), ""),
    });
    Err(diagnostics(problems.collect(), source))
}

/// The spec that was read, if it makes sense as a whole.
fn checked(
    reader: Reader,
    root: &DeTable<'_>,
    source: &Arc<SourceText>,
) -> Result<Spec, Vec<Diagnostic>> {
    let (spec, mut problems) = reader.end();
    // What could not be read was left out or took its default, so that no fault follows from it.
    let built = Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut IdSource::default());
    let faults = built.err().unwrap_or_default();
    problems.extend(faults.iter().map(|fault| at_its_place(fault, root)));
    if problems.is_empty() { Ok(spec) } else { Err(diagnostics(problems, source)) }
}

/// The settings of a file that is wrong, if no error is in `[weir]`: enough to find the state.
pub fn settings_alone(text: &str) -> Option<Settings> {
    let (root, broken) = DeTable::parse_recoverable(text);
    let root = root.get_ref();
    if !broken.is_empty() {
        // What a broken line would have said is not in the table.
        let start = root.get_key_value("weir")?.0.span().start;
        let mut lines = text.split_inclusive('\n').scan(0, |at, line| {
            let start = *at;
            *at += line.len();
            Some((start, line))
        });
        let is_another = |line: &str| line.starts_with('[') && !line.starts_with("[weir");
        let next = lines.find(|(at, line)| *at > start && is_another(line));
        let end = next.map_or(text.len(), |(at, _)| at);
        let is_after = |fault: &toml::de::Error| fault.span().is_some_and(|at| at.start >= end);
        if !broken.iter().all(is_after) {
            return None;
        }
    }
    let mut reader = Reader::default();
    let settings = reader.settings_of_file(root);
    reader.end().1.is_empty().then_some(settings)
}

fn at_its_place(fault: &Fault, root: &DeTable<'_>) -> Problem {
    Problem {
        span: spans::find(root, &fault.at),
        complaint: Complaint::new(fault.to_string(), fault.complaint.hint.as_str()),
    }
}

fn diagnostics(mut problems: Vec<Problem>, source: &Arc<SourceText>) -> Vec<Diagnostic> {
    problems.sort_by_key(|problem| problem.span.start);
    let rest = problems.split_off(problems.len().min(DIAGNOSTICS_MAX));
    let count = rest.len();
    let more = rest.into_iter().next().map(|first| Diagnostic::and_more(count, first, source));
    problems.into_iter().map(|problem| Diagnostic::new(problem, source)).chain(more).collect()
}

#[cfg(test)]
mod tests;
