//! The pure core: what decides. No clock, no socket, no lock; time and chance are arguments.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod base;
pub mod pick;
