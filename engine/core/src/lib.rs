//! The pure core: no clock, no socket, no lock.
#![no_std]
#![forbid(unsafe_code)]

pub mod base;
pub mod health;
