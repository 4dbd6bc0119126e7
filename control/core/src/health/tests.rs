//! Schedules on paper.

mod damping;
mod priorities;
mod schedule;
mod sharing;

use super::*;
use crate::fakes::HealthFixture;
use weir_proto::spec::{Admin, BackendSpec, HealthKind, HealthSpec, Span};

fn tcp() -> HealthSpec {
    HealthSpec::default()
}
