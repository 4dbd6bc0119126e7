//! Orders from control, and reports back to it. Neither side ever waits for the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_core::event::Leg;
use weir_core::limits::{
    ORDERS_PER_TURN_MAX, SCANNED_PER_TURN_MAX, SEARCH_PAUSE_MS, SWEEP_PER_TURN_MAX,
};
use weir_core::table::{AskLegs, Found};
use weir_proto::order::{HealthWords, ListenerSocket, Order, Report};
use weir_proto::session::LegRow;
use weir_proto::snapshot::Snapshot;
use weir_proto::stats::ShardStats;

use super::Shard;
use crate::io::Io;

impl<I: Io> Shard<I> {
    /// Takes what is in the mailbox, if the bell has rung; the rest in the next turn.
    pub(super) fn take_orders(&mut self) {
        if !self.bell_rang {
            return;
        }
        for _ in 0..ORDERS_PER_TURN_MAX {
            match self.mailbox.take() {
                Some(order) => self.obey(order),
                None => {
                    self.bell_rang = false;
                    return;
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Adopt { snapshot, sockets, health } => self.adopt(snapshot, sockets, health),
            Order::Health(words) => self.hear_health(words),
            Order::LoadElsewhere(list) => {
                for (backend, sessions) in list {
                    self.table.set_remote_sessions(backend, sessions);
                }
            }
            Order::Collect { spare } => self.collect(spare),
            Order::Kill(backend) => self.table.kill_backend(backend),
            Order::Shed { of, count } => self.table.shed(of, count),
            Order::Search(search) => self.table.search(*search),
            Order::Credit(list) => {
                list.into_iter().for_each(|credit| self.table.hear_credit(credit));
                self.sockets.touch();
            }
            Order::Give { channel: Some(channel), most } => {
                let channel = self.io.channel(channel);
                self.begin_to_give(channel, most);
            }
            Order::Take { channel: Some(channel) } => {
                let channel = self.io.channel(channel);
                self.begin_to_take(channel);
            }
            Order::Give { channel: None, .. } | Order::Take { channel: None } => {
                unreachable!("the mailbox brings the channel")
            }
            Order::Drain => {
                self.draining = true;
                self.shutdown_listeners();
            }
            Order::Serve => self.draining = self.stopping,
            Order::Stop => {
                self.draining = true;
                self.stopping = true;
                self.shutdown_listeners();
                self.stop_handing_over();
                self.table.stop();
            }
        }
    }

    fn hear_health(&mut self, words: HealthWords) {
        for (backend, health) in words {
            self.table.set_health(backend, health, self.now);
        }
        self.sockets.touch();
    }

    fn adopt(
        &mut self,
        snapshot: Arc<Snapshot>,
        sockets: Vec<ListenerSocket>,
        health: HealthWords,
    ) {
        self.table.adopt(&snapshot, self.now);
        self.hear_health(health);
        self.follow_addresses(&snapshot, sockets);
        let edition = snapshot.edition();
        self.pending_reports.push_back(Report::Adopted { shard: self.setup.id, edition });
        // The view has taken what it needs; control frees the snapshot, so that no shard ever does.
        self.pending_reports.push_back(Report::Retired(snapshot));
    }

    fn collect(&mut self, spare: Box<ShardStats>) {
        let counts = self.io.take_counts();
        let elapsed = self.now - self.collected_at;
        self.collected_at = self.now;
        let totals = self.table.counters().totals();
        totals.enters += counts.enters;
        totals.completions += counts.completions;
        totals.cq_overflow += counts.overflows;
        totals.turn_max_ns = totals.turn_max_ns.max(nanos(counts.turn_max));
        totals.slow_turns += counts.slow_turns;
        totals.busy_ns += nanos(elapsed.saturating_sub(counts.waited));
        let mut full = self.table.collect(spare);
        full.buffers_free_now = self.io.free_buffers().shared;
        self.count_waiting(&mut full);
        self.pending_reports.push_back(Report::Stats(full));
    }

    /// True if a search is under way, and control takes what it finds.
    pub(super) fn may_search(&self) -> bool {
        self.table.is_searching() && self.pending_reports.is_empty()
    }

    /// Goes on with a search among the sessions: a page a turn, with a pause behind it, and none
    /// while control has fallen behind.
    pub(super) fn search(&mut self) {
        if !self.may_search() || self.now < self.search_after {
            return;
        }
        self.search_after = self.now.plus_millis(SEARCH_PAUSE_MS);
        let mut scan = SCANNED_PER_TURN_MAX;
        for _ in 0..SWEEP_PER_TURN_MAX {
            let (mut legs, out) = (LegsOf(&mut self.io), &mut self.actions);
            match self.table.search_next(self.now, &mut scan, &mut legs, out) {
                None => return,
                Some(Found::Ended(id)) => self.perform(id),
                Some(Found::Page(page)) => {
                    let shard = self.setup.id;
                    return self.pending_reports.push_back(Report::Sessions { shard, page });
                }
            }
        }
    }

    pub(super) fn report_ejections(&mut self) {
        while let Some((backend, fault)) = self.table.take_ejection() {
            self.pending_reports.push_back(Report::Ejected {
                shard: self.setup.id,
                backend,
                fault,
            });
        }
    }

    /// Sends what control has room for.
    pub(super) fn post(&mut self) {
        self.post_outbox();
        // Never more than one waits: how it stands now is all that counts.
        if self.has_wants && self.pending_reports.is_empty() {
            self.has_wants = false;
            let (shard, edition) = (self.setup.id, self.table.view().edition);
            let wants = self.table.take_wants();
            self.pending_reports.push_back(Report::Want { shard, edition, wants });
            self.post_outbox();
        }
    }

    /// Hands over the records of the session log that no box will take any more.
    pub(super) fn post_last_records(&mut self) {
        let records = std::mem::take(self.table.counters().session_log());
        if !records.is_empty() {
            let shard = self.setup.id;
            self.pending_reports.push_back(Report::SessionLog { shard, records: records.into() });
            self.post_outbox();
        }
    }

    fn post_outbox(&mut self) {
        while let Some(report) = self.pending_reports.pop_front() {
            if let Err(report) = self.mailbox.report(report) {
                return self.pending_reports.push_front(report);
            }
        }
    }
}

/// The kernel's word on legs.
struct LegsOf<'a, I>(&'a mut I);

impl<I: Io> AskLegs for LegsOf<'_, I> {
    fn peer(&mut self, leg: Leg) -> Option<SocketAddr> {
        self.0.peer(leg)
    }

    fn describe(&mut self, leg: Leg) -> Option<LegRow> {
        self.0.describe(leg)
    }
}

/// Whole nanoseconds, as counters of time are kept.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
