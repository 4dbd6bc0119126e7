//! Sessions that go from one table to another: each state that one may be in, and what is noted of
//! it.

use core::net::SocketAddr;

use weir_proto::handover::{
    ClientStage, HandedFlow, HandedLog, HandedNotes, HandedRoute, HandedSession,
};
use weir_proto::session_log::SessionLogging;
use weir_proto::spec::Percent;

use super::*;
use crate::event::{BufferId, Chunk, PipeId, SpliceResult};
use crate::proxy_header::Told;
use crate::session::Holdings;
use crate::table::Parts;
use crate::table::inspect::TakenRoute;

const BACKEND: Leg = Leg(11);
/// The legs in the taker's table.
const COME: [Leg; 2] = [Leg(20), Leg(21)];

fn received(buffer: u16, length: u16) -> Completion {
    Completion::Received { buffer: BufferId(buffer), length, more: false, last: true }
}

fn chunk(buffer: u16, start: u16, end: u16) -> Chunk {
    Chunk { buffer: BufferId(buffer), start, end }
}

/// That many bytes wait for each side.
fn unacked(bytes: u32) -> [PeerProgress; 2] {
    [PeerProgress { unacked: bytes, ..PeerProgress::default() }; 2]
}

impl TablePlay {
    /// Comes to rest: the receives that are taken back are answered.
    fn leaves(&mut self, id: SessionId) {
        self.out.clear();
        assert!(self.table.begin_to_leave(id, &mut self.out));
        self.answers_cancels(id);
        assert!(self.table.is_at_rest(id));
    }

    fn answers_cancels(&mut self, id: SessionId) {
        for action in self.take() {
            let Action::Cancel { side, what: Pending::Receive } = action else {
                panic!("{action:?}: one that leaves begins nothing")
            };
            self.on(id, side, Completion::Canceled);
            self.on(id, side, Completion::ReceiveFailed(Errno::ECANCELED));
            assert_eq!(self.take(), []);
        }
    }

    fn apart(&mut self, id: SessionId) -> (HandedSession, Holdings) {
        self.leaves(id);
        let parts = self.table.take_apart(id, self.now).expect("it is at rest");
        assert_eq!(self.ends(), [], "it has not ended");
        assert!(self.table.is_empty());
        let view = self.table.view();
        assert!(view.backends().iter().all(|it| it.sessions == 0));
        assert!(view.pools().iter().all(|it| it.sessions == 0 && it.stalled == 0));
        assert!(view.listeners().iter().all(|it| it.sessions == 0));
        assert_eq!(self.table.generations().iter().count(), 0);
        assert_eq!((self.table.starved(), self.table.moves()), (0, 0));
        match parts {
            Parts::Session(handed, holdings) => (handed, holdings),
            Parts::Client(..) => panic!("a backend has it"),
        }
    }

    /// It comes with these chunks and pipes, on its legs there.
    fn comes(&mut self, parts: &(HandedSession, Holdings)) -> (SessionId, Vec<Action>) {
        let holdings = Holdings { legs: COME, ..parts.1 };
        let id = self.table.arrive(&parts.0, &holdings, self.now, &mut self.out);
        (id.expect("there is room"), self.take())
    }
}

/// A session that was brought into a state goes to a table of the same configuration.
fn handed(
    state: impl FnOnce(&mut TablePlay, SessionId),
) -> (HandedSession, Holdings, TablePlay, SessionId, Vec<Action>) {
    let mut giver = TablePlay::new(1);
    let id = giver.relaying();
    state(&mut giver, id);
    let parts = giver.apart(id);
    let mut taker = TablePlay::new(1);
    taker.now = giver.now;
    let (id, actions) = taker.comes(&parts);
    assert_eq!(taker.ends(), []);
    (parts.0, parts.1, taker, id, actions)
}

fn watch(side: Side, readable: bool, writable: bool) -> Action {
    Action::Watch { side, leg: COME[side as usize], interest: Interest { readable, writable } }
}

#[test]
fn an_idle_session_comes_with_its_times_and_counts_as_nothing_new() {
    let (parts, holdings, mut taker, id, actions) = handed(|giver, id| {
        giver.carries(id, Side::Client, 5);
        giver.carries(id, Side::Backend, 7);
        giver.now = START.plus_millis(900);
    });
    assert_eq!(holdings.legs, [CLIENT, BACKEND]);
    assert_eq!(parts.flows, [HandedFlow::default(); 2]);
    assert_eq!((parts.received, parts.sent), (7, 5));
    assert_eq!((parts.accepted_at, parts.moved_at), (START.nanos, START.nanos));
    assert_eq!(actions, [watch(Side::Client, true, false), watch(Side::Backend, true, false)]);
    let full = taker.table.collect(std::boxed::Box::new(ShardStats::new(ShardId(0))));
    let counts = &full.backends[0].counts;
    assert_eq!((counts.sessions, counts.received_bytes, counts.sent_bytes), (0, 0, 0));
    assert_eq!(full.listeners[0].counts.accepted, 0);
    assert_eq!((full.sessions_now, full.backends[0].sessions_now), (1, 1));
    assert_eq!(taker.table.generations().iter().collect::<Vec<_>>(), [(Version(1), 1)]);
    // Idle for 10 s since the last byte, and not since it came.
    taker.now = START.plus_millis(9_900);
    assert_eq!(taker.on_time(), None);
    taker.now = START.plus_millis(10_100);
    assert_eq!(taker.on_time(), Some(id));
    let reason = CloseReason { by: By::Weir, during: During::Relaying, why: Why::IdleTimeout };
    assert_eq!(taker.ends(), [(reason, 1)]);
}

#[test]
fn chunks_travel_in_their_order_without_what_was_sent_of_them() {
    let (parts, holdings, mut taker, id, actions) = handed(|giver, id| {
        giver.on(id, Side::Client, received(3, 100));
        giver.on(id, Side::Client, received(1, 50));
        giver.out.clear();
        assert!(giver.table.begin_to_leave(id, &mut giver.out));
        assert!(!giver.table.is_at_rest(id), "a send is under way");
        giver.answers_cancels(id);
        giver.on(id, Side::Backend, Completion::Sent(40));
        // What comes next is not begun: neither the rest, nor another receive.
        giver.answers_cancels(id);
    });
    assert_eq!(parts.flows[0].chunks, [60, 50]);
    assert_eq!(holdings.chunks, [[Some(chunk(3, 40, 100)), Some(chunk(1, 0, 50))], [None; 2]]);
    assert_eq!(parts.peers[1].owed, 40);
    assert!(actions.contains(&Action::Send {
        to: Side::Backend,
        leg: COME[1],
        chunk: chunk(3, 40, 100)
    }));
    taker.on(id, Side::Backend, Completion::Sent(60));
    let next = Action::Send { to: Side::Backend, leg: COME[1], chunk: chunk(1, 0, 50) };
    assert!(taker.take().contains(&next));
}

#[test]
fn a_blocked_sink_is_tried_again_and_its_times_go_on() {
    let (parts, _, taker, id, actions) = handed(|giver, id| {
        giver.on(id, Side::Backend, received(2, 100));
        giver.on(id, Side::Client, Completion::Sent(30));
        giver.on(id, Side::Client, Completion::SendFailed(Errno::EAGAIN));
        giver.out.clear();
        giver.progress = unacked(30);
        for ms in [1_100, 2_200] {
            giver.now = START.plus_millis(ms);
            while giver.on_time().is_some() {
                for action in giver.take() {
                    if let Action::Cancel { side, .. } = action {
                        giver.on(id, side, Completion::Canceled);
                        giver.on(id, side, Completion::ReceiveFailed(Errno::ECANCELED));
                    }
                }
                giver.out.clear();
            }
        }
    });
    assert_eq!(parts.peers[0].owed, 30);
    assert!(parts.flows[1].undelivered);
    assert_eq!(parts.flows[1].chunks, [70, 0]);
    let taken_ms = (parts.peers[0].taken_at - START.nanos) / 1_000_000;
    assert!((1_000..1_200).contains(&taken_ms), "{taken_ms}: since the first look");
    assert!(parts.peers[0].blocked_ms >= 1_000);
    let session = taker.table.session(id).unwrap();
    assert_eq!(session.blocked_ms()[0], parts.peers[0].blocked_ms);
    assert!(session.is_stuck(Side::Client, taker.now));
    assert!(actions.contains(&Action::Send {
        to: Side::Client,
        leg: COME[0],
        chunk: chunk(2, 30, 100)
    }));
}

#[test]
fn one_that_waits_for_a_buffer_leaves_the_line() {
    let (parts, _, taker, _, actions) = handed(|giver, id| {
        giver.on(id, Side::Client, Completion::Starved);
        assert_eq!(giver.table.starved(), 1);
    });
    assert_eq!(parts.flows, [HandedFlow::default(); 2]);
    assert_eq!(taker.table.starved(), 0);
    assert!(actions.contains(&watch(Side::Client, true, false)));
}

#[test]
fn one_that_finds_no_buffer_while_it_comes_to_rest_joins_no_line() {
    let mut play = TablePlay::new(1);
    let id = play.relaying();
    assert!(play.table.begin_to_leave(id, &mut play.out));
    play.out.clear();
    for side in Side::ALL {
        play.on(id, side, Completion::Starved);
        play.on(id, side, Completion::Canceled);
    }
    assert_eq!(play.take(), []);
    assert_eq!(play.table.starved(), 0);
    assert!(play.table.is_at_rest(id));
}

#[test]
fn a_fin_is_passed_on_once() {
    for side in Side::ALL {
        let (parts, _, _, _, actions) = handed(|giver, id| {
            giver.on(id, side, Completion::Ended);
            let finish = [BACKEND, CLIENT][side as usize];
            assert!(giver.take().contains(&Action::Finish(finish)));
        });
        let at = side as usize;
        assert_eq!((parts.flows[at].ended, parts.flows[at].finished), (true, true));
        assert_eq!(parts.closed_first, Some(side));
        assert!(actions.contains(&watch(side.other(), true, false)));
        assert!(!actions.iter().any(|it| matches!(it, Action::Finish(_))));
    }
}

#[test]
fn a_fin_behind_bytes_is_passed_on_by_the_taker_once_these_are_sent() {
    let (parts, _, mut taker, id, actions) = handed(|giver, id| {
        giver.on(id, Side::Client, received(0, 10));
        giver.on(id, Side::Backend, Completion::SendFailed(Errno::EAGAIN));
        giver.on(id, Side::Client, Completion::Ended);
    });
    assert_eq!((parts.flows[0].ended, parts.flows[0].finished), (true, false));
    assert!(!actions.iter().any(|it| matches!(it, Action::Finish(_))));
    taker.on(id, Side::Backend, Completion::Sent(10));
    assert!(taker.take().contains(&Action::Finish(COME[1])));
}

#[test]
fn one_whose_fins_have_passed_ends_when_its_peers_have_all() {
    let (parts, _, mut taker, id, actions) = handed(|giver, id| {
        giver.progress = unacked(9);
        giver.on(id, Side::Client, Completion::Ended);
        giver.on(id, Side::Backend, Completion::Ended);
        giver.out.clear();
    });
    assert!(parts.delivering);
    assert_eq!(actions, [], "it is looked at soon");
    taker.progress = unacked(0);
    taker.now = taker.now.plus_millis(WATCH_AFTER_MS + 20);
    assert_eq!(taker.on_time(), Some(id));
    let closes = COME.map(|leg| Action::Close { leg, how: How::Fin });
    assert_eq!(taker.take(), [closes[0], closes[1], Action::Free]);
    let reason = CloseReason { by: By::Client, during: During::Relaying, why: Why::Complete };
    assert_eq!(taker.ends(), [(reason, 1)]);
}

#[test]
fn bulk_travels_with_its_pipe_and_what_is_in_it() {
    let (parts, holdings, mut taker, id, _) = handed(|giver, id| {
        let large = Tuning::default().bulk_bytes;
        for _ in 0..16 {
            if giver.table.session(id).unwrap().flow(Side::Client).source
                == crate::flow::Source::Promoting
            {
                break;
            }
            giver.carries(id, Side::Client, large);
        }
        giver.table.promoted(id, Side::Client, Some(PipeId(3)), giver.now, &mut giver.out);
        let (_, from, _) = giver.table.take_splice().expect("it has a pipe");
        let moved = SpliceResult { received: 1_000, sent: 400, ..SpliceResult::default() };
        giver.table.moved(id, from, moved, giver.now, &mut giver.out);
        assert_eq!(giver.table.moves(), 1);
    });
    assert_eq!(parts.flows[0].pipe, Some(600));
    assert_eq!(holdings.pipes, [Some(PipeId(3)), None]);
    assert!(parts.nonblocking);
    let (of, from, order) = taker.table.take_splice().expect("it goes on");
    assert_eq!((of, from, order.pipe, order.held), (id, Side::Client, PipeId(3), 600));
    assert_eq!([order.from, order.to], COME);
}

#[test]
fn one_that_stays_goes_on_as_before() {
    let mut play = TablePlay::new(1);
    let id = play.relaying();
    play.on(id, Side::Client, Completion::Starved);
    play.leaves(id);
    play.table.stay(id, play.now, &mut play.out);
    let receives = play.take();
    let sides: Vec<Side> = receives
        .iter()
        .filter_map(|action| match action {
            Action::Receive { from, .. } => Some(*from),
            Action::Watch { side, interest, .. } if interest.readable => Some(*side),
            _ => None,
        })
        .collect();
    assert_eq!(sides.len(), 2, "{receives:?}");
    assert!(!play.table.session(id).unwrap().is_leaving());
    // What has gone and come back is the same session under another name.
    play.out.clear();
    let mut play = TablePlay::new(1);
    let before = play.relaying();
    let parts = play.apart(before);
    let (after, _) = play.comes(&parts);
    assert_ne!(before, after);
    assert!(play.table.session(before).is_none());
    assert_eq!(play.table.view().backends()[0].sessions, 1);
}

#[test]
fn one_that_ends_while_it_comes_to_rest_does_not_leave() {
    let mut play = TablePlay::new(1);
    let id = play.relaying();
    assert!(play.table.begin_to_leave(id, &mut play.out));
    play.out.clear();
    play.on(id, Side::Client, Completion::ReceiveFailed(Errno::ECONNRESET));
    assert!(!play.table.is_at_rest(id));
    assert!(play.table.take_apart(id, play.now).is_none());
    play.on(id, Side::Client, Completion::Canceled);
    play.on(id, Side::Backend, Completion::ReceiveFailed(Errno::ECANCELED));
    play.on(id, Side::Backend, Completion::Canceled);
    while play.table.session(id).is_some_and(|session| session.inflight() > 0) {
        play.on(id, Side::Backend, Completion::Canceled);
    }
    let reason = CloseReason { by: By::Client, during: During::Relaying, why: Why::Reset };
    assert_eq!(play.ends(), [(reason, 1)]);
    assert!(play.table.is_empty());
}

#[test]
fn one_that_connects_leaves_without_its_backend_once_its_connect_is_taken_back() {
    let mut play = TablePlay::new(1);
    let id = play.connecting();
    assert!(play.table.begin_to_leave(id, &mut play.out));
    assert!(!play.table.is_at_rest(id), "its connect is under way");
    play.out.clear();
    play.on(id, Side::Backend, Completion::Canceled);
    play.on(id, Side::Backend, Completion::Connected(Err(Errno::ECANCELED)));
    assert!(play.table.is_at_rest(id));
    let parts = play.table.take_apart(id, play.now);
    let Some(Parts::Client(client, leg)) = parts else { panic!("{parts:?}") };
    assert!(matches!(client.stage, ClientStage::Connecting { .. }), "{client:?}");
    assert_eq!(play.ends(), [], "it has not ended");
    assert!(play.table.view().backends().iter().all(|it| it.sessions == 0));
    play.take();
    let mut taker = TablePlay::new(1);
    let id = taker.table.arrive_client(&client, leg, taker.now, &mut taker.out);
    assert!(id.is_some());
    let connects = |it: &Action| matches!(it, Action::Connect { .. });
    assert_eq!(taker.take().iter().filter(|it| connects(it)).count(), 1);
}

#[test]
fn one_that_ends_cannot_leave() {
    let mut play = TablePlay::new(1);
    let id = play.relaying();
    play.table.end(id, By::Operator, Why::Killed, play.now, &mut play.out);
    play.out.clear();
    assert!(!play.table.begin_to_leave(id, &mut play.out));
    assert_eq!(play.take(), []);
}

#[test]
fn notes_travel_and_none_stays() {
    let address = |port| SocketAddr::from(([203, 0, 113, 7], port));
    let wanted =
        SessionLogging { open: true, close: true, every_ms: None, sample: Percent::new(100) };
    let logged = |play: &mut TablePlay| play.table.logging = Logging::new(Some(wanted), START);
    let mut giver = TablePlay::new(1);
    logged(&mut giver);
    let id = giver.relaying();
    let told = Told { source: address(1), destination: address(2) };
    giver.table.told.note(id.slot, told);
    giver.table.passed.note(id.slot, Box::from([1, 2, 3]));
    let route = TakenRoute { place: Some(4), server_name: Some("a.example".into()) };
    giver.table.taken.note(id.slot, route);
    let source = SourceKey::of_hash(77);
    giver.table.client_sources.resume(source, START);
    giver.table.source_of.note(id.slot, source);
    let parts = giver.apart(id);
    assert_eq!(giver.table.client_sources.total(), 0);
    let log = HandedLog { client: None, connect_us: Some(0), is_logged: true };
    let route = HandedRoute { place: Some(4), server_name: Some("a.example".into()) };
    let expected = HandedNotes {
        told: Some((address(1), address(2))),
        passed: Some(Box::from([1, 2, 3])),
        route: Some(route),
        source: Some(77),
        log: Some(log),
    };
    assert_eq!(parts.0.notes.as_deref(), Some(&expected));
    // Into a slot that another session had before, which has left nothing.
    let mut taker = TablePlay::new(1);
    logged(&mut taker);
    let (id, _) = taker.comes(&parts);
    assert_eq!(taker.table.client_sources.sessions(source), 1);
    assert_eq!(taker.apart(id).0.notes, parts.0.notes);
    let (id, _) = giver.comes(&(HandedSession { notes: None, ..parts.0 }, parts.1));
    let none = HandedLog::default();
    let notes = giver.apart(id).0.notes.unwrap();
    assert_eq!(*notes, HandedNotes { log: Some(none), ..HandedNotes::default() });
}

#[test]
fn objects_that_the_taker_does_not_have_get_places_of_the_past() {
    let mut giver = TablePlay::new(1);
    let id = giver.relaying();
    let parts = giver.apart(id);
    let mut taker = TablePlay::new(1);
    taker.adopt(|spec| (spec.listener.clear(), spec.pool.clear()).1);
    let (first, _) = taker.comes(&parts);
    let (second, _) = taker.comes(&parts);
    let view = taker.table.view();
    for route in [first, second].map(|id| taker.table.session(id).unwrap().route) {
        assert_eq!(view.backends()[route.backend.unwrap().index()].id, parts.0.backend);
        assert_eq!(view.pools()[route.pool.index()].id, parts.0.pool);
        assert_eq!(view.listeners()[route.listener.index()].id, parts.0.listener);
        assert_eq!(view.backends()[route.backend.unwrap().index()].sessions, 2);
    }
    // They go by the terms that they had, and end as any other.
    taker.now = START.plus_millis(10_100);
    while taker.on_time().is_some() {
        taker.out.clear();
    }
    assert!(taker.table.is_empty());
    let reason = CloseReason { by: By::Weir, during: During::Relaying, why: Why::IdleTimeout };
    assert_eq!(taker.ends(), [(reason, 2)]);
    taker.adopt(|_| {});
    assert_eq!(taker.ends(), []);
}

#[test]
fn one_of_an_older_version_counts_for_that() {
    let mut giver = TablePlay::new(1);
    let old = giver.relaying();
    let parts = giver.apart(old);
    let mut taker = TablePlay::new(1);
    taker.relaying();
    taker.adopt(|_| {});
    taker.relaying();
    let (id, _) = taker.comes(&parts);
    let counted = |play: &TablePlay| play.table.generations().iter().collect::<Vec<_>>();
    assert_eq!(counted(&taker), [(Version(1), 2), (Version(2), 1)]);
    taker.leaves(id);
    assert!(taker.table.take_apart(id, taker.now).is_some());
    assert_eq!(counted(&taker), [(Version(1), 1), (Version(2), 1)]);
}

#[test]
fn one_that_comes_counts_although_its_listener_is_full() {
    let limit = |_: &mut PoolSpec, listener: &mut ListenerSpec| listener.max_sessions = Some(1);
    let mut giver = TablePlay::new(1);
    let id = giver.relaying();
    let parts = giver.apart(id);
    let mut taker = TablePlay::with_listener(1, 4, limit);
    taker.comes(&parts);
    taker.comes(&parts);
    let view = &taker.table.view().listeners()[0];
    assert_eq!((view.sessions, view.held(), view.room()), (2, Some(2), 0));
}

#[test]
fn a_full_table_takes_none() {
    let mut giver = TablePlay::new(1);
    let id = giver.relaying();
    let (handed, holdings) = giver.apart(id);
    let mut taker = TablePlay::with(1, 1, |_| {});
    taker.relaying();
    assert!(taker.table.is_full());
    assert_eq!(taker.table.arrive(&handed, &holdings, taker.now, &mut taker.out), None);
    assert_eq!(taker.take(), []);
}
