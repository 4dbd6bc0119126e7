//! Sessions that are as old as their pool allows.

use super::*;
use crate::event::{BufferId, Side};
use crate::lifetime::share_of;

/// A pool whose sessions live for 100 s: the grace is 10 s, quiet is 1 s.
fn mortal() -> TablePlay {
    TablePlay::with(1, 4, |pool| {
        pool.timeout.idle = Span::from_secs(3_600);
        pool.timeout.lifetime = Some(Span::from_secs(100));
    })
}

/// When the session is of age.
fn cap(id: SessionId, accepted_at: Now) -> Now {
    let share = share_of(accepted_at, id.slot, id.generation);
    let less_ms = (10_000 * u64::from(share)) >> 32;
    accepted_at.plus_millis(100_000 - u32::try_from(less_ms).unwrap())
}

/// Lets time pass in steps of 8 ms, with all deadlines, until the session begins to end or `end`
/// is over. `each` is what happens in each step.
fn play_until(
    play: &mut TablePlay,
    id: SessionId,
    end: Now,
    mut each: impl FnMut(&mut TablePlay),
) -> bool {
    while play.now < end {
        play.now = play.now.plus_millis(8);
        each(play);
        while play.on_time().is_some() {
            if is_ending(play, id) {
                return true;
            }
            play.out.clear();
        }
        if is_ending(play, id) {
            return true;
        }
    }
    false
}

fn is_ending(play: &TablePlay, id: SessionId) -> bool {
    let phase = play.table.session(id).map(Session::phase);
    matches!(phase, Some(Phase::Closing(_)) | None)
}

/// The kernel takes the receives of a parked session back.
fn receives_end(play: &mut TablePlay, id: SessionId) {
    for side in Side::ALL {
        play.on(id, side, Completion::ReceiveFailed(Errno::ECANCELED));
        play.on(id, side, Completion::Canceled);
    }
}

/// How both legs were closed, when all operations have ended.
fn closes(play: &mut TablePlay) -> Vec<How> {
    let how = |action: Action| match action {
        Action::Close { how, .. } => Some(how),
        _ => None,
    };
    play.take().into_iter().filter_map(how).collect()
}

fn byte() -> Completion {
    Completion::Received { buffer: BufferId(0), length: 1, more: false, last: false }
}

#[test]
fn a_quiet_session_ends_when_it_is_of_age() {
    let mut play = mortal();
    let id = play.relaying();
    let cap = cap(id, START);
    assert!(!play_until(&mut play, id, START.plus_millis(1_500), |_| {}));
    receives_end(&mut play, id);
    assert!(play_until(&mut play, id, cap.plus_millis(100), |_| {}));
    assert!(play.now >= cap, "ended {:?} too early", cap - play.now);
    assert_eq!(closes(&mut play), [How::Reset; 2]);
    let reason = CloseReason { by: By::Weir, during: During::Relaying, why: Why::Lifetime };
    assert_eq!(play.ends(), [(reason, 1)]);
}

#[test]
fn one_that_is_never_quiet_is_reset_when_the_grace_is_over() {
    let mut play = mortal();
    let id = play.relaying();
    let cap = cap(id, START);
    let last = cap.plus_millis(10_000);
    // A byte each 800 ms, and each is passed on.
    let mut next = START.plus_millis(800);
    let ended = play_until(&mut play, id, last.plus_millis(100), |play| {
        if play.now >= next {
            next = play.now.plus_millis(800);
            play.on(id, Side::Client, byte());
            play.on(id, Side::Backend, Completion::Sent(1));
            play.out.clear();
        }
    });
    assert!(ended && play.now >= last, "{:?} before its time", last - play.now);
    play.on(id, Side::Client, Completion::ReceiveFailed(Errno::ECANCELED));
    play.on(id, Side::Backend, Completion::ReceiveFailed(Errno::ECANCELED));
    play.on(id, Side::Client, Completion::Canceled);
    play.on(id, Side::Backend, Completion::Canceled);
    assert_eq!(closes(&mut play), [How::Reset; 2]);
}

#[test]
fn the_first_quiet_moment_of_the_grace_is_taken() {
    let mut play = mortal();
    let id = play.relaying();
    let cap = cap(id, START);
    let (mut next, quiet_from) = (START.plus_millis(300), cap.plus_millis(4_000));
    let ended = play_until(&mut play, id, cap.plus_millis(10_000), |play| {
        if play.now >= next && play.now < quiet_from {
            next = play.now.plus_millis(300);
            play.on(id, Side::Client, byte());
            play.on(id, Side::Backend, Completion::Sent(1));
            play.out.clear();
        }
    });
    let after = (play.now - quiet_from).as_millis();
    assert!(ended && (700..=1_100).contains(&after), "{after}");
}

#[test]
fn bytes_that_a_side_has_not_acknowledged_are_waited_for() {
    let mut play = mortal();
    let id = play.relaying();
    let cap = cap(id, START);
    play.carries(id, Side::Client, 100);
    let unacked = PeerProgress { unacked: 1, ..PeerProgress::default() };
    play.progress = [PeerProgress::default(), unacked];
    assert!(!play_until(&mut play, id, cap.plus_millis(9_900), |_| {}));
    play.progress = [PeerProgress::default(); 2];
    // It has taken the last one now, and then it is quiet for a second: the grace is over first.
    assert!(play_until(&mut play, id, cap.plus_millis(10_100), |_| {}));
    assert!(play.now >= cap.plus_millis(10_000));
}

#[test]
fn a_lifetime_that_is_set_counts_for_sessions_that_exist() {
    let mut play = TablePlay::with(1, 4, |pool| pool.timeout.idle = Span::from_secs(36_000));
    let id = play.relaying();
    assert!(!play_until(&mut play, id, START.plus_millis(200_000), |_| {}));
    receives_end(&mut play, id);
    play.out.clear();
    let set = play.now;
    play.adopt(|spec| {
        let pool = spec.pool.values_mut().next().expect("there is one");
        pool.timeout.lifetime = Some(Span::from_secs(100));
    });
    assert!(play.table.is_sweeping());
    let mut scan = SCANNED_PER_TURN_MAX;
    assert_eq!(play.table.sweep(play.now, &mut scan, &mut play.out), None);
    assert!(!play.table.is_sweeping(), "it has its deadline");
    let due = set.plus_millis(10_000);
    assert!(play_until(&mut play, id, due.plus_millis(100), |_| {}), "over a tenth of it");
    assert_eq!(closes(&mut play), [How::Reset; 2]);
}

#[test]
fn a_lifetime_that_is_taken_away_ends_no_session() {
    let mut play = mortal();
    let id = play.relaying();
    assert!(!play_until(&mut play, id, START.plus_millis(50_000), |_| {}));
    play.adopt(|spec| {
        spec.pool.values_mut().next().expect("there is one").timeout.lifetime = None;
    });
    assert!(!play.table.is_sweeping(), "there is nothing to do");
    assert!(!play_until(&mut play, id, START.plus_millis(200_000), |_| {}));
}

#[test]
fn a_half_closed_session_ends_too() {
    let mut play = TablePlay::with(1, 4, |pool| {
        (pool.timeout.idle, pool.timeout.half_close) = (Span::from_secs(900), Span::from_secs(900));
        pool.timeout.lifetime = Some(Span::from_secs(100));
    });
    let id = play.relaying();
    play.on(id, Side::Client, Completion::Ended);
    play.out.clear();
    assert!(!play_until(&mut play, id, START.plus_millis(1_500), |_| {}));
    play.on(id, Side::Backend, Completion::ReceiveFailed(Errno::ECANCELED));
    play.on(id, Side::Backend, Completion::Canceled);
    assert!(play_until(&mut play, id, START.plus_millis(100_100), |_| {}));
    assert_eq!(closes(&mut play), [How::Reset; 2]);
    let reason = CloseReason { by: By::Weir, during: During::HalfClosed, why: Why::Lifetime };
    assert_eq!(play.ends(), [(reason, 1)]);
}
