//! Retries, their budget and their bound in time; faults of this host.

use super::*;
use crate::action::Origin;
use crate::event::NotOpened;
use crate::session::Attempt;
use crate::slot::BackendSlot;

const REFUSED: Completion = Completion::Connected(Err(Errno::ECONNREFUSED));

const WATCH_CLIENT: Action = Action::Watch {
    side: Side::Client,
    leg: CLIENT,
    interest: Interest { readable: false, writable: false },
};

const LEFT: CloseReason =
    CloseReason { by: By::Client, during: During::Connecting, why: Why::Reset };

const CANCEL: Action = Action::Cancel { side: Side::Backend, what: Pending::Connect };

impl TablePlay {
    /// Accepts a client whose connect is asked for on this leg.
    fn client(&mut self, leg: i32) -> SessionId {
        let id = self.table.accept(client(), self.now, &mut self.out).unwrap();
        assert!(matches!(self.take()[..], [Action::Connect { .. }]));
        self.connects(id, leg);
        id
    }

    /// Everything that is due, without a session that wants nothing done.
    fn due(&mut self) -> Vec<Action> {
        let mut all = Vec::new();
        while self.on_time().is_some() {
            all.extend(self.take());
        }
        all
    }

    /// The client's watch tells of a reset.
    fn client_resets(&mut self, id: SessionId) -> Vec<Action> {
        self.table.on_ready(id, Side::Client, RESET, self.now, &mut self.out);
        self.take()
    }

    fn down(&mut self, backends: core::ops::Range<usize>) {
        for id in &self.ids[backends] {
            self.table.set_health(*id, BackendHealth::Down, self.now);
        }
    }

    fn retry_waits(&mut self) -> u64 {
        let full = self.table.collect(std::boxed::Box::new(ShardStats::new(ShardId(0))));
        full.pools[0].counts.retry_budget_exhausted
    }
}

#[test]
fn retries_beyond_the_budget_wait_for_their_turn() {
    let mut play = TablePlay::with(8, 16, |pool| pool.retry.attempts = 1);
    let ids: Vec<SessionId> = (0..5).map(|leg| play.client(100 + leg)).collect();
    for (number, id) in ids.iter().enumerate() {
        play.on(*id, Side::Backend, REFUSED);
        let actions = play.take();
        assert!(matches!(actions[0], Action::Close { .. }));
        if number < 3 {
            assert!(matches!(actions[1..], [Action::Connect { .. }]), "the first is at once");
            play.connects(*id, 200);
        } else {
            assert_eq!(actions[1..], [WATCH_CLIENT], "three try already");
            let phase = play.table.session(*id).unwrap().phase();
            let Phase::Connecting(connect) = phase else { panic!("{phase:?}") };
            assert_eq!(connect.attempt, Attempt::Waiting(ConnectFault::Refused));
        }
    }
    assert_eq!(play.retry_waits(), 2);
    play.now = START.plus_millis(60);
    assert_eq!(play.due(), [WATCH_CLIENT; 3], "still three");
    play.on(ids[0], Side::Backend, Completion::Connected(Ok(())));
    play.take();
    play.now = START.plus_millis(120);
    let woken = play.on_time().unwrap();
    assert!(ids[3..].contains(&woken), "{woken:?}");
    assert!(matches!(play.take()[..], [Action::Connect { .. }]));
    play.connects(woken, 300);
    assert_eq!(play.on_time(), None, "and the last one waits on");
    assert_eq!(play.retry_waits(), 0, "nobody has begun to wait");
}

#[test]
fn a_session_that_waits_for_its_turn_is_ended_by_a_stop_and_by_the_end_of_its_time() {
    let mut play = TablePlay::with(8, 16, |pool| pool.retry.within = Span::from_millis(500));
    let ids: Vec<SessionId> = (0..5).map(|leg| play.client(100 + leg)).collect();
    for id in &ids {
        play.on(*id, Side::Backend, REFUSED);
        if matches!(play.take()[..], [_, Action::Connect { .. }]) {
            play.connects(*id, 200);
        }
    }
    play.table.end(ids[3], By::Operator, Why::Stopped, play.now, &mut play.out);
    assert!(matches!(play.take()[..], [Action::Close { .. }, Action::Free]));
    play.now = START.plus_millis(520);
    let mut ended = Vec::new();
    while let Some(id) = play.on_time() {
        ended.extend(play.take().iter().any(|it| matches!(it, Action::Free)).then_some(id));
    }
    assert_eq!(ended, [ids[4]], "the others are being cancelled");
    let why = Why::ConnectFailed;
    let reason = CloseReason { by: By::Backend, during: During::Connecting, why };
    assert!(play.ends().contains(&(reason, 1)));
}

#[test]
fn the_last_retry_is_cut_short_and_speaks_against_nobody() {
    let mut play = TablePlay::with(6, 4, |pool| pool.retry.within = Span::from_millis(1500));
    for turn in 0..4 {
        let id = play.client(100);
        let first = play.now;
        for wait_ms in [1020, 500] {
            play.now = play.now.plus_millis(wait_ms);
            assert_eq!(play.on_time(), Some(id), "turn {turn}");
            assert!(matches!(play.take()[..], [Action::Cancel { .. }]));
            play.on(id, Side::Backend, Completion::Canceled);
            play.on(id, Side::Backend, Completion::Connected(Err(Errno::ECANCELED)));
            let actions = play.take();
            if wait_ms == 1020 {
                assert!(matches!(actions[..], [Action::Close { .. }, Action::Connect { .. }]));
                play.connects(id, 101);
            } else {
                assert!(matches!(actions.last(), Some(Action::Free)), "{actions:?}");
            }
        }
        assert!(play.now < first.plus_millis(1530), "within its time");
    }
    // Round robin: b0 to b5 in turn, the whole timeouts and the short ones alternate.
    assert_eq!(play.table.take_ejection(), None);
}

#[test]
fn in_panic_who_was_refused_goes_to_one_that_is_up() {
    for _ in 0..8 {
        let mut play = TablePlay::new(4);
        play.down(0..3);
        let up = play.table.view().backends().iter().position(|it| it.id == play.ids[3]);
        for leg in 100..103 {
            let id = play.client(leg);
            let first = play.table.session(id).unwrap().route.backend.map(BackendSlot::index);
            play.on(id, Side::Backend, REFUSED);
            let actions = play.take();
            if first == up {
                continue;
            }
            assert!(matches!(actions[..], [.., Action::Connect { .. }]), "{actions:?}");
            let second = play.table.session(id).unwrap().route.backend.map(BackendSlot::index);
            assert_eq!(second, up, "{actions:?}");
        }
    }
}

#[test]
fn faults_of_this_host_never_count_against_a_backend() {
    let mut play = TablePlay::new(1);
    for number in [99, 24, 23, 105, 12] {
        for _ in 0..FAILURES_IN_A_ROW_MAX {
            let id = play.client(100);
            play.on(id, Side::Backend, Completion::Connected(Err(Errno(number))));
            let actions = play.take();
            assert_eq!(actions.last(), Some(&Action::Free), "errno {number}: {actions:?}");
        }
        // No socket available at all.
        let id = play.table.accept(client(), play.now, &mut play.out).unwrap();
        let no_socket = Err(NotOpened::NoSocket);
        play.table.opened(id, no_socket, play.now, &mut play.out);
        play.take();
    }
    assert_eq!(play.table.take_ejection(), None);
    let full = play.table.collect(std::boxed::Box::new(ShardStats::new(ShardId(0))));
    assert_eq!(full.backends[0].counts.connect_failures[ConnectFault::Local as usize], 5 * 4);
    assert_eq!(full.pools[0].counts.ejections_refused, 0);
    let local = CloseReason { by: By::Weir, during: During::Connecting, why: Why::Local };
    assert_eq!(full.pools[0].ends.iter().collect::<Vec<_>>(), [(local, 5 * 4)]);
}

#[test]
fn a_client_that_has_left_before_the_connect_gets_no_backend() {
    let mut play = TablePlay::new(2);
    let id = play.table.accept(client(), play.now, &mut play.out).unwrap();
    let actions = play.take();
    let address = play.table.view().backends()[0].address;
    assert_eq!(
        actions,
        [Action::Connect { client: CLIENT, address, buffer: None, origin: Origin::Any }]
    );
    play.table.opened(id, Err(NotOpened::ClientGone), play.now, &mut play.out);
    let close = Action::Close { leg: CLIENT, how: How::Reset };
    assert_eq!(play.take(), [close, Action::Free]);
    assert_eq!(play.ends(), [(LEFT, 1)]);
    assert!(play.table.view().backends().iter().all(|backend| backend.sessions == 0));
}

#[test]
fn a_client_that_resets_while_a_connect_takes_its_time_is_gone_at_once() {
    let mut play = TablePlay::new(1);
    let id = play.client(100);
    play.now = START.plus_millis(WATCH_AFTER_MS + TICK_MS);
    assert_eq!(play.due(), [WATCH_CLIENT]);
    play.now = START.plus_millis(500);
    assert_eq!(play.due(), [], "once is enough");
    assert_eq!(play.client_resets(id), [CANCEL]);
    play.on(id, Side::Backend, Completion::Canceled);
    assert_eq!(play.take(), []);
    play.on(id, Side::Backend, Completion::Connected(Err(Errno::ECANCELED)));
    let close = |leg| Action::Close { leg, how: How::Reset };
    assert_eq!(play.take(), [close(CLIENT), close(Leg(100)), Action::Free]);
    assert_eq!(play.ends(), [(LEFT, 1)]);
    assert_eq!(play.table.view().backends()[0].sessions, 0);
}

#[test]
fn a_client_that_resets_behind_the_deadline_gets_no_retry_and_no_session() {
    for late in [Ok(()), Err(Errno::ECANCELED)] {
        let mut play = TablePlay::new(2);
        let id = play.client(100);
        play.now = START.plus_millis(100);
        assert_eq!(play.due(), [WATCH_CLIENT]);
        play.now = START.plus_millis(1020);
        assert_eq!(play.due(), [CANCEL]);
        assert_eq!(play.client_resets(id), [], "it is on its way back already");
        play.on(id, Side::Backend, Completion::Canceled);
        play.on(id, Side::Backend, Completion::Connected(late));
        let actions = play.take();
        assert_eq!(actions.last(), Some(&Action::Free), "{late:?}: {actions:?}");
        assert_eq!(play.ends(), [(LEFT, 1)], "{late:?}");
        assert_eq!(actions.len(), 3, "{actions:?}");
    }
}

#[test]
fn a_connect_whose_time_is_over_is_not_asked_for_from_another_address() {
    let mut play = TablePlay::new(1);
    let id = play.client(100);
    assert!(play.table.may_connect_again(id).is_some());
    play.now = START.plus_millis(100);
    assert_eq!(play.due(), [WATCH_CLIENT]);
    play.now = START.plus_millis(1020);
    assert_eq!(play.due(), [CANCEL]);
    assert_eq!(play.table.may_connect_again(id), None, "it is taken back");
}

#[test]
fn a_client_that_resets_while_it_waits_for_its_turn_is_gone_at_once() {
    let mut play = TablePlay::with(8, 16, |_| {});
    let ids: Vec<SessionId> = (0..4).map(|leg| play.client(100 + leg)).collect();
    for id in &ids {
        play.on(*id, Side::Backend, REFUSED);
        if matches!(play.take()[..], [_, Action::Connect { .. }]) {
            play.connects(*id, 200);
        }
    }
    let close = Action::Close { leg: CLIENT, how: How::Reset };
    assert_eq!(play.client_resets(ids[3]), [close, Action::Free]);
    assert_eq!(play.ends(), [(LEFT, 1)]);
    // News of one that is over is nobody's.
    assert_eq!(play.client_resets(ids[3]), []);
}

#[test]
fn a_connect_that_is_quick_costs_no_watch() {
    let mut play = TablePlay::new(1);
    let id = play.client(100);
    play.now = START.plus_millis(WATCH_AFTER_MS - 1);
    assert_eq!(play.due(), []);
    play.on(id, Side::Backend, Completion::Connected(Ok(())));
    let actions = play.take();
    assert!(matches!(actions[..], [Action::Receive { .. }, Action::Receive { .. }]));
    play.now = START.plus_millis(500);
    assert_eq!(play.due(), []);
}

#[test]
fn a_pool_that_was_removed_has_no_backend_for_a_retry() {
    let mut play = TablePlay::new(2);
    let id = play.connecting();
    play.adopt(|spec| {
        let mut pool = spec.pool.remove("web").unwrap();
        for backend in pool.backend.values_mut() {
            backend.address.set_port(81);
        }
        spec.pool.insert("other".parse().unwrap(), pool);
        spec.listener.values_mut().for_each(|listener| listener.pool = "other".parse().unwrap());
    });
    play.on(id, Side::Backend, REFUSED);
    let actions = play.take();
    let resets =
        |action: &Action| matches!(action, Action::Close { how: How::Reset, .. } | Action::Free);
    assert!(actions.iter().all(resets), "{actions:?}");
    assert_eq!(play.table.len(), 0, "it has ended");
    // A new client finds the new pool.
    let id = play.connecting();
    let backend = play.table.session(id).unwrap().route.backend.unwrap();
    assert_eq!(play.table.view().backends()[backend.index()].address.port(), Some(81));
}
