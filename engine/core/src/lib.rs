//! The pure core of a shard: what happens to sessions, and who gets them. Events in, actions out.
//!
//! Nothing here can reach a clock, a socket, a thread or a lock: the compiler refuses it
//! (`no_std`).
//!
//! | question | file |
//! |---|---|
//! | may it enter, who gets it, when does it end | [`table`] |
//! | one connection's life | [`session`] |
//! | one direction: queue, backpressure, end of stream | [`flow`] |
//! | how old it may become | [`lifetime`] |
//! | this shard's part of a limit that all share | [`lease`] |
//! | the same of a rate | [`rate`] |
//! | what each source of clients may have | [`client_sources`] |
//! | which shard gets a client of a source | [`steering`] |
//! | what this shard knows of listeners, pools, backends | [`view`] |
//! | slots and indices as types | [`slot`] |
//! | how a pool picks | [`pick`] |
//! | the addresses that its connects come from | [`sources`] |
//! | the PROXY protocol | [`proxy_header`] |
//! | the first message of TLS | [`client_hello`] |
//! | is a backend up | [`health`] |
//! | what is counted | [`counters`] |
//! | under which version its sessions came | [`generations`] |
//! | slab, timer wheel, generator of numbers, declared state machines | [`base`] |

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod action;
pub mod base;
pub mod client_hello;
pub mod client_sources;
pub mod counters;
pub mod event;
pub mod flow;
pub mod generations;
pub mod health;
pub mod lease;
pub mod lifetime;
pub mod limits;
pub mod pick;
pub mod priority;
pub mod proxy_header;
pub mod rate;
pub mod session;
pub mod slot;
pub mod sources;
pub mod steering;
pub mod table;
pub mod view;
pub mod wait_queue;

/// The state machines of a shard's core, for docs/lifecycle.md and the simulator.
pub static MACHINES: &[&base::machine::Machine] =
    &[&session::PHASE, &session::ATTEMPT, &flow::SOURCE, &flow::SINK, &health::HEALTH];
