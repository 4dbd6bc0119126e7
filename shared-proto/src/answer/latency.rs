//! How long the parts of a session took, as histograms.

use serde::{Deserialize, Serialize};

use super::state::LatencyPhase;

/// `weirctl latency`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// A pool; empty: all of them, also those that are gone.
    pub subject: String,
    /// The phases that weir measures.
    pub phases: Vec<PhaseRow>,
}

/// One phase since the start. Without an observation there is no percentile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseRow {
    pub phase: LatencyPhase,
    pub count: u64,
    pub sum_s: f64,
    pub p50_s: Option<f64>,
    pub p90_s: Option<f64>,
    pub p99_s: Option<f64>,
    pub p999_s: Option<f64>,
    pub max_s: Option<f64>,
    /// By rising bounds, the same of every phase.
    pub buckets: Vec<LatencyBucket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyBucket {
    pub le_s: f64,
    /// Those that took at most that long, so also those of the buckets before it.
    pub count: u64,
}
