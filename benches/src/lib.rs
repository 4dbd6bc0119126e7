//! The load generator (`weir-load`) and the scenario runner (`weir-bench`): how weir is measured
//! beside its peers. Everything ends by itself.

pub mod clock;
pub mod latency;
pub mod load;
pub mod pattern;
pub mod runner;
pub mod schedule;
pub mod sys;
