//! Every way in which a side can end, in every state of a session, at both sides: a FIN arrives as
//! a FIN after all bytes, a reset as a reset, soon, and nothing stays behind in weir.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use weir_tests::baseline::{Baseline, count, percentile};
use weir_tests::clock;
use weir_tests::net::ending::{self, Ending};
use weir_tests::net::{self, End, Peer, Script};
use weir_tests::payload::Dice;
use weir_tests::size;
use weir_tests::story::Plan;

/// How one side ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    Fin,
    DataThenFin,
    Rst,
    RstAfterFin,
    /// Both sides send a FIN.
    BothFin,
    /// Bytes, one of them urgent with others behind it, then a FIN.
    UrgentThenFin,
    /// The same, then a reset.
    UrgentThenRst,
}

/// What the session does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Nothing, since a moment ago.
    Idle,
    /// Nothing, for so long that weir has taken its receives back.
    Parked,
    /// Bytes move in both directions.
    InFlight,
    /// The side that ends has sent more than the other one reads.
    WriterBlocked,
    /// The side that ends does not read what the other one sends.
    ReaderBlocked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Client,
    Backend,
}

const FINS: [How; 3] = [How::Fin, How::DataThenFin, How::BothFin];
const RESETS: [How; 2] = [How::Rst, How::RstAfterFin];
/// An urgent byte, with N bytes before it and behind it.
const URGENT_AFTER: u64 = 50_000;
const URGENT_BEFORE: u64 = 50_000;
const STATES: [State; 5] =
    [State::Idle, State::Parked, State::InFlight, State::WriterBlocked, State::ReaderBlocked];

type Cell = (How, State, Side);

/// An end may take so long to cross: the promise, for 99 of 100 ends and one more, because the
/// machine does other things as well; and what none may take.
const SOON: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_secs(1);
/// Bytes that nobody can keep in buffers.
const TOO_MUCH: u64 = 1 << 30;
/// A quiet session is parked after a second.
const PARKS_AFTER: Duration = Duration::from_millis(1_300);
/// A reset after a FIN comes 0 to this much later.
const BETWEEN_MAX_MS: u64 = 120;

/// A session in its cell. `ends[0]` is the side that acts, `ends[1]` the other one.
struct Case {
    cell: Cell,
    ends: [Ending; 2],
    acted_at: Option<Instant>,
    /// When the reset after the FIN comes.
    reset_due: Option<Instant>,
    /// From the act, or from the last byte before the end, to the end that the other side saw.
    took: Option<Duration>,
}

impl Case {
    fn step(&mut self, now: Instant) {
        for end in &mut self.ends {
            if let Err(what) = end.step(now) {
                panic!("{:?}: {what}; {:?}", self.cell, self.ends);
            }
        }
        if self.reset_due.is_some_and(|due| due <= now) {
            self.reset_due = None;
            self.ends[0].reset(now);
        }
    }

    /// Brings the session into its state.
    fn prepare(&mut self) {
        let [actor, other] = &mut self.ends;
        match self.cell.1 {
            State::Idle | State::Parked => {}
            State::InFlight => (actor.goal, other.goal) = (TOO_MUCH, TOO_MUCH),
            State::WriterBlocked => (actor.goal, other.reads) = (TOO_MUCH, false),
            State::ReaderBlocked => (other.goal, actor.reads) = (TOO_MUCH, false),
        }
    }

    fn act(&mut self, now: Instant, dice: &mut Dice) {
        let (how, state, _) = self.cell;
        let [actor, other] = &mut self.ends;
        self.acted_at = Some(now);
        // Whoever still sends says no more than it has said.
        actor.goal = actor.sent;
        if matches!(how, How::Fin | How::DataThenFin | How::BothFin | How::UrgentThenFin) {
            other.goal = other.sent;
            other.reads = true;
        }
        if matches!(how, How::UrgentThenFin | How::UrgentThenRst) {
            actor.urgent_at = Some(actor.sent + URGENT_AFTER);
            actor.goal += URGENT_AFTER + URGENT_BEFORE;
        }
        match how {
            How::Fin | How::UrgentThenFin => actor.wants_fin = true,
            // What the socket takes of it is sent; the rest is nobody's.
            How::UrgentThenRst => {
                actor.step(now).unwrap_or_else(|what| panic!("{:?}: {what}", self.cell));
                actor.reset(now);
            }
            How::DataThenFin => {
                actor.goal += 100_000;
                actor.wants_fin = true;
            }
            How::BothFin => {
                (actor.wants_fin, other.wants_fin) = (true, true);
                actor.reads = true;
            }
            How::Rst => actor.reset(now),
            How::RstAfterFin => {
                actor.wants_fin = true;
                let between = Duration::from_millis(dice.below(BETWEEN_MAX_MS));
                self.reset_due = Some(now + between);
                // A side that is blocked stays so; the others hear the FIN, too.
                other.reads |= state != State::WriterBlocked;
            }
        }
        for end in &mut self.ends {
            end.step(now).unwrap_or_else(|what| panic!("{:?}: {what}", self.cell));
        }
    }

    /// What the other side must see in the end.
    fn wanted(&self) -> End {
        let reset = matches!(self.cell.0, How::Rst | How::RstAfterFin | How::UrgentThenRst);
        if reset { End::Rst } else { End::Fin }
    }

    /// Whether the other side has seen its end; checks that it is the right one.
    fn stall_detector(&mut self) -> bool {
        let [actor, other] = &self.ends;
        let Some((end, at)) = other.seen() else { return false };
        if (self.wanted(), end) == (End::Rst, End::Fin) {
            assert_eq!(self.cell.0, How::RstAfterFin, "a reset became a FIN: {:?}", self.ends);
            return false; // the FIN came before it
        }
        assert_eq!(end, self.wanted(), "{:?}: {:?}", self.cell, self.ends);
        if end == End::Fin {
            assert_eq!(other.received, actor.sent, "{:?}: bytes before the FIN", self.cell);
        }
        assert!(other.received <= actor.sent, "{:?}: bytes that nobody sent", self.cell);
        let began = match end {
            End::Rst => actor.rst_at,
            End::Fin => actor.fin_at.max(other.heard_at),
        };
        let began =
            began.unwrap_or_else(|| panic!("{:?} ended by itself: {:?}", self.cell, self.ends));
        self.took.get_or_insert(at.saturating_duration_since(began));
        true
    }

    /// After the verdict: whoever has not ended does so, and all is read.
    fn finish(&mut self) {
        for end in &mut self.ends {
            end.reads = true;
            end.goal = end.goal.min(end.sent);
            end.wants_fin = true;
        }
    }

    fn is_over(&self) -> bool {
        let over = |end: &Ending| !end.is_open() || (end.fin_sent && end.fin_seen.is_some());
        self.ends.iter().all(over)
    }
}

/// Opens a session and gives it its cell.
fn open(set: &weir_tests::story::Set, listener: &TcpListener, cell: Cell, key: u64) -> Case {
    let client = Peer::connect_narrow(set.weir.web).into_stream();
    let (server, _) = listener.accept().expect("weir connects to the backend");
    let client = Ending::new(client, key * 2, key * 2 + 1);
    let server = Ending::new(server, key * 2 + 1, key * 2);
    let ends = if cell.2 == Side::Client { [client, server] } else { [server, client] };
    Case { cell, ends, acted_at: None, reset_due: None, took: None }
}

fn drive(cases: &mut [Case], limit: Duration, mut over: impl FnMut(&mut [Case]) -> bool) -> bool {
    let end = clock::now() + limit;
    loop {
        let now = clock::now();
        cases.iter_mut().for_each(|case| case.step(now));
        if over(cases) {
            return true;
        }
        if now >= end {
            return false;
        }
        let mut ends: Vec<&mut Ending> = cases.iter_mut().flat_map(|case| &mut case.ends).collect();
        ending::wait(&mut ends, Duration::from_millis(1), clock::now);
    }
}

/// One session in each of these cells, from the beginning to the end; gives how long the ends took.
fn round(
    set: &weir_tests::story::Set,
    listener: &TcpListener,
    cells: &[Cell],
    number: u64,
) -> Vec<(Cell, Option<Duration>)> {
    let mut dice = Dice::new(number);
    let mut cases: Vec<Case> = (0..)
        .zip(cells)
        .map(|(index, cell)| open(set, listener, *cell, number * 1_000 + index))
        .collect();
    // Each side says a little, so that the session relays for certain.
    for case in &mut cases {
        case.ends.iter_mut().for_each(|end| end.goal = 100);
    }
    let hello = drive(&mut cases, clock::PATIENCE, |cases| {
        cases.iter().flat_map(|case| &case.ends).all(|end| end.received == 100)
    });
    assert!(hello, "a session does not relay");
    if cells.iter().any(|cell| cell.1 == State::Parked) {
        drive(&mut cases, PARKS_AFTER, |_| false);
    }
    cases.iter_mut().for_each(Case::prepare);
    // Blocked is who has not sent anything for a while.
    let mut last = (0, clock::now());
    let settled = drive(&mut cases, clock::PATIENCE, |cases| {
        let blocked =
            |case: &&Case| matches!(case.cell.1, State::WriterBlocked | State::ReaderBlocked);
        let sent: u64 =
            cases.iter().filter(blocked).flat_map(|case| &case.ends).map(|end| end.sent).sum();
        if sent != last.0 {
            last = (sent, clock::now());
        }
        clock::now() - last.1 > Duration::from_millis(60)
    });
    assert!(settled, "a side that does not read holds nobody back");
    for case in &mut cases {
        case.act(clock::now(), &mut dice);
    }
    drive(&mut cases, LATE * 4, |cases| {
        // Each is looked at, not only the first that is not there yet.
        cases.iter_mut().filter_map(|case| (!case.stall_detector()).then_some(())).count() == 0
    });
    let results = cases.iter().map(|case| (case.cell, case.took)).collect();
    cases.iter_mut().for_each(Case::finish);
    if !drive(&mut cases, clock::PATIENCE, |cases| cases.iter().all(Case::is_over)) {
        let left = cases.iter().find(|case| !case.is_over() && case.took.is_some());
        assert!(left.is_none(), "{:?} does not end: {:?}", left.unwrap().cell, left.unwrap().ends);
    }
    results
}

/// Runs the cells of `hows` × `states`; asserts what was promised and prints how long it took. The
/// metrics at the end.
fn matrix(hows: &[How], states: &[State]) -> String {
    let _alone = size::alone();
    let listener = net::listener(net::own_ip());
    socket2::SockRef::from(&listener).set_recv_buffer_size(8 << 10).expect("it takes a size");
    let address = listener.local_addr().expect("it is bound");
    let set = Plan::new(0, Script::Silent).extern_backend("b1", address).start();
    let before = Baseline::of(&set.weir);
    let mut cells = Vec::new();
    for (how, state) in hows.iter().flat_map(|how| states.iter().map(move |state| (*how, *state))) {
        cells.extend([(how, state, Side::Client), (how, state, Side::Backend)]);
    }
    let mut all: BTreeMap<Cell, Vec<Duration>> = BTreeMap::new();
    let mut never: BTreeMap<Cell, u64> = BTreeMap::new();
    for number in 0..size::MATRIX_ROUNDS.get() {
        for (cell, took) in round(&set, &listener, &cells, number) {
            match took {
                Some(took) => all.entry(cell).or_default().push(took),
                None => *never.entry(cell).or_default() += 1,
            }
        }
    }
    for (cell, took) in &mut all {
        let [half, most] = [0.5, 1.0].map(|p| percentile(took, p));
        eprintln!("{cell:?}: {} ends, p50 {half:?}, max {most:?}", took.len());
    }
    assert!(never.is_empty(), "an end that did not cross within {:?}: {never:?}", LATE * 4);
    let mut every: Vec<Duration> = all.into_values().flatten().collect();
    let most = percentile(&mut every, 1.0);
    let late = every.iter().filter(|took| **took > SOON).count();
    eprintln!("{late} of {} ends took more than {SOON:?}, the longest {most:?}", every.len());
    assert!(late <= every.len() / 100 + 1, "{late} of {} took more than {SOON:?}", every.len());
    assert!(most <= LATE, "an end took {most:?}");
    before.expect_again(&set.weir);
    set.weir.get("/metrics").body
}

#[test]
fn a_fin_stays_a_fin_in_every_state() {
    matrix(&FINS, &STATES);
}

#[test]
fn a_reset_stays_a_reset() {
    let states = [State::Idle, State::Parked, State::InFlight, State::ReaderBlocked];
    matrix(&RESETS, &states);
}

/// weir has bytes for a side that does not read, and asks the one that reset for no more.
#[test]
fn a_reset_of_a_side_whose_bytes_nobody_reads() {
    matrix(&RESETS, &[State::WriterBlocked]);
}

/// Each end with an urgent byte before it: through buffers, and (in flight, with large receives)
/// through a pipe, where splice(2) stops before that byte.
#[test]
fn an_end_behind_an_urgent_byte_is_the_same_end() {
    let urgent = [How::UrgentThenFin, How::UrgentThenRst];
    let states = [State::Idle, State::Parked, State::InFlight, State::ReaderBlocked];
    let page = matrix(&urgent, &states);
    let pipes = count(&page, "weir_shard_promotions_total", &[]);
    assert!(pipes > 0, "some of it went through pipes");
    let page = matrix(&[How::UrgentThenFin], &[State::WriterBlocked]);
    let refused = count(&page, "weir_shard_pipes_refused_total", &[]);
    eprintln!("{pipes} pipes, {refused} refused behind a blocked reader");
}
