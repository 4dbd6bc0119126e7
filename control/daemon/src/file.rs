//! weir.toml: read, checked with every fault shown at its place, and written from a spec.

mod diagnostic;
mod export;
mod reader;
mod spans;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;
use weir_proto::answer::SCHEMA;
use weir_proto::ids::{IdSource, Version};
use weir_proto::snapshot::{Fault, Snapshot};
use weir_proto::spec::Spec;

use crate::api::roles::Grant;
use crate::api::settings_audit;
use crate::streams;
pub use diagnostic::Diagnostic;
use diagnostic::{Problem, SourceText};
pub use export::export;
use reader::Reader;

/// How many shards the engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shards {
    /// One for each CPU that the process may use.
    Auto,
    /// 1 to [`SHARDS_MAX`].
    Count(u16),
}

/// The most shards.
pub const SHARDS_MAX: u16 = 1024;

/// The table `[weir]`: read at start, not versioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub shards: Shards,
    /// The Unix socket that `weirctl` talks to.
    pub control: PathBuf,
    /// Who may do what on it. If absent, see [`Roles::new`](crate::api::roles::Roles::new).
    pub(crate) control_roles: Option<Vec<Grant>>,
    /// The HTTP address; off if absent.
    pub admin: Option<SocketAddr>,
    /// The directory of the versions.
    pub state: PathBuf,
    /// The bearer token of HTTP mutations, which do not exist yet: it guards nothing.
    pub admin_token_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            shards: Shards::Auto,
            control: PathBuf::from("/run/weir/control.sock"),
            control_roles: None,
            admin: None,
            state: PathBuf::from("/var/lib/weir"),
            admin_token_file: None,
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

/// Reads and checks the file at `path`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(path: &Path) -> Result<File, Vec<Diagnostic>> {
    let origin = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, &origin),
        Err(fault) => Err(vec![Diagnostic::unreadable(&origin, &fault)]),
    }
}

/// Reads and checks `text`; `origin` is what its errors call it.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub fn parse(text: &str, origin: &str) -> Result<File, Vec<Diagnostic>> {
    let source = Arc::new(SourceText { origin: origin.to_owned(), text: text.to_owned() });
    let (root, broken) = DeTable::parse_recoverable(text);
    if !broken.is_empty() {
        let problems = broken.iter().map(|fault| Problem {
            span: fault.span().unwrap_or(0..0),
            message: fault.message().to_owned(),
            hint: String::new(),
        });
        return Err(diagnostics(problems.collect(), &source));
    }
    let mut reader = Reader::default();
    let (settings, spec) = reader.file(root.get_ref());
    let mut problems = reader.into_problems();
    // What could not be read was left out or took its default, so that no fault follows from it.
    let built = Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut IdSource::default());
    let faults = built.err().unwrap_or_default();
    problems.extend(faults.iter().map(|fault| at_its_place(fault, root.get_ref())));
    if problems.is_empty() {
        Ok(File { settings, spec, source })
    } else {
        Err(diagnostics(problems, &source))
    }
}

/// `weir check`: prints what is wrong with the file at `path` and gives the exit code. `more` finds
/// faults beyond those of [`Snapshot::build`].
pub fn check_command(path: &Path, json: bool, more: impl Fn(&Spec) -> Vec<Fault>) -> u8 {
    let (wrong, warnings) = match read(path) {
        Ok(file) => {
            let mut faults = more(&file.spec);
            faults.extend(settings_audit::faults(&file.settings));
            let mut warnings = settings_audit::warnings(&file.settings);
            warnings.extend(settings_audit::unknown_entries(&file.settings));
            (file.diagnose(&faults), warnings)
        }
        Err(diagnostics) => (diagnostics, Vec::new()),
    };
    let mut answer = String::new();
    if json {
        answer = format!("{}\n", json_report(&wrong, &warnings));
    } else {
        for warning in &warnings {
            streams::err(&format!("warning: {warning}"));
        }
        if wrong.is_empty() {
            answer = format!("{}: ok\n", path.display());
        } else {
            let colour = diagnostic::is_coloured();
            for diagnostic in &wrong {
                streams::err(&format!("{}\n", diagnostic.render(colour)));
            }
            let plural = if wrong.len() == 1 { "" } else { "s" };
            streams::err(&format!("{}: {} error{plural}", path.display(), wrong.len()));
        }
    }
    // An answer that could not be given is none.
    let is_told = streams::out(&answer).is_ok();
    u8::from(!wrong.is_empty() || !is_told)
}

fn json_report(wrong: &[Diagnostic], warnings: &[String]) -> serde_json::Value {
    let ok = wrong.is_empty();
    serde_json::json!({ "schema": SCHEMA, "ok": ok, "errors": wrong, "warnings": warnings })
}

fn at_its_place(fault: &Fault, root: &DeTable<'_>) -> Problem {
    Problem {
        span: spans::find(root, &fault.at),
        message: format!("{}: {}", fault.at, fault.what),
        hint: fault.hint.clone(),
    }
}

fn diagnostics(mut problems: Vec<Problem>, source: &Arc<SourceText>) -> Vec<Diagnostic> {
    problems.sort_by_key(|problem| problem.span.start);
    problems.into_iter().map(|problem| Diagnostic::new(problem, source)).collect()
}

#[cfg(test)]
mod tests;
