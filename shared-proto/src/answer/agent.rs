//! The words of an agent, for people.

use serde::{Deserialize, Serialize};

use crate::spec::Admin;

/// The last words of a backend's agent. They stand until it says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentRow {
    /// All that is not the usual, as in `75%, drain # nightly`; null: nothing.
    pub says: Option<String>,
    /// Its part of the configured weight; null: it has named none.
    pub weight_percent: Option<u16>,
    pub state: Admin,
    /// The limit of sessions that it has named; the lower one counts.
    pub max_sessions: Option<u32>,
    /// `down`, `failed` or `stopped`; null: up.
    pub health: Option<String>,
    /// Seconds since its last answer; null: none has come since the start.
    pub answered_s: Option<f64>,
    /// Why the last question had no answer; null: it had one.
    pub failure: Option<String>,
    pub answered_total: u64,
    pub failed_total: u64,
}
