//! Words that cross a thread or a socket: identities, the configuration, orders, reports, requests
//! and answers.
//!
//! What belongs here: plain data that two sides must agree on, its checks, and its bytes on a
//! socket ([`frame`]). What does not: anything that reads a clock, opens a socket, takes a lock or
//! starts a thread.

pub mod address;
pub mod answer;
pub mod bind_address;
pub mod change;
pub mod complaint;
pub mod confirm;
pub mod conflict;
pub mod counters;
pub mod frame;
pub mod handover;
pub mod ids;
pub mod impact;
pub mod json;
pub mod listed;
pub mod network;
pub mod order;
pub mod outside;
pub mod reason;
pub mod request;
pub mod roff;
pub mod role;
pub mod samples;
pub mod session;
pub mod session_log;
pub mod settings;
pub mod shell;
pub mod snapshot;
pub mod spec;
pub mod stats;
