//! Before a backend is picked: the listener wants a header first (the PROXY protocol).
//!
//! The bytes stay in the kernel until the header is whole. So a client that sends none, or sends it
//! slowly, holds no buffer, and what follows the header is received like the bytes of any session.
//!
//! ```text
//! accepted ──▶ read ──whole──▶ connecting
//!               ▲ └──not yet──▶ watched for more bytes ─┐
//!               └───────────────────────────────────────┘
//! ```

use crate::action::{Action, Actions};
use crate::base::clock::Now;
use crate::base::machine::enter;
use crate::event::{Interest, Leg, Side};

use super::{Connect, Phase, Session};

/// A session whose header has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspect {
    /// When it must be there.
    pub(super) until: Now,
    /// True if it was not there at once: the kernel was told to wake for no less.
    waited: bool,
}

impl Session {
    /// Nothing begins before a header has come, which must be there by `until`.
    #[must_use]
    pub fn inspecting(self, until: Now) -> Session {
        Session { phase: Phase::Inspecting(Inspect { until, waited: false }), ..self }
    }

    #[must_use]
    pub fn is_inspecting(&self) -> bool {
        matches!(self.phase, Phase::Inspecting(_))
    }

    /// True if its header was not there at once.
    #[must_use]
    pub fn has_waited_for_header(&self) -> bool {
        matches!(self.phase, Phase::Inspecting(Inspect { waited: true, .. }))
    }

    /// Asks for a look at what has come.
    pub fn read_header(&self, out: &mut Actions) {
        out.push(Action::ReadHeader { client: self.inspected_client() });
    }

    /// Its header is not whole yet: waits for more.
    pub fn await_header(&mut self, out: &mut Actions) {
        let leg = self.inspected_client();
        if let Phase::Inspecting(inspect) = &mut self.phase {
            inspect.waited = true;
        }
        let interest = Interest { readable: true, writable: false };
        out.push(Action::Watch { side: Side::Client, leg, interest });
    }

    fn inspected_client(&self) -> Leg {
        self.legs.get(Side::Client).expect("an inspected session has its client")
    }

    /// Both sockets of a session that a backend has.
    ///
    /// # Panics
    /// If it has none: a mistake of ours.
    #[must_use]
    pub fn legs(&self) -> [Leg; 2] {
        self.legs.both()
    }

    /// Its header has come: a backend may be picked.
    pub fn inspected_header(&mut self, connect: Connect) {
        assert!(self.is_inspecting(), "it has had its header: {:?}", self.phase);
        enter(&mut self.phase, Phase::Connecting(connect));
    }
}
