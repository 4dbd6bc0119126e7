//! Pure: what a command makes of the configuration, or why it is refused.
//!
//! No socket, no disk, no clock in here.

mod apply;
mod backend;
mod impact;
mod listener;
mod loops;
pub mod losses;
pub mod merge;
mod names;
mod pool;
mod settings;
mod show;

use std::net::SocketAddr;
use std::sync::Arc;

use weir_proto::change;
use weir_proto::ids::{BackendId, IdSource};
use weir_proto::impact::{ChangeRow, Impact};
use weir_proto::outside::cleaned;
use weir_proto::request::{ChangeOptions, ChangeRequest, Code, Refusal, WORD_MAX};
use weir_proto::settings::ShownSettings;
use weir_proto::snapshot::{Backend, Fault, Pool, Snapshot};
use weir_proto::spec::Spec;

use crate::record::Base;

pub use crate::file::Settings as FileSettings;
pub use apply::{difference, drift_rows, read};
pub use impact::{Load, of_kill, tell};
pub use loops::{is_listener, loops};
pub use names::{alike, no_backend, no_listener, no_pool, split};

/// Bytes of a summary, which is in the log, the events and the history for as long as those last.
const SUMMARY_MAX: usize = 1000;

/// The spec of an older version and its base, or why there is none.
pub type Past<'a> = &'a dyn Fn(u64) -> Result<(Spec, Base), Refusal>;

/// The sources of a plan beside the current version.
pub struct Sources<'a> {
    /// For what is new.
    pub ids: &'a mut IdSource,
    /// For a rollback.
    pub past: Past<'a>,
    /// For a file: the one before it, as it was applied.
    pub base: &'a Base,
}

/// What a command comes to.
#[derive(Debug)]
pub struct Plan {
    /// The next version; `None` if the command changes nothing.
    pub snapshot: Option<Snapshot>,
    /// The subject before and after; `None` if it was not there, or is gone.
    pub before: Option<ShownSettings>,
    pub after: Option<ShownSettings>,
    /// One line for history and events.
    pub summary: String,
    /// The command that takes it back; empty if there is nothing to take back.
    pub undo: String,
    /// The backends whose sessions are to be reset once every shard has adopted the version.
    pub kills: Vec<BackendId>,
    /// Losses by it that were agreed to, or that a dry run tells of.
    pub warnings: Vec<String>,
    /// The process settings of the file, if it reads one.
    pub settings: Option<Box<FileSettings>>,
    /// The base from this version on.
    pub base: Base,
    /// Present for a dry run only.
    pub told: Option<DryRun>,
}

/// The changes of a dry run and their effect.
pub type DryRun = (Vec<ChangeRow>, Impact);

/// An edited spec and how to talk about it.
struct Edit {
    spec: Spec,
    subject: Subject,
    /// `None`: rolling back to the version before.
    undo: Option<String>,
    /// What stands before the list of changes in the summary, like `apply weir.toml: `.
    origin: String,
    kills: Vec<BackendId>,
    /// Of the file that is applied.
    settings: Option<Box<FileSettings>>,
    /// It makes a version even if that is like the one before.
    is_version: bool,
    /// `None`: it stays.
    base: Option<Base>,
    /// The acts of operators that are undone.
    undone: Vec<String>,
    /// Losses that may not be meant.
    losses: Vec<String>,
}

/// What `before` and `after` show.
enum Subject {
    Listener(String),
    Pool(String),
    Backend(String, String),
    /// The whole configuration: its version and what changed.
    Whole,
}

impl Edit {
    fn new(spec: Spec, subject: Subject) -> Edit {
        let (origin, undone, losses) = (String::new(), Vec::new(), Vec::new());
        let (undo, settings, base) = (None, None, None);
        let (kills, is_version) = (Vec::new(), false);
        Edit { spec, subject, undo, origin, kills, settings, is_version, base, undone, losses }
    }
}

/// Refuses a change that was meant for another version.
pub(crate) fn expect_version(current: &Snapshot, options: &ChangeOptions) -> Result<(), Refusal> {
    match options.if_version {
        Some(wanted) if wanted != current.version.0 => Err(Refusal::new(
            Code::Conflict,
            format!("the configuration is at version {}, not {wanted}", current.version),
            "weirctl config history",
        )),
        _ => Ok(()),
    }
}

/// Decides what `change` makes of `current`.
///
/// # Errors
/// The refusal that the client gets. Nothing has changed then.
pub fn decide(
    current: &Snapshot,
    change: &ChangeRequest,
    options: &ChangeOptions,
    sources: Sources<'_>,
) -> Result<Plan, Refusal> {
    let Sources { ids, past, base } = sources;
    expect_version(current, options)?;
    let edit = edit(current, change, (past, base))?;
    let next = build(&edit.spec, current, ids)?;
    let changes = change::diff(current, &next);
    let mut warnings = edit.undone;
    if let ChangeRequest::Apply { force, origin, .. } = change {
        let mut losses = edit.losses;
        losses.extend(losses::of_a_file(current, &next));
        if !(losses.is_empty() || *force || options.dry_run) {
            return Err(apply::needs_force(&losses, origin));
        }
        warnings.extend(losses);
    }
    let (before, after) = match &edit.subject {
        Subject::Whole => {
            let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
            let before = show::whole(current.version.0, None);
            (Some(before), Some(show::whole(next.version.0, Some(lines))))
        }
        subject => (show_subject(current, subject), show_subject(&next, subject)),
    };
    let next_base = match edit.base {
        None => base.clone(),
        // Each later change compares it with what is in force then.
        Some(new) => new.map(|new| {
            let mut new = Arc::unwrap_or_clone(new);
            new.share_with(&next.spec());
            Arc::new(new)
        }),
    };
    // A base that changes is a version, too: it must be durable.
    let changes_something =
        edit.is_version || !changes.is_empty() || next_base != *base || edit.spec != current.spec();
    let rollback = || format!("weirctl config rollback {}", current.version);
    // It may take later changes back, too: it goes only for as long as there are none.
    // A word that is too long for a request is no way back: a rollback is.
    let own_undo = edit.undo.clone().filter(|undo| undo.len() <= WORD_MAX);
    let undo = || {
        let undo = own_undo.clone().unwrap_or_else(rollback);
        format!("{undo} --if-version {}", next.version)
    };
    Ok(Plan {
        after: if changes_something { after } else { before.clone() },
        before,
        summary: cleaned(&format!("{}{}", edit.origin, change::summary(&changes)), SUMMARY_MAX),
        undo: if changes_something { undo() } else { String::new() },
        kills: edit.kills,
        warnings,
        settings: edit.settings,
        base: next_base,
        told: None,
        snapshot: changes_something.then_some(next),
    })
}

/// Checks a spec as a whole and makes the version after `previous` of it.
///
/// # Errors
/// Every fault in one refusal.
pub fn build(spec: &Spec, previous: &Snapshot, ids: &mut IdSource) -> Result<Snapshot, Refusal> {
    let built = Snapshot::build(spec, previous.version.next(), previous, ids);
    let snapshot = built.map_err(|faults| refuse(&faults))?;
    let loops = loops(spec, previous);
    if loops.is_empty() { Ok(snapshot) } else { Err(refuse(&loops)) }
}

/// Refuses what `next` adds to `before` and leads back to weir because of an address that this host
/// has at this moment: a backend at a port where a listener is open on every address.
///
/// What was so before is not refused: addresses come and go under a version that stands, and its
/// shards take such a connect for refused.
///
/// # Errors
/// Every such backend in one refusal.
pub fn refuse_loops_by_address(
    before: &Snapshot,
    next: &Snapshot,
    is_own: impl Fn(SocketAddr) -> bool,
) -> Result<(), Refusal> {
    let (old_binds, binds) = (before.wildcard_binds(), next.wildcard_binds());
    let same_binds = old_binds == binds;
    let changed = next.pools.iter().filter(|pool| !same_binds || pool.since == next.edition());
    let backends = changed.flat_map(|pool| pool.backends.iter().map(move |it| (pool, it)));
    let taken = backends.filter(|(_, backend)| binds.takes(backend.address));
    let suspects: Vec<_> =
        taken.filter_map(|(pool, backend)| Some((pool, backend, backend.address.ip()?))).collect();
    // Among many thousands there is seldom any.
    if suspects.is_empty() {
        return Ok(());
    }
    // An identity is carried over by its names only.
    let had = |pool: &Pool, backend: &Backend| {
        before.pool(pool.name.as_str()).is_some_and(|before| before.has(backend))
    };
    let mut faults = Vec::new();
    for (pool, backend, address) in suspects {
        let was_so = old_binds.takes(backend.address) && had(pool, backend);
        if !was_so && is_own(address) {
            faults.push(Fault::new(
                format!("pool.{}.backend.{}.address", pool.name, backend.name),
                format!("{address} is this host, where a listener is open on every address"),
                "give the address of the server behind weir, or bind the listener to one address",
            ));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(refuse(&faults)) }
}

/// All faults as one refusal; the hint is that of the first.
fn refuse(faults: &[Fault]) -> Refusal {
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    let hint = faults.first().map_or_else(String::new, |fault| fault.complaint.hint.clone());
    Refusal::new(Code::Invalid, lines.join("\n"), hint)
}

fn edit(
    current: &Snapshot,
    change: &ChangeRequest,
    (past, base): (Past<'_>, &Base),
) -> Result<Edit, Refusal> {
    match change {
        ChangeRequest::ListenerAdd { name, bind, pool, pairs } => {
            listener::add(current, name, (bind, pool), pairs)
        }
        ChangeRequest::ListenerSet { name, pairs } => listener::set(current, name, pairs),
        ChangeRequest::ListenerPut { name, pairs } => listener::put(current, name, pairs),
        ChangeRequest::ListenerRemove { name } => listener::remove(current, name),
        ChangeRequest::ListenerState { name, state } => listener::state(current, name, *state),
        ChangeRequest::PoolAdd { name, pairs } => pool::add(current, name, pairs),
        ChangeRequest::PoolPut { name, pairs } => pool::put(current, name, pairs),
        ChangeRequest::PoolRemove { name } => pool::remove(current, name),
        ChangeRequest::PoolSet { name, pairs } => pool::set(current, name, pairs),
        ChangeRequest::BackendAdd { name, address, pairs } => {
            backend::add(current, name, address, pairs)
        }
        ChangeRequest::BackendSet { name, pairs } => backend::set(current, name, pairs),
        ChangeRequest::BackendPut { name, pairs } => backend::put(current, name, pairs),
        ChangeRequest::BackendRemove { name, force } => backend::remove(current, name, *force),
        ChangeRequest::BackendState { name, state } => backend::state(current, name, *state),
        ChangeRequest::BackendWeight { name, weight } => backend::weight(current, name, *weight),
        ChangeRequest::Backends { names, act } => backend::several(current, names, *act),
        ChangeRequest::Apply { toml, origin, mode, .. } => {
            apply::edit(current, (toml, origin), *mode, base)
        }
        ChangeRequest::Rollback { version } => {
            let (spec, base) = past(*version)?;
            let mut edit = Edit::new(spec, Subject::Whole);
            edit.origin = format!("rollback to {version}: ");
            edit.base = Some(base);
            Ok(edit)
        }
        ChangeRequest::Confirm => {
            let mut edit = Edit::new(current.spec(), Subject::Whole);
            edit.origin = format!("version {} is confirmed: ", current.version);
            edit.is_version = true;
            Ok(edit)
        }
    }
}

fn show_subject(snapshot: &Snapshot, subject: &Subject) -> Option<ShownSettings> {
    match subject {
        Subject::Listener(name) => show::listener(snapshot, name),
        Subject::Pool(name) => show::pool(snapshot, name),
        Subject::Backend(pool, name) => show::backend(snapshot, pool, name),
        Subject::Whole => None,
    }
}

#[cfg(test)]
mod tests;
