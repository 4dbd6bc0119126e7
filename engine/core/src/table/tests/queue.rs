//! Backends with a limit, and the line of sessions that wait for one with room.

use std::vec;
use std::vec::Vec;

use weir_proto::order::{Credit, Limited, Wish};
use weir_proto::spec::NoBackend;

use super::*;
use crate::pick::Picker;

/// A table with one backend that may have two sessions, of which this shard may have `credits`.
fn limited(credits: u64, change: impl FnOnce(&mut PoolSpec)) -> TablePlay {
    let mut play = TablePlay::with(1, 8, |pool| {
        pool.backend.values_mut().for_each(|backend| backend.max_sessions = Some(2));
        change(pool);
    });
    play.serve();
    play.lend(credits, None);
    play
}

impl TablePlay {
    /// Control has given that many credits so far for each backend.
    fn lend(&mut self, given: u64, keep: Option<u32>) {
        for id in self.ids.clone() {
            self.table.hear_credit(Credit { of: Limited::Backend(id), given, keep });
        }
    }

    /// Does as a shard at the end of its turn. Gives the sessions that were served.
    pub(super) fn serve(&mut self) -> Vec<SessionId> {
        let mut served = Vec::new();
        if let Some(mut walk) = self.table.begin_to_serve(self.now) {
            while let Some(id) = self.table.serve_queue(&mut walk, self.now, &mut self.out) {
                assert!(matches!(self.take()[..], [Action::Connect { .. }]));
                self.connects(id, 11);
                served.push(id);
            }
            self.table.settle_credits();
        }
        served
    }

    /// A client comes and waits.
    pub(super) fn waiting(&mut self) -> SessionId {
        let id = self.table.accept(client(), self.now, &mut self.out).unwrap();
        assert!(matches!(self.take()[..], [Action::Watch { side: Side::Client, .. }]));
        assert!(self.table.session(id).unwrap().is_in_queue);
        id
    }

    fn wishes(&mut self) -> Vec<(u64, u32, Wish)> {
        self.table.take_wants().iter().map(|want| (want.given, want.held, want.wish)).collect()
    }

    fn kill(&mut self, id: SessionId) {
        self.table.end(id, By::Operator, Why::Killed, self.now, &mut self.out);
        self.out.clear();
        if self.table.session(id).is_none() {
            return; // it waited, and nothing was in flight
        }
        self.table.on_completion(id, Side::Backend, Completion::Canceled, self.now, &mut self.out);
        let gone = Completion::Connected(Err(Errno::ECANCELED));
        self.table.on_completion(id, Side::Backend, gone, self.now, &mut self.out);
        self.out.clear();
    }
}

#[test]
fn a_session_waits_for_a_credit_and_those_behind_it_wait_for_their_turn() {
    let mut play = limited(1, |_| {});
    let first = play.connecting();
    let (second, third) = (play.waiting(), play.waiting());
    assert_eq!((play.serve(), play.table.queued(PoolSlot::FIRST)), (vec![], 2));
    assert_eq!(play.wishes(), [(1, 1, Wish::Needed)]);
    play.now = START.plus_millis(500);
    play.lend(2, None);
    let fourth = play.waiting();
    assert_eq!(play.serve(), [second], "one credit, one session");
    play.kill(first);
    assert_eq!(play.serve(), [third]);
    play.kill(fourth);
    assert_eq!(play.table.queued(PoolSlot::FIRST), 0);
    let stats = play.table.collect(Box::new(ShardStats::new(ShardId(0))));
    let pool = &stats.pools[0];
    assert_eq!((pool.counts.queued, pool.queued_now), (3, 0));
    assert_eq!(pool.queue.sum_us(), 1_000_000, "two that got a backend after 500 ms");
}

#[test]
fn a_credit_is_asked_for_before_somebody_waits_and_goes_back_when_another_shard_lacks_it() {
    let mut play = limited(0, |_| {});
    assert_eq!(play.wishes(), [(0, 0, Wish::Spare)]);
    play.lend(2, None);
    play.serve();
    assert_eq!(play.wishes(), [], "nothing is lacked");
    let one = play.connecting();
    play.lend(2, Some(1));
    play.serve();
    assert_eq!(play.wishes(), [(2, 1, Wish::Spare)], "one was unused");
    play.waiting();
    play.serve();
    assert_eq!(play.wishes(), [(2, 1, Wish::Needed)]);
    play.kill(one);
    assert_eq!(play.serve().len(), 1, "its share stays here while a session waits here");
}

#[test]
fn each_version_tells_control_again_of_the_credits_that_are_held() {
    let mut play = limited(1, |_| {});
    play.serve();
    assert_eq!(play.wishes(), [(1, 1, Wish::None)]);
    play.serve();
    assert_eq!(play.wishes(), [], "nothing has changed");
    play.adopt(|_| {});
    play.serve();
    assert_eq!(play.wishes(), [(1, 1, Wish::None)], "a limit may have gone and come back");
}

#[test]
fn a_session_waits_only_for_so_long() {
    let mut play = limited(0, |pool| pool.timeout.queue = Span::from_millis(300));
    let id = play.waiting();
    play.now = START.plus_millis(200);
    assert_eq!(play.on_time(), None);
    play.now = START.plus_millis(310);
    assert_eq!(play.on_time(), Some(id));
    play.out.clear();
    let reason = CloseReason { by: By::Weir, during: During::Queued, why: Why::QueueTimeout };
    assert_eq!((play.ends(), play.table.len()), (vec![(reason, 1)], 0));
}

#[test]
fn no_more_wait_than_may() {
    for size in [0, 2] {
        let mut play = limited(0, |pool| pool.queue.size = size);
        for _ in 0..size {
            play.waiting();
        }
        play.table.accept(client(), play.now, &mut play.out);
        play.out.clear();
        let reason = CloseReason { by: By::Weir, during: During::Queued, why: Why::QueueFull };
        assert_eq!((play.ends(), play.table.len()), (vec![(reason, 1)], size));
    }
}

#[test]
fn a_client_that_resets_while_it_waits_leaves_the_line() {
    let mut play = limited(0, |_| {});
    let (gone, stays) = (play.waiting(), play.waiting());
    play.table.on_ready(gone, Side::Client, RESET, play.now, &mut play.out);
    play.out.clear();
    let reason = CloseReason { by: By::Client, during: During::Queued, why: Why::Reset };
    assert_eq!(play.ends(), [(reason, 1)]);
    play.lend(2, None);
    assert_eq!(play.serve(), [stays]);
}

#[test]
fn no_session_joins_the_line_for_backends_that_are_down() {
    let mut play = limited(0, |pool| pool.health.panic = weir_proto::spec::Percent::new(0));
    let waits = play.waiting();
    play.table.set_health(play.ids[0], BackendHealth::Down, play.now);
    play.table.accept(client(), play.now, &mut play.out);
    play.out.clear();
    let reason = CloseReason { by: By::Weir, during: During::Connecting, why: Why::NoBackend };
    assert_eq!(play.ends(), [(reason, 1)]);
    // One that waits may be lucky: it comes back in time.
    play.lend(2, None);
    assert_eq!(play.serve(), []);
    play.table.set_health(play.ids[0], BackendHealth::Up, play.now);
    assert_eq!(play.serve(), [waits]);
}

#[test]
fn a_session_that_a_backend_has_refused_is_next_for_another() {
    let mut play = TablePlay::with(2, 8, |pool| {
        pool.backend.values_mut().for_each(|backend| backend.max_sessions = Some(1));
    });
    play.serve();
    play.lend(1, None);
    let (first, second) = (play.connecting(), play.connecting());
    let third = play.waiting();
    let refused = Completion::Connected(Err(Errno::ECONNREFUSED));
    play.table.on_completion(first, Side::Backend, refused, play.now, &mut play.out);
    assert!(play.take().iter().any(|action| matches!(action, Action::Watch { .. })));
    assert!(play.table.session(first).unwrap().is_in_queue, "the other one is full");
    assert_eq!(play.serve(), [third], "it has tried the one that has room");
    play.kill(second);
    assert_eq!(play.serve(), [first]);
}

#[test]
fn a_session_that_a_backend_has_refused_gets_no_other_once_its_retries_are_over() {
    let mut play = TablePlay::with(2, 8, |pool| {
        pool.retry.within = Span::from_millis(400);
        pool.backend.values_mut().for_each(|backend| backend.max_sessions = Some(1));
    });
    play.serve();
    play.lend(1, None);
    let (first, second) = (play.connecting(), play.connecting());
    let refused = Completion::Connected(Err(Errno::ECONNREFUSED));
    play.table.on_completion(first, Side::Backend, refused, play.now, &mut play.out);
    play.out.clear();
    assert!(play.table.session(first).unwrap().is_in_queue, "the other one is full");
    // Its timer has not been seen: the turn has more of them than it may.
    play.now = START.plus_millis(400);
    play.kill(second);
    assert_eq!(play.serve(), []);
}

#[test]
fn a_full_group_is_not_down_and_only_a_refused_session_goes_beyond_it() {
    let mut play = TablePlay::with(2, 8, |pool| {
        let mut backends = pool.backend.values_mut();
        backends.next().unwrap().max_sessions = Some(1);
        backends.next().unwrap().priority = 1;
    });
    play.serve();
    play.lend(1, None);
    let (first, second) = (play.connecting(), play.waiting());
    assert_eq!(play.serve(), [], "the group behind has no share");
    let refused = Completion::Connected(Err(Errno::ECONNREFUSED));
    play.table.on_completion(first, Side::Backend, refused, play.now, &mut play.out);
    assert!(play.take().iter().any(|action| matches!(action, Action::Connect { .. })));
    assert_eq!(play.serve(), [second], "its credit was free again");
    let on = |play: &TablePlay, id| play.table.session(id).unwrap().route.index.index();
    assert_eq!((on(&play, first), on(&play, second)), (1, 0));
    let third = play.waiting();
    play.table.set_health(play.ids[0], BackendHealth::Down, play.now);
    assert_eq!((play.serve(), on(&play, third)), (vec![third], 1), "health gives it the share");
}

#[test]
fn full_backends_are_no_candidates_of_any_strategy_and_maglev_falls_back_consistently() {
    for strategy in Strategy::ALL {
        let mut play = TablePlay::with(4, 64, |pool| {
            pool.strategy = strategy;
            pool.backend.values_mut().for_each(|backend| backend.max_sessions = Some(9));
        });
        play.serve();
        for (index, id) in play.ids.clone().into_iter().enumerate() {
            let given = if index == 1 { 9 } else { 1 };
            play.table.hear_credit(Credit { of: Limited::Backend(id), given, keep: None });
        }
        let mut picked = [0; 4];
        for _ in 0..12 {
            let id = play.connecting();
            let backend = play.table.session(id).unwrap().route.backend.unwrap();
            picked[backend.index()] += 1;
        }
        assert_eq!(picked, [1, 9, 1, 1], "{strategy}");
        play.waiting();
    }
    // The next one in the client's own order, as when the first one is down.
    let candidates = |full: Option<usize>| -> Vec<crate::pick::Candidate> {
        let names = ["a", "b", "c"].into_iter().enumerate();
        let of = |(index, name)| crate::pick::Candidate {
            identity: crate::pick::identity(name),
            weight: 1,
            load: 0,
            usable: Some(index) != full,
        };
        names.map(of).collect()
    };
    let pick = |full| {
        let mut picker = Picker::new(Strategy::Maglev, candidates(full));
        picker.pick(77, &mut Prng::new(1), crate::pick::Tried::NONE)
    };
    let first = pick(None);
    assert!(pick(first).is_some() && pick(first) != first);
}

#[test]
fn a_lower_limit_cuts_no_session_and_a_limit_that_comes_counts_those_who_are_there() {
    let mut play = TablePlay::new(1);
    let (first, second) = (play.connecting(), play.connecting());
    let set = |play: &mut TablePlay, most| {
        play.adopt(|spec| {
            let pool = spec.pool.values_mut().next().unwrap();
            pool.backend.values_mut().for_each(|backend| backend.max_sessions = most);
        });
        play.serve()
    };
    set(&mut play, Some(1));
    assert_eq!(play.wishes(), [(0, 2, Wish::Spare)]);
    let third = play.waiting();
    play.serve();
    play.kill(first);
    assert_eq!(play.serve(), [], "one is allowed, and is there");
    play.kill(second);
    assert_eq!(play.serve(), []);
    play.lend(1, None);
    assert_eq!(play.serve(), [third]);
    assert_eq!(play.table.len(), 1);
    let fourth = play.waiting();
    assert_eq!(set(&mut play, None), [fourth]);
}

/// A table whose listener holds clients for three seconds, and whose backend is down. Others get
/// it, for the pool is in panic.
fn holding(queue_size: u32) -> TablePlay {
    let mut play = TablePlay::with_listener(1, 8, |pool, listener| {
        pool.queue.size = queue_size;
        listener.no_backend = NoBackend::Hold(Span::from_secs(3));
    });
    play.table.set_health(play.ids[0], BackendHealth::Down, play.now);
    play
}

const HELD: CloseReason = CloseReason { by: By::Weir, during: During::Queued, why: Why::NoBackend };

#[test]
fn a_listener_that_holds_lets_clients_wait_for_a_backend_that_is_down() {
    let mut play = holding(1000);
    let (first, second) = (play.waiting(), play.waiting());
    assert_eq!(play.serve(), []);
    play.now = START.plus_millis(2000);
    play.table.set_health(play.ids[0], BackendHealth::Up, play.now);
    assert_eq!(play.serve(), [first, second], "in their order");
    assert_eq!(play.table.queued(PoolSlot::FIRST), 0);
    assert_eq!(play.ends(), []);
}

#[test]
fn one_that_is_held_for_too_long_or_finds_no_place_ends_without_a_backend() {
    let mut play = holding(1);
    let first = play.waiting();
    play.table.accept(client(), play.now, &mut play.out);
    play.out.clear();
    play.now = START.plus_millis(2900);
    assert_eq!(play.on_time(), None);
    play.now = START.plus_millis(3100);
    assert_eq!(play.on_time(), Some(first));
    let stats = play.table.collect(Box::new(ShardStats::new(ShardId(0))));
    let no_place = CloseReason { during: During::Connecting, ..HELD };
    for reason in [HELD, no_place] {
        assert!(stats.pools[0].ends.iter().any(|end| end == (reason, 1)), "{reason:?}");
    }
    assert_eq!(stats.pools[0].counts.no_backend, 2);
}

#[test]
fn a_listener_that_closes_does_so_while_no_backend_is_up_and_ready() {
    let mut play = TablePlay::with_listener(2, 8, |_, listener| {
        listener.no_backend = NoBackend::Close;
    });
    let web = ListenerSlot::at(0);
    let mut closed = Vec::new();
    let words = [
        (0, BackendHealth::Down),
        (1, BackendHealth::Unproven),
        (1, BackendHealth::Down),
        (0, BackendHealth::Up),
    ];
    for (backend, health) in words {
        play.table.set_health(play.ids[backend], health, play.now);
        closed.push(play.table.is_closed(web));
    }
    assert_eq!(closed, [false, false, true, false], "panic opens nothing");
    play.adopt(|spec| {
        spec.listener.values_mut().for_each(|it| it.no_backend = NoBackend::Reset);
    });
    for id in play.ids.clone() {
        play.table.set_health(id, BackendHealth::Down, play.now);
    }
    assert!(!play.table.is_closed(web));
}
