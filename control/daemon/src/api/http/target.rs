//! The parts of a row of [`super::operations`].

use serde_json::Value;
use weir_proto::request::{ChangeRequest, Query, Refusal, Request};

use super::body::{BodyKind, Content};
use super::parameters::{Parameter, Parameters};
use super::verb::HttpVerb;

pub(super) type MakeAct = fn(&Names<'_>, &Parameters<'_>) -> Result<Request, Refusal>;

pub(super) type MakeQuery = fn(&Names<'_>, &Parameters<'_>) -> Result<Query, Refusal>;

pub(super) type MakeChange =
    fn(&Names<'_>, &Parameters<'_>, Content) -> Result<ChangeRequest, Refusal>;

/// A path with its method: names in braces stand for those of objects.
pub(super) struct Operation {
    pub(super) verb: HttpVerb,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) target: Target,
}

impl Operation {
    /// The form of its body.
    pub(super) const fn body(&self) -> BodyKind {
        match self.target {
            Target::Change { body, .. } => body,
            Target::PlainPage(_)
            | Target::Query { .. }
            | Target::Stream { .. }
            | Target::Act { .. } => BodyKind::None,
        }
    }
}

/// The answer or the effect of an operation.
pub(super) enum Target {
    PlainPage(PlainPage),
    Query {
        parameters: &'static [Parameter],
        make: MakeQuery,
        /// The schema of its answer.
        answer: fn() -> Value,
    },
    /// A document, or a stream for who asks for one.
    Stream {
        of: Streamed,
        parameters: &'static [Parameter],
        /// The schema of its document.
        answer: fn() -> Value,
    },
    Change {
        parameters: &'static [Parameter],
        body: BodyKind,
        make: MakeChange,
    },
    /// Something is done that makes no version.
    Act {
        parameters: &'static [Parameter],
        make: MakeAct,
        /// The schema of its answer.
        answer: fn() -> Value,
    },
}

/// Something that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streamed {
    Events,
    Live,
}

/// An answer that is not of control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlainPage {
    /// The dashboard for a browser, else the list of paths.
    Index,
    /// A part of the dashboard.
    Part,
    Metrics,
    Healthz,
    Readyz,
    OpenApi,
}

/// The words of a path in the places of the names in braces.
pub(super) struct Names<'a>(pub(super) Vec<&'a str>);

impl Names<'_> {
    pub(super) fn one(&self) -> String {
        self.0[0].to_owned()
    }

    /// True if the path names an object.
    pub(super) fn are_some(&self) -> bool {
        !self.0.is_empty()
    }

    /// `pool/backend`.
    pub(super) fn both(&self) -> String {
        self.0.join("/")
    }
}
