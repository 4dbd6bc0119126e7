//! The ledger of connects: to whom one may go, how many retries there may be and how late, what a
//! failure means for health.

use std::net::SocketAddr;

use weir_core::limits::{RETRIES_MIN, RETRIES_PERCENT, STUCK_CONNECTS};
use weir_proto::ids::BackendId;
use weir_proto::order::BackendHealth;
use weir_proto::snapshot::{Backend, Pool, RETRY_ATTEMPTS_MAX};
use weir_proto::spec::Admin;

use super::Ledger;
use super::caps::may_be_full;
use crate::kernel::{Key, is_local};

/// Failed connects in a row that eject a backend (docs/operating.md).
const FAILURES_MAX: u32 = 3;

impl Ledger {
    pub(super) fn cancelled(&mut self, session: Key, now: u64) {
        let attempt = self.attempts.get(&session).cloned().unwrap_or_default();
        let place = attempt.backend.and_then(|id| self.place(id));
        let due = place.map_or(0, |(pool, _)| {
            attempt.asked_at + u64::from(pool.timeouts.connect_ms) * 1_000_000
        });
        let attempt = self.attempts.entry(session).or_default();
        attempt.waits_for += 1;
        attempt.cut_short = now < due;
    }

    /// A retry is one of few.
    fn check_retry(&self, session: Key, pool: &Pool) -> Result<(), String> {
        if self.fuzzy {
            return Ok(());
        }
        let others = self.attempts.iter().filter(|(key, _)| **key != session);
        let others = others.filter(|(_, attempt)| attempt.live == Some(pool.id));
        let counts = others.map(|(_, attempt)| u64::from(attempt.count > 1));
        let (retries, connects) = counts.fold((0, 0), |(sum, all), one| (sum + one, all + 1));
        if retries >= RETRIES_MIN.max(connects * u64::from(RETRIES_PERCENT) / 100) {
            let name = &pool.name;
            return Err(format!(
                "{retries} retries in {name} of {connects} connects, and one more"
            ));
        }
        Ok(())
    }

    /// A connect goes only to a backend that may have new sessions.
    pub(super) fn asked(
        &mut self,
        (session, fresh): (Key, bool),
        address: SocketAddr,
        now: u64,
    ) -> Result<(), String> {
        self.connects_checked += 1;
        self.caps.begins(self.ids.get(&address).copied());
        let Some(id) = self.ids.get(&address).copied() else {
            return Err(format!("a connect to {address}, which no version has named"));
        };
        let edition = self.edition();
        let attempt = self.attempts.entry(session).or_default();
        // Another edition numbers the backends of a pool again: what was tried is then not known
        // for sure.
        if attempt.edition != edition {
            attempt.tried.clear();
        }
        if attempt.tried.contains(&id) {
            return Err(format!("{session:?} tries backend {id} again, after {:?}", attempt.tried));
        }
        attempt.tried.push(id);
        attempt.count += 1;
        if attempt.count > usize::from(RETRY_ATTEMPTS_MAX) + 1 {
            return Err(format!("{session:?} has tried {} times", attempt.count));
        }
        (attempt.backend, attempt.waits_for, attempt.edition) = (Some(id), 1, edition);
        (attempt.failed, attempt.asked_at, attempt.cut_short) = (None, now, false);
        let is_retry = attempt.count > 1;
        let first_at = if is_retry { attempt.first_at } else { now };
        attempt.first_at = first_at;
        let pool = self.place(id).map(|(pool, _)| pool.id);
        self.attempts.entry(session).or_default().live = pool;
        // One that waits gets its backend when others have come in.
        let waits = self.place(id).is_some_and(|(pool, _)| is_limited(pool));
        let came_in = self.came_in.take().filter(|_| fresh && self.late == 0 && !waits);
        if let Some(listens) = came_in {
            self.check_pool(listens, id)?;
        }
        let Some((pool, backend)) = self.place(id) else {
            return Err(format!(
                "a connect to {address}, which is not in version {}",
                self.edition()
            ));
        };
        if !backend.admin.is_ready() || backend.weight == 0 {
            let Backend { name, admin, weight, .. } = backend;
            return Err(format!("a connect to {name}, which is {admin:?} with weight {weight}"));
        }
        if !self.fuzzy && !self.is_healthy(id) && !self.is_in_panic(pool) {
            return Err(format!("a connect to {}, which is not healthy", backend.name));
        }
        let attempt = &self.attempts[&session];
        let tried = (attempt.tried.len() == attempt.count).then_some(&attempt.tried[..]);
        self.check_group(pool, backend, tried)?;
        let within_ms = (now - first_at) / 1_000_000;
        if is_retry && within_ms >= u64::from(pool.retry.within_ms) {
            return Err(format!("{session:?} tries again after {within_ms} ms"));
        }
        if is_retry {
            return self.check_retry(session, pool);
        }
        self.check_share(id, now)
    }

    /// One whose share grows gets no more than that.
    fn check_share(&mut self, picked: BackendId, now: u64) -> Result<(), String> {
        let Some(snapshot) = self.snapshot.clone() else { return Ok(()) };
        let pool = snapshot.pools.iter().find(|it| it.backends.iter().any(|b| b.id == picked));
        let is_weighed = |pool: &Pool| !self.fuzzy && !self.is_in_panic(pool) && !is_limited(pool);
        let Some(pool) = pool.filter(|pool| is_weighed(pool)) else {
            return Ok(());
        };
        let priority = pool.backends.iter().find(|it| it.id == picked).map(|it| it.priority);
        // Who too many connects wait for may be spared: the others then get its share.
        let waiting = |id: BackendId| {
            self.attempts.values().filter(|it| it.waits_for > 0 && it.backend == Some(id)).count()
        };
        let is_full = |backend: &&Backend| {
            backend.admin == Admin::Ready
                && backend.weight > 0
                && priority == Some(backend.priority)
                && self.is_healthy(backend.id)
                && !self.shares.grows(backend.id)
                && waiting(backend.id) < STUCK_CONNECTS as usize
        };
        if pool.backends.iter().any(|backend| is_full(&backend)) {
            self.shares.picked(pool, picked, now)?;
        }
        Ok(())
    }

    /// A client gets a backend of the pool that its listener has in this version.
    fn check_pool(&self, listens: SocketAddr, id: BackendId) -> Result<(), String> {
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        let owner = self.listens.get(&listens);
        let listener = snapshot.listeners.iter().find(|it| Some(&it.id) == owner);
        let Some(listener) = listener.filter(|listener| listener.accepting) else {
            return Err(format!("a client comes in by {listens}, where nobody should listen"));
        };
        let pool = &snapshot.pools[listener.pool];
        if pool.backends.iter().any(|backend| backend.id == id) {
            return Ok(());
        }
        Err(format!("backend {id} is not in pool {}, which {listens} has", pool.name))
    }

    pub(super) fn client_left(&mut self, session: Key) {
        if let Some(attempt) = self.attempts.get_mut(&session) {
            attempt.left = true;
        }
    }

    /// A connect, or the cancel of one, was answered.
    pub(super) fn answered(&mut self, session: Key, connected: Option<Result<(), i32>>) {
        let Some(attempt) = self.attempts.get_mut(&session) else { return };
        attempt.waits_for = attempt.waits_for.saturating_sub(1);
        if attempt.left && attempt.waits_for == 0 {
            attempt.live = None;
        }
        let Some(id) = attempt.backend.filter(|_| !attempt.left) else { return };
        match connected {
            Some(Ok(())) => {
                attempt.live = None;
                self.counts.backends.entry(id).or_default().connects += 1;
                if self.failures.contains_key(&id) && !self.closes.contains(&id) {
                    self.failures.insert(id, 0);
                }
            }
            Some(Err(errno)) => attempt.failed = Some(errno),
            None => {}
        }
        if attempt.waits_for > 0 {
            return;
        }
        attempt.live = None;
        let cut_short = attempt.cut_short;
        let Some(errno) = attempt.failed.take() else { return };
        if self.failed(id, is_local(errno) || cut_short) {
            self.closes.remove(&id);
        }
    }

    /// The shard takes a session from a backend that has closed before its first byte: a connect
    /// that has failed.
    pub(super) fn dropped(&mut self, session: Key) {
        let backend = self.attempts.get(&session).and_then(|attempt| attempt.backend);
        if let Some(id) = backend
            && self.failed(id, false)
        {
            self.closes.insert(id);
        }
    }

    /// A byte of the backend's has come: if it is the session's first, the backend works.
    pub(super) fn first_byte(&mut self, session: Key) {
        let backend = self.attempts.get(&session).and_then(|attempt| attempt.backend);
        if let (Some(id), true) = (backend, self.answered.insert(session)) {
            self.closes.remove(&id);
            if let Some(failures) = self.failures.get_mut(&id) {
                *failures = 0;
            }
        }
    }

    /// Each ejection was to be expected, sooner or later.
    pub(super) fn ejections_in_time(&mut self, ejected: &[BackendId]) -> Result<(), String> {
        for id in ejected {
            let place = self.ejected.iter().position(|expected| expected == id);
            match place {
                Some(place) => drop(self.ejected.swap_remove(place)),
                None if self.fuzzy => {}
                None => return Err(format!("backend {id} is ejected for nothing")),
            }
            self.ejections_checked += 1;
        }
        Ok(())
    }

    /// A connect has failed; `blames_none`: not by the backend's fault. True if it counts.
    fn failed(&mut self, id: BackendId, blames_none: bool) -> bool {
        self.counts.backends.entry(id).or_default().failures += 1;
        let Some((pool, backend)) = self.place(id) else { return false };
        if blames_none || !self.is_healthy(id) {
            return false;
        }
        // At least half of the pool stays in.
        let (up, members) = self.members(pool);
        let is_member = backend.admin == Admin::Ready && backend.weight > 0;
        let may_go = !is_member || up > members.div_ceil(2);
        let failures = self.failures.entry(id).or_default();
        *failures += 1;
        if *failures >= FAILURES_MAX && may_go {
            self.health.insert(id, BackendHealth::Down);
            self.shares.forget(id);
            self.ejected.push(id);
            self.own_ejections.insert(id);
        }
        true
    }
}

/// Sessions may have to wait in this pool, and go to another backend than to the one whose turn it
/// is.
fn is_limited(pool: &Pool) -> bool {
    pool.backends.iter().any(may_be_full)
}
