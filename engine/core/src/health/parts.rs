//! The health of a backend in parts, for another process that goes on with it.

use crate::base::clock::Now;

use super::{HealthState, Hysteresis};

/// Everything that a [`Hysteresis`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HysteresisParts {
    pub is_up: bool,
    pub is_unproven: bool,
    pub pending: bool,
    pub against: u32,
    pub downs: u32,
    pub up_since: Option<Now>,
    pub held_until: Option<Now>,
    pub ejected_at: Option<Now>,
}

impl From<&Hysteresis> for HysteresisParts {
    fn from(from: &Hysteresis) -> HysteresisParts {
        let Hysteresis { pending, against, downs, up_since, held_until, ejected_at, .. } = *from;
        let (is_up, is_unproven) = (from.is_up(), from.is_unproven());
        HysteresisParts {
            is_up,
            is_unproven,
            pending,
            against,
            downs,
            up_since,
            held_until,
            ejected_at,
        }
    }
}

impl From<HysteresisParts> for Hysteresis {
    fn from(from: HysteresisParts) -> Hysteresis {
        let HysteresisParts { pending, against, downs, up_since, held_until, ejected_at, .. } =
            from;
        let state = match (from.is_up, from.is_unproven) {
            (true, _) => HealthState::Up,
            (false, true) => HealthState::Unproven,
            (false, false) => HealthState::Down,
        };
        Hysteresis { state, pending, against, downs, up_since, held_until, ejected_at }
    }
}
