//! Why a session has its backend, or which one a client would get.

use serde::{Deserialize, Serialize};

use super::BackendState;
use crate::spec::Strategy;

/// `weirctl why`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub pool: String,
    pub strategy: Strategy,
    /// The version by which this was found out.
    pub version: u64,
    /// As it was asked for, or the session's.
    pub client: Option<String>,
    /// `pool/backend`. `None` if no backend can take a session, or if each shard chooses by turns
    /// or lots of its own.
    pub chosen: Option<String>,
    /// How the strategy comes to its choice.
    pub because: String,
    /// The session that was asked about.
    pub session: Option<String>,
    /// The listener that was asked about.
    pub listener: Option<String>,
    /// The number of its route that fits, from 1 on; `None`: its own pool.
    pub route: Option<u64>,
    /// In the order of the configuration.
    pub candidates: Vec<ExplainedCandidate>,
}

/// One backend of the pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedCandidate {
    /// `pool/backend`.
    pub name: String,
    pub state: BackendState,
    pub weight: u16,
    /// Open now, over all shards.
    pub sessions: u64,
    /// It may have a new session.
    pub eligible: bool,
    pub why_not: Option<String>,
    /// The place in maglev's table at which this client meets it first; `None` if it is not met,
    /// and with every other strategy.
    pub slot: Option<u64>,
}
