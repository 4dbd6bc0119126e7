//! Who asks DNS for the backends of which pool, when, and what becomes of the answers. Pure: time
//! and chance are arguments; the shell asks, and says what came.
//!
//! ```text
//! take ──Lookup──▶ the shell: Resolution::step, a question, Resolution::hear … ──outcome──▶ heard
//! ```
//! A failure of any kind, or an answer with no addresses, leaves a pool's backends as they are: the
//! last good answer stays valid indefinitely, or for `keep-last` if that is set.

mod found;
mod legacy;
mod lookup;
mod members;
mod system;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_core::base::prng::Prng;
use weir_proto::ids::PoolId;
use weir_proto::listed::listed;
use weir_proto::snapshot::{Member, Pool, Snapshot};
use weir_proto::spec::{DiscoverSpec, DnsSource};

pub use found::{Fault, Found, FoundAddress};
use legacy::DiscoveryLegacy;
pub(crate) use legacy::{LookupRest, ResolveLegacy};
pub use lookup::{Lookup, LookupOutcome, LookupStep, Resolution};
pub use members::MemberChanges;
use members::Members;
pub use system::SystemFiles;
pub use wire::{ALIASES_MAX, HeardMessage, Query, QueryKind, Records, Service};

/// Look-ups at a time: each has a socket.
const IN_FLIGHT_MAX: usize = 16;
/// The bounds of what a TTL may say.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// The pauses after failures double from the first to the second.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The members that a pool had when weir last ran, and the name under which they were found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedMembers {
    pub source: String,
    pub members: Vec<Member>,
}

/// A pool's discovery as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    pub source: DnsSource,
    pub members: usize,
    /// When the last good answer came; `None`: not since the start.
    pub answered: Option<Now>,
    pub next: Option<Now>,
    /// The fault of the last answer.
    pub fault: Option<Fault>,
    pub counts: LookupCounts,
}

/// Look-ups of a pool since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LookupCounts {
    pub good: u64,
    /// By [`Fault::index`].
    pub bad: [u64; Fault::LABELS.len()],
}

/// Something about a pool's discovery that people hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub pool: PoolId,
    pub is_bad: bool,
    pub text: String,
}

/// Everything that is known of pools whose backends are found by DNS.
#[derive(Debug)]
pub struct Resolve {
    pools: BTreeMap<PoolId, Watched>,
    due: BTreeSet<(Now, PoolId)>,
    /// Their numbers.
    in_flight: BTreeSet<u64>,
    numbers: u64,
    prng: Prng,
    /// The pools that have other members than the last snapshot.
    regrouped: BTreeSet<PoolId>,
    /// Until the first snapshot.
    remembered: BTreeMap<String, RememberedMembers>,
    /// The state of the process before this one, until the first snapshot.
    inherited: BTreeMap<PoolId, DiscoveryLegacy>,
}

#[derive(Debug)]
struct Watched {
    name: String,
    spec: DiscoverSpec,
    source: DnsSource,
    members: Members,
    turn: Turn,
    /// When the members were last known to be right.
    good_at: Now,
    answered: Option<Now>,
    fault: Option<Fault>,
    /// An answer that lacks most of them has been written down.
    told_mass: bool,
    told_dropped: bool,
    failures: u32,
    counts: LookupCounts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Due(Now),
    Asked(u64),
}

impl Resolve {
    #[must_use]
    pub fn seeded(seed: u64) -> Resolve {
        Resolve {
            pools: BTreeMap::new(),
            due: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            numbers: 0,
            prng: Prng::new(seed),
            regrouped: BTreeSet::new(),
            remembered: BTreeMap::new(),
            inherited: BTreeMap::new(),
        }
    }

    /// Takes the findings of before this process began, for the first snapshot.
    pub fn remember(&mut self, remembered: BTreeMap<String, RememberedMembers>) {
        self.remembered = remembered;
    }

    /// Follows a snapshot: these pools are found by DNS, and no others. A pool that is new, or has
    /// another name in DNS, is asked for at once.
    pub fn adopt(&mut self, snapshot: &Snapshot, now: Now) {
        let remembered = std::mem::take(&mut self.remembered);
        let mut here = BTreeSet::new();
        for pool in &snapshot.pools {
            let Some(source) = pool.spec.discover.source() else { continue };
            here.insert(pool.id);
            let known = remembered.get(pool.name.as_str()).map(|it| it.source.as_str());
            self.follow(pool, source, known, now);
        }
        self.inherited.clear();
        let gone = |id: &PoolId| !here.contains(id);
        self.pools.retain(|id, _| !gone(id));
        self.regrouped.retain(|id| !gone(id));
        self.due.retain(|(_, id)| !gone(id));
    }

    fn follow(&mut self, pool: &Pool, source: DnsSource, known: Option<&str>, now: Now) {
        let spec = &pool.spec.discover;
        let Some(watched) = self.pools.get_mut(&pool.id) else {
            let mut members = Members::of(&pool.members);
            members.are_of_before = known.is_some_and(|known| known != source.to_string());
            let mut watched = Watched {
                name: pool.name.to_string(),
                spec: spec.clone(),
                source,
                members,
                turn: Turn::Due(now),
                good_at: now,
                answered: None,
                fault: None,
                told_mass: false,
                told_dropped: false,
                failures: 0,
                counts: LookupCounts::default(),
            };
            let inherited = self.inherited.remove(&pool.id);
            let due = inherited.and_then(|it| watched.take_legacy(it)).unwrap_or(now);
            watched.turn = Turn::Due(due);
            self.due.insert((due, pool.id));
            self.pools.insert(pool.id, watched);
            return;
        };
        watched.name = pool.name.to_string();
        if watched.spec == *spec {
            return;
        }
        watched.members.are_of_before |= watched.source != source;
        (watched.spec, watched.source) = (spec.clone(), source);
        (watched.failures, watched.fault) = (0, None);
        // An answer that is on its way is to another question.
        if let Turn::Due(at) = watched.turn {
            self.due.remove(&(at, pool.id));
        }
        watched.turn = Turn::Due(now);
        self.due.insert((now, pool.id));
    }

    /// When [`Resolve::take`] has something; `None`: not before something is heard.
    #[must_use]
    pub fn next_due(&self) -> Option<Now> {
        let first = self.due.first().map(|(at, _)| *at);
        first.filter(|_| self.in_flight.len() < IN_FLIGHT_MAX)
    }

    /// The next look-up that is due. [`Resolve::heard`] ends it.
    pub fn take(&mut self, now: Now) -> Option<Lookup> {
        if self.next_due()? > now {
            return None;
        }
        let (_, pool) = self.due.pop_first()?;
        let watched = self.pools.get_mut(&pool)?;
        self.numbers += 1;
        self.in_flight.insert(self.numbers);
        watched.turn = Turn::Asked(self.numbers);
        let (source, resolver) = (watched.source.clone(), watched.spec.resolver);
        Some(Lookup { pool, number: self.numbers, source, resolver })
    }

    /// A look-up has ended. `has_sessions` says which of those that have left are still needed.
    pub fn heard(
        &mut self,
        lookup: &Lookup,
        outcome: LookupOutcome,
        has_sessions: impl Fn(SocketAddr) -> bool,
        now: Now,
    ) -> Vec<News> {
        self.in_flight.remove(&lookup.number);
        let asked = Turn::Asked(lookup.number);
        let Some(watched) = self.pools.get_mut(&lookup.pool).filter(|it| it.turn == asked) else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        // An answer without an address is none.
        let outcome = outcome.and_then(|found| {
            if found.addresses.is_empty() { Err(Fault::NoData) } else { Ok(found) }
        });
        let (changes, pause) = match outcome {
            Ok(found) => {
                let changes = watched.members.take(&found, has_sessions, now);
                watched.on_good(&changes, now, &mut texts);
                (changes, watched.interval(found.ttl_s))
            }
            Err(fault) => {
                let changes = watched.on_bad(fault, now, &mut texts);
                (changes, watched.retry())
            }
        };
        if changes.is_news() {
            self.regrouped.insert(lookup.pool);
        }
        let at = now.plus_millis(jittered(pause, &mut self.prng));
        watched.turn = Turn::Due(at);
        self.due.insert((at, lookup.pool));
        let pool = lookup.pool;
        texts.into_iter().map(|(is_bad, text)| News { pool, is_bad, text }).collect()
    }

    /// True if a pool has other members than the last snapshot.
    #[must_use]
    pub fn has_regrouped(&self) -> bool {
        !self.regrouped.is_empty()
    }

    /// One pool that has other members than the last snapshot, and these.
    pub fn take_regrouped(&mut self) -> Option<(PoolId, Vec<Member>)> {
        let pool = self.regrouped.pop_first()?;
        Some((pool, self.pools.get(&pool)?.members.list()))
    }

    /// The findings that a restart begins with, by the pool's name.
    #[must_use]
    pub fn to_remember(&self) -> BTreeMap<String, RememberedMembers> {
        let of = |it: &Watched| {
            let (source, members) = (it.source.to_string(), it.members.list());
            (it.name.clone(), RememberedMembers { source, members })
        };
        self.pools.values().map(of).collect()
    }

    /// A pool's discovery; `None` if it has none.
    #[must_use]
    pub fn discovery(&self, pool: PoolId) -> Option<Discovery> {
        let watched = self.pools.get(&pool)?;
        let next = match watched.turn {
            Turn::Due(at) => Some(at),
            Turn::Asked(_) => None,
        };
        Some(Discovery {
            source: watched.source.clone(),
            members: watched.members.list().iter().filter(|it| !it.leaves).count(),
            answered: watched.answered,
            next,
            fault: watched.fault.clone(),
            counts: watched.counts,
        })
    }
}

impl Watched {
    fn on_good(&mut self, changes: &MemberChanges, now: Now, texts: &mut Vec<(bool, String)>) {
        self.counts.good += 1;
        (self.good_at, self.answered, self.failures) = (now, Some(now), 0);
        if self.fault.take().is_some() {
            texts.push((false, format!("{} is answered again", self.source)));
        }
        if changes.is_mass && !self.told_mass {
            let text = format!(
                "{} lacks more than half of the backends: they stay until it has for a while",
                self.source
            );
            texts.push((true, text));
        }
        self.told_mass = changes.is_mass;
        if changes.dropped > 0 && !self.told_dropped {
            let text = format!(
                "{} has {} addresses more than a pool takes (256)",
                self.source, changes.dropped
            );
            texts.push((true, text));
        }
        self.told_dropped = changes.dropped > 0;
        texts.extend(told(&self.source, changes).map(|text| (false, text)));
    }

    fn on_bad(&mut self, fault: Fault, now: Now, texts: &mut Vec<(bool, String)>) -> MemberChanges {
        self.counts.bad[fault.index()] += 1;
        self.failures = self.failures.saturating_add(1);
        if self.fault.as_ref() != Some(&fault) {
            let kept = self.members.list().iter().filter(|it| !it.leaves).count();
            let what = match kept {
                0 => "no backend is known".to_owned(),
                1 => "the backend of the last good answer stays".to_owned(),
                kept => format!("the {kept} backends of the last good answer stay"),
            };
            texts.push((true, format!("{}: {fault}; {what}", self.source)));
        }
        self.fault = Some(fault);
        let kept = self.spec.keep_last.map(|span| Duration::from_millis(span.millis));
        if kept.is_none_or(|kept| now - self.good_at < kept) {
            return MemberChanges::default();
        }
        let changes = self.members.give_up();
        if !changes.left.is_empty() {
            let text = format!("{} had no good answer for all of keep-last", self.source);
            texts.push((true, text));
            texts.extend(told(&self.source, &changes).map(|text| (true, text)));
        }
        changes
    }

    /// The pause after a good answer.
    fn interval(&self, ttl_s: u32) -> Duration {
        let by_ttl = Duration::from_secs(ttl_s.into()).clamp(INTERVAL_MIN, INTERVAL_MAX);
        self.spec.refresh.map_or(by_ttl, |span| Duration::from_millis(span.millis))
    }

    /// The pause after a failure.
    fn retry(&self) -> Duration {
        let doubled = RETRY_MIN * 2_u32.pow(self.failures.saturating_sub(1).min(5));
        let most = self.spec.refresh.map_or(RETRY_MAX, |span| Duration::from_millis(span.millis));
        doubled.min(most).min(RETRY_MAX)
    }
}

/// As in `dns web.internal:443: 10.0.0.3:443 joined, 10.0.0.1:443 left`.
fn told(source: &DnsSource, changes: &MemberChanges) -> Option<String> {
    let named = |list: &[SocketAddr], verb: &str| {
        (!list.is_empty()).then(|| format!("{} {verb}", listed(list.iter(), 3, ", ")))
    };
    let parts = [named(&changes.joined, "joined"), named(&changes.left, "left")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("{source}: {}", parts.join("; ")))
}

/// The span, give or take a tenth, in milliseconds: pools that were asked for together do not stay
/// together.
fn jittered(span: Duration, prng: &mut Prng) -> u32 {
    let ms = u32::try_from(span.as_millis()).unwrap_or(u32::MAX / 2);
    let tenth = ms / 10;
    ms - tenth + prng.below(2 * tenth + 1)
}

#[cfg(test)]
mod tests;
