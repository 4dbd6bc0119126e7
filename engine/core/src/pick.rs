//! Who gets the next session: one strategy a pool, and what all of them have in common.
//!
//! A strategy never picks a backend that is not eligible, and finds one whenever there is one. It
//! allocates when it is built for a set of candidates, never when it picks. What it remembers
//! depends on the candidates' identities and weights only: health and the tried ones are looked at
//! anew with every pick.

mod least_conn;
mod maglev;
mod random;
mod round_robin;
mod two_choices;

use core::hash::Hasher;
use core::net::IpAddr;

use siphasher::sip::{SipHasher13, SipHasher24};
use weir_proto::spec::Strategy;

use crate::base::prng::Prng;
use least_conn::LeastConn;
use maglev::Maglev;
use random::Random;
use round_robin::RoundRobin;
use two_choices::TwoChoices;

/// What a strategy may know of one backend, in the order of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Stable across processes and nodes: [`identity`] of the backend's name.
    pub identity: u64,
    pub weight: u16,
    /// Sessions on all shards, as this shard knows them.
    pub load: u32,
    /// Healthy, and its operator wants it to get sessions.
    pub usable: bool,
}

impl Candidate {
    /// May it get the session of a client who has tried `tried`? `index` is its place in the pool.
    #[must_use]
    pub fn is_eligible(&self, index: usize, tried: Tried) -> bool {
        self.usable && self.weight > 0 && !tried.contains(index)
    }

    /// Has it less load per weight than `other`? By cross-multiplication: exact, and 48 bits at
    /// most.
    fn is_less_loaded(&self, other: &Candidate) -> bool {
        u64::from(self.load) * u64::from(other.weight)
            < u64::from(other.load) * u64::from(self.weight)
    }
}

/// How many backends a session may have tried.
pub const TRIED_MAX: usize = 4;

/// Indices of the backends that this session could not connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    indices: [u16; TRIED_MAX],
    len: u8,
}

impl Tried {
    pub const NONE: Tried = Tried { indices: [0; TRIED_MAX], len: 0 };

    /// # Panics
    /// If it holds [`TRIED_MAX`] others already; a pool's attempts are bounded below that.
    pub fn add(&mut self, index: u16) {
        if !self.contains(usize::from(index)) {
            assert!(self.len() < TRIED_MAX, "more backends tried than attempts are allowed");
            self.indices[self.len()] = index;
            self.len += 1;
        }
    }

    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.indices[..self.len()].iter().any(|&tried| usize::from(tried) == index)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A strategy with what it remembers about one pool's candidates.
#[derive(Debug)]
pub struct Picker {
    kind: Kind,
    /// How many candidates it was built for.
    candidates: usize,
}

#[derive(Debug)]
enum Kind {
    RoundRobin(RoundRobin),
    LeastConn(LeastConn),
    TwoChoices(TwoChoices),
    Random(Random),
    Maglev(Maglev),
}

impl Picker {
    #[must_use]
    pub fn new(strategy: Strategy, candidates: &[Candidate]) -> Picker {
        let kind = match strategy {
            Strategy::RoundRobin => Kind::RoundRobin(RoundRobin::new(candidates)),
            Strategy::LeastConn => Kind::LeastConn(LeastConn::new(candidates)),
            Strategy::TwoChoices => Kind::TwoChoices(TwoChoices::new(candidates)),
            Strategy::Random => Kind::Random(Random::new(candidates)),
            Strategy::Maglev => Kind::Maglev(Maglev::new(candidates)),
        };
        Picker { kind, candidates: candidates.len() }
    }

    #[must_use]
    pub fn strategy(&self) -> Strategy {
        match self.kind {
            Kind::RoundRobin(_) => Strategy::RoundRobin,
            Kind::LeastConn(_) => Strategy::LeastConn,
            Kind::TwoChoices(_) => Strategy::TwoChoices,
            Kind::Random(_) => Strategy::Random,
            Kind::Maglev(_) => Strategy::Maglev,
        }
    }

    /// Takes another set of candidates and keeps what still holds: turns go on, and Maglev's table
    /// is built again only if an identity or a weight is another one. Needed for these two;
    /// harmless after a change of health.
    pub fn rebuild(&mut self, candidates: &[Candidate]) {
        self.candidates = candidates.len();
        match &mut self.kind {
            Kind::RoundRobin(it) => it.rebuild(candidates),
            Kind::LeastConn(it) => it.rebuild(candidates),
            Kind::TwoChoices(it) => it.rebuild(candidates),
            Kind::Random(it) => it.rebuild(candidates),
            Kind::Maglev(it) => it.rebuild(candidates),
        }
    }

    /// Begins the turns somewhere else, so that shards which start together do not all begin with
    /// the first backend.
    pub fn stagger(&mut self, prng: &mut Prng) {
        match &mut self.kind {
            Kind::RoundRobin(it) => it.stagger(prng),
            Kind::LeastConn(it) => it.stagger(prng),
            Kind::TwoChoices(_) | Kind::Random(_) | Kind::Maglev(_) => {}
        }
    }

    /// The index of an eligible candidate; `None` if there is none. `key` is the client's, from
    /// [`client_key`].
    ///
    /// # Panics
    /// If `candidates` are not as many as the picker was last built for.
    pub fn pick(
        &mut self,
        candidates: &[Candidate],
        key: u64,
        prng: &mut Prng,
        tried: Tried,
    ) -> Option<usize> {
        assert_eq!(candidates.len(), self.candidates, "a picker for another set of candidates");
        match &mut self.kind {
            Kind::RoundRobin(it) => it.pick(candidates, tried),
            Kind::LeastConn(it) => it.pick(candidates, tried),
            Kind::TwoChoices(it) => it.pick(candidates, prng, tried),
            Kind::Random(it) => it.pick(candidates, prng, tried),
            Kind::Maglev(it) => it.pick(candidates, key, tried),
        }
    }
}

/// A client's key: SipHash-1-3 of its source address, without the port. An IPv4 address and the
/// same one mapped into IPv6 are one client. Nodes that are to agree about a client need the same
/// seed; the seed is what keeps clients from choosing their own backend.
#[must_use]
pub fn client_key(seed: (u64, u64), address: IpAddr) -> u64 {
    let hasher = SipHasher13::new_with_keys(seed.0, seed.1);
    match address.to_canonical() {
        IpAddr::V4(address) => hasher.hash(&address.octets()),
        IpAddr::V6(address) => hasher.hash(&address.octets()),
    }
}

/// A backend's identity: SipHash-2-4 of its name under a key that never changes, because every
/// Maglev table of every node depends on it.
#[must_use]
pub fn identity(name: &str) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0x7765_6972_2062_6163, 0x6b65_6e64_206e_616d);
    hasher.write(name.as_bytes());
    hasher.finish()
}

const _: () = assert!(TRIED_MAX > weir_proto::snapshot::RETRY_ATTEMPTS_MAX as usize);

#[cfg(test)]
mod tests;
