//! Accept, pick, retry, timers and sweeps, with the kernel played by hand.

#[path = "tests/caps.rs"]
mod caps;
#[path = "tests/connect.rs"]
mod connect;
#[path = "tests/fruitless.rs"]
mod fruitless;
#[path = "tests/handover.rs"]
mod handover;
#[path = "tests/inspect.rs"]
mod inspect;
#[path = "tests/lifetime.rs"]
mod lifetime;
#[path = "tests/on_down.rs"]
mod on_down;
#[path = "tests/queue.rs"]
mod queue;
#[path = "tests/routes.rs"]
mod routes;
#[path = "tests/search.rs"]
mod search;
#[path = "tests/shed.rs"]
mod shed;
#[path = "tests/stall.rs"]
mod stall;

use std::vec;
use std::vec::Vec;

use weir_proto::ids::{IdSource, Version};
use weir_proto::reason::{CloseReason, During};
use weir_proto::spec::{BackendSpec, ListenerSpec, PoolSpec, Span, Spec};

use super::*;
use crate::action::{How, Pending};
use crate::event::{Errno, Interest, PeerProgress, Ready};
use crate::limits::{SCANNED_PER_TURN_MAX, TIMERS_PER_TURN_MAX, WATCH_AFTER_MS};
use crate::session::Phase;
use crate::view::FAILURES_IN_A_ROW_MAX;

const RESET: Ready = Ready { readable: true, writable: false, reset: true, error: None };

const CLIENT: Leg = Leg(10);

fn client() -> AcceptedClient {
    AcceptedClient {
        leg: CLIENT,
        listener: ListenerSlot::FIRST,
        key: 0,
        address: None,
        source: None,
    }
}
const START: Now = Now { nanos: 1_000_000_000 };

struct TablePlay {
    table: Table,
    out: Actions,
    now: Now,
    config: (Spec, Snapshot, IdSource),
    ids: Vec<BackendId>,
    /// What a look finds.
    progress: [PeerProgress; 2],
    kept_alive: Vec<Leg>,
}

impl TablePlay {
    /// A table with one listener, one round-robin pool and that many backends.
    fn new(backends: usize) -> TablePlay {
        TablePlay::with(backends, 4, |_| {})
    }

    /// The same with that many slots and a changed pool.
    fn with(backends: usize, slots: u32, change: impl FnOnce(&mut PoolSpec)) -> TablePlay {
        TablePlay::with_listener(backends, slots, |pool, _| change(pool))
    }

    /// The same with a changed listener, too.
    fn with_listener(
        backends: usize,
        slots: u32,
        change: impl FnOnce(&mut PoolSpec, &mut ListenerSpec),
    ) -> TablePlay {
        let mut pool = PoolSpec { strategy: Strategy::RoundRobin, ..PoolSpec::default() };
        pool.timeout.connect = Span::from_millis(1000);
        pool.timeout.idle = Span::from_secs(10);
        pool.timeout.half_close = Span::from_secs(1);
        for number in 0..backends {
            let address = std::format!("10.0.0.{number}:80").parse().unwrap();
            let spec = BackendSpec::new(address);
            pool.backend.insert(std::format!("b{number}").parse().unwrap(), spec);
        }
        let mut listener =
            ListenerSpec::new("web".parse().unwrap(), vec!["127.0.0.1:80".parse().unwrap()]);
        change(&mut pool, &mut listener);
        let spec = Spec {
            listener: [("web".parse().unwrap(), listener)].into(),
            pool: [("web".parse().unwrap(), pool.into())].into(),
        };
        let mut source = IdSource::default();
        let snapshot = Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut source).unwrap();
        let setup = Setup {
            shard: ShardId(0),
            slots,
            tuning: Tuning::default(),
            seed: 1,
            now: START,
            session_log: None,
            hash_seed: (1, 2),
        };
        let mut table = Table::new(setup);
        table.adopt(&snapshot, START);
        let ids = snapshot.backends().map(|(_, backend)| backend.id).collect();
        let (progress, kept_alive) = ([PeerProgress::default(); 2], Vec::new());
        let config = (spec, snapshot, source);
        TablePlay { table, out: Actions::default(), now: START, config, ids, progress, kept_alive }
    }

    /// The configuration changes.
    fn adopt(&mut self, change: impl FnOnce(&mut Spec)) {
        let (spec, snapshot, source) = &mut self.config;
        change(spec);
        let version = Version(snapshot.version.0 + 1);
        *snapshot = Snapshot::build(spec, version, snapshot, source).unwrap();
        self.table.adopt(snapshot, self.now);
    }

    fn take(&mut self) -> Vec<Action> {
        let actions = self.out.as_slice().to_vec();
        self.out.clear();
        actions
    }

    /// Accepts a client and starts the connect that is asked for.
    fn connecting(&mut self) -> SessionId {
        let id = self.table.accept(client(), self.now, &mut self.out).unwrap();
        assert!(matches!(self.take()[..], [Action::Connect { .. }]));
        self.connects(id, 11);
        id
    }

    /// The shard has asked for the connect on this leg.
    fn connects(&mut self, id: SessionId, leg: i32) {
        self.table.opened(id, Ok(Leg(leg)), self.now, &mut self.out);
        assert_eq!(self.take(), []);
    }

    fn relaying(&mut self) -> SessionId {
        let id = self.connecting();
        self.on(id, Side::Backend, Completion::Connected(Ok(())));
        assert_eq!(self.take().len(), 2, "both sides are received from");
        id
    }

    fn on(&mut self, id: SessionId, side: Side, done: Completion) {
        self.table.on_completion(id, side, done, self.now, &mut self.out);
        self.answer_look(id);
    }

    /// Bytes come from one side and go to the other.
    fn carries(&mut self, id: SessionId, from: Side, length: u16) {
        let buffer = crate::event::BufferId(0);
        self.on(id, from, Completion::Received { buffer, length, more: false, last: true });
        self.on(id, from.other(), Completion::Sent(length.into()));
        self.out.clear();
    }

    /// The next deadline that asks for more than a look at how the peers stand.
    fn on_time(&mut self) -> Option<SessionId> {
        loop {
            let mut work = TIMERS_PER_TURN_MAX;
            let id = self.table.on_time(self.now, &mut work, &mut self.out)?;
            self.answer_look(id);
            if !self.out.as_slice().is_empty() {
                return Some(id);
            }
        }
    }

    /// Does what a shard does about looks and keepalive, and leaves the other actions.
    fn answer_look(&mut self, id: SessionId) {
        // One that gives a side up is followed by the last one.
        let mut others = Vec::new();
        loop {
            let actions = self.take();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                match action {
                    Action::InspectPeers { .. } => {
                        self.table.inspected(id, self.progress, self.now, &mut self.out);
                    }
                    Action::KeepAlive { leg, .. } => self.kept_alive.push(leg),
                    other => others.push(other),
                }
            }
        }
        others.into_iter().for_each(|action| self.out.push(action));
    }

    fn ends(&mut self) -> Vec<(CloseReason, u64)> {
        let full = self.table.collect(std::boxed::Box::new(ShardStats::new(ShardId(0))));
        full.pools.iter().flat_map(|pool| pool.ends.iter()).collect()
    }
}

#[test]
fn a_refused_connect_is_tried_on_others_until_the_attempts_are_used_up() {
    let mut play = TablePlay::new(4);
    let id = play.connecting();
    let mut tried = vec![play.table.session(id).unwrap().route.backend.unwrap()];
    for leg in [12, 13] {
        play.on(id, Side::Backend, Completion::Connected(Err(Errno::ECONNREFUSED)));
        let actions = play.take();
        let [Action::Close { how: How::Reset, .. }, Action::Connect { .. }] = actions[..] else {
            panic!("{actions:?}")
        };
        let backend = play.table.session(id).unwrap().route.backend.unwrap();
        assert!(!tried.contains(&backend), "another one each time");
        tried.push(backend);
        play.connects(id, leg);
    }
    play.on(id, Side::Backend, Completion::Connected(Err(Errno::ECONNREFUSED)));
    let actions = play.take();
    let reason =
        CloseReason { by: By::Backend, during: During::Connecting, why: Why::ConnectFailed };
    assert_eq!(
        actions,
        [
            Action::Close { leg: Leg(13), how: How::Reset },
            Action::Close { leg: CLIENT, how: How::Reset },
            Action::Free,
        ]
    );
    assert!(play.table.is_empty());
    assert_eq!(play.ends(), [(reason, 1)]);
    assert!(play.table.view().backends().iter().all(|backend| backend.sessions == 0));
}

#[test]
fn without_a_backend_the_client_is_reset_at_once() {
    let mut play = TablePlay::new(0);
    assert!(play.table.accept(client(), play.now, &mut play.out).is_some());
    let reason = CloseReason { by: By::Weir, during: During::Connecting, why: Why::NoBackend };
    let close = Action::Close { leg: CLIENT, how: How::Reset };
    assert_eq!(play.take(), [close, Action::Free]);
    assert_eq!(play.ends(), [(reason, 1)]);
    assert!(play.table.is_empty());
}

#[test]
fn a_connect_that_is_not_answered_is_cancelled_and_tried_elsewhere() {
    let mut play = TablePlay::new(2);
    let id = play.connecting();
    play.now = START.plus_millis(900);
    assert_eq!(play.on_time(), Some(id));
    assert!(matches!(play.take()[..], [Action::Watch { side: Side::Client, .. }]));
    assert_eq!(play.on_time(), None);
    play.now = START.plus_millis(1020);
    assert_eq!(play.on_time(), Some(id));
    assert!(matches!(play.take()[..], [Action::Cancel { .. }]));
    play.on(id, Side::Backend, Completion::Canceled);
    play.on(id, Side::Backend, Completion::Connected(Err(Errno::ECANCELED)));
    assert!(matches!(play.take()[..], [Action::Close { .. }, Action::Connect { .. }]));
}

#[test]
fn the_idle_timeout_counts_from_the_last_byte() {
    let mut play = TablePlay::new(1);
    let id = play.relaying();
    play.now = START.plus_millis(9000);
    let buffer = crate::event::BufferId(0);
    play.on(id, Side::Client, Completion::Received { buffer, length: 1, more: false, last: true });
    play.on(id, Side::Backend, Completion::Sent(1));
    play.out.clear();
    play.now = START.plus_millis(9_500);
    assert_eq!(play.on_time(), None, "bytes moved 0.5 s ago");
    play.now = START.plus_millis(10_600);
    assert_eq!(play.on_time(), Some(id));
    let parks = |action: &Action| matches!(action, Action::Cancel { what: Pending::Receive, .. });
    assert!(play.take().iter().all(parks), "quiet since the last look");
    for side in Side::ALL {
        play.on(id, side, Completion::Canceled);
        play.on(id, side, Completion::ReceiveFailed(Errno::ECANCELED));
        let watch =
            matches!(play.take()[..], [Action::Watch { interest, .. }] if interest.readable);
        assert!(watch, "a watch waits instead");
    }
    play.now = START.plus_millis(11_700);
    assert_eq!(play.on_time(), None);
    play.now = START.plus_millis(18_900);
    assert_eq!(play.on_time(), None);
    play.now = START.plus_millis(19_100);
    assert_eq!(play.on_time(), Some(id));
    let reason = CloseReason { by: By::Weir, during: During::Relaying, why: Why::IdleTimeout };
    assert_eq!(play.ends(), [(reason, 1)]);
}

#[test]
fn a_side_that_has_ended_is_watched_a_moment_later_and_its_reset_is_passed_on() {
    let mut play = TablePlay::new(1);
    let id = play.relaying();
    play.on(id, Side::Client, Completion::Ended);
    play.take();
    play.now = START.plus_millis(60);
    assert_eq!(play.on_time(), Some(id));
    assert_eq!(
        play.take(),
        [Action::Watch { side: Side::Client, leg: CLIENT, interest: Interest::default() }]
    );
    assert_eq!(play.on_time(), None);
    play.table.on_ready(id, Side::Client, RESET, play.now, &mut play.out);
    assert!(matches!(play.take()[..], [Action::Cancel { side: Side::Backend, .. }]));
    play.on(id, Side::Backend, Completion::Canceled);
    play.on(id, Side::Backend, Completion::ReceiveFailed(Errno::ECANCELED));
    let reason = CloseReason { by: By::Client, during: During::HalfClosed, why: Why::Reset };
    assert_eq!(play.ends(), [(reason, 1)]);
    play.out.clear();
    play.table.on_ready(id, Side::Client, RESET, play.now, &mut play.out);
    assert!(play.take().is_empty(), "old news of a session that is over");
}

#[test]
fn a_half_closed_session_has_its_own_shorter_timeout() {
    let mut play = TablePlay::new(1);
    let id = play.relaying();
    play.now = START.plus_millis(2000);
    play.on(id, Side::Client, Completion::Ended);
    assert_eq!(play.take(), [Action::Finish(Leg(11))]);
    play.now = START.plus_millis(3050);
    assert_eq!(play.on_time(), Some(id));
    play.out.clear();
    play.on(id, Side::Backend, Completion::Canceled);
    play.on(id, Side::Backend, Completion::ReceiveFailed(Errno::ECANCELED));
    let why = Why::HalfCloseTimeout;
    let reason = CloseReason { by: By::Weir, during: During::HalfClosed, why };
    assert_eq!(play.ends(), [(reason, 1)]);
}

#[test]
fn a_mass_of_timers_is_ended_a_bounded_number_a_turn_and_at_once() {
    const MANY: u32 = 3000;
    let mut play = TablePlay::with(1, MANY, |_| {});
    for _ in 0..MANY {
        let id = play.relaying();
        play.on(id, Side::Client, Completion::Ended);
        play.out.clear();
    }
    // 40 ms later each of them is looked at, and a second later each has been quiet for too long.
    for after_ms in [48, 1008] {
        play.now = START.plus_millis(after_ms);
        let mut turns = Vec::new();
        while play.table.next_deadline().is_some_and(|next| next <= play.now) {
            let mut work = TIMERS_PER_TURN_MAX;
            let mut acted = 0;
            while let Some(id) = play.table.on_time(play.now, &mut work, &mut play.out) {
                acted += 1;
                play.answer_look(id);
                play.out.clear();
            }
            assert!(acted <= TIMERS_PER_TURN_MAX.due);
            turns.push(acted);
        }
        assert_eq!(turns.iter().sum::<u32>(), MANY, "{turns:?}");
        let most = MANY.div_ceil(TIMERS_PER_TURN_MAX.due) + 2;
        assert!(turns.len() <= most as usize, "no turn without need: {turns:?}");
    }
}

#[test]
fn a_kill_passes_over_others_a_bounded_number_a_turn() {
    let mut play = TablePlay::with(2, 64, |_| {});
    for _ in 0..64 {
        play.relaying();
    }
    play.table.kill_backend(play.ids[1]);
    let mut turns = 0;
    let mut ended = 0;
    while play.table.is_sweeping() {
        let mut scan = 10;
        while play.table.sweep(play.now, &mut scan, &mut play.out).is_some() {
            ended += 1;
            play.out.clear();
        }
        turns += 1;
    }
    assert_eq!((ended, turns), (32, 7));
}

#[test]
fn a_kill_ends_the_sessions_of_its_backend_and_no_others() {
    let mut play = TablePlay::new(2);
    let ids = [play.relaying(), play.relaying(), play.relaying(), play.relaying()];
    assert!(play.table.accept(client(), play.now, &mut play.out).is_none(), "4 slots");
    let victim = play.ids[1];
    play.table.kill_backend(victim);
    let mut ended = Vec::new();
    while let Some(id) =
        play.table.sweep(play.now, &mut SCANNED_PER_TURN_MAX.clone(), &mut play.out)
    {
        ended.push(id);
        play.out.clear();
    }
    assert!(!play.table.is_sweeping());
    assert_eq!(ended.len(), 2);
    for id in ids {
        let session = play.table.session(id).unwrap();
        let backend = play.table.view().backends()[session.route.backend.unwrap().index()].id;
        assert_eq!(backend == victim, ended.contains(&id));
        assert_eq!(matches!(session.phase(), Phase::Closing(_)), ended.contains(&id));
    }
}
