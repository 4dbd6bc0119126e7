//! Containers and small machines without a domain word in them. They may allocate in constructors,
//! never later.

pub mod clock;
pub mod least;
pub mod machine;
pub mod prng;
pub mod slab;
pub mod wheel;
