//! Backends that close a session before their first byte.

use super::*;
use crate::session::Trial;

const OTHER: Leg = Leg(12);

impl SessionPlay {
    /// A session that may be tried elsewhere twice, with N bytes.
    fn on_trial(replay_max: u16) -> SessionPlay {
        let mut session = Session::new(CLIENT, ROUTE, Connect::new(0, 2, NOW), NOW);
        session.replay_max = Some(replay_max);
        session.connect_started(BACKEND, NOW, NOW);
        let mut play =
            SessionPlay { session, out: Actions::default(), effects: Effects::default() };
        play.on(Side::Backend, Completion::Connected(Ok(())));
        play.expect(&[receive(Side::Client), receive(Side::Backend)]);
        play
    }

    /// The same, once its backend has got 60 bytes of the 100 that may be sent again.
    fn on_trial_with_60() -> SessionPlay {
        let mut play = SessionPlay::on_trial(100);
        play.on(Side::Client, data(1, 60));
        play.on(Side::Backend, Completion::Sent(60));
        play.out.clear();
        play
    }

    /// Another backend takes the session.
    fn elsewhere(&mut self) {
        assert!(self.effects.closed_early && self.session.may_redispatch());
        self.session.redispatch(Connect::new(0, 1, NOW));
        self.session.drop_backend_leg(&mut self.out);
        self.expect(&[close(BACKEND, How::Reset)]);
        self.session.connect_started(OTHER, NOW, NOW);
        self.on(Side::Backend, Completion::Connected(Ok(())));
    }
}

fn to_other(buffer: u16, end: u16) -> Action {
    let chunk = Chunk { buffer: BufferId(buffer), start: 0, end };
    Action::Send { to: Side::Backend, leg: OTHER, chunk }
}

fn receive_other() -> Action {
    Action::Receive { from: Side::Backend, leg: OTHER, how: Receive::Once }
}

const RESET: Completion = Completion::ReceiveFailed(Errno::ECONNRESET);

#[test]
fn a_backend_that_closes_at_once_loses_the_session_to_another() {
    for closed in [RESET, Completion::Ended] {
        let mut play = SessionPlay::on_trial(0);
        play.on(Side::Backend, closed);
        play.elsewhere();
        // The client's receive went on meanwhile.
        play.expect(&[receive_other()]);
        play.on(Side::Client, data(1, 5));
        play.expect(&[to_other(1, 5), receive(Side::Client)]);
        play.on(Side::Backend, Completion::Sent(5));
        play.expect(&[Action::Release(BufferId(1))]);
        assert_eq!(play.session.trial(), Trial::Over, "it was passed on and is not kept");
    }
}

#[test]
fn what_was_passed_on_is_kept_and_sent_again_with_its_end() {
    let mut play = SessionPlay::on_trial(100);
    play.on(Side::Client, data(1, 60));
    play.expect(&[send(Side::Backend, 1, 0, 60), receive(Side::Client)]);
    play.on(Side::Backend, Completion::Sent(60));
    play.expect(&[]);
    play.on(Side::Client, data(2, 10));
    play.expect(&[send(Side::Backend, 2, 0, 10)]);
    play.on(Side::Backend, Completion::Sent(4));
    play.on(Side::Backend, Completion::Sent(6));
    let chunk = Chunk { buffer: BufferId(2), start: 0, end: 10 };
    let merge = Action::Merge { chunk, into: BufferId(1), at: 60 };
    let released = [merge, Action::Release(BufferId(2)), receive(Side::Client)];
    play.expect(&[&[send(Side::Backend, 2, 4, 10)][..], &released].concat());
    play.on(Side::Client, Completion::Ended);
    play.expect(&[Action::Finish(BACKEND)]);
    play.on(Side::Backend, RESET);
    play.elsewhere();
    play.expect(&[to_other(1, 70), receive_other()]);
    play.on(Side::Backend, Completion::Sent(70));
    play.expect(&[Action::Finish(OTHER)]);
    play.on(Side::Backend, data(3, 9));
    let freed = Action::Release(BufferId(1));
    play.expect(&[freed, send(Side::Client, 3, 0, 9), receive_other()]);
    play.on(Side::Backend, RESET);
    assert!(!play.effects.closed_early, "a byte has come back");
}

#[test]
fn too_many_bytes_are_not_sent_again() {
    let mut play = SessionPlay::on_trial_with_60();
    play.on(Side::Client, data(2, 41));
    let kept = Action::Release(BufferId(1));
    play.expect(&[kept, send(Side::Backend, 2, 0, 41), receive(Side::Client)]);
    play.on(Side::Backend, Completion::Sent(41));
    play.expect(&[Action::Release(BufferId(2))]);
    play.on(Side::Backend, RESET);
    assert!(!play.effects.closed_early);
    assert!(matches!(play.session.phase(), Phase::Closing(_)));
}

#[test]
fn a_failed_send_says_nothing_of_bytes_that_came_before() {
    for (last, is_early) in [(RESET, true), (Completion::Ended, true), (data(3, 1), false)] {
        let mut play = SessionPlay::on_trial(100);
        play.on(Side::Client, data(1, 60));
        play.out.clear();
        play.on(Side::Backend, Completion::SendFailed(Errno::EPIPE));
        assert!(!play.effects.closed_early, "the receive must say");
        play.expect(&[]);
        play.on(Side::Backend, last);
        assert_eq!(play.effects.closed_early, is_early, "{last:?}");
        let is_closing = matches!(play.session.phase(), Phase::Closing(_));
        assert_eq!(is_closing, !is_early, "{last:?}");
    }
}

#[test]
fn a_client_that_wants_nothing_more_has_its_answer() {
    // The answer to an end is an end; to a request and an end it may be a reset.
    for (bytes, closed, is_early) in [
        (0, Completion::Ended, false),
        (0, RESET, false),
        (7, Completion::Ended, false),
        (7, RESET, true),
    ] {
        let mut play = SessionPlay::on_trial(100);
        if bytes > 0 {
            play.on(Side::Client, data(1, bytes));
            play.on(Side::Backend, Completion::Sent(bytes.into()));
        }
        play.on(Side::Client, Completion::Ended);
        play.on(Side::Backend, closed);
        assert_eq!(play.effects.closed_early, is_early, "{bytes} {closed:?}");
    }
}

#[test]
fn without_another_backend_the_client_is_told() {
    let mut play = SessionPlay::on_trial(100);
    play.on(Side::Backend, Completion::Ended);
    assert!(play.effects.closed_early);
    play.effects = play.session.pass_close_on(&mut play.out);
    play.expect(&[Action::Finish(CLIENT)]);
    let mut play = SessionPlay::on_trial(100);
    play.on(Side::Backend, RESET);
    play.effects = play.session.pass_close_on(&mut play.out);
    play.expect(&[Action::Cancel { side: Side::Client, what: Pending::Receive }]);
    play.on(Side::Client, Completion::ReceiveFailed(Errno::ECANCELED));
    play.on(Side::Client, Completion::Canceled);
    play.expect_over(By::Backend, During::Relaying, Why::Reset);
}

#[test]
fn a_client_that_leaves_meanwhile_is_gone() {
    let mut play = SessionPlay::on_trial_with_60();
    play.on(Side::Backend, RESET);
    play.session.redispatch(Connect::new(0, 1, NOW));
    play.session.drop_backend_leg(&mut play.out);
    play.session.connect_started(OTHER, NOW, NOW);
    play.out.clear();
    play.on(Side::Client, RESET);
    let connect = Action::Cancel { side: Side::Backend, what: Pending::Connect };
    play.expect(&[connect, Action::Release(BufferId(1))]);
}

#[test]
fn a_reset_that_follows_the_end_of_a_backend_is_not_forgotten() {
    let mut play = SessionPlay::on_trial(100);
    play.on(Side::Client, data(1, 60));
    play.on(Side::Backend, Completion::Ended);
    // What was sent has met a closed socket: the watch tells of it once.
    let error = Some(Errno::EPIPE);
    play.ready(Side::Backend, Ready { readable: true, reset: true, error, ..Ready::default() });
    play.on(Side::Backend, Completion::Sent(60));
    assert!(play.effects.closed_early && play.session.may_redispatch());
    play.out.clear();
    play.effects = play.session.pass_close_on(&mut play.out);
    let is_reset = |end: Closing| (end.reason.by, end.reason.why) == (By::Backend, Why::Reset);
    assert!(matches!(play.session.phase(), Phase::Closing(end) if is_reset(end)));
}
