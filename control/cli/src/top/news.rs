//! Orders of the view to the thread that asks weir, and its reports.

use weir_proto::answer::{Changed, EventRow, Events, Killed, Live, Sessions, TaskRow};
use weir_proto::request::ChangeRequest;
use weir_proto::session::{SessionFilter, SessionSort};

use crate::exit::Failure;

/// Sessions that are to be listed, and listed again, until others are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) filter: SessionFilter,
    pub(super) sort: SessionSort,
    pub(super) limit: u32,
}

/// Something that an operator may want done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// A new version of the configuration.
    Change(ChangeRequest),
    /// The end of a live session, by its name.
    Kill(String),
    /// The end of a task, by its number.
    Cancel(u64),
}

/// A deed, as it is asked about and as the history has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) deed: Deed,
    /// The command of weirctl that does the same.
    pub(super) command: String,
}

/// An order to the thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Lists these sessions from now on; `None`: none.
    Look(Option<Look>),
    /// Asks what a change would do.
    Try(Proposal),
    /// Does it; a change only while this version is in force.
    Do(Proposal, Option<u64>),
    /// Asks for everything about one session.
    Show(String),
}

/// The outcome of a deed.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Changed(Box<Changed>),
    Killed(Killed),
    Cancelled(TaskRow),
}

/// A report of the thread.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// The figures of a second, with the history after each connect.
    Figures(Box<Live>),
    /// Those since the last ones, or of another process.
    Events(Events),
    /// weir does not answer, and why.
    Away(String),
    Listed(Look, Result<Sessions, Failure>),
    Tried(Proposal, Result<Box<Changed>, Failure>),
    Did(Proposal, Result<Outcome, Failure>),
    /// The lines about a session.
    Shown(String, Result<String, Failure>),
}

/// Whether an event is of the process that the ones before are of.
pub(super) fn follows(events: &Events, before: Option<&EventRow>, start: u64) -> bool {
    events.start == start && before.is_none_or(|last| last.id <= events.last)
}
