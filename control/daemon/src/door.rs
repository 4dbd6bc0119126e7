//! The doors to people and programs.

pub(crate) mod socket;
