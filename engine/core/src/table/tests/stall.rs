//! A side that takes nothing: looked at, given up in time, for its true reason.

use super::*;
use crate::event::Side;

/// A session to which 1,000 bytes went on each side, and a pool with these timeouts.
fn sent(idle_ms: u64, stalled_ms: Option<u64>) -> (TablePlay, SessionId) {
    let mut play = TablePlay::with(1, 4, |pool| {
        pool.timeout.idle = Span::from_millis(idle_ms);
        pool.timeout.half_close = Span::from_millis(idle_ms / 2);
        pool.timeout.stalled = stalled_ms.map(Span::from_millis);
    });
    let id = play.relaying();
    for side in Side::ALL {
        let buffer = crate::event::BufferId(side as u16);
        let received = Completion::Received { buffer, length: 1000, more: false, last: true };
        play.on(id, side, received);
        play.on(id, side.other(), Completion::Sent(1000));
    }
    play.out.clear();
    (play, id)
}

/// The bytes that wait for each side.
fn waits(client: u32, backend: u32) -> [PeerProgress; 2] {
    [client, backend].map(|unacked| PeerProgress { unacked, ..PeerProgress::default() })
}

/// Lets time pass in steps of 8 ms, with all deadlines; the milliseconds after which the session
/// began to end, if it did.
fn ends_after(play: &mut TablePlay, id: SessionId, most_ms: u32) -> Option<u32> {
    for ms in (0..most_ms).step_by(8) {
        play.now = play.now.plus_millis(8);
        while play.on_time().is_some() {
            play.out.clear();
        }
        let session = play.table.session(id).expect("its receives have not answered");
        if matches!(session.phase(), Phase::Closing(_)) {
            return Some(ms);
        }
    }
    None
}

fn reason(play: &TablePlay, id: SessionId) -> (By, Why) {
    match play.table.session(id).expect("its receives have not answered").phase() {
        Phase::Closing(end) => (end.reason.by, end.reason.why),
        phase => panic!("{phase:?}"),
    }
}

#[test]
fn a_side_that_takes_nothing_is_given_up_after_the_pools_time_and_not_before() {
    for (progress, by) in [(waits(1000, 0), By::Client), (waits(0, 1000), By::Backend)] {
        let (mut play, id) = sent(2_000, Some(20_000));
        play.progress = progress;
        let after = ends_after(&mut play, id, 60_000).expect("it is given up");
        assert!((20_000..=21_500).contains(&after), "{after} ms, with an idle timeout of 2 s");
        assert_eq!(reason(&play, id), (by, Why::Stalled));
    }
}

#[test]
fn the_default_is_the_idle_timeout() {
    let (mut play, id) = sent(5_000, None);
    play.progress = waits(1000, 0);
    let after = ends_after(&mut play, id, 60_000).expect("it is given up");
    assert!((5_000..=6_500).contains(&after), "{after}");
    assert_eq!(reason(&play, id), (By::Client, Why::Stalled));
}

#[test]
fn a_byte_now_and_then_is_enough() {
    let (mut play, id) = sent(2_000, Some(4_000));
    for left in (1..=40).rev() {
        play.progress = waits(left, 0);
        assert_eq!(ends_after(&mut play, id, 3_000), None, "{left} bytes wait");
    }
    // With the last byte it is idle, from then on.
    play.progress = waits(0, 0);
    let after = ends_after(&mut play, id, 60_000).expect("it is idle");
    assert!((2_000..=7_100).contains(&after), "{after}");
    assert_eq!(reason(&play, id), (By::Weir, Why::IdleTimeout));
}

#[test]
fn what_was_sent_in_the_meantime_is_no_progress() {
    let (mut play, id) = sent(60_000, Some(4_000));
    for more in 1..=3 {
        play.progress = waits(1000 * more, 0);
        assert_eq!(ends_after(&mut play, id, 1_000), None);
        let buffer = crate::event::BufferId(9);
        let received = Completion::Received { buffer, length: 1000, more: false, last: true };
        // A parked receive was taken back, and a watch waits.
        if play.table.session(id).unwrap().inflight() > 2 {
            break;
        }
        play.on(id, Side::Backend, received);
        play.on(id, Side::Client, Completion::Sent(1000));
        play.out.clear();
    }
    let after = ends_after(&mut play, id, 60_000).expect("it is given up");
    assert!(after <= 4_500, "{after}");
}

#[test]
fn a_peer_that_acknowledges_nothing_has_vanished_a_closed_window_has_not() {
    // Three tries without an answer, and silent for as long as keepalive says (60 s).
    let dead = PeerProgress { unacked: 1000, silent_ms: 60_000, unanswered: 3, closed: false };
    let (mut play, id) = sent(3_600_000, None);
    play.progress = [dead, PeerProgress::default()];
    let after = ends_after(&mut play, id, 120_000).expect("it is given up");
    assert!((60_000..=67_000).contains(&after), "{after}");
    assert_eq!(reason(&play, id), (By::Client, Why::Vanished));
    let quiet = PeerProgress { silent_ms: 59_000, ..dead };
    let alive = PeerProgress { silent_ms: 119_000, unanswered: 1, ..dead };
    for progress in [quiet, alive] {
        let (mut play, id) = sent(3_600_000, None);
        play.progress = [PeerProgress::default(), progress];
        assert_eq!(ends_after(&mut play, id, 300_000), None, "{progress:?}");
    }
    // A pool with less patience has less with these as well.
    let (mut play, id) = sent(3_600_000, Some(5_000));
    play.progress = [PeerProgress { silent_ms: 5_000, ..dead }, PeerProgress::default()];
    let after = ends_after(&mut play, id, 60_000).expect("it is given up");
    assert!((5_000..=6_500).contains(&after), "{after}");
    assert_eq!(reason(&play, id), (By::Client, Why::Vanished));
}

#[test]
fn an_idle_session_is_looked_at_once_and_asked_by_the_kernel_from_then_on() {
    let (mut play, id) = sent(3_600_000, None);
    assert_eq!(ends_after(&mut play, id, 2_000), None);
    assert_eq!(play.kept_alive, [CLIENT, Leg(11)]);
    for side in Side::ALL {
        play.on(id, side, Completion::Canceled);
        play.on(id, side, Completion::ReceiveFailed(Errno::ECANCELED));
    }
    play.out.clear();
    assert_eq!(ends_after(&mut play, id, 3_000), None);
    assert_eq!(play.kept_alive.len(), 2, "once");
    let next = play.table.next_deadline().expect("the idle timeout");
    assert!(next > play.now.plus_millis(600_000), "nobody looks at it: {next:?}");
}

/// A quiet session whose client sends its last bytes, and its FIN, soon after the last look.
/// Nothing moves then and nothing waited at that look, but what was sent since may wait: the
/// planted bug sent-bytes-are-believed-delivered looks again only when the half-close timeout is
/// due.
#[test]
fn what_was_sent_since_the_last_look_is_looked_at_before_the_session_rests() {
    let (mut play, id) = sent(60_000, Some(5_000));
    assert_eq!(ends_after(&mut play, id, 1_200), None);
    for side in Side::ALL {
        play.on(id, side, Completion::Canceled);
        play.on(id, side, Completion::ReceiveFailed(Errno::ECANCELED));
    }
    assert_eq!(ends_after(&mut play, id, 1_200), None, "parked, and looked at once more");
    let readable = Ready { readable: true, writable: false, reset: false, error: None };
    play.table.on_ready(id, Side::Client, readable, play.now, &mut play.out);
    let buffer = crate::event::BufferId(7);
    play.on(id, Side::Client, Completion::Received { buffer, length: 9, more: true, last: true });
    play.on(id, Side::Backend, Completion::Sent(9));
    play.on(id, Side::Client, Completion::Ended);
    play.out.clear();
    play.progress = waits(0, 10);
    let sent_at = play.now;
    while play.table.session(id).is_some() {
        play.now = play.now.plus_millis(8);
        while play.on_time().is_some() {
            play.out.clear();
        }
    }
    let after = (play.now - sent_at).as_millis();
    assert!((5_000..=7_500).contains(&after), "{after}");
    let [(CloseReason { by, why, .. }, 1)] = play.ends()[..] else { panic!("one has ended") };
    assert_eq!((by, why), (By::Backend, Why::Stalled));
}

#[test]
fn the_reason_that_nobody_else_hears_is_told() {
    let dead = |errno| Ready { readable: true, writable: false, reset: true, error: errno };
    for (error, why) in [
        (Some(Errno::ETIMEDOUT), Why::Vanished),
        (Some(Errno::EHOSTUNREACH), Why::Vanished),
        (Some(Errno::ECONNRESET), Why::Reset),
        (None, Why::Reset),
    ] {
        let mut play = TablePlay::new(1);
        let id = play.relaying();
        play.on(id, Side::Client, Completion::Ended);
        play.now = play.now.plus_millis(48);
        assert_eq!(play.on_time(), Some(id));
        play.out.clear();
        assert_eq!(play.table.unreported_error_leg(id, Side::Client), Some(CLIENT));
        assert_eq!(play.table.unreported_error_leg(id, Side::Backend), None, "its receive is told");
        play.table.on_ready(id, Side::Client, dead(error), play.now, &mut play.out);
        assert_eq!(reason(&play, id), (By::Client, why), "{error:?}");
        let mut play = TablePlay::new(1);
        let id = play.relaying();
        let errno = error.unwrap_or(Errno::EPIPE);
        play.on(id, Side::Backend, Completion::ReceiveFailed(errno));
        assert_eq!(reason(&play, id), (By::Backend, why), "{errno:?}");
    }
}

/// Both FINs have crossed, and the client has not acknowledged all that was sent to it.
fn delivering(stalled_ms: u64) -> (TablePlay, SessionId) {
    let (mut play, id) = sent(2_000, Some(stalled_ms));
    play.progress = waits(500, 1);
    for side in Side::ALL {
        play.on(id, side, Completion::Ended);
    }
    play.out.clear();
    (play, id)
}

#[test]
fn a_session_is_complete_when_its_last_bytes_are_acknowledged_and_not_before() {
    let (mut play, id) = delivering(3_600_000);
    for _ in 0..1_000 {
        play.now = play.now.plus_millis(8);
        assert_eq!(play.on_time(), None, "its idle and half-close timeouts do not run");
    }
    assert!(play.table.session(id).is_some(), "8 s later");
    play.progress = waits(1, 0);
    while play.table.session(id).is_some() {
        play.now = play.now.plus_millis(8);
        play.on_time();
    }
    let fin = Action::Close { leg: CLIENT, how: How::Fin };
    assert!(play.out.as_slice().contains(&fin), "{:?}", play.out);
}

#[test]
fn last_bytes_that_are_never_taken_end_the_session_for_its_true_reason() {
    let ends_of = |mut play: TablePlay, id| {
        for _ in 0..2_000 {
            play.now = play.now.plus_millis(8);
            if play.on_time().is_some() {
                assert_eq!(play.out.as_slice().last(), Some(&Action::Free));
                assert!(play.table.session(id).is_none());
                let [(reason, 1)] = play.ends()[..] else { panic!("one session has ended") };
                return (reason.by, reason.why);
            }
        }
        panic!("it goes on for ever");
    };
    let (play, id) = delivering(5_000);
    assert_eq!(ends_of(play, id), (By::Client, Why::Stalled));
    let (mut play, id) = delivering(3_600_000);
    play.progress[0].closed = true;
    assert_eq!(ends_of(play, id), (By::Client, Why::Reset));
}
