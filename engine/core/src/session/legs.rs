//! The two sockets of a session, in half the space of two options.

use crate::event::{Leg, Side};

/// By side; below zero while there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionLegs([i32; 2]);

impl SessionLegs {
    const NONE: i32 = -1;

    /// Only the client's is open yet.
    pub(super) fn of_client(client: Leg) -> SessionLegs {
        let mut legs = SessionLegs([SessionLegs::NONE; 2]);
        legs.set(Side::Client, client);
        legs
    }

    pub(super) fn get(&self, side: Side) -> Option<Leg> {
        Some(Leg(self.0[side as usize])).filter(|leg| leg.0 >= 0)
    }

    /// # Panics
    /// If one of them is not open: a mistake of ours.
    pub(super) fn both(&self) -> [Leg; 2] {
        Side::ALL.map(|side| self.get(side).expect("both legs are open while relaying"))
    }

    pub(super) fn set(&mut self, side: Side, leg: Leg) {
        assert!(leg.0 >= 0, "a socket's number is not negative: {leg:?}");
        self.0[side as usize] = leg.0;
    }

    pub(super) fn take(&mut self, side: Side) -> Option<Leg> {
        let leg = self.get(side);
        self.0[side as usize] = SessionLegs::NONE;
        leg
    }
}
