//! Who gets the next session: one strategy a pool, and what all of them have in common.
//!
//! A strategy never picks a backend that is not eligible, and finds one whenever there is one. It
//! allocates when it is built for a set of candidates, never when it picks. The candidates are the
//! picker's own and change through it only, because round robin and least-conn keep trees of them:
//! a pick looks at a few, not at all.
//!
//! | strategy | a pick | a change of load or health |
//! |---|---|---|
//! | round-robin, least-conn | O(log n + unlike weights) | O(log n) |
//! | two-choices, random | O(log n); O(n) after 8 draws of those who may not | O(1) |
//! | maglev | O(1); O(n) after 32 probes of those who may not | O(1) |

mod groups;
mod least_conn;
mod maglev;
mod random;
mod round_robin;
mod turns;
mod two_choices;

use alloc::vec::Vec;
use core::hash::Hasher;
use core::net::IpAddr;

use siphasher::sip::{SipHasher13, SipHasher24};
use weir_proto::spec::Strategy;

use crate::base::prng::Prng;
use crate::slot::MemberIndex;
pub use groups::Groups;
use maglev::Maglev;
pub use maglev::goes_over;
use random::Random;
use turns::Turns;
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

    /// Has it less load per weight than `other`?
    fn is_less_loaded(&self, other: &Candidate) -> bool {
        turns::is_less((self.load, self.weight), (other.load, other.weight))
    }
}

/// How many backends a session may have tried.
pub const TRIED_MAX: usize = 4;

/// Indices of the backends that this session could not connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    indices: [MemberIndex; TRIED_MAX],
    len: u8,
}

impl Tried {
    pub const NONE: Tried = Tried { indices: [MemberIndex::FIRST; TRIED_MAX], len: 0 };

    /// # Panics
    /// If it holds [`TRIED_MAX`] others already; a pool's attempts are bounded below that.
    pub fn add(&mut self, index: MemberIndex) {
        if !self.contains(index.index()) {
            assert!(self.len() < TRIED_MAX, "more backends tried than attempts are allowed");
            self.indices[self.len()] = index;
            self.len += 1;
        }
    }

    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.indices[..self.len()].iter().any(|tried| tried.index() == index)
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

/// A strategy with one pool's candidates and what it remembers about them.
#[derive(Debug)]
pub struct Picker {
    kind: Kind,
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
enum Kind {
    RoundRobin(Turns),
    LeastConn(Turns),
    TwoChoices(TwoChoices),
    Random(Random),
    Maglev(Maglev),
}

impl Picker {
    #[must_use]
    pub fn new(strategy: Strategy, candidates: Vec<Candidate>) -> Picker {
        let kind = match strategy {
            Strategy::RoundRobin => Kind::RoundRobin(round_robin::new(&candidates)),
            Strategy::LeastConn => Kind::LeastConn(least_conn::new(&candidates)),
            Strategy::TwoChoices => Kind::TwoChoices(TwoChoices::new(&candidates)),
            Strategy::Random => Kind::Random(Random::new(&candidates)),
            Strategy::Maglev => Kind::Maglev(Maglev::new(&candidates)),
        };
        Picker { kind, candidates }
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

    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Takes another set of candidates and keeps what still holds: turns go on, and Maglev's table
    /// is built again only if an identity or a weight is another one.
    pub fn rebuild(&mut self, candidates: Vec<Candidate>) {
        match &mut self.kind {
            Kind::RoundRobin(it) | Kind::LeastConn(it) => it.rebuild(&candidates),
            Kind::TwoChoices(it) => it.rebuild(&candidates),
            Kind::Random(it) => it.rebuild(&candidates),
            Kind::Maglev(it) => it.rebuild(&candidates),
        }
        self.candidates = candidates;
    }

    /// Begins the turns somewhere else, so that shards which start together do not all begin with
    /// the first backend.
    pub fn stagger(&mut self, prng: &mut Prng) {
        match &mut self.kind {
            Kind::RoundRobin(it) | Kind::LeastConn(it) => it.stagger(prng),
            Kind::TwoChoices(_) | Kind::Random(_) | Kind::Maglev(_) => {}
        }
    }

    /// Changes the load of a candidate, whether it is usable, or both.
    ///
    /// # Panics
    /// If there is no such candidate.
    pub fn change(&mut self, index: usize, change: impl FnOnce(&mut Candidate)) {
        let candidate = &mut self.candidates[index];
        change(candidate);
        if let Kind::RoundRobin(it) | Kind::LeastConn(it) = &mut self.kind {
            it.refresh(index, candidate);
        }
    }

    /// The same for many, one after another in the order given: O(n) at most, however many.
    pub fn change_each(
        &mut self,
        indices: impl ExactSizeIterator<Item = usize>,
        mut change: impl FnMut(usize, &mut Candidate),
    ) {
        if indices.len() * MANY < self.candidates.len() {
            indices.for_each(|index| self.change(index, |candidate| change(index, candidate)));
            return;
        }
        indices.for_each(|index| change(index, &mut self.candidates[index]));
        self.refresh_all();
    }

    /// Changes a candidate; [`Picker::refresh_all`] must follow.
    fn set(&mut self, index: usize, change: impl FnOnce(&mut Candidate)) {
        change(&mut self.candidates[index]);
    }

    /// Takes notice of every change by [`Picker::set`].
    fn refresh_all(&mut self) {
        if let Kind::RoundRobin(it) | Kind::LeastConn(it) = &mut self.kind {
            it.refresh_all(&self.candidates);
        }
    }

    /// Whether picks go by what this candidate is: always, or there is a bug. For the simulator.
    #[must_use]
    pub fn is_fresh(&self, index: usize) -> bool {
        match &self.kind {
            Kind::RoundRobin(it) | Kind::LeastConn(it) => {
                it.is_fresh(index, &self.candidates[index])
            }
            Kind::TwoChoices(_) | Kind::Random(_) | Kind::Maglev(_) => true,
        }
    }

    /// The places of maglev's table at which a client with this key is looked for, in their order,
    /// each with the candidate there. Empty for every other strategy.
    #[must_use]
    pub fn hash_slots(&self, key: u64) -> Vec<(u32, usize)> {
        match &self.kind {
            Kind::Maglev(it) => it.probes(key).collect(),
            _ => Vec::new(),
        }
    }

    /// The index of an eligible candidate; `None` if there is none. `key` is the client's, from
    /// [`client_key`].
    pub fn pick(&mut self, key: u64, prng: &mut Prng, tried: Tried) -> Option<usize> {
        let candidates = &self.candidates;
        match &mut self.kind {
            Kind::RoundRobin(it) | Kind::LeastConn(it) => it.pick(tried),
            Kind::TwoChoices(it) => it.pick(candidates, prng, tried),
            Kind::Random(it) => it.pick(candidates, prng, tried),
            Kind::Maglev(it) => it.pick(candidates, key, tried),
        }
    }
}

/// A client's key: SipHash-1-3 of its source address, without the port. An IPv4 address and the
/// same one mapped into IPv6 are one client. An IPv6 client is its /64: a host has one at least and
/// changes its address within it (RFC 8981). Link-local clients share one, so there it is the
/// address. Nodes that are to agree about a client need the same seed; a seed that clients do not
/// know keeps them from choosing their own backend.
#[must_use]
pub fn client_key(seed: (u64, u64), address: IpAddr) -> u64 {
    let hasher = SipHasher13::new_with_keys(seed.0, seed.1);
    match address.to_canonical() {
        IpAddr::V4(address) => hasher.hash(&address.octets()),
        IpAddr::V6(address) if address.is_unicast_link_local() => hasher.hash(&address.octets()),
        IpAddr::V6(address) => hasher.hash(&address.octets()[..8]),
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

/// If one in N candidates changes, it is less work to look at all of them: a path in a tree
/// of 1,000 is ten nodes long, down and up.
const MANY: usize = 16;

const _: () = assert!(TRIED_MAX > weir_proto::snapshot::RETRY_ATTEMPTS_MAX as usize);

#[cfg(test)]
mod tests;
