//! Tables of events → actions for one session.

#[path = "tests/redispatch.rs"]
mod redispatch;

use weir_proto::reason::ConnectFault;

use super::*;
use crate::event::{BufferId, Errno, Interest, PeerProgress, PipeId, Ready, Receive, SpliceResult};
use crate::limits::FRUITLESS_MAX;

const ROUTE: Route = Route {
    listener: ListenerSlot::FIRST,
    pool: PoolSlot::FIRST,
    backend: Some(BackendSlot::FIRST),
    index: MemberIndex::FIRST,
};
const NOW: Now = Now { nanos: 0 };

/// A session with its actions, and the kernel played by hand.
struct SessionPlay {
    session: Session,
    out: Actions,
    /// Those of the last event.
    effects: Effects,
}

impl SessionPlay {
    fn connecting() -> SessionPlay {
        let mut session = Session::new(CLIENT, ROUTE, Connect::new(0, 0, NOW), NOW);
        session.connect_started(BACKEND, NOW, NOW);
        SessionPlay { session, out: Actions::default(), effects: Effects::default() }
    }

    fn relaying() -> SessionPlay {
        let mut play = SessionPlay::connecting();
        assert_eq!(
            play.on(Side::Backend, Completion::Connected(Ok(()))),
            Step::Connected { began_at: NOW }
        );
        play.expect(&[receive(Side::Client), receive(Side::Backend)]);
        play
    }

    fn on(&mut self, side: Side, done: Completion) -> Step {
        self.effects = self.session.on_completion(side, done, &mut self.out);
        self.effects.step
    }

    fn end(&mut self, by: By, why: Why) {
        self.effects = self.session.end(by, why, &mut self.out);
    }

    /// Answers the last look: bytes that each side has not acknowledged.
    fn look_at_end(&mut self, unacked: [u32; 2]) {
        let progress = unacked.map(|unacked| PeerProgress { unacked, ..Default::default() });
        self.session.inspected(progress, NOW);
        self.effects = self.session.looked_at_end(&mut self.out);
    }

    fn resume_reserved(&mut self, from: Side, room: impl FnOnce(Leg) -> u32) -> Resumed {
        let (resumed, effects) = self.session.resume_reserved(from, room, &mut self.out);
        self.effects = effects;
        resumed
    }

    fn expect_over(&self, by: By, during: During, why: Why) {
        assert_eq!(self.effects.over, Some(CloseReason { by, during, why }));
    }

    fn expect(&mut self, actions: &[Action]) {
        assert_eq!(self.out.as_slice(), actions);
        self.out.clear();
    }
}

const CLIENT: Leg = Leg(10);
const BACKEND: Leg = Leg(11);

fn leg(side: Side) -> Leg {
    [CLIENT, BACKEND][side as usize]
}

fn receive(from: Side) -> Action {
    Action::Receive { from, leg: leg(from), how: Receive::Once }
}

fn close(leg: Leg, how: How) -> Action {
    Action::Close { leg, how }
}

const LAST_LOOK: Action = Action::InspectPeers { legs: [CLIENT, BACKEND], closely: [false, false] };

fn data(buffer: u16, length: u16) -> Completion {
    Completion::Received { buffer: BufferId(buffer), length, more: false, last: true }
}

fn send(to: Side, buffer: u16, start: u16, end: u16) -> Action {
    Action::Send { to, leg: leg(to), chunk: Chunk { buffer: BufferId(buffer), start, end } }
}

#[test]
fn bytes_cross_and_the_next_receive_is_asked_for_at_once() {
    let mut play = SessionPlay::relaying();
    let received = Step::Received { from: Side::Client, count: 100, last: true };
    assert_eq!(play.on(Side::Client, data(1, 100)), received);
    play.expect(&[send(Side::Backend, 1, 0, 100), receive(Side::Client)]);
    assert_eq!(play.on(Side::Backend, Completion::Sent(40)), Step::Sent(Side::Backend, 40));
    play.expect(&[send(Side::Backend, 1, 40, 100)]);
    play.on(Side::Backend, Completion::Sent(60));
    play.expect(&[Action::Release(BufferId(1))]);
}

#[test]
fn a_fin_crosses_after_the_bytes_and_leaves_the_other_direction_alone() {
    let mut play = SessionPlay::relaying();
    play.on(Side::Client, data(1, 5));
    play.expect(&[send(Side::Backend, 1, 0, 5), receive(Side::Client)]);
    play.on(Side::Client, Completion::Ended);
    play.expect(&[]);
    play.on(Side::Backend, Completion::Sent(5));
    play.expect(&[Action::Release(BufferId(1)), Action::Finish(BACKEND)]);
    play.on(Side::Backend, data(2, 9));
    play.expect(&[send(Side::Client, 2, 0, 9), receive(Side::Backend)]);
    play.on(Side::Client, Completion::Sent(9));
    play.expect(&[Action::Release(BufferId(2))]);
    play.on(Side::Backend, Completion::Ended);
    let legs = [CLIENT, BACKEND];
    play.expect(&[Action::Finish(CLIENT), Action::InspectPeers { legs, closely: [false; 2] }]);
    // The client's kernel has not acknowledged the last of the bytes.
    let waits =
        |unacked| [unacked, 1].map(|unacked| PeerProgress { unacked, ..Default::default() });
    assert_eq!(play.session.delivered(waits(2)), None);
    let (by, why) = play.session.delivered(waits(1)).expect("a FIN may be on its way");
    play.end(by, why);
    play.expect(&[close(CLIENT, How::Fin), close(BACKEND, How::Fin)]);
    play.expect_over(By::Client, During::Relaying, Why::Complete);
}

#[test]
fn a_reset_cancels_joins_and_resets_the_other_side() {
    let mut play = SessionPlay::relaying();
    play.on(Side::Client, data(1, 5));
    play.out.clear();
    play.on(Side::Backend, Completion::ReceiveFailed(Errno::ECONNRESET));
    play.expect(&[
        Action::Cancel { side: Side::Client, what: Pending::Receive },
        Action::Cancel { side: Side::Backend, what: Pending::Send },
    ]);
    // The cancels' own words may come first, and a target may still succeed.
    play.on(Side::Client, Completion::Canceled);
    play.on(Side::Backend, Completion::SendFailed(Errno::EPIPE));
    play.expect(&[Action::Release(BufferId(1))]);
    play.on(Side::Backend, Completion::Canceled);
    play.expect(&[]);
    play.on(Side::Client, data(3, 1));
    play.expect(&[Action::Release(BufferId(3)), LAST_LOOK]);
    play.look_at_end([0, 4]);
    play.expect(&[close(CLIENT, How::Reset), close(BACKEND, How::Reset)]);
    play.expect_over(By::Backend, During::Relaying, Why::Reset);
    let end = play.session.end_record().expect("it is over");
    assert_eq!((end.first, end.undelivered_bytes), (By::Backend, [0, 5 + 1 + 4]));
}

/// A send that was taken back may have been taken before; weir's own FIN is no byte that is lost.
#[test]
fn what_a_side_has_not_acknowledged_at_the_end_is_lost() {
    let mut play = SessionPlay::relaying();
    play.on(Side::Backend, Completion::Ended);
    play.on(Side::Client, data(1, 50));
    play.on(Side::Client, data(2, 30));
    play.end(By::Operator, Why::Killed);
    play.on(Side::Backend, Completion::Sent(20));
    play.out.clear();
    play.on(Side::Backend, Completion::Canceled);
    play.expect(&[LAST_LOOK]);
    assert_eq!(play.effects.over, None, "the answer is waited for");
    play.look_at_end([1, 20]);
    play.expect_over(By::Operator, During::HalfClosed, Why::Killed);
    let end = play.session.end_record().expect("it is over");
    assert_eq!((end.first, end.undelivered_bytes), (By::Backend, [0, 30 + 30 + 20]));
}

#[test]
fn a_side_is_blocked_from_look_to_look_while_it_takes_nothing() {
    let mut play = SessionPlay::relaying();
    play.session.note_sent(Side::Client, 100);
    let mut look = |ms, unacked| {
        let waits = PeerProgress { unacked, ..PeerProgress::default() };
        play.session.inspected([waits, PeerProgress::default()], NOW.plus_millis(ms))
    };
    assert_eq!(look(1_000, 100), [0, 0], "since when it waits is not known");
    assert_eq!(look(2_000, 100), [1_000, 0]);
    assert_eq!(look(4_504, 100), [2_504, 0]);
    assert_eq!(look(5_504, 60), [0, 0], "it took some");
    assert_eq!(look(6_504, 60), [1_000, 0]);
    assert_eq!(play.session.blocked_ms(), [4_504, 0]);
    play.end(By::Operator, Why::Killed);
    for side in Side::ALL {
        play.on(side, Completion::Canceled);
        play.on(side, Completion::ReceiveFailed(Errno::ECANCELED));
    }
    let waits = PeerProgress { unacked: 60, ..PeerProgress::default() };
    play.session.inspected([waits, PeerProgress::default()], NOW.plus_millis(7_000));
    assert_eq!(play.session.blocked_ms(), [5_000, 0], "up to the end");
}

#[test]
fn a_refused_connect_is_the_tables_to_retry() {
    let mut play = SessionPlay::connecting();
    let refused = Completion::Connected(Err(Errno::ECONNREFUSED));
    assert_eq!(play.on(Side::Backend, refused), Step::ConnectFailed(ConnectFault::Refused));
    play.session.drop_backend_leg(&mut play.out);
    play.expect(&[close(BACKEND, How::Reset)]);
    play.session.connect_started(BACKEND, NOW, NOW);
    assert_eq!(
        play.on(Side::Backend, Completion::Connected(Ok(()))),
        Step::Connected { began_at: NOW }
    );
    play.expect(&[receive(Side::Client), receive(Side::Backend)]);
}

#[test]
fn an_expired_connect_waits_for_both_words_in_either_order() {
    let canceled = Completion::Connected(Err(Errno::ECANCELED));
    for first_is_the_cancel in [true, false] {
        let mut play = SessionPlay::connecting();
        play.session.expire_connect(&mut play.out);
        play.expect(&[Action::Cancel { side: Side::Backend, what: Pending::Connect }]);
        let words = [Completion::Canceled, canceled];
        let [first, second] = if first_is_the_cancel { words } else { [words[1], words[0]] };
        assert_eq!(play.on(Side::Backend, first), Step::None);
        let step = play.on(Side::Backend, second);
        assert_eq!(step, Step::ConnectFailed(ConnectFault::Timeout));
    }
}

#[test]
fn a_connect_may_succeed_after_its_deadline() {
    let mut play = SessionPlay::connecting();
    play.session.expire_connect(&mut play.out);
    play.out.clear();
    assert_eq!(
        play.on(Side::Backend, Completion::Connected(Ok(()))),
        Step::Connected { began_at: NOW }
    );
    play.expect(&[receive(Side::Client), receive(Side::Backend)]);
    play.on(Side::Backend, Completion::Canceled);
    play.expect(&[]);
}

#[test]
fn a_starved_flow_waits_in_the_line() {
    let mut play = SessionPlay::relaying();
    assert_eq!(play.on(Side::Client, Completion::Starved), Step::Starved(Side::Client));
    play.expect(&[]);
    assert!(play.session.is_starved(Side::Client));
    assert_eq!(play.session.resume(Side::Client, &mut play.out), Effects::default());
    play.expect(&[receive(Side::Client)]);
}

#[test]
fn a_kill_while_connecting_joins_the_connect() {
    let mut play = SessionPlay::connecting();
    play.end(By::Operator, Why::Killed);
    assert_eq!(play.effects.over, None);
    play.expect(&[Action::Cancel { side: Side::Backend, what: Pending::Connect }]);
    play.on(Side::Backend, Completion::Connected(Ok(())));
    play.expect(&[]);
    play.on(Side::Backend, Completion::Canceled);
    play.expect(&[close(CLIENT, How::Reset), close(BACKEND, How::Reset)]);
    play.expect_over(By::Operator, During::Connecting, Why::Killed);
}

#[test]
fn the_reserve_is_for_flows_whose_sink_takes_bytes() {
    for (room, how) in [(1, 1), (700, 700), (1 << 20, 16 * 1024)] {
        let mut play = SessionPlay::relaying();
        play.on(Side::Client, Completion::Starved);
        play.out.clear();
        let ask = |leg| {
            assert_eq!(leg, BACKEND, "the sink is asked");
            room
        };
        let resumed = play.resume_reserved(Side::Client, ask);
        assert_eq!(resumed, Resumed::Reserved);
        let how = Receive::Reserved { bytes: how };
        play.expect(&[Action::Receive { from: Side::Client, leg: CLIENT, how }]);
    }
}

#[test]
fn a_starved_flow_whose_sink_is_full_asks_again_when_it_is_writable() {
    let mut play = SessionPlay::relaying();
    play.session.buffers_short = true;
    play.on(Side::Client, Completion::Starved);
    play.out.clear();
    let resumed = play.resume_reserved(Side::Client, |_| 0);
    assert_eq!(resumed, Resumed::Blocked);
    assert!(play.session.is_blocked() && !play.session.is_starved(Side::Client));
    let interest = Interest { readable: false, writable: true };
    play.expect(&[Action::Watch { side: Side::Backend, leg: BACKEND, interest }]);
    let ready = Ready { writable: true, ..Ready::default() };
    play.ready(Side::Backend, ready);
    assert!(!play.session.is_blocked());
    assert!(matches!(play.out.as_slice()[0], Action::Receive { from: Side::Client, .. }));
}

#[test]
fn while_buffers_are_short_a_flow_holds_one() {
    for (buffers_short, chunks) in [(false, 2), (true, 1)] {
        let mut play = SessionPlay::relaying();
        play.session.buffers_short = buffers_short;
        for buffer in 0..chunks {
            play.on(Side::Client, data(buffer, 10));
            let asks = play.out.as_slice().iter().any(|it| matches!(it, Action::Receive { .. }));
            assert_eq!(asks, buffer + 1 < chunks, "buffers_short: {buffers_short}, after {buffer}");
            play.out.clear();
        }
        play.on(Side::Backend, Completion::SendFailed(Errno::EAGAIN));
        assert!(!play.out.as_slice().iter().any(|it| matches!(it, Action::Receive { .. })));
        assert_eq!(play.session.chunks().count(), usize::from(chunks));
    }
}

const READABLE: Ready = Ready { readable: true, writable: false, reset: false, error: None };
const WRITABLE: Ready = Ready { readable: false, writable: true, reset: false, error: None };
const DRY: SpliceResult =
    SpliceResult { received: 0, sent: 0, dry: true, unsure: false, full: false, ..NOTHING };
const NOTHING: SpliceResult = SpliceResult {
    received: 0,
    sent: 0,
    dry: false,
    unsure: false,
    full: false,
    receive_failed: None,
    send_failed: None,
};
const PIPE: PipeId = PipeId(3);

impl SessionPlay {
    /// A session whose upload has just got a pipe.
    fn bulk() -> SessionPlay {
        let mut play = SessionPlay::relaying();
        play.session.bulk_bytes = 50;
        // The receive that is asked for already is not a large one yet.
        for _ in 0..=crate::flow::BULK_AFTER {
            play.on(Side::Client, data(1, 100));
            play.on(Side::Backend, Completion::Sent(100));
        }
        let promote = Action::TakePipe { from: Side::Client, legs: [CLIENT, BACKEND] };
        assert!(play.out.as_slice().contains(&promote), "{:?}", play.out);
        play.out.clear();
        play.effects = play.session.promoted(Side::Client, Some(PIPE), &mut play.out);
        play.expect(&[]);
        assert_eq!(play.effects.splices, [true, false]);
        play
    }

    /// The kernel's answer to the move that was asked for. True if it is counted as refused.
    fn moved(&mut self, moved: SpliceResult) -> bool {
        let order = self.session.take_splice(Side::Client).expect("a move was asked for");
        assert_eq!((order.pipe, order.held), (PIPE, 0));
        self.effects = self.session.moved(Side::Client, moved, &mut self.out);
        self.effects.step == Step::PipeRefused
    }

    fn ready(&mut self, side: Side, ready: Ready) {
        self.effects = self.session.on_ready(side, ready, &mut self.out);
    }
}

fn watch(side: Side, readable: bool, writable: bool) -> Action {
    Action::Watch { side, leg: leg(side), interest: Interest { readable, writable } }
}

/// The flow is back in buffers, and a receive is asked what there is.
const BACK: [Action; 3] = [
    Action::ReturnPipe { pipe: PIPE, empty: true },
    Action::SetBlocking { legs: [CLIENT, BACKEND] },
    Action::Receive { from: Side::Client, leg: CLIENT, how: Receive::AtOnce },
];

#[test]
fn a_pipe_that_says_zero_has_seen_no_end() {
    let mut play = SessionPlay::bulk();
    assert!(
        !play.moved(SpliceResult { received: 9, sent: 9, unsure: true, ..NOTHING }),
        "as at each end"
    );
    play.expect(&BACK);
    // Bytes were there: an urgent one stood before them.
    play.on(Side::Client, data(7, 30));
    play.expect(&[send(Side::Backend, 7, 0, 30), receive(Side::Client)]);
    play.on(Side::Client, Completion::Ended);
    play.expect(&[]);
    play.on(Side::Backend, Completion::Sent(30));
    play.expect(&[Action::Release(BufferId(7)), Action::Finish(BACKEND)]);
}

#[test]
fn a_pipe_that_finds_nothing_in_a_readable_socket_is_refused() {
    let mut play = SessionPlay::bulk();
    assert!(!play.moved(DRY), "nothing may have come yet");
    play.expect(&[watch(Side::Client, true, false)]);
    play.ready(Side::Client, READABLE);
    play.expect(&[]);
    assert_eq!(play.effects.splices, [true, false]);
    assert!(play.moved(DRY));
    play.expect(&BACK);
    // Nothing came of it but a reset: it is one.
    play.on(Side::Client, Completion::ReceiveFailed(Errno::ECONNRESET));
    assert_eq!(play.session.flow(Side::Client).pipe, None);
    assert!(matches!(play.session.phase(), Phase::Closing(end) if end.reason.why == Why::Reset));
}

#[test]
fn watches_that_tell_in_vain_rest_until_the_next_look() {
    let mut play = SessionPlay::relaying();
    play.on(Side::Client, data(1, 100));
    play.out.clear();
    play.on(Side::Backend, Completion::SendFailed(Errno::EAGAIN));
    play.expect(&[watch(Side::Backend, false, true)]);
    for told in 1..=FRUITLESS_MAX {
        play.ready(Side::Backend, WRITABLE);
        play.expect(&[send(Side::Backend, 1, 0, 100)]);
        play.on(Side::Backend, Completion::SendFailed(Errno::EINTR));
        if told < FRUITLESS_MAX {
            assert!(!play.session.is_muted());
            play.expect(&[watch(Side::Backend, false, true)]);
        }
    }
    assert!(play.session.is_muted() && play.session.has_gone_mute());
    play.expect(&[]);
    play.session.unmute(&mut play.out);
    play.expect(&[watch(Side::Backend, false, true)]);
    assert!(!play.session.is_muted());
    // A byte that moves makes up for all of them.
    for _ in 1..FRUITLESS_MAX {
        play.ready(Side::Backend, WRITABLE);
        play.on(Side::Backend, Completion::SendFailed(Errno::EAGAIN));
    }
    play.ready(Side::Backend, WRITABLE);
    play.on(Side::Backend, Completion::Sent(1));
    assert!(!play.session.is_muted());
}

#[test]
fn an_answer_that_no_peer_can_cause_blames_none() {
    for (errno, by, why) in [
        (Errno::ECONNRESET, By::Client, Why::Reset),
        (Errno::ETIMEDOUT, By::Client, Why::Vanished),
        (Errno::ENOMEM, By::Weir, Why::Local),
        (Errno::EINVAL, By::Weir, Why::Local),
        (Errno::EACCES, By::Weir, Why::Local),
        (Errno::EFAULT, By::Weir, Why::Local),
        (Errno::EBADF, By::Weir, Why::Local),
        (Errno::EOPNOTSUPP, By::Weir, Why::Local),
    ] {
        let mut play = SessionPlay::relaying();
        play.on(Side::Client, Completion::ReceiveFailed(errno));
        let wanted = CloseReason { by, during: During::Relaying, why };
        let Phase::Closing(end) = play.session.phase() else { panic!("{errno:?}") };
        assert_eq!(end.reason, wanted, "{errno:?}");
    }
    for errno in [Errno::EAGAIN, Errno::EINTR] {
        let mut play = SessionPlay::relaying();
        play.on(Side::Client, Completion::ReceiveFailed(errno));
        play.expect(&[watch(Side::Client, true, false)]);
        let mut play = SessionPlay::connecting();
        let step = play.on(Side::Backend, Completion::Connected(Err(errno)));
        assert_eq!(step, Step::ConnectFailed(ConnectFault::Local), "{errno:?}");
    }
}
