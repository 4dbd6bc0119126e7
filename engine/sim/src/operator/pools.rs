//! Settings of the pools of a world.

use weir_proto::spec::{BackendSpec, KeepaliveSpec, OnDown, ProxyInSpec, RetrySpec, TimeoutSpec};

use super::span;
use crate::faults::{Rooms, Swarm};
use crate::rng::Rng;

/// The lifetimes of sessions, in milliseconds, in worlds that have some.
pub const LIFETIMES_MS: [Option<usize>; 4] = [None, Some(1_000), Some(1_000), Some(3_000)];

/// The timeouts of a pool of this world. Only the lifetime is drawn.
pub fn timeouts(swarm: &Swarm, rng: &mut Rng) -> TimeoutSpec {
    TimeoutSpec {
        connect: span(swarm.connect_ms),
        idle: span(swarm.idle_ms),
        half_close: span(swarm.half_close_ms),
        stalled: Some(span(swarm.stalled_ms)),
        queue: span(swarm.rooms.queue_ms),
        lifetime: swarm.lifetimes.then(|| rng.pick(&LIFETIMES_MS)).flatten().map(span),
    }
}

/// A backend like this one, with limits of this world.
pub fn limited(rooms: &Rooms, rng: &mut Rng, plain: BackendSpec) -> BackendSpec {
    let max_sessions = rooms.most(rng);
    let (connecting, connect_rate) = rooms.caps(rng);
    BackendSpec { max_sessions, connecting, connect_rate, ..plain }
}

/// The answer of a pool of this world to a backend that goes down.
pub fn on_down(swarm: &Swarm, rng: &mut Rng) -> OnDown {
    use OnDown::{Keep, Kill, Stalled};
    if swarm.on_down { rng.pick(&[Keep, Stalled, Stalled, Kill]) } else { Keep }
}

/// Idle peers that are gone are given up after 4 s, others after 3.
pub fn keepalive() -> KeepaliveSpec {
    KeepaliveSpec { idle: span(1000), interval: span(1000), count: 3 }
}

/// The headers that listeners want, if their clients send some.
pub(super) fn headers(swarm: &Swarm) -> ProxyInSpec {
    if !swarm.headers.come {
        return ProxyInSpec::default();
    }
    let from = vec!["192.0.2.0/24".parse().expect("a network")].into();
    let timeout = swarm.headers.own_timeout.then(|| span(swarm.headers.within_ms));
    ProxyInSpec { from, timeout }
}

/// How a pool tries again; often within a time that cuts its last retry short.
pub fn retries(swarm: &Swarm, rng: &mut Rng) -> RetrySpec {
    RetrySpec {
        attempts: rng.pick(&[0, 1, 2, 3]),
        within: span(rng.pick(&[6000, 6000, swarm.connect_ms * 3 / 2, 1])),
    }
}

/// The longest time in milliseconds within which another backend may be tried.
#[must_use]
pub fn retries_within_max(swarm: &Swarm) -> usize {
    (swarm.connect_ms * 3 / 2).max(6000)
}
