//! Where connects come from: an address of the pool's list, of the backend's family, by turns; and
//! none is given up while there is an address that it has not tried.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use weir_core::limits::SOURCE_RESTS_MS;
use weir_proto::ids::PoolId;
use weir_proto::snapshot::{Pool, Snapshot};
use weir_proto::spec::SourceSpec;

use super::Ledger;
use crate::kernel::{Key, Seen};
use crate::net::of_ip;

/// EADDRNOTAVAIL.
const NO_ADDRESS: i32 = 99;

/// Everything that was seen of them.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// The last one of each pool and family, if it is known.
    last: BTreeMap<(PoolId, bool), IpAddr>,
    /// When each last had no port, or was not there.
    failed: BTreeMap<(PoolId, IpAddr), u64>,
    /// Tried in vain by the connect of a session, the last one included.
    tried: BTreeMap<Key, Vec<IpAddr>>,
    /// Not on this host, of the connect that comes next.
    refused: Vec<IpAddr>,
    /// A connect that has failed, unless it goes on from another one.
    given_up: Option<(Key, SocketAddr)>,
}

impl Ledger {
    /// Takes all that the shard has seen and done, in order.
    pub(super) fn check_sources(&mut self, seen: &Seen, now: u64) -> Result<(), String> {
        match *seen {
            Seen::NoSource { address, source, first } => {
                if first {
                    self.settle_sources(now)?;
                    self.check_turn(address, source, now)?;
                }
                self.took(address, source);
                self.fail_source(address, source, now);
                self.sources.refused.push(source);
                return Ok(());
            }
            Seen::From { session, address, source, again } => {
                return self.came_from((session, address), source, again, now);
            }
            _ => {}
        }
        self.settle_sources(now)?;
        match *seen {
            Seen::NotOpened { address } => {
                let refused = std::mem::take(&mut self.sources.refused);
                if !refused.is_empty() {
                    self.check_given_up(address, &refused, now)?;
                }
            }
            Seen::Answered { session, connected: Some(Err(NO_ADDRESS)) } => {
                let attempt = self.attempts.get(&session);
                let backend = attempt.filter(|it| it.waits_for == 1 && !it.left);
                let address = backend.and_then(|it| self.backend(it.backend?)).map(|it| it.address);
                self.sources.given_up = address.map(|address| (session, of_ip(address)));
            }
            _ => {}
        }
        Ok(())
    }

    /// A connect that has failed did not go on.
    pub(super) fn settle_sources(&mut self, now: u64) -> Result<(), String> {
        let Some((session, address)) = self.sources.given_up.take() else { return Ok(()) };
        // It may have begun before its pool had a list.
        let Some(mut tried) = self.sources.tried.remove(&session) else { return Ok(()) };
        if let Some(last) = tried.last() {
            self.fail_source(address, *last, now);
        }
        tried.append(&mut self.sources.refused);
        self.check_given_up(address, &tried, now)
    }

    fn came_from(
        &mut self,
        (session, address): (Key, SocketAddr),
        source: Option<IpAddr>,
        again: bool,
        now: u64,
    ) -> Result<(), String> {
        if !again {
            self.settle_sources(now)?;
            self.sources.tried.remove(&session);
        }
        let listed = self.listed(address);
        let Some(source) = source else {
            let what =
                || format!("a connect to {address} comes from anywhere, not from {listed:?}");
            return if listed.is_empty() { Ok(()) } else { Err(what()) };
        };
        if !listed.contains(&source) {
            return Err(format!("a connect to {address} comes from {source}, not of {listed:?}"));
        }
        let mut tried = self.sources.tried.remove(&session).unwrap_or_default();
        if again {
            self.sources.given_up = None;
            if let Some(last) = tried.last() {
                self.fail_source(address, *last, now);
            }
        }
        tried.append(&mut self.sources.refused);
        if tried.contains(&source) {
            return Err(format!("{session:?} comes from {source} again, after {tried:?}"));
        }
        if tried.is_empty() {
            self.check_turn(address, source, now)?;
        }
        self.took(address, source);
        tried.push(source);
        self.sources.tried.insert(session, tried);
        Ok(())
    }

    /// The pool of the backend there, and the addresses that connects to it come from.
    fn pool_at(&self, address: SocketAddr) -> Option<(PoolId, Option<&SourceSpec>)> {
        let (pool, _) = self.place(*self.ids.get(&address)?)?;
        Some((pool.id, pool.spec.source.as_ref()))
    }

    fn listed(&self, address: SocketAddr) -> Vec<IpAddr> {
        let spec = self.pool_at(address).and_then(|(_, spec)| spec);
        spec.map_or(Vec::new(), |SourceSpec::Addresses(all)| {
            all.iter().copied().filter(|it| it.is_ipv4() == address.is_ipv4()).collect()
        })
    }

    fn rests(&self, pool: PoolId, source: IpAddr, now: u64) -> bool {
        let failed = self.sources.failed.get(&(pool, source));
        failed.is_some_and(|at| now < at + u64::from(SOURCE_RESTS_MS) * 1_000_000)
    }

    fn fail_source(&mut self, address: SocketAddr, source: IpAddr, now: u64) {
        if let Some((pool, _)) = self.pool_at(address) {
            self.sources.failed.insert((pool, source), now);
        }
    }

    fn took(&mut self, address: SocketAddr, source: IpAddr) {
        if let Some((pool, _)) = self.pool_at(address) {
            self.sources.last.insert((pool, address.is_ipv4()), source);
        }
    }

    /// The first address of a connect is the next one that does not rest.
    fn check_turn(&self, address: SocketAddr, source: IpAddr, now: u64) -> Result<(), String> {
        let (Some((pool, _)), listed) = (self.pool_at(address), self.listed(address)) else {
            return Ok(());
        };
        let last = self.sources.last.get(&(pool, address.is_ipv4()));
        let Some(last) = last.and_then(|last| listed.iter().position(|it| it == last)) else {
            return Ok(());
        };
        let (before, after) = listed.split_at(last + 1);
        let mut turns: Vec<IpAddr> = after.iter().chain(before).copied().collect();
        if turns.iter().any(|it| !self.rests(pool, *it, now)) {
            turns.retain(|it| !self.rests(pool, *it, now));
        }
        match turns.first() == Some(&source) {
            true => Ok(()),
            false => Err(format!("it is the turn of {turns:?}, and {source} is taken")),
        }
    }

    /// No address that was not tried would have been left.
    fn check_given_up(
        &self,
        address: SocketAddr,
        tried: &[IpAddr],
        now: u64,
    ) -> Result<(), String> {
        let Some((pool, _)) = self.pool_at(address) else { return Ok(()) };
        let listed = self.listed(address);
        let left = |it: &&IpAddr| !tried.contains(it) && !self.rests(pool, **it, now);
        match listed.iter().find(left) {
            Some(left) => Err(format!("{address} is given up after {tried:?}, and not {left}")),
            None => Ok(()),
        }
    }

    /// Another version: a list that is another one begins from its start.
    pub(super) fn adopt_sources(&mut self, next: &Snapshot) {
        let before: Vec<&Pool> =
            self.snapshot.iter().flat_map(|it| &it.pools).map(|pool| &**pool).collect();
        let is_same = |id: PoolId| {
            let of = |pool: &&&Pool| pool.id == id;
            let (old, new) = (before.iter().find(of), next.pools.iter().find(|it| it.id == id));
            old.zip(new).is_some_and(|(old, new)| old.spec.source == new.spec.source)
        };
        self.sources.last.retain(|(pool, _), _| is_same(*pool));
        self.sources.failed.retain(|(pool, _), _| is_same(*pool));
    }
}
