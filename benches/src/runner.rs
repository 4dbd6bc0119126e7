//! The scenario runner: weir beside its peers and beside no proxy, interleaved, in one run.

pub mod bars;
pub mod config;
pub mod counters;
pub mod fairness;
pub mod machine;
pub mod million;
pub mod peer;
pub mod probe;
pub mod process;
pub mod report;
pub mod run;
pub mod scenario;
pub mod testbed;
pub mod tools;
pub mod watched;
pub mod weir;
pub mod work;

use std::io;

/// The proxy has this core for itself; generator and backend share the other one.
pub const PROXY_CORE: usize = 0;
/// The core of the generator and the backend.
pub const LOAD_CORE: usize = 1;

/// Puts what was being done before an error.
pub(crate) fn context(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// An error of the runner itself.
pub(crate) fn fault(what: impl std::fmt::Display) -> io::Error {
    io::Error::other(what.to_string())
}
