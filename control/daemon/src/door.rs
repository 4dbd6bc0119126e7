//! The doors to people and programs.

pub(crate) mod http;
mod hyper_io;
pub(crate) mod metrics;
pub(crate) mod socket;
