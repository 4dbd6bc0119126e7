//! Sessions that are shed: which, how many, and how much a turn looks at.

use weir_proto::order::SessionsOf;

use super::*;
use crate::limits::{SHED_LOOK_COST, SHED_MAX};

impl TablePlay {
    /// Ends what is to be shed; the sessions in order, and the turns that it took if each looks at
    /// `scan` slots.
    fn sheds(&mut self, scan: u32) -> (Vec<SessionId>, u32) {
        let (mut ended, mut turns) = (Vec::new(), 0);
        while self.table.is_sweeping() {
            let mut left = scan;
            while let Some(id) = self.table.sweep(self.now, &mut left, &mut self.out) {
                ended.push(id);
                self.out.clear();
            }
            turns += 1;
        }
        (ended, turns)
    }
}

fn is_shed(play: &TablePlay, id: SessionId) -> bool {
    match play.table.session(id).map(Session::phase) {
        Some(Phase::Closing(end)) => (end.reason.by, end.reason.why) == (By::Operator, Why::Shed),
        _ => false,
    }
}

#[test]
fn the_longest_idle_are_shed_and_of_these_the_oldest() {
    let mut play = TablePlay::with(1, 8, |_| {});
    let ids: Vec<SessionId> = (0..6)
        .map(|_| {
            play.now = play.now.plus_millis(10);
            play.relaying()
        })
        .collect();
    // The first two, which are the oldest, are at work.
    for (at, id) in [(100, ids[1]), (200, ids[0])] {
        play.now = START.plus_millis(at);
        play.carries(id, Side::Client, 1);
    }
    play.table.shed(SessionsOf::Backend(play.ids[0]), 3);
    let (mut ended, _) = play.sheds(SCANNED_PER_TURN_MAX);
    ended.sort();
    assert_eq!(ended, ids[2..5]);
    assert!(ended.iter().all(|id| is_shed(&play, *id)));
    play.table.shed(SessionsOf::Backend(play.ids[0]), 2);
    let (mut ended, _) = play.sheds(SCANNED_PER_TURN_MAX);
    ended.sort();
    assert_eq!(ended, [ids[1], ids[5]], "idle for longer than the one that moved last");
}

#[test]
fn only_sessions_that_are_meant_and_relay_are_shed() {
    let mut play = TablePlay::with(2, 8, |_| {});
    let ids = [play.relaying(), play.relaying(), play.relaying(), play.relaying()];
    let on = |id: &SessionId| {
        let route = play.table.session(*id).unwrap().route;
        play.table.view().backends()[route.backend.unwrap().index()].id
    };
    let (meant, others): (Vec<SessionId>, Vec<SessionId>) =
        ids.into_iter().partition(|id| on(id) == play.ids[1]);
    assert_eq!(meant.len(), 2);
    let connecting = [play.connecting(), play.connecting()];
    play.table.shed(SessionsOf::Backend(play.ids[1]), 9);
    let (mut ended, _) = play.sheds(SCANNED_PER_TURN_MAX);
    ended.sort();
    assert_eq!(ended, meant);
    let listener = play.table.view().listeners()[0].id;
    play.table.shed(SessionsOf::Listener(listener), 9);
    let (mut ended, _) = play.sheds(SCANNED_PER_TURN_MAX);
    ended.sort();
    assert_eq!(ended, others);
    assert!(connecting.iter().all(|id| !is_shed(&play, *id)));
    play.table.shed(SessionsOf::Backend(BackendId(99)), 9);
    play.table.shed(SessionsOf::Backend(play.ids[0]), 0);
    assert_eq!(play.sheds(SCANNED_PER_TURN_MAX).0, []);
}

#[test]
fn a_turn_looks_at_a_bounded_number_and_orders_that_wait_are_one() {
    let mut play = TablePlay::with(1, 64, |_| {});
    for _ in 0..64 {
        play.relaying();
    }
    let of = SessionsOf::Backend(play.ids[0]);
    for count in [4, SHED_MAX, SHED_MAX] {
        play.table.shed(of, count);
    }
    let (ended, turns) = play.sheds(10 * SHED_LOOK_COST);
    assert_eq!((ended.len(), turns), (64, 13), "64 slots twice, 10 a turn");
}
