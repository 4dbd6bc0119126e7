//! Sessions of backends that go down: left alone, or ended, as their pool says.

use weir_proto::spec::{OnDown, Percent};

use super::*;
use crate::event::{BufferId, Side};

/// Three backends, and a session on each.
fn three(on_down: OnDown) -> (TablePlay, [SessionId; 3]) {
    let mut play = TablePlay::with(3, 8, |pool| {
        pool.on_down = on_down;
        (pool.timeout.idle, pool.timeout.stalled) = (Span::from_secs(900), None);
    });
    let ids = [play.relaying(), play.relaying(), play.relaying()];
    (play, ids)
}

impl TablePlay {
    fn says(&mut self, backend: usize, health: BackendHealth) {
        self.table.set_health(self.ids[backend], health, self.now);
    }

    /// Sweeps until there is nothing more to do; `scan` slots a turn.
    fn sweeps(&mut self, scan: u32) -> Vec<SessionId> {
        let mut ended = Vec::new();
        while self.table.is_sweeping() {
            let mut scan = scan;
            while let Some(id) = self.table.sweep(self.now, &mut scan, &mut self.out) {
                ended.push(id);
                self.out.clear();
            }
        }
        ended
    }

    fn backend_of(&self, id: SessionId) -> usize {
        let slot = self.table.session(id).unwrap().route.backend.unwrap();
        let on = self.table.view().backends()[slot.index()].id;
        self.ids.iter().position(|id| *id == on).unwrap()
    }

    fn why(&self, id: SessionId) -> Option<Why> {
        match self.table.session(id)?.phase() {
            Phase::Closing(end) => Some(end.reason.why),
            _ => None,
        }
    }
}

#[test]
fn a_kill_ends_those_of_the_backend_that_has_gone_down_and_no_others() {
    let (mut play, ids) = three(OnDown::Kill);
    let connecting = play.connecting();
    let victim = play.backend_of(connecting);
    play.says(victim, BackendHealth::Down);
    let wanted: Vec<_> = ids.into_iter().filter(|id| play.backend_of(*id) == victim).collect();
    assert_eq!(play.sweeps(100), wanted);
    assert_eq!(play.why(wanted[0]), Some(Why::BackendDown));
    assert_eq!(play.why(connecting), None, "it tries others if that fails");
    // What control says again, and what it says of one that never was up, means nothing new.
    play.says(victim, BackendHealth::Down);
    play.says((victim + 1) % 3, BackendHealth::Unproven);
    assert!(!play.table.is_sweeping());
}

#[test]
fn without_it_none_ends() {
    let (mut play, _) = three(OnDown::Keep);
    play.says(0, BackendHealth::Down);
    assert!(!play.table.is_sweeping());
}

#[test]
fn a_backend_that_is_back_keeps_what_is_left() {
    let mut play = TablePlay::with(2, 64, |pool| {
        pool.on_down = OnDown::Kill;
        pool.health.panic = Percent::ZERO;
    });
    for _ in 0..64 {
        play.relaying();
    }
    play.says(0, BackendHealth::Down);
    let mut ended = 0;
    let mut scan = 10;
    while play.table.sweep(play.now, &mut scan, &mut play.out).is_some() {
        ended += 1;
        play.out.clear();
    }
    assert_eq!(ended, 5, "of ten slots");
    play.says(0, BackendHealth::Up);
    assert_eq!(play.sweeps(10), []);
    // The next time it is the others' turn, all of them.
    play.says(0, BackendHealth::Down);
    assert_eq!(play.sweeps(10).len(), 27);
}

#[test]
fn in_panic_none_ends_until_it_is_over() {
    let (mut play, ids) = three(OnDown::Kill);
    play.says(0, BackendHealth::Down);
    play.says(1, BackendHealth::Down);
    play.says(2, BackendHealth::Down);
    assert_eq!(play.sweeps(100), [], "one of three is up, and then none");
    play.says(1, BackendHealth::Up);
    play.says(2, BackendHealth::Up);
    let ended = play.sweeps(100);
    assert_eq!(
        ended,
        ids.map(|id| (play.backend_of(id) == 0).then_some(id))
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
    );
}

#[test]
fn an_ejection_counts_when_control_agrees() {
    let (mut play, _) = three(OnDown::Kill);
    let slot = play.table.view.backend_slot(play.ids[0]).unwrap();
    for _ in 0..FAILURES_IN_A_ROW_MAX {
        play.table.view.connect_failed(slot, ConnectFault::Refused, true);
    }
    assert!(!play.table.view.backends()[slot.index()].is_up());
    play.table.set_health(play.ids[1], BackendHealth::Up, play.now);
    assert!(!play.table.is_sweeping());
    play.says(0, BackendHealth::Down);
    assert_eq!(play.sweeps(100).len(), 1);
}

#[test]
fn stalled_ends_those_that_wait_on_the_backend_for_a_second() {
    let (mut play, ids) = three(OnDown::Stalled);
    let id = ids[0];
    let backend = play.backend_of(id);
    play.carries(id, Side::Client, 100);
    play.says(backend, BackendHealth::Down);
    play.progress[Side::Backend as usize].unacked = 100;
    assert_eq!(play.sweeps(100), []);
    assert!(play.on_time().is_none() || play.why(id).is_none(), "it is looked at at once");
    play.out.clear();
    let mut ms = 0;
    while play.why(id).is_none() {
        (play.now, ms) = (play.now.plus_millis(8), ms + 8);
        while play.on_time().is_some() {
            play.out.clear();
        }
        assert!(ms < 4_000, "it goes on");
    }
    assert!(ms >= 1_000, "after {ms} ms");
    assert_eq!(play.why(id), Some(Why::BackendDown));
    assert_eq!([play.why(ids[1]), play.why(ids[2])], [None; 2]);
}

#[test]
fn stalled_leaves_those_alone_whose_backend_takes_what_it_gets() {
    let (mut play, ids) = three(OnDown::Stalled);
    let id = ids[0];
    let backend = play.backend_of(id);
    play.says(backend, BackendHealth::Down);
    assert_eq!(play.sweeps(100), []);
    for step in 0..500 {
        play.now = play.now.plus_millis(8);
        if step % 50 == 0 {
            let buffer = BufferId(0);
            let received = Completion::Received { buffer, length: 9, more: false, last: false };
            play.on(id, Side::Client, received);
            play.on(id, Side::Backend, Completion::Sent(9));
        }
        while play.on_time().is_some() {
            play.out.clear();
        }
        play.out.clear();
    }
    assert_eq!(play.why(id), None);
}

#[test]
fn a_change_counts_at_once() {
    let (mut play, _) = three(OnDown::Keep);
    play.says(0, BackendHealth::Down);
    play.adopt(|spec| {
        spec.pool.values_mut().next().expect("there is one").on_down = OnDown::Kill;
    });
    assert_eq!(play.sweeps(100).len(), 1);
    play.says(1, BackendHealth::Down);
    play.adopt(|spec| {
        spec.pool.values_mut().next().expect("there is one").on_down = OnDown::Keep;
    });
    assert_eq!(play.sweeps(100), []);
}
