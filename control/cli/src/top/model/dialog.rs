//! Dialogs in front of the tables (help, a question, all about a session), and the outcome of the
//! last deed.

use weir_proto::answer::Changed;

use crate::exit::Failure;
use crate::render::changed::changed;
use crate::render::human::plain;
use crate::render::{Style, Tone};
use crate::top::news::{Outcome, Proposal};
use crate::top::wrap::wrapped;

const HUMAN: Style = Style { human: true, colour: false };

/// At most one of them is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::top) enum Dialog {
    #[default]
    None,
    Help,
    /// weir is asked what it would do.
    Trying(Proposal),
    /// The operator is asked whether it is to be done.
    Question {
        proposal: Proposal,
        lines: Vec<String>,
        /// It is done only while this version is in force.
        version: Option<u64>,
    },
    Doing(Proposal),
    /// Something, and what there is to say of it; `None`: it is on its way.
    Detail {
        name: String,
        lines: Option<Vec<String>>,
        /// The first line that is shown.
        offset: usize,
    },
}

impl Dialog {
    /// The question about a change, after its dry run.
    pub(super) fn question(proposal: Proposal, tried: &Changed) -> Dialog {
        let text = changed(tried, HUMAN);
        // That nothing has changed yet is what a question says.
        let lines = text.lines().filter(|line| !line.starts_with("dry run:"));
        let lines = lines.map(str::to_owned).collect();
        Dialog::Question { proposal, lines, version: Some(tried.version) }
    }

    /// All that there is to say of something.
    pub(super) fn detail(name: impl Into<String>, lines: Vec<String>) -> Dialog {
        Dialog::Detail { name: name.into(), lines: Some(lines), offset: 0 }
    }

    /// A session whose text is on its way.
    pub(super) fn of_session(id: &str) -> Dialog {
        Dialog::Detail { name: named(id), lines: None, offset: 0 }
    }

    /// Moves a text by lines; `page` of them, which are so wide, are shown at once. True if this is
    /// a text.
    pub(super) fn scroll(&mut self, by: isize, (width, page): (usize, usize)) -> bool {
        let Dialog::Detail { lines, offset, .. } = self else { return false };
        let lines = lines.iter().flatten();
        let all: usize = lines.map(|line| wrapped(&plain(line), width).len()).sum();
        *offset = offset.saturating_add_signed(by).min(all.saturating_sub(page));
        true
    }

    /// Takes in what there is to say of a session, if it is still asked for.
    pub(super) fn shown(&mut self, id: &str, text: Result<String, Failure>) {
        match self {
            Dialog::Detail { name, lines, .. } if *name == named(id) => {
                let text = text.unwrap_or_else(|failure| failure.message);
                *lines = Some(text.lines().map(str::to_owned).collect());
            }
            _ => {} // It was closed meanwhile.
        }
    }
}

/// The name of a session's text.
fn named(id: &str) -> String {
    format!("session {id}")
}

/// The outcome of the last deed. It stays until it is put away or another one follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct Notice {
    pub(in crate::top) tone: Tone,
    /// The first one says what, the second one what to do about it.
    pub(in crate::top) lines: Vec<String>,
}

impl Notice {
    pub(super) fn new(tone: Tone, line: impl Into<String>) -> Notice {
        Notice { tone, lines: vec![line.into()] }
    }

    /// A change says its version and its undo.
    pub(super) fn of(proposal: &Proposal, outcome: Result<Outcome, Failure>) -> Notice {
        match outcome {
            Ok(Outcome::Changed(it)) => {
                let (adopted, shards) = (it.shards_adopted, it.shards);
                let done =
                    format!("version {} on {adopted}/{shards} shards: {}", it.version, it.summary);
                let tone = if adopted < shards { Tone::Warn } else { Tone::Good };
                let undo = Some(it.undo).filter(|undo| !undo.is_empty());
                let undo = undo.map(|undo| format!("undo: {undo}"));
                Notice { tone, lines: std::iter::once(done).chain(undo).collect() }
            }
            Ok(Outcome::Killed(it)) => {
                let ended = if it.killed == 1 { "session was" } else { "sessions were" };
                Notice::new(Tone::Good, format!("{} {ended} cut", it.killed))
            }
            Ok(Outcome::Cancelled(it)) => {
                let (id, done, total) = (it.id, it.done, it.total);
                let text = format!("task {id} is cancelled: {done} of {total} sessions were ended");
                Notice::new(Tone::Good, text)
            }
            Err(failure) => Notice::refused(proposal, failure),
        }
    }

    pub(super) fn refused(proposal: &Proposal, failure: Failure) -> Notice {
        let what = format!("{}: {}", proposal.command, failure.message);
        let hint = Some(failure.hint).filter(|hint| !hint.is_empty());
        let hint = hint.map(|hint| format!("hint: {hint}"));
        Notice { tone: Tone::Bad, lines: std::iter::once(what).chain(hint).collect() }
    }
}
