//! The ways in for people and programs: a socket and HTTP, both through one gate.

pub(crate) mod audit;
mod clients;
pub(crate) mod gate;
pub(crate) mod http;
mod hyper_io;
pub mod metrics;
mod refusals;
pub(crate) mod roles;
pub(crate) mod settings_audit;
pub(crate) mod socket;
pub(crate) mod token;
