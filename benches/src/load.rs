//! The load generator: a backend (`serve`) and its kinds of clients, one file each; and for very
//! many connections a backend and a client with a descriptor table a thread (`pasture`, `herd`).
//!
//! All else is one thread and one level-triggered epoll, so that the generator costs less than
//! any proxy between its two ends. Payload is always verified.

pub mod bulk;
pub mod crr;
pub mod echo_servers;
pub mod idle;
pub mod many_connections;
pub mod rr;
pub mod serve;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Longest wait for one answer, connect or end of a transfer before it counts as an error.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Readiness reports taken at once.
pub(crate) const BATCH: usize = 256;

/// What went wrong in a run: how often, and the first one in words.
#[derive(Debug, Default)]
pub struct Failures {
    pub errors: u64,
    pub first: Option<String>,
}

impl Failures {
    pub fn note(&mut self, what: impl std::fmt::Display) {
        self.errors += 1;
        if self.first.is_none() {
            self.first = Some(what.to_string());
        }
    }
}

/// The source address of connection `link` when `sources` addresses share the load: 127.0.0.1 on.
/// One source means: let the kernel choose.
#[must_use]
pub fn source_of(target: SocketAddr, link: usize, sources: u8) -> Option<IpAddr> {
    if sources <= 1 || !target.ip().is_loopback() || target.is_ipv6() {
        return None;
    }
    let last = u8::try_from(link % usize::from(sources)).unwrap_or(0);
    Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last.saturating_add(1))))
}

/// How the time of a run is limited.
pub(crate) fn remaining(deadline_ns: u64, now_ns: u64) -> Duration {
    Duration::from_nanos(deadline_ns.saturating_sub(now_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_go_round_and_one_is_the_kernels_choice() {
        let target: SocketAddr = "127.0.0.1:80".parse().expect("address");
        assert_eq!(source_of(target, 5, 1), None);
        assert_eq!(source_of(target, 5, 4), Some("127.0.0.2".parse().expect("address")));
        let six: SocketAddr = "[::1]:80".parse().expect("address");
        assert_eq!(source_of(six, 5, 4), None);
    }

    #[test]
    fn the_first_failure_is_kept() {
        let mut failures = Failures::default();
        failures.note("one");
        failures.note("two");
        assert_eq!((failures.errors, failures.first.as_deref()), (2, Some("one")));
    }
}
