//! The pure core of the control plane: what a change means, what the shards are told, who is up.
//!
//! Nothing here opens a file or a socket, starts a thread or reads a clock. Time is an argument,
//! the shards are a [`Fleet`](control::Fleet), the disk is [`Versions`](record::Versions). `weir`
//! and the simulator drive the same code, and `tests/layers.rs` holds it to that.
//!
//! | question | file |
//! |---|---|
//! | what does control do about a report, a tick, a change | [`control`] |
//! | what does a command make of the configuration | [`planner`] |
//! | what does a file say, and where is it wrong | [`mod@file`] |
//! | which backends has DNS found | [`resolve`] |
//! | who has adopted a version | [`rollout`] |
//! | who is checked when, who is up | [`health`] |
//! | who holds how much of a limit | [`leases`] |
//! | which sessions are ended at which pace | [`tasks`] |
//! | what people see of live sessions | [`sessions`] |
//! | what the session log says | [`session_log`] |
//! | what has been counted | [`aggregate`] |
//! | in which form the next process gets it | `legacy` |
//! | which backend a client would get, and why | [`why`] |
//! | what goes on when control has died | [`fallback`] |

#![forbid(unsafe_code)]

pub mod aggregate;
mod batch;
pub mod control;
pub mod deadlines;
pub mod events;
#[cfg(any(test, feature = "fakes"))]
pub mod fakes;
pub mod fallback;
pub mod file;
pub mod health;
pub mod leases;
mod legacy;
pub mod live;
pub mod planner;
pub mod record;
pub mod resolve;
pub mod rollout;
pub mod session_log;
pub mod sessions;
pub mod sockets;
pub mod tasks;
pub mod timestamp;
pub mod why;

use weir_core::base::machine::Machine;

/// The state machines of control, for docs/lifecycle.md and the simulator.
pub static MACHINES: &[&Machine] = &[
    &control::PROCESS,
    &control::SHARD,
    &control::CHANGE,
    &control::HAND_OVER,
    &rollout::ROLLOUT,
    &leases::LEASE,
    &fallback::FALLBACK,
];
