//! Building blocks without a domain word in them.

pub mod clock;
pub mod prng;
