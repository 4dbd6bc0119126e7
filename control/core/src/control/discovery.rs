//! Backends that are found by DNS: when it is asked, and how the answers reach the shards.
//!
//! ```text
//! Output::Resolve ──▶ the shell asks ──▶ Input::Resolved ──▶ other members
//!     ──between two changes──▶ an edition of the snapshot ──▶ every shard
//! ```
//! An edition is no version (ADR 0047): it has the same spec, and the disk never hears of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use weir_core::base::clock::Now;
use weir_proto::answer::EventKind;
use weir_proto::ids::{IdSource, PoolId};
use weir_proto::snapshot::{Member, Snapshot};

use super::{Clocks, Control, Output};
use crate::planner;
use crate::resolve::{Lookup, LookupOutcome, News, RememberedMembers};

/// The snapshot with what was found before this process began.
pub(super) fn restored(
    snapshot: Snapshot,
    found: &BTreeMap<String, RememberedMembers>,
    ids: &mut IdSource,
) -> Snapshot {
    let pools = snapshot.pools.iter().enumerate();
    let known = pools.filter(|(_, pool)| pool.spec.discover.source().is_some());
    let known = known.filter_map(|(place, pool)| {
        let remembered = found.get(pool.name.as_str())?;
        let members = remembered.members.iter().copied();
        let good = members.filter(|it| !planner::is_listener(&snapshot, it.address));
        Some((place, good.collect::<Vec<_>>()))
    });
    let known: Vec<_> = known.collect();
    if known.is_empty() { snapshot } else { snapshot.regroup(known, ids) }
}

impl Control {
    /// When [`Control::take_lookups`] has something to do, or an edition may be sent; `None` if
    /// only another input can change that.
    pub(super) fn next_lookup(&self) -> Option<Now> {
        if self.resolve.has_regrouped() && !self.changes.is_busy() && !self.is_handing_over() {
            return Some(Now { nanos: 0 });
        }
        self.resolve.next_due()
    }

    /// Asks for the look-ups that are due.
    pub(super) fn take_lookups(&mut self, now: Now) {
        while let Some(lookup) = self.resolve.take(now) {
            self.outputs.push(Output::Resolve(lookup));
        }
    }

    /// A look-up has ended.
    pub(super) fn on_resolved(&mut self, lookup: &Lookup, outcome: LookupOutcome, moment: Clocks) {
        let Control { resolve, aggregate, snapshot, .. } = self;
        let pool = snapshot.pools.iter().find(|pool| pool.id == lookup.pool);
        let has_sessions = |address: SocketAddr| {
            let mut backends = pool.into_iter().flat_map(|pool| &pool.backends);
            let own = backends.find(|it| it.is_discovered && it.address.ip() == Some(address));
            let keeps = |id| aggregate.backend(id).sessions > 0 || aggregate.keeps_all();
            own.is_some_and(|it| keeps(it.id))
        };
        let news = resolve.heard(lookup, outcome, has_sessions, moment.now);
        for it in news {
            self.tell_discovery(it, moment);
        }
    }

    fn tell_discovery(&mut self, news: News, moment: Clocks) {
        let News { pool, is_bad, text } = news;
        let Some(name) = self.name_of_pool(pool) else { return };
        if is_bad {
            tracing::warn!("pool {name}: {text}");
        } else {
            tracing::info!("pool {name}: {text}");
        }
        self.events.push(EventKind::Discovery, name, text, moment.wall_ms);
    }

    fn name_of_pool(&self, id: PoolId) -> Option<String> {
        let pool = self.snapshot.pools.iter().find(|pool| pool.id == id);
        pool.map(|pool| pool.name.to_string())
    }

    /// Sends the next edition, with the pools whose members are others: as many as a slice has
    /// backends, the rest with the next wake.
    pub(super) fn regroup(&mut self, moment: Clocks) {
        let (mut regrouped, mut backends) = (Vec::new(), 0);
        while backends < self.slice.max(1)
            && let Some((id, members)) = self.resolve.take_regrouped()
        {
            let place = self.snapshot.pools.iter().position(|pool| pool.id == id);
            let Some(place) = place else { continue };
            let members = self.without_loops(&members);
            if members == self.snapshot.pools[place].members {
                continue;
            }
            backends += self.snapshot.pools[place].backends.len() + members.len();
            regrouped.push((place, members));
        }
        if regrouped.is_empty() {
            return;
        }
        let places: Vec<usize> = regrouped.iter().map(|(place, _)| *place).collect();
        let next = Arc::new(self.snapshot.regroup(regrouped, &mut self.ids));
        self.publish_edition(next, &places, moment);
    }

    /// Sends an edition that differs in the pools in these places. No one waits for its adoption.
    pub(super) fn publish_edition(
        &mut self,
        next: Arc<Snapshot>,
        places: &[usize],
        moment: Clocks,
    ) {
        let current = self.snapshot.clone();
        let scope = self.health.begin(&next);
        for &place in places {
            let (before, pool) = (&*current.pools[place], &next.pools[place]);
            self.prepare_pool((Some(before), pool), next.edition(), scope, moment.now);
        }
        let sockets = self.shards.iter().map(|_| Vec::new()).collect();
        self.publish(next, sockets, moment.now);
        // What is gone is no more than what was prepared.
        while self.sweep() {}
        self.tell_moved(moment.wall_ms);
    }

    /// The members that do not lead back to weir.
    fn without_loops(&self, members: &[Member]) -> Vec<Member> {
        let wildcards = self.snapshot.wildcard_binds();
        let is_loop = |address: SocketAddr| {
            let is_own = || wildcards.takes(address.into()) && self.fleet.is_own_address(address);
            planner::is_listener(&self.snapshot, address) || is_own()
        };
        let (loops, good): (Vec<Member>, Vec<Member>) =
            members.iter().partition(|member| is_loop(member.address));
        for it in loops {
            tracing::warn!("DNS names {}, which is weir itself: it is left out", it.address);
        }
        good
    }

    /// The disk keeps what was found, if it is something else.
    pub(super) fn remember_members(&mut self) {
        let found = self.resolve.to_remember();
        if found != self.remembered_members {
            self.remembered_members.clone_from(&found);
            self.outputs.push(Output::RememberMembers(found));
        }
    }
}
