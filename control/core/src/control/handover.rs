//! Another process takes the place of this one. Until it has, or has failed to, nothing that would
//! change anything begins here: the next process has the state of one moment.
//!
//! ```text
//! Input::HandOverBegins ──no change is under way──▶ Output::ReadyToHandOver
//!     ──▶ Control::legacy ──▶ Control::legacy_remainder, when the next process has every session
//!     ──Input::HandOverFailed──▶ as before
//! ```

use weir_core::base::machine::enter;
use weir_core::machine;
use weir_proto::answer::EventKind;
use weir_proto::request::{Code, Refusal};

use super::{ChangeId, Clocks, Control, Output, Phase};

/// Whether another process is about to take the place of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    Absent,
    /// A change is under way.
    Waiting {
        id: ChangeId,
    },
    Ready,
}

machine! {
    /// Transitions of a hand-over, as the process before sees it.
    pub static HAND_OVER: HandOver = "hand-over";
    states: Absent, Waiting, Ready;
    start => Absent: "the process starts";
    Absent => Waiting: "upgrade";
    Waiting => Ready: "no change is under way";
    Waiting => Absent: "it has failed, the next process did not start";
    Ready => Absent: "it has failed, the next process has not taken over";
}

/// The refusal of whatever would change something now.
pub(super) fn upgrading() -> Refusal {
    let message = "weir is about to hand over to its next process";
    Refusal::new(Code::Upgrading, message, "wait a moment and try again")
}

impl Control {
    /// True from [`Input::HandOverBegins`](super::Input::HandOverBegins) on.
    #[must_use]
    pub fn is_handing_over(&self) -> bool {
        self.hand_over != HandOver::Absent
    }

    /// True until each shard has told of the sessions that came from the process before this one:
    /// no hand-over can begin.
    #[must_use]
    pub fn is_taking_over(&self) -> bool {
        !self.is_handing_over() && self.aggregate.keeps_all()
    }

    /// Refuses what would change something while weir hands over, for the requests that are no
    /// change, task or search: a drain, a reload.
    ///
    /// # Errors
    /// It does.
    pub fn refuse_while_handing_over(&self) -> Result<(), Refusal> {
        if self.is_handing_over() { Err(upgrading()) } else { Ok(()) }
    }

    pub(super) fn begin_hand_over(&mut self, id: ChangeId) {
        let why = match self.phase {
            _ if self.is_handing_over() => Some("it hands over already"),
            _ if self.is_taking_over() => {
                Some("it is still taking over from the process before it")
            }
            Phase::Serving | Phase::Draining { until: None } => None,
            Phase::Draining { until: Some(_) } | Phase::Stopping { .. } | Phase::Over { .. } => {
                Some("it was told to end")
            }
        };
        if let Some(why) = why {
            let message = format!("weir cannot hand over: {why}");
            let result = Err(Refusal::new(Code::Failed, message, "nothing has changed"));
            return self.outputs.push(Output::Answered { id, result });
        }
        for id in self.changes.take_waiting() {
            self.outputs.push(Output::Answered { id, result: Err(upgrading()) });
        }
        self.refuse_kills();
        enter(&mut self.hand_over, HandOver::Waiting { id });
    }

    /// Says that it is ready as soon as nothing changes any more.
    pub(super) fn watch_hand_over(&mut self) {
        let HandOver::Waiting { id } = self.hand_over else { return };
        if self.changes.is_changing() {
            return;
        }
        enter(&mut self.hand_over, HandOver::Ready);
        // A name that was forgotten here would be missing there.
        self.aggregate.keep_all();
        self.outputs.push(Output::ReadyToHandOver { id });
    }

    pub(super) fn on_hand_over_failed(&mut self, moment: Clocks) {
        if !self.is_handing_over() {
            return;
        }
        enter(&mut self.hand_over, HandOver::Absent);
        self.aggregate.keep_no_longer();
        let text = "the next process has not taken over: this one goes on";
        tracing::error!("{text}");
        self.events.push(EventKind::Process, "upgrade".to_owned(), text.into(), moment.wall_ms);
    }
}
