//! The steps of a change that are done a slice at a time, and what they hold.

use weir_proto::ids::Version;

use super::publish::Preparation;
use super::storing::Storing;
use crate::planner::Plan;

/// A version that is durable and not sent yet: control learns its backends.
#[derive(Debug)]
pub(super) struct Preparing {
    pub(super) storing: Storing,
    pub(super) preparation: Preparation,
    pub(super) slices: Slices,
}

/// A version on its way to every shard, while control gives up what it no longer has.
#[derive(Debug)]
pub(super) struct Adopting {
    pub(super) plan: Plan,
    pub(super) version: Version,
    pub(super) slices: Slices,
}

/// A piece of work that is done a slice at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slices {
    /// The next slice is done now.
    Due,
    /// It is done with the next [`Input::Wake`](super::Input::Wake).
    Waiting,
    Done,
}

impl Slices {
    /// After a slice.
    pub(super) fn after(is_more: bool) -> Slices {
        if is_more { Slices::Waiting } else { Slices::Done }
    }
}
