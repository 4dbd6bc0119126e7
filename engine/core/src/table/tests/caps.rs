//! Backends with `connecting` and `connect-rate`: how many connects are on their way, and how often
//! one begins.

use std::vec;
use std::vec::Vec;

use weir_proto::order::{Credit, Limited, Wish};
use weir_proto::reason::ConnectCap;
use weir_proto::spec::Rate;

use super::*;

/// A table of that many backends, each of which is changed.
fn capped(backends: usize, change: impl Fn(&mut BackendSpec)) -> TablePlay {
    let mut play = TablePlay::with(backends, 32, |pool| pool.backend.values_mut().for_each(change));
    play.serve();
    play
}

impl TablePlay {
    /// Control has given that many credits so far for that limit of a backend.
    fn lend_of(&mut self, of: Limited, given: u64, keep: Option<u32>) {
        self.table.hear_credit(Credit { of, given, keep });
        self.serve();
    }

    fn on_its_way(&self, backend: usize) -> u32 {
        self.table.view().backends()[backend].waiting()
    }

    /// The kernel's answer to the connect of a session.
    fn answer(&mut self, id: SessionId, answer: Result<(), Errno>) {
        let done = Completion::Connected(answer);
        self.table.on_completion(id, Side::Backend, done, self.now, &mut self.out);
        self.out.clear();
    }

    fn of(&mut self, of: Limited) -> Vec<(u64, u32, Wish)> {
        let wants = self.table.take_wants();
        let those = wants.iter().filter(|want| want.of == of);
        those.map(|want| (want.given, want.held, want.wish)).collect()
    }

    fn times_capped(&mut self, backend: usize) -> [u64; ConnectCap::ALL.len()] {
        let stats = self.table.collect(Box::new(ShardStats::new(ShardId(0))));
        stats.backends[backend].counts.capped
    }
}

#[test]
fn a_connect_that_is_over_either_way_moves_the_line() {
    let mut play = capped(1, |backend| backend.connecting = Some(2));
    let of = Limited::Connecting(play.ids[0]);
    assert_eq!(play.of(of), [(0, 0, Wish::Spare)]);
    play.lend_of(of, 2, None);
    let (first, second) = (play.connecting(), play.connecting());
    let (third, fourth) = (play.waiting(), play.waiting());
    assert_eq!((play.serve(), play.on_its_way(0)), (vec![], 2));
    assert_eq!(play.of(of), [(2, 2, Wish::Needed)]);
    play.answer(first, Ok(()));
    assert!(play.table.session(first).unwrap().is_relaying(), "and keeps no credit");
    assert_eq!((play.serve(), play.on_its_way(0)), (vec![third], 2));
    play.answer(second, Err(Errno::ECONNREFUSED));
    assert_eq!(play.serve(), [fourth], "a failure makes room as well");
    assert_eq!(play.times_capped(0), [3, 0]);
}

#[test]
fn a_session_takes_another_backend_while_its_own_is_at_the_cap() {
    for strategy in Strategy::ALL {
        let mut play = TablePlay::with(2, 32, |pool| {
            pool.strategy = strategy;
            pool.backend.values_mut().next().unwrap().connecting = Some(1);
        });
        play.serve();
        play.lend_of(Limited::Connecting(play.ids[0]), 1, None);
        let mut on = [0; 2];
        for _ in 0..20 {
            let id = play.connecting();
            on[play.table.session(id).unwrap().route.backend.unwrap().index()] += 1;
        }
        assert!(on[0] <= 1 && on[0] + on[1] == 20, "{strategy}: {on:?}");
        assert_eq!(play.table.queued(PoolSlot::FIRST), 0);
    }
}

#[test]
fn a_token_that_comes_moves_the_line() {
    let mut play = capped(1, |backend| backend.connect_rate = Some(Rate::per_second(20)));
    let of = Limited::ConnectRate(play.ids[0]);
    assert_eq!(play.of(of), [(0, 0, Wish::Spare)]);
    play.lend_of(of, 2, None);
    assert_eq!(play.table.token_at(), None, "it has tokens");
    for _ in 0..2 {
        let id = play.connecting();
        play.answer(id, Ok(()));
    }
    let waits = play.waiting();
    assert_eq!(play.serve(), []);
    assert_eq!(play.of(of), [(2, 2, Wish::Needed)]);
    // Two of two credits gain all of the rate: a token in 50 ms.
    assert_eq!(play.table.token_at(), Some(START.plus_millis(50)));
    play.now = START.plus_millis(49);
    play.table.gain_tokens(play.now);
    assert_eq!(play.serve(), []);
    play.now = START.plus_millis(50);
    play.table.gain_tokens(play.now);
    assert_eq!(play.serve(), [waits]);
    assert_eq!(play.table.token_at(), Some(START.plus_millis(100)));
    assert_eq!(play.times_capped(0), [0, 2]);
}

/// Between two looks at a full bucket no token is gained: a connect in between changes nothing.
#[test]
fn a_bucket_that_was_full_for_long_is_empty_after_its_burst() {
    let mut play = capped(1, |backend| backend.connect_rate = Some(Rate::per_second(20)));
    play.lend_of(Limited::ConnectRate(play.ids[0]), 2, None);
    play.now = START.plus_millis(5000);
    for _ in 0..2 {
        let id = play.connecting();
        play.answer(id, Ok(()));
    }
    play.serve();
    play.waiting();
    assert_eq!(play.serve(), []);
}

#[test]
fn a_backend_without_a_token_is_picked_again_when_one_has_come_though_none_waits() {
    let mut play = TablePlay::with(2, 32, |pool| {
        let rate = Some(Rate::per_second(10));
        pool.backend.values_mut().next().unwrap().connect_rate = rate;
    });
    play.serve();
    play.lend_of(Limited::ConnectRate(play.ids[0]), 1, None);
    let mut pick = |ms: u64| {
        play.now = START.plus_millis(u32::try_from(ms).unwrap());
        play.table.gain_tokens(play.now);
        let picked: Vec<usize> = (0..3)
            .map(|_| {
                let id = play.connecting();
                let index = play.table.session(id).unwrap().route.backend.unwrap().index();
                play.answer(id, Ok(()));
                index
            })
            .collect();
        play.serve();
        picked.iter().filter(|index| **index == 0).count()
    };
    assert_eq!([0, 50, 100, 150, 1000].map(&mut pick), [1, 0, 1, 0, 1]);
}

#[test]
fn a_session_that_waits_for_one_limit_keeps_nothing_of_another() {
    let mut play = capped(1, |backend| {
        (backend.max_sessions, backend.connecting) = (Some(1), Some(1));
        backend.connect_rate = Some(Rate::per_second(10));
    });
    let id = play.ids[0];
    let (sessions, connecting, rate) =
        (Limited::Backend(id), Limited::Connecting(id), Limited::ConnectRate(id));
    play.lend_of(connecting, 1, Some(0));
    assert_eq!(play.of(connecting), [(1, 0, Wish::Spare)], "another shard has the session");
    play.lend_of(rate, 1, Some(0));
    let waits = play.waiting();
    play.serve();
    let wants = play.table.take_wants();
    let of = |of| wants.iter().find(|want| want.of == of).map(|want| (want.held, want.wish));
    assert_eq!(of(sessions), Some((0, Wish::Needed)));
    assert_eq!(of(rate), Some((0, Wish::Spare)));
    play.lend_of(sessions, 1, Some(0));
    assert_eq!(play.of(connecting), [(1, 0, Wish::Needed)], "it has the session now");
    play.lend_of(connecting, 2, Some(0));
    assert_eq!(play.of(rate), [(1, 0, Wish::Needed)]);
    play.table.hear_credit(Credit { of: rate, given: 2, keep: Some(0) });
    assert_eq!(play.serve(), [waits]);
}

#[test]
fn a_retry_costs_a_token_and_a_connect_that_is_cancelled_counts_until_it_is_over() {
    let mut play = capped(1, |backend| backend.connecting = Some(1));
    play.lend_of(Limited::Connecting(play.ids[0]), 1, None);
    let killed = play.connecting();
    let waits = play.waiting();
    play.table.end(killed, By::Operator, Why::Killed, play.now, &mut play.out);
    play.out.clear();
    assert_eq!((play.serve(), play.on_its_way(0)), (vec![], 1), "its cancel has no answer");
    for done in [Completion::Canceled, Completion::Connected(Err(Errno::ECANCELED))] {
        play.table.on_completion(killed, Side::Backend, done, play.now, &mut play.out);
    }
    play.out.clear();
    assert_eq!(play.serve(), [waits]);

    let mut play = TablePlay::with(2, 8, |pool| {
        pool.retry.attempts = 1;
        pool.backend.values_mut().for_each(|it| it.connect_rate = Some(Rate::per_second(10)));
    });
    play.serve();
    for id in play.ids.clone() {
        play.lend_of(Limited::ConnectRate(id), 1, None);
    }
    let first = play.connecting();
    play.answer(first, Err(Errno::ECONNREFUSED));
    let second = play.waiting();
    assert_eq!((play.serve(), play.on_its_way(0) + play.on_its_way(1)), (vec![], 1));
    play.now = START.plus_millis(100);
    play.table.gain_tokens(play.now);
    assert_eq!(play.serve(), [second]);
}

#[test]
fn limits_that_come_go_and_change_cut_nothing() {
    let mut play = TablePlay::new(1);
    let (first, _second) = (play.connecting(), play.connecting());
    let set = |play: &mut TablePlay, connecting, rate: Option<u32>| {
        play.adopt(|spec| {
            let pool = spec.pool.values_mut().next().unwrap();
            pool.backend.values_mut().for_each(|backend| {
                backend.connecting = connecting;
                backend.connect_rate = rate.map(Rate::per_second);
            });
        });
        play.serve()
    };
    let of = Limited::Connecting(play.ids[0]);
    set(&mut play, Some(1), None);
    assert_eq!(play.of(of), [(0, 2, Wish::Spare)], "those on their way count");
    let third = play.waiting();
    play.answer(first, Ok(()));
    assert_eq!(play.serve(), [], "one is allowed, and is on its way");
    set(&mut play, None, Some(10));
    assert_eq!(play.table.queued(PoolSlot::FIRST), 1, "control has given no token");
    assert_eq!(set(&mut play, None, None), [third]);
    assert_eq!(play.table.token_at(), None);
}

#[test]
fn a_lower_limit_takes_unused_credits_away_before_control_says_a_word() {
    let mut play = capped(1, |backend| backend.connecting = Some(3));
    let of = Limited::Connecting(play.ids[0]);
    play.lend_of(of, 3, None);
    let first = play.connecting();
    play.adopt(|spec| {
        let pool = spec.pool.values_mut().next().unwrap();
        pool.backend.values_mut().for_each(|backend| backend.connecting = Some(1));
    });
    let second = play.waiting();
    assert_eq!(play.serve(), [], "two of the three are no longer this shard's");
    play.lend_of(of, 3, Some(1));
    play.answer(first, Ok(()));
    assert_eq!(play.serve(), [second]);
}
