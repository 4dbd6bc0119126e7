//! The limits of one backend, and this shard's part of each: sessions at once, connects on their
//! way at once, and how often a connect begins.

use alloc::boxed::Box;
use alloc::vec::Vec;

use weir_proto::ids::BackendId;
use weir_proto::order::{Credit, Limited, Want};
use weir_proto::reason::ConnectCap;
use weir_proto::snapshot::Backend;

use super::BackendView;
use crate::base::clock::Now;
use crate::lease::Lease;
use crate::rate::RateLease;

/// The limits of one backend; one of them at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct BackendLimits {
    sessions: Option<CountLimit>,
    connecting: Option<CountLimit>,
    connect_rate: Option<RateLease>,
    /// It is in [`Touched::backends`](super::room::Touched).
    pub(super) is_touched: bool,
    /// It is in [`Touched::awaiting`](super::room::Touched).
    pub(super) awaits_token: bool,
}

/// A limit of what there is at once, and this shard's part of it.
#[derive(Clone, Copy, Debug)]
struct CountLimit {
    most: u32,
    lease: Lease,
}

/// Credits of this shard under one limit of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditsHeld {
    pub of: Limited,
    /// Of a rate 0: what has begun is gone.
    pub used: u32,
    pub held: u32,
    /// Unused, and lacked by another shard.
    pub owed: u32,
}

/// Sessions of this shard that a backend has, and those of them whose connect is on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct InUse {
    sessions: u32,
    connecting: u32,
}

impl CountLimit {
    /// The limit of `most` under a version, of which this shard had `before`; `used` count.
    fn new(most: u32, before: Option<CountLimit>, used: u32) -> CountLimit {
        let Some(CountLimit { most: most_before, mut lease }) = before else {
            return CountLimit { most, lease: Lease::ahead(used) };
        };
        if most < most_before {
            lease.lower(used);
        }
        CountLimit { most, lease }
    }
}

impl BackendLimits {
    /// The limits of `backend`, of which this shard had `before`; `None` if it has none.
    pub(super) fn new(backend: &Backend, before: Option<&BackendView>) -> Option<Box<Self>> {
        let Backend { max_sessions, connecting, connect_rate, .. } = *backend;
        if max_sessions.is_none() && connecting.is_none() && connect_rate.is_none() {
            return None;
        }
        let used = before.map_or(InUse { sessions: 0, connecting: 0 }, BackendView::in_use);
        let known = before.and_then(|old| old.limits.as_deref());
        let (of_sessions, of_connects) =
            (known.and_then(|it| it.sessions), known.and_then(|it| it.connecting));
        let of_rate = known.and_then(|it| it.connect_rate);
        Some(Box::new(BackendLimits {
            sessions: max_sessions.map(|most| CountLimit::new(most, of_sessions, used.sessions)),
            connecting: connecting.map(|most| CountLimit::new(most, of_connects, used.connecting)),
            connect_rate: connect_rate.map(|rate| match of_rate {
                Some(lease) => lease.under(rate),
                None => RateLease::ahead(rate),
            }),
            is_touched: known.is_some_and(|it| it.is_touched),
            awaits_token: false,
        }))
    }

    /// The limits of what there is at once, each with what is used of it.
    fn counted(&mut self, used: InUse) -> impl Iterator<Item = (&mut Lease, u32)> {
        let both = [(&mut self.sessions, used.sessions), (&mut self.connecting, used.connecting)];
        both.into_iter().filter_map(|(limit, used)| Some((&mut limit.as_mut()?.lease, used)))
    }

    /// A session has come from another shard; it has `used` of them now.
    pub(super) fn session_resumed(&mut self, used: u32) {
        if let Some(limit) = &mut self.sessions {
            limit.lease.resume(used);
        }
    }

    /// True if another session may be given to it.
    fn has_room(&self, used: InUse) -> bool {
        let room =
            |limit: &Option<CountLimit>, used| limit.is_none_or(|limit| limit.lease.room(used) > 0);
        room(&self.sessions, used.sessions)
            && room(&self.connecting, used.connecting)
            && self.connect_rate.is_none_or(|rate| rate.room() > 0)
    }

    /// Before sessions that wait are given a backend: gives back what others lack.
    ///
    /// A session that waits for one limit wants nothing of those after it: two shards of which each
    /// has a credit of another limit, and keeps it for the session that waits, would wait for each
    /// other.
    pub(super) fn give_back(&mut self, used: InUse, mut waits: bool, now: Now) {
        for (lease, used) in self.counted(used) {
            lease.give_back(used, waits);
            waits &= lease.room(used) > 0;
        }
        if let Some(rate) = &mut self.connect_rate {
            rate.gain(now);
            rate.give_back(waits);
        }
    }

    /// After that: wants what is lacked. Returns when the next token comes, if none is there.
    pub(super) fn settle(&mut self, used: InUse, mut waits: bool) -> Option<Now> {
        for (lease, used) in self.counted(used) {
            lease.settle(used, waits);
            waits &= lease.room(used) > 0;
        }
        self.connect_rate.as_mut()?.settle(waits)
    }

    pub(super) fn tell_again(&mut self) {
        for limit in [&mut self.sessions, &mut self.connecting].into_iter().flatten() {
            limit.lease.tell_again();
        }
        if let Some(rate) = &mut self.connect_rate {
            rate.tell_again();
        }
    }

    /// Adds the tokens that time has brought: there is one, as was awaited.
    pub(super) fn gain(&mut self, now: Now) {
        self.awaits_token = false;
        self.connect_rate.iter_mut().for_each(|rate| rate.gain(now));
    }

    /// True if it has credits of a rate, and none of them a token.
    pub(super) fn lacks_a_token(&self) -> bool {
        self.connect_rate.is_some_and(|rate| rate.held() > 0 && rate.room() == 0)
    }

    /// Control's word on one of them.
    pub(super) fn hear(&mut self, credit: Credit) {
        let Credit { of, given, keep } = credit;
        let counted = match of {
            Limited::Backend(_) => &mut self.sessions,
            Limited::Connecting(_) => &mut self.connecting,
            Limited::ConnectRate(_) => {
                return self.connect_rate.iter_mut().for_each(|rate| rate.hear(given, keep));
            }
            Limited::Listener(_) | Limited::Rate(_) => return,
        };
        counted.iter_mut().for_each(|limit| limit.lease.hear(given, keep));
    }

    pub(super) fn is_news(&self) -> bool {
        let counted = [&self.sessions, &self.connecting].into_iter().flatten();
        counted.into_iter().any(|limit| limit.lease.is_news())
            || self.connect_rate.is_some_and(|rate| rate.is_news())
    }

    /// Takes what control does not know of them.
    pub(super) fn take_wants(&mut self, id: BackendId, wants: &mut Vec<Want>) {
        let sessions = self.sessions.as_mut().and_then(|it| it.lease.take_news());
        let connecting = self.connecting.as_mut().and_then(|it| it.lease.take_news());
        let rate = self.connect_rate.as_mut().and_then(RateLease::take_news);
        let all = [
            (Limited::Backend(id), sessions),
            (Limited::Connecting(id), connecting),
            (Limited::ConnectRate(id), rate),
        ];
        wants.extend(all.into_iter().filter_map(|(of, news)| {
            let (given, held, wish) = news?;
            Some(Want { of, given, held, wish })
        }));
    }
}

impl BackendView {
    pub(super) fn in_use(&self) -> InUse {
        InUse { sessions: self.sessions, connecting: self.waiting }
    }

    /// True if this shard may give it another session.
    pub(super) fn has_room(&self) -> bool {
        self.limits.as_deref().is_none_or(|limits| limits.has_room(self.in_use()))
    }

    /// A connect to it has just been counted: it costs a token, if it has a rate. Returns whether
    /// it was the last that this shard may begin for now, by [`ConnectCap`]; `None` if it has no
    /// limit.
    pub(super) fn spend(&mut self, now: Now) -> Option<[bool; ConnectCap::ALL.len()]> {
        let used = self.waiting;
        let limits = self.limits.as_deref_mut()?;
        let is_last = limits.connecting.is_some_and(|limit| limit.lease.room(used) == 0);
        let is_spent = limits.connect_rate.as_mut().is_some_and(|rate| {
            rate.gain(now); // or what it has not counted yet would be gained again
            rate.spend();
            rate.room() == 0
        });
        Some([is_last, is_spent])
    }

    /// How this shard stands with each of its limits, for checkers.
    pub fn credits(&self, now: Now) -> impl Iterator<Item = CreditsHeld> {
        let used = self.in_use();
        let counted = |of, limit: Option<CountLimit>, used| {
            limit.map(|CountLimit { lease, .. }| CreditsHeld {
                of,
                used,
                held: lease.held(),
                owed: lease.owed(used),
            })
        };
        let of_rate = |rate: RateLease| {
            let of = Limited::ConnectRate(self.id);
            CreditsHeld { of, used: 0, held: rate.held(), owed: rate.owed(now) }
        };
        let all = self.limits.as_deref().map(|it| {
            [
                counted(Limited::Backend(self.id), it.sessions, used.sessions),
                counted(Limited::Connecting(self.id), it.connecting, used.connecting),
                it.connect_rate.map(of_rate),
            ]
        });
        all.into_iter().flatten().flatten()
    }
}
