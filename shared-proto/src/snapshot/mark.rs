//! A mark: the words of a backend's agent beside its configuration. No version has it.

use super::{Backend, WEIGHT_MAX};
use crate::spec::Admin;

/// The three settings that a mark may narrow, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configured {
    /// 0 to [`WEIGHT_MAX`].
    pub weight: u16,
    pub admin: Admin,
    pub max_sessions: Option<u32>,
}

/// The last words of a backend's agent, in force until it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentMark {
    /// Of its configured weight, at most [`AgentMark::PERCENT_MAX`]. `None`: all of it.
    pub percent: Option<u16>,
    pub admin: Admin,
    /// The most sessions that it wants, 1 or more. `None`: it has not said.
    pub max_sessions: Option<u32>,
}

impl AgentMark {
    /// So much makes the least weight the greatest.
    pub const PERCENT_MAX: u16 = WEIGHT_MAX * 100;

    /// True if it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == AgentMark::default()
    }

    /// The state in force. An operator's word goes before an agent's.
    fn admin(self, configured: Admin) -> Admin {
        if configured.is_ready() { self.admin } else { configured }
    }

    /// The limit in force: the lower one.
    fn max_sessions(self, configured: Option<u32>) -> Option<u32> {
        self.max_sessions.into_iter().chain(configured).min()
    }

    /// The weight in force, in hundredths.
    fn weight(self, configured: u16) -> u32 {
        let hundredths = u32::from(configured) * u32::from(self.percent.unwrap_or(100));
        hundredths.min(u32::from(AgentMark::PERCENT_MAX))
    }
}

/// Works out what is in force for the backends of one pool.
///
/// Weights are shares: where an agent has named a part of one, all of the pool are counted in
/// hundredths, so that three quarters of 1 are not 1, and then by their greatest common divisor.
pub(super) fn put_in_force(backends: &mut [Backend]) {
    let is_whole = |it: &Backend| it.mark.percent.is_none_or(|percent| percent == 100);
    let are_whole = backends.iter().all(is_whole);
    let hundredths = |it: &Backend| it.mark.weight(it.configured.weight);
    let (greatest, divisor) = backends
        .iter()
        .map(hundredths)
        .fold((0, 0), |(most, gcd), it| (it.max(most), greatest_common_divisor(gcd, it)));
    for it in backends {
        it.admin = it.mark.admin(it.configured.admin);
        it.max_sessions = it.mark.max_sessions(it.configured.max_sessions);
        it.weight = match are_whole || greatest == 0 {
            true => it.configured.weight,
            false => scaled(hundredths(it), greatest, divisor),
        };
        if it.mark.percent == Some(0) {
            it.weight = 0;
        }
    }
}

/// One of several weights, of which none is more than [`WEIGHT_MAX`] then. Only 0 becomes 0.
fn scaled(weight: u32, greatest: u32, divisor: u32) -> u16 {
    let (weight, greatest) = (weight / divisor, greatest / divisor);
    let most = u32::from(WEIGHT_MAX);
    if greatest <= most || weight == 0 {
        return u16::try_from(weight).unwrap_or(WEIGHT_MAX);
    }
    let rounded = (weight * most + greatest / 2) / greatest;
    u16::try_from(rounded.max(1)).unwrap_or(WEIGHT_MAX)
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
