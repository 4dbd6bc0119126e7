//! Before a backend is picked: the listener wants a header first (the PROXY protocol), or its
//! routes go by a ClientHello.
//!
//! The bytes stay in the kernel until the header is whole, and those of a hello beyond that. So a
//! client that sends none, or sends it slowly, holds no buffer, and what follows the header is
//! received like the bytes of any session.
//!
//! ```text
//! accepted ──▶ read ──whole──▶ connecting
//!               ▲ └──not yet──▶ watched for more bytes ─┐
//!               └───────────────────────────────────────┘
//! ```

use weir_proto::handover::ClientStage;

use crate::action::{Action, Actions};
use crate::base::clock::Now;
use crate::base::machine::enter;
use crate::event::{Interest, Leg, Side};

use super::{Connect, Phase, Session};

/// The bytes that an inspected session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    Header,
    Hello,
}

/// A session whose header or hello has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspect {
    /// When it must be there.
    pub(super) until: Now,
    /// True if the kernel was told to wake for no less than it.
    is_marked: bool,
    awaited: Awaited,
}

impl Inspect {
    /// The stage for another shard.
    pub(super) fn stage(&self) -> ClientStage {
        let hello = self.awaited == Awaited::Hello;
        ClientStage::Inspecting { hello, is_marked: self.is_marked, until: self.until.nanos }
    }
}

impl Session {
    /// The same of one that another shard has inspected for a while.
    #[must_use]
    pub fn inspecting_on(self, hello: bool, is_marked: bool, until: Now) -> Session {
        let awaited = if hello { Awaited::Hello } else { Awaited::Header };
        Session { phase: Phase::Inspecting(Inspect { until, is_marked, awaited }), ..self }
    }

    /// Nothing begins before that has come, which must be there by `until`.
    #[must_use]
    pub fn inspecting(self, awaited: Awaited, until: Now) -> Session {
        Session { phase: Phase::Inspecting(Inspect { until, is_marked: false, awaited }), ..self }
    }

    /// Its header has come, and a hello is to follow by `until`.
    pub fn awaits_hello_by(&mut self, until: Now) {
        if let Phase::Inspecting(inspect) = &mut self.phase {
            *inspect = Inspect { until, is_marked: false, awaited: Awaited::Hello };
        }
    }

    /// The bytes that it waits for, if it is inspected.
    #[must_use]
    pub fn awaited(&self) -> Option<Awaited> {
        match self.phase {
            Phase::Inspecting(Inspect { awaited, .. }) => Some(awaited),
            Phase::Connecting(_) | Phase::Relaying(_) | Phase::Closing(_) => None,
        }
    }

    #[must_use]
    pub fn is_inspecting(&self) -> bool {
        matches!(self.phase, Phase::Inspecting(_))
    }

    /// True if the kernel was told to wake for no less than its header or hello.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        matches!(self.phase, Phase::Inspecting(Inspect { is_marked: true, .. }))
    }

    /// Asks for a look at what has come.
    pub fn look(&self, out: &mut Actions) {
        let client = self.inspected_client();
        out.push(match self.awaited() {
            Some(Awaited::Hello) => Action::ReadHello { client, last: false },
            _ => Action::ReadHeader { client },
        });
    }

    /// Its hello has had its time: asks for the last look.
    pub fn look_last(&self, out: &mut Actions) {
        out.push(Action::ReadHello { client: self.inspected_client(), last: true });
    }

    /// That is not whole yet: waits for more. `is_marked`: the kernel was told to wake for no fewer
    /// bytes than are missing.
    pub fn await_more(&mut self, is_marked: bool, out: &mut Actions) {
        let leg = self.inspected_client();
        if let Phase::Inspecting(inspect) = &mut self.phase {
            inspect.is_marked |= is_marked;
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

    /// It was inspected: a backend may be picked.
    pub fn was_inspected(&mut self, connect: Connect) {
        assert!(self.is_inspecting(), "it was inspected before: {:?}", self.phase);
        enter(&mut self.phase, Phase::Connecting(connect));
    }
}
