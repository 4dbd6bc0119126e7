//! The doors to people and programs.

mod audit;
mod clients;
pub(crate) mod http;
mod hyper_io;
pub mod metrics;
pub(crate) mod roles;
pub(crate) mod settings_audit;
pub(crate) mod socket;
