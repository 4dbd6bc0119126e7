//! What the tests share: processes of weir, scripted peers on real sockets, a reader of sources.
//!
//! Nothing here knows the inside of weir. A story drives the real `weir` and `weirctl` from
//! outside, over sockets, signals and files, as an operator would.

pub mod baseline;
pub mod browser;
pub mod clock;
pub mod crowd;
pub mod fault_test;
pub mod namespace;
pub mod net;
pub mod payload;
pub mod prometheus;
pub mod real;
pub mod size;
pub mod source;
pub mod story;
pub mod visitors;
pub mod weir;
