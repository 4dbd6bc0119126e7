//! Sessions that are looked for: which, in which order, how much a turn does.

use core::net::SocketAddr;

use weir_proto::session::{
    BlockedOn, LegRow, ListedSession, PAGE_MAX, SearchFor, SessionMatch, SessionSearch,
    SessionSort, SessionState,
};

use super::*;
use crate::limits::{LISTED_COST, SEARCH_LOOK_COST};

/// Every client comes from one address, from the port of its leg's number.
struct OneHost {
    asked: u32,
}

impl AskLegs for OneHost {
    fn peer(&mut self, leg: Leg) -> Option<SocketAddr> {
        self.asked += 1;
        let port = u16::try_from(leg.0).unwrap();
        Some(SocketAddr::from(([203, 0, 113, 7], port)))
    }

    fn describe(&mut self, leg: Leg) -> Option<LegRow> {
        Some(LegRow { segment_bytes: u64::try_from(leg.0).unwrap(), ..LegRow::default() })
    }
}

/// The outcome of a whole search.
#[derive(Debug, Default)]
struct Outcome {
    rows: Vec<ListedSession>,
    matched: u64,
    ended: Vec<SessionId>,
    turns: u32,
    asked: u32,
}

impl Outcome {
    /// The slots of the rows, which come in no order, from the lowest on.
    fn slots(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self.rows.iter().map(|row| row.key.slot).collect();
        slots.sort_unstable();
        slots
    }
}

impl TablePlay {
    /// Searches to the end; each turn may do that much.
    fn searches(&mut self, of: SessionMatch, want: SearchFor, scan: u32) -> Outcome {
        self.table.search(SessionSearch { number: 9, of, want });
        let (mut outcome, mut host) = (Outcome::default(), OneHost { asked: 0 });
        while self.table.is_searching() {
            let mut left = scan;
            outcome.turns += 1;
            loop {
                let (now, out) = (self.now, &mut self.out);
                match self.table.search_next(now, &mut left, &mut host, out) {
                    None => break,
                    Some(Found::Ended(id)) => outcome.ended.push(id),
                    Some(Found::Page(page)) => {
                        assert_eq!(page.number, 9);
                        assert!(page.rows.len() <= PAGE_MAX);
                        assert_eq!(page.is_last, !self.table.is_searching());
                        outcome.rows.extend(page.rows);
                        outcome.matched = page.matched;
                        break; // a page a turn
                    }
                }
            }
            self.out.clear();
        }
        outcome.asked = host.asked;
        outcome
    }

    fn lists(&mut self, of: SessionMatch, sort: SessionSort, limit: u32) -> Outcome {
        self.searches(of, SearchFor::Rows { sort, limit }, SCANNED_PER_TURN_MAX)
    }
}

/// Sessions that were accepted 10 ms after each other.
fn some(count: u32) -> (TablePlay, Vec<SessionId>) {
    let mut play = TablePlay::with(2, count, |_| {});
    let ids = (0..count)
        .map(|_| {
            play.now = play.now.plus_millis(10);
            play.relaying()
        })
        .collect();
    (play, ids)
}

fn everything() -> SessionMatch {
    SessionMatch::default()
}

#[test]
fn the_first_ones_of_each_order_are_listed() {
    let (mut play, ids) = some(6);
    play.now = START.plus_millis(500);
    play.carries(ids[1], Side::Backend, 500);
    play.now = START.plus_millis(600);
    play.carries(ids[0], Side::Backend, 900);
    play.now = START.plus_millis(2_500);
    play.carries(ids[4], Side::Backend, 700);
    play.now = START.plus_millis(3_000);
    let by_age = play.lists(everything(), SessionSort::Age, 3);
    assert_eq!((by_age.slots(), by_age.matched), (vec![0, 1, 2], 6));
    assert_eq!(play.lists(everything(), SessionSort::Idle, 4).slots(), [1, 2, 3, 5]);
    assert_eq!(play.lists(everything(), SessionSort::Idle, 5).slots(), [0, 1, 2, 3, 5]);
    assert_eq!(play.lists(everything(), SessionSort::Bytes, 1).slots(), [0]);
    assert_eq!(play.lists(everything(), SessionSort::Bytes, 4).slots(), [0, 1, 2, 4]);
    assert_eq!(play.lists(everything(), SessionSort::Rate, 1).slots(), [0], "900 in 2.99 s");
    let counted = play.lists(everything(), SessionSort::Age, 0);
    assert_eq!((counted.slots().len(), counted.matched, counted.asked), (0, 6, 0));
}

#[test]
fn a_row_says_what_its_session_is() {
    let (mut play, ids) = some(2);
    play.now = START.plus_millis(100);
    play.carries(ids[0], Side::Backend, 500);
    play.now = START.plus_millis(1_510);
    let row = play.lists(everything(), SessionSort::Age, 1).rows.remove(0);
    assert_eq!((row.age_ms, row.idle_ms), (1_500, 1_410));
    assert_eq!((row.received_bytes, row.sent_bytes, row.rate_bytes_per_s), (500, 0, 333));
    assert_eq!((row.state, row.blocked_on), (SessionState::Relaying, None));
    assert_eq!(row.client, Some("203.0.113.7:10".parse().unwrap()));
    assert_eq!((row.version.0, row.backend), (1, Some(play.ids[0])));
    assert!(row.legs.is_none());

    play.on(ids[0], Side::Client, Completion::Ended);
    play.out.clear();
    let details = SessionMatch { only: Some(vec![search_key(ids[0])]), ..everything() };
    let found = play.searches(details, SearchFor::Details, SCANNED_PER_TURN_MAX);
    let row = &found.rows[0];
    assert_eq!((found.matched, row.state), (1, SessionState::HalfClosed));
    let legs = row.legs.as_ref().unwrap();
    let segment = |leg: &Option<LegRow>| leg.as_ref().map(|leg| leg.segment_bytes);
    assert_eq!((segment(&legs.client), segment(&legs.backend)), (Some(10), Some(11)));
}

fn search_key(id: SessionId) -> weir_proto::session::SessionKey {
    weir_proto::session::SessionKey { slot: id.slot, generation: id.generation }
}

#[test]
fn every_part_of_a_filter_must_be_true() {
    let (mut play, ids) = some(4);
    play.now = START.plus_millis(500);
    play.carries(ids[3], Side::Backend, 1);
    play.now = START.plus_millis(1_000);
    let (b0, b1) = (play.ids[0], play.ids[1]);
    let mut slots = |of| play.lists(of, SessionSort::Age, 9).slots();
    let on = |ids: &[BackendId]| SessionMatch { backends: Some(ids.to_vec()), ..everything() };
    assert_eq!(slots(on(&[b0])), [0, 2], "round robin");
    assert_eq!(slots(on(&[b1])), [1, 3]);
    assert_eq!(slots(on(&[b0, b1])), [0, 1, 2, 3]);
    assert_eq!(slots(SessionMatch { older_ms: 980, ..everything() }), [0, 1]);
    assert_eq!(slots(SessionMatch { idle_ms: 501, ..everything() }), [0, 1, 2]);
    assert_eq!(slots(SessionMatch { idle_ms: 501, ..on(&[b1]) }), [1]);
    assert_eq!(slots(SessionMatch { stalled: true, ..everything() }), [0; 0]);
    let version = |number| Some(weir_proto::ids::Version(number));
    assert_eq!(slots(SessionMatch { version: version(1), ..on(&[b0]) }), [0, 2]);
    assert_eq!(slots(SessionMatch { version: version(2), ..everything() }), [0; 0]);
    let from = |text: &str| SessionMatch { client: Some(text.parse().unwrap()), ..everything() };
    assert_eq!(slots(from("203.0.113.0/24")), [0, 1, 2, 3]);
    assert_eq!(slots(from("203.0.114.0/24")), [0; 0]);
    let (pool, listener) = {
        let view = play.table.view();
        (view.pools()[0].id, view.listeners()[0].id)
    };
    let of = SessionMatch { pool: Some(pool), listener: Some(listener), ..everything() };
    assert_eq!(play.lists(of, SessionSort::Age, 9).matched, 4);
    let other = weir_proto::ids::PoolId(pool.0 + 1);
    let of = SessionMatch { pool: Some(other), ..everything() };
    assert_eq!(play.lists(of, SessionSort::Age, 9).matched, 0);
}

#[test]
fn a_side_that_takes_nothing_blocks_its_session() {
    let (mut play, ids) = some(2);
    let buffer = crate::event::BufferId(0);
    let bytes = Completion::Received { buffer, length: 9, more: false, last: true };
    play.on(ids[1], Side::Backend, bytes);
    play.on(ids[1], Side::Client, Completion::SendFailed(Errno::EAGAIN));
    play.out.clear();
    let found = play.lists(SessionMatch { stalled: true, ..everything() }, SessionSort::Age, 9);
    assert_eq!(found.slots(), [1]);
    assert_eq!(found.rows[0].blocked_on, Some(BlockedOn::Client));
}

#[test]
fn a_kill_ends_what_matches_and_nothing_else() {
    let (mut play, ids) = some(5);
    let of = SessionMatch { backends: Some(vec![play.ids[1]]), ..everything() };
    let found = play.searches(of, SearchFor::Kill, SCANNED_PER_TURN_MAX);
    assert_eq!((found.ended, found.matched), (vec![ids[1], ids[3]], 2));
    let reason = |play: &TablePlay, id| match play.table.session(id).map(Session::phase) {
        Some(Phase::Closing(end)) => Some((end.reason.by, end.reason.why)),
        _ => None,
    };
    let killed = Some((By::Operator, Why::Killed));
    let all = ids.iter().map(|id| reason(&play, *id)).collect::<Vec<_>>();
    assert_eq!(all, [None, killed, None, killed, None]);
    // Those are over: they are ended once. A key of another life finds none.
    let old = weir_proto::session::SessionKey { slot: ids[0].slot, generation: 7 };
    let only = Some(vec![search_key(ids[1]), search_key(ids[4]), old]);
    let found =
        play.searches(SessionMatch { only, ..everything() }, SearchFor::Kill, SCANNED_PER_TURN_MAX);
    assert_eq!((found.ended, found.matched), (vec![ids[4]], 1));
}

#[test]
fn a_turn_looks_at_some_slots_and_tells_some_rows() {
    let (mut play, _) = some(64);
    let scan = 8 * SEARCH_LOOK_COST;
    let counted =
        play.searches(everything(), SearchFor::Rows { sort: SessionSort::Age, limit: 0 }, scan);
    assert_eq!((counted.matched, counted.turns), (64, 8));
    let listed = play.searches(
        everything(),
        SearchFor::Rows { sort: SessionSort::Age, limit: 64 },
        LISTED_COST * 8,
    );
    assert_eq!(listed.slots(), (0..64).collect::<Vec<_>>());
    assert_eq!(listed.turns, 1 + 8, "all are looked at in one turn here, and 8 a turn are told");
    assert_eq!(listed.asked, 64);
}

#[test]
fn searches_come_one_after_another() {
    let (mut play, _) = some(3);
    let want = SearchFor::Rows { sort: SessionSort::Age, limit: 1 };
    for number in [1, 2] {
        play.table.search(SessionSearch { number, of: everything(), want });
    }
    let mut numbers = Vec::new();
    let mut host = OneHost { asked: 0 };
    while play.table.is_searching() {
        let mut scan = SCANNED_PER_TURN_MAX;
        match play.table.search_next(play.now, &mut scan, &mut host, &mut play.out) {
            Some(Found::Page(page)) => numbers.push((page.number, page.rows.len(), page.matched)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(numbers, [(1, 1, 3), (2, 1, 3)]);
}
