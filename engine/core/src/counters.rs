//! What a shard counts, row by row beside the view's slots, in a box that is handed to control
//! whole.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use weir_proto::counters::ShardCounts;
use weir_proto::ids::ShardId;
use weir_proto::reason::{CloseReason, ConnectCap, ConnectFault, SessionEnd};
use weir_proto::samples::{DurationSample, SampledPhase};
use weir_proto::session_log::SessionRecords;
use weir_proto::stats::{BackendStats, ListenerStats, PoolStats, Reject, ShardStats};

use crate::slot::{BackendSlot, ListenerSlot, PoolSlot};
use crate::view::View;

/// The counters of one shard.
#[derive(Debug)]
pub struct ShardCounters {
    /// `listeners`, `pools` and `backends` have one row for each slot of the view.
    current: Box<ShardStats>,
    /// Rows whose slot was given to another object before they were handed over.
    departed: Departed,
}

#[derive(Debug, Default)]
struct Departed {
    listeners: Vec<ListenerStats>,
    pools: Vec<PoolStats>,
    backends: Vec<BackendStats>,
}

impl ShardCounters {
    #[must_use]
    pub fn new(shard: ShardId) -> ShardCounters {
        ShardCounters { current: Box::new(ShardStats::new(shard)), departed: Departed::default() }
    }

    /// Follows the view after it has adopted a snapshot, which gave these slots to other backends.
    pub fn follow(&mut self, view: &View, given: &[BackendSlot]) {
        self.fit_few(view);
        given.iter().for_each(|slot| self.fit_backend(slot.index(), view));
    }

    /// Gives every slot of the view its row.
    fn fit(&mut self, view: &View) {
        self.fit_few(view);
        (0..view.backends().len()).for_each(|slot| self.fit_backend(slot, view));
    }

    fn fit_few(&mut self, view: &View) {
        let rows = &mut *self.current;
        for (slot, listener) in view.listeners().iter().enumerate() {
            let fresh = ListenerStats { id: listener.id, ..ListenerStats::default() };
            let same = rows.listeners.get(slot).is_some_and(|row| row.id == listener.id);
            put(&mut rows.listeners, &mut self.departed.listeners, (slot, same), || fresh);
        }
        for (slot, pool) in view.pools().iter().enumerate() {
            let same = rows.pools.get(slot).is_some_and(|row| row.id == pool.id);
            let fresh = || PoolStats::new(pool.id);
            put(&mut rows.pools, &mut self.departed.pools, (slot, same), fresh);
        }
    }

    fn fit_backend(&mut self, slot: usize, view: &View) {
        let id = view.backends()[slot].id;
        let rows = &mut self.current.backends;
        let same = rows.get(slot).is_some_and(|row| row.id == id);
        let fresh = || BackendStats { id, ..BackendStats::default() };
        put(rows, &mut self.departed.backends, (slot, same), fresh);
    }

    /// Hands over what was counted since the last time and goes on with `spare`, which is empty.
    #[must_use]
    pub fn hand_over(&mut self, spare: Box<ShardStats>, view: &View) -> Box<ShardStats> {
        let mut full = mem::replace(&mut self.current, spare);
        self.current.shard = full.shard;
        self.current.listeners.truncate(view.listeners().len());
        self.current.pools.truncate(view.pools().len());
        self.current.backends.truncate(view.backends().len());
        let mut departed = mem::take(&mut self.departed);
        // What the spare holds is zero, so rows of the past in it are dropped, not departed.
        self.fit(view);
        self.departed = Departed::default();
        full.edition = view.edition;
        for (row, listener) in full.listeners.iter_mut().zip(view.listeners()) {
            row.sessions_now = listener.sessions;
        }
        for (row, pool) in full.pools.iter_mut().zip(view.pools()) {
            row.stalled_now = pool.stalled;
        }
        for (row, backend) in full.backends.iter_mut().zip(view.backends()) {
            (row.sessions_now, row.connecting_now) = (backend.sessions, backend.waiting());
        }
        full.listeners.append(&mut departed.listeners);
        full.pools.append(&mut departed.pools);
        full.backends.append(&mut departed.backends);
        full
    }

    /// The records that control has not taken.
    pub fn session_log(&mut self) -> &mut SessionRecords {
        &mut self.current.session_log
    }

    /// The counters of the loop itself.
    pub fn totals(&mut self) -> &mut ShardCounts {
        &mut self.current.counts
    }

    pub fn accepted(&mut self, listener: ListenerSlot) {
        self.current.listeners[listener.index()].counts.accepted += 1;
    }

    pub fn rejected(&mut self, listener: ListenerSlot, why: Reject) {
        self.current.listeners[listener.index()].counts.rejected[why as usize] += 1;
    }

    pub fn picked(&mut self, pool: PoolSlot, is_retry: bool) {
        let pool = &mut self.current.pools[pool.index()];
        pool.counts.picks += 1;
        pool.counts.retries += u64::from(is_retry);
    }

    pub fn no_backend(&mut self, pool: PoolSlot) {
        self.current.pools[pool.index()].counts.no_backend += 1;
    }

    /// A session has to wait for a backend with room.
    pub fn queued(&mut self, pool: PoolSlot) {
        self.current.pools[pool.index()].counts.queued += 1;
    }

    /// It has got one after so long.
    pub fn waited(&mut self, pool: PoolSlot, took: Duration) {
        self.current.pools[pool.index()].queue.record(micros(took));
    }

    /// A retry has to wait for its turn.
    pub fn retry_waits(&mut self, pool: PoolSlot) {
        self.current.pools[pool.index()].counts.retry_budget_exhausted += 1;
    }

    /// A backend of this pool was not ejected, because too few would have been left.
    pub fn spared(&mut self, pool: PoolSlot) {
        self.current.pools[pool.index()].counts.ejections_refused += 1;
    }

    pub fn connect_failed(&mut self, backend: BackendSlot, fault: ConnectFault) {
        self.current.backends[backend.index()].counts.connect_failures[fault as usize] += 1;
    }

    /// A connect to a backend with limits has begun, which may be the last that this shard may
    /// begin there for now, by [`ConnectCap`].
    pub fn capped(&mut self, backend: BackendSlot, is_last: [bool; ConnectCap::ALL.len()]) {
        let counts = &mut self.current.backends[backend.index()].counts.capped;
        counts.iter_mut().zip(is_last).for_each(|(count, is_last)| *count += u64::from(is_last));
    }

    /// A backend has closed or reset a session before it had sent a byte.
    pub fn closed_early(&mut self, backend: BackendSlot) {
        self.current.backends[backend.index()].counts.early_closes += 1;
    }

    pub fn connected(&mut self, pool: PoolSlot, backend: BackendSlot, took: Duration) {
        self.current.backends[backend.index()].counts.sessions += 1;
        self.sample(backend, SampledPhase::Connect, took);
        let pool = &mut self.current.pools[pool.index()];
        pool.connect.record(micros(took));
    }

    pub fn first_byte(&mut self, pool: PoolSlot, backend: BackendSlot, took: Duration) {
        self.sample(backend, SampledPhase::FirstByte, took);
        let pool = &mut self.current.pools[pool.index()];
        pool.first_byte.record(micros(took));
    }

    fn sample(&mut self, backend: BackendSlot, phase: SampledPhase, took: Duration) {
        let backend = self.current.backends[backend.index()].id;
        let us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.current.samples.put(DurationSample { backend, phase, us });
    }

    pub fn ended(&mut self, pool: PoolSlot, reason: CloseReason, took: Duration) {
        let pool = &mut self.current.pools[pool.index()];
        pool.ends.count(reason);
        pool.session.record(micros(took));
    }

    /// A session that this backend had is over.
    pub fn left(&mut self, backend: BackendSlot, end: &SessionEnd) {
        let counts = &mut self.current.backends[backend.index()].counts;
        counts.first_closes[end.first as usize] += 1;
        for (sum, bytes) in counts.undelivered_bytes.iter_mut().zip(end.undelivered_bytes) {
            *sum += bytes;
        }
    }

    /// Each side of a session has taken nothing for these milliseconds more.
    pub fn blocked(&mut self, backend: BackendSlot, ms: [u32; 2]) {
        let counts = &mut self.current.backends[backend.index()].counts;
        for (sum, ms) in counts.blocked_ns.iter_mut().zip(ms) {
            *sum += u64::from(ms) * 1_000_000;
        }
    }

    pub fn received(&mut self, backend: BackendSlot, bytes: u32) {
        self.current.backends[backend.index()].counts.received_bytes += u64::from(bytes);
    }

    pub fn sent(&mut self, backend: BackendSlot, bytes: u32) {
        self.current.backends[backend.index()].counts.sent_bytes += u64::from(bytes);
    }
}

/// Puts a fresh row into a slot that has changed hands; what was counted there departs.
fn put<T>(
    rows: &mut Vec<T>,
    departed: &mut Vec<T>,
    (slot, same): (usize, bool),
    fresh: impl FnOnce() -> T,
) {
    match rows.get_mut(slot) {
        Some(_) if same => {}
        Some(row) => departed.push(mem::replace(row, fresh())),
        None => rows.push(fresh()),
    }
}

/// Whole microseconds.
fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
