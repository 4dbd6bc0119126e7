//! Sources of clients: none has more than its listener allows, counted from the sessions that there
//! are, and the shard's own table is what they come to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use weir_core::client_sources::SourceKey;
use weir_core::event::Side;
use weir_core::session::Phase;
use weir_core::table::Table;
use weir_proto::ids::ListenerId;
use weir_proto::reason::Why;
use weir_proto::snapshot::PerSource;
use weir_proto::stats::{Reject, ShardStats};

use super::Ledger;
use super::rates::Tokens;
use crate::kernel::{Kernel, Key};

/// Clients that were refused because of their source.
#[derive(Debug, Default)]
pub(super) struct Limited {
    /// All of them, and those that a header had told of: these had a session.
    pub(super) rejected: u64,
    told: u64,
}

impl Limited {
    pub(super) fn read(&mut self, stats: &ShardStats) {
        let rows = stats.listeners.iter();
        self.rejected += rows.map(|row| row.counts.rejected[Reject::Source as usize]).sum::<u64>();
        let ends = stats.pools.iter().flat_map(|row| row.ends.iter());
        let told = ends.filter(|(reason, _)| reason.why == Why::SourceLimit);
        self.told += told.map(|(_, count)| count).sum::<u64>();
    }

    /// Those that got no session.
    pub(super) fn early(&self) -> u64 {
        self.rejected - self.told
    }
}

/// A session of a listener that limits sources, with its client.
#[derive(Clone, Copy, Debug)]
pub struct Sourced {
    pub session: Key,
    pub at: SocketAddr,
    pub listener: ListenerId,
    pub limits: PerSource,
    pub source: IpAddr,
    /// When its client came to the listener, in nanoseconds.
    pub arrived_at: u64,
    /// When it was accepted.
    accepted_at: u64,
}

/// The sessions of a shard that have got past the limits of their source.
#[must_use]
pub fn sourced(table: &Table, kernel: &Kernel) -> Vec<Sourced> {
    let mut all = Vec::new();
    for (id, session) in table.iter() {
        let view = &table.view().listeners()[session.route.listener.index()];
        let Some(limits) = view.per_source else { continue };
        // One that waits for its hello has begun; one that waits for its header has not.
        let is_past = matches!(session.phase(), Phase::Connecting(_) | Phase::Relaying(_));
        if !is_past && table.source_of(id).is_none() {
            continue;
        }
        let Some(leg) = session.leg(Side::Client) else { continue };
        let (Some(at), Some(client), Some(arrived_at)) = kernel.arrival(leg) else { continue };
        all.push(Sourced {
            session: (id.slot, id.generation),
            at,
            listener: view.id,
            limits,
            source: masked(client, &limits),
            arrived_at,
            accepted_at: session.accepted_at.nanos,
        });
    }
    all
}

/// The first address of a client's source.
fn masked(client: IpAddr, limits: &PerSource) -> IpAddr {
    let bits = |prefix: u32, all: u32| (all - prefix.min(all)).min(127);
    match client {
        IpAddr::V4(ip) => {
            let low = u32::try_from((1_u64 << bits(limits.ipv4, 32)) - 1).unwrap_or(u32::MAX);
            IpAddr::from((ip.to_bits() & !low).to_be_bytes())
        }
        IpAddr::V6(ip) => {
            IpAddr::from((ip.to_bits() & !((1_u128 << bits(limits.ipv6, 128)) - 1)).to_be_bytes())
        }
    }
}

/// Sources as they were a turn ago.
#[derive(Debug, Default)]
pub(super) struct KnownSources {
    /// The limits of each listener, and since when they are these.
    since: BTreeMap<ListenerId, (PerSource, u64)>,
    counts: BTreeMap<(ListenerId, IpAddr), u32>,
    seen: BTreeSet<Key>,
    tokens: BTreeMap<(ListenerId, IpAddr), Tokens>,
    /// Sources that the shard had no room to remember.
    forgotten: u64,
}

impl KnownSources {
    /// A session has another name: it does not begin.
    pub(super) fn renamed(&mut self, to: Key) {
        self.seen.insert(to);
    }
}

impl Ledger {
    /// No source of a listener has more sessions, and no more begin, than the listener allows; and
    /// the shard's table counts the sessions that there are.
    ///
    /// # Errors
    /// It does not.
    pub fn check_per_source(&mut self, table: &Table, kernel: &Kernel) -> Result<(), String> {
        if !kernel.swarm.per_source.limited {
            return Ok(());
        }
        check_table(table)?;
        let snapshot = self.snapshot.iter();
        let limits = snapshot.flat_map(|snapshot| &snapshot.listeners);
        let limits: BTreeMap<ListenerId, PerSource> =
            limits.filter_map(|it| Some((it.id, it.per_source?))).collect();
        let known = &mut self.known_sources;
        // One of them may begin as if it had never come.
        let forgotten = table.client_sources().forgotten();
        if core::mem::replace(&mut known.forgotten, forgotten) != forgotten {
            known.tokens.clear();
        }
        known.since.retain(|id, (before, _)| limits.get(id) == Some(before));
        for (id, limits) in &limits {
            known.since.entry(*id).or_insert((*limits, self.now));
        }
        let mut counts: BTreeMap<(ListenerId, IpAddr), u32> = BTreeMap::new();
        let before = std::mem::take(&mut known.seen);
        for it in sourced(table, kernel) {
            let Some((limits, since)) = known.since.get(&it.listener) else { continue };
            let source = (it.listener, it.source);
            known.seen.insert(it.session);
            // Older ones may not be counted, or by another prefix.
            if *limits != it.limits || it.accepted_at <= *since {
                continue;
            }
            *counts.entry(source).or_default() += 1;
            if let Some(rate) = limits.rate.filter(|_| !before.contains(&it.session)) {
                let most = rate.events();
                let tokens = known.tokens.entry(source).or_insert_with(|| Tokens::full(most));
                // By a header it may be let in later than it was accepted.
                if !tokens.take(rate, most, 1, self.now) {
                    return Err(format!("more sessions of {source:?} begin than {rate} allows"));
                }
            }
        }
        let limits_of = |id: &ListenerId| known.since.get(id).and_then(|(it, _)| it.sessions);
        for (source, count) in &counts {
            let most = limits_of(&source.0).unwrap_or(u32::MAX);
            // One that is handed over counts, whatever the limit is.
            let grows = !self.has_renamed;
            if grows && *count > most && *count > known.counts.get(source).copied().unwrap_or(0) {
                return Err(format!("{count} sessions of {source:?}; {most} are allowed"));
            }
        }
        known.tokens.retain(|(id, _), _| limits.get(id).is_some_and(|it| it.rate.is_some()));
        known.counts = counts;
        Ok(())
    }
}

/// The table of a shard counts each session once, and nothing else.
fn check_table(table: &Table) -> Result<(), String> {
    let mut counts: BTreeMap<SourceKey, u32> = BTreeMap::new();
    for (id, _) in table.iter() {
        if let Some(key) = table.source_of(id) {
            *counts.entry(key).or_default() += 1;
        }
    }
    let sources = table.client_sources();
    if let Some((key, count)) =
        counts.iter().find(|(key, count)| sources.sessions(**key) != **count)
    {
        let counted = sources.sessions(*key);
        return Err(format!("{counted} sessions of {key:?} are counted, there are {count}"));
    }
    let (counted, there) = (sources.total(), counts.values().sum::<u32>());
    if counted != there {
        return Err(format!("{counted} sessions of sources are counted, there are {there}"));
    }
    Ok(())
}
