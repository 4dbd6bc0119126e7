//! HTTP connections, how long each may last, and which one is evicted for a new one when there are
//! too many.
//!
//! ```text
//! Reading ──whole head: answered──▶ Idle ──first byte of the next request──▶ Reading …
//!                                   │ ▲  │ ▲
//!                                   │ │  ▼ │ the next request
//!                                   │ │  Streaming ─┐
//!                                   ▼ │       ▲     │ the reader has taken a frame
//!                                  Body       └─────┘
//! ```
//! Pure but for the bells: time is an argument.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use weir_core::base::clock::Now;

use crate::serve::notify::Notify;

/// The most connections at once, beside those with a stream.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// The most streams at once. A stream is no idle connection, and takes no other one's place.
pub(super) const STREAMS_MAX: usize = 16;
/// From the first byte of a request to the end of its head.
const READING_MAX: Duration = Duration::from_secs(5);
/// Longer than any body may take: [`super::body`] ends it with an answer.
const BODY_MAX: Duration = Duration::from_secs(30);
/// From a request's head to the begin of the next one: for taking the answer and for a pause that
/// is longer than Prometheus' usual interval of a minute.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// For the reader of a stream to take a frame. There is one each 15 s at least.
const TAKING_MAX: Duration = Duration::from_secs(60);

/// All open connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    list: RefCell<Vec<Rc<Connection>>>,
}

/// One connection.
#[derive(Debug)]
struct Connection {
    peer: IpAddr,
    state: Cell<(ConnectionState, Now)>,
    evicted: Cell<bool>,
    bell: Notify,
}

/// Whether a connection is idle, sends a request or takes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// No request, or its answer is on its way.
    Idle,
    /// A request's head is not whole yet.
    Reading,
    /// Its body is not whole yet; who reads it knows for how long that may be.
    Body,
    /// It takes frames as they come; begins again with each that was taken.
    Streaming,
}

/// The place of a connection; dropping it frees the place.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    connections: Rc<Connections>,
    connection: Rc<Connection>,
}

impl Connections {
    /// Returns a place for a connection that comes now. At [`CONNECTIONS_MAX`] another one is
    /// evicted: of the address that has the most, the one whose state has lasted longest. So a
    /// stranger with many connections loses his own, and a probe always gets in.
    pub(super) fn admit(self: &Rc<Connections>, peer: IpAddr, now: Now) -> ConnectionSlot {
        // A request is expected at once.
        let state = Cell::new((ConnectionState::Reading, now));
        let (evicted, bell) = (Cell::new(false), Notify::default());
        let connection = Rc::new(Connection { peer: peer.to_canonical(), state, evicted, bell });
        let mut list = self.list.borrow_mut();
        let others: Vec<usize> =
            (0..list.len()).filter(|index| !list[*index].is_streaming()).collect();
        if others.len() >= CONNECTIONS_MAX {
            let of_peer = |peer| others.iter().filter(|it| list[**it].peer == peer).count();
            let rank = |it: &Connection| (core::cmp::Reverse(of_peer(it.peer)), it.state.get().1);
            let victim = others.iter().copied().min_by_key(|index| rank(&list[*index]));
            let victim = list.swap_remove(victim.expect("the list is full"));
            victim.evicted.set(true);
            victim.bell.ring();
        }
        list.push(connection.clone());
        drop(list);
        ConnectionSlot { connections: self.clone(), connection }
    }

    /// How many of them take a stream.
    pub(super) fn streams(&self) -> usize {
        self.list.borrow().iter().filter(|it| it.is_streaming()).count()
    }
}

impl Connection {
    fn is_streaming(&self) -> bool {
        self.state.get().0 == ConnectionState::Streaming
    }
}

impl ConnectionSlot {
    /// Becomes a stream. False if there are [`STREAMS_MAX`] already.
    pub(super) fn begin_stream(&self, now: Now) -> bool {
        let others = self.connections.list.borrow();
        let others = others.iter().filter(|it| !Rc::ptr_eq(it, &self.connection));
        let has_room = others.filter(|it| it.is_streaming()).count() < STREAMS_MAX;
        if has_room {
            self.enter(ConnectionState::Streaming, now);
        }
        has_room
    }

    /// The reader of the stream has taken all that it was sent.
    pub(super) fn took(&self, now: Now) {
        if self.connection.is_streaming() {
            self.enter(ConnectionState::Streaming, now);
        }
    }

    pub(super) fn enter(&self, state: ConnectionState, now: Now) {
        self.connection.state.set((state, now));
    }

    /// Bytes have come: the begin of a request, unless it has begun.
    pub(super) fn heard(&self, now: Now) {
        if self.connection.state.get().0 == ConnectionState::Idle {
            self.enter(ConnectionState::Reading, now);
        }
    }

    /// How long the state may still last; zero if it is over.
    pub(super) fn left(&self, now: Now) -> Duration {
        let (state, since) = self.connection.state.get();
        let most = match state {
            ConnectionState::Idle => IDLE_MAX,
            ConnectionState::Reading => READING_MAX,
            ConnectionState::Body => BODY_MAX,
            ConnectionState::Streaming => TAKING_MAX,
        };
        most.saturating_sub(now - since)
    }

    /// Ends when the connection is evicted.
    pub(super) async fn evicted(&self) {
        let connection = &self.connection;
        connection.bell.until(|| connection.evicted.get().then_some(())).await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.list.borrow_mut().retain(|it| !Rc::ptr_eq(it, &self.connection));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Now {
        Now { nanos: secs * 1_000_000_000 }
    }

    fn peer(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn evicted(slots: &[ConnectionSlot]) -> Vec<usize> {
        let gone = |slot: &ConnectionSlot| slot.connection.evicted.get();
        (0..slots.len()).filter(|index| gone(&slots[*index])).collect()
    }

    #[test]
    fn a_state_that_lasts_too_long_is_over() {
        let slot = Rc::new(Connections::default()).admit(peer(1), at(0));
        assert_eq!(slot.left(at(3)), Duration::from_secs(2), "the first request is due");
        slot.heard(at(4));
        assert_eq!(slot.left(at(6)), Duration::ZERO, "bytes do not prolong a head");
        slot.enter(ConnectionState::Idle, at(10));
        assert_eq!(slot.left(at(84)), Duration::from_secs(1));
        slot.heard(at(80));
        assert_eq!(slot.left(at(84)), Duration::from_secs(1), "the next request has begun");
    }

    #[test]
    fn a_stream_lasts_as_long_as_it_is_taken() {
        let slot = Rc::new(Connections::default()).admit(peer(1), at(0));
        slot.enter(ConnectionState::Idle, at(1));
        assert!(slot.begin_stream(at(1)));
        slot.heard(at(30)); // bytes that come meanwhile begin nothing
        assert_eq!(slot.left(at(60)), Duration::from_secs(1));
        slot.took(at(60));
        assert_eq!(slot.left(at(119)), Duration::from_secs(1));
        assert_eq!(slot.left(at(120)), Duration::ZERO, "it takes nothing");
        slot.enter(ConnectionState::Idle, at(130));
        slot.took(at(200));
        assert_eq!(slot.left(at(204)), Duration::from_secs(1), "it is no stream any more");
    }

    #[test]
    fn streams_are_bounded_and_take_no_place_of_others() {
        let all = Rc::new(Connections::default());
        let mut streams: Vec<_> = (0..STREAMS_MAX).map(|_| all.admit(peer(1), at(0))).collect();
        assert!(streams.iter().all(|slot| slot.begin_stream(at(1))));
        assert!(streams[0].begin_stream(at(2)), "it has a place already");
        let others: Vec<_> =
            (2..2 + CONNECTIONS_MAX as u64).map(|second| all.admit(peer(1), at(second))).collect();
        assert_eq!((evicted(&streams), evicted(&others)), (vec![], vec![]));
        assert!(!others[1].begin_stream(at(90)));
        assert_eq!(all.streams(), STREAMS_MAX);
        let probe = all.admit(peer(3), at(91));
        assert_eq!((evicted(&streams), evicted(&others)), (vec![], vec![0]), "no stream goes");
        streams.pop();
        assert_eq!(all.streams(), STREAMS_MAX - 1);
        assert!(others[1].begin_stream(at(92)));
        drop(probe);
    }

    #[test]
    fn the_address_with_the_most_connections_loses_its_oldest() {
        let all = Rc::new(Connections::default());
        let few: Vec<_> = (0..2).map(|_| all.admit(peer(1), at(0))).collect();
        let many: Vec<_> =
            (2..CONNECTIONS_MAX as u64).map(|second| all.admit(peer(2), at(second))).collect();
        many[0].enter(ConnectionState::Idle, at(70));
        let probe = all.admit(peer(3), at(80));
        assert_eq!((evicted(&few), evicted(&many)), (vec![], vec![1]));
        let mapped = all.admit("::ffff:10.0.0.2".parse().unwrap(), at(81));
        assert_eq!(evicted(&many), [1, 2], "it is one of the many");
        drop((few, many, mapped));
        assert_eq!(all.list.borrow().len(), 1, "who leaves gives the place back");
        drop(probe);
        assert!(all.list.borrow().is_empty());
    }
}
