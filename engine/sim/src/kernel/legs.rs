//! The shard's descriptors: the lowest free number is used first, so that a stale one is soon
//! another's.

use weir_core::event::Leg;
use weir_engine::io::Op;

use crate::net::ConnId;

/// What is behind a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// Opened; not connected.
    Nothing,
    Conn(ConnId),
    /// Index into `Net::listening`.
    Listener(usize),
    /// An end of a channel between shards.
    Channel(usize),
    /// An end of the pipe with these bytes.
    PipeEnd {
        object: usize,
        writes: bool,
    },
}

/// The owner of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Of those who hold this leg.
    Own,
    /// It was given away through this end of a channel; nothing is asked of it any more.
    Given(usize),
    /// It has come through this end of a channel, and the giver was not told so.
    Come(usize),
}

#[derive(Clone, Copy, Debug)]
struct LegSlot {
    behind: Behind,
    holder: Holder,
    /// Operations that the shard has not heard of.
    inflight: u32,
    receiving: bool,
    sending: bool,
    nonblocking: bool,
}

/// All descriptors of one shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Legs {
    places: Vec<Option<LegSlot>>,
}

/// The number of the first leg.
const FIRST: i32 = 3;

fn index(leg: Leg) -> usize {
    usize::try_from(leg.0 - FIRST).unwrap_or(usize::MAX)
}

impl Legs {
    pub(super) fn open(&mut self, behind: Behind) -> Leg {
        let holder = Holder::Own;
        let place = LegSlot {
            behind,
            holder,
            inflight: 0,
            receiving: false,
            sending: false,
            nonblocking: false,
        };
        let free = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
        if free == self.places.len() {
            self.places.push(None);
        }
        self.places[free] = Some(place);
        Leg(i32::try_from(free).expect("legs are bounded") + FIRST)
    }

    /// Sockets for clients and backends, and those that listen.
    pub(super) fn count(&self) -> usize {
        let is_other =
            |it: &&LegSlot| matches!(it.behind, Behind::Channel(_) | Behind::PipeEnd { .. });
        self.places.iter().flatten().filter(|it| !is_other(it)).count()
    }

    pub(super) fn holder(&self, leg: Leg) -> Option<Holder> {
        self.places.get(index(leg)).copied().flatten().map(|place| place.holder)
    }

    pub(super) fn set_holder(&mut self, leg: Leg, holder: Holder) {
        if let Some(place) = self.place(leg) {
            place.holder = holder;
        }
    }

    /// Those that were given away, or have come, through a channel are ordinary ones again.
    pub(super) fn own(&mut self, of: Holder) {
        self.places.iter_mut().flatten().filter(|it| it.holder == of).for_each(|place| {
            place.holder = Holder::Own;
        });
    }

    /// True if some leg is held so.
    pub(super) fn has(&self, holder: Holder) -> bool {
        self.places.iter().flatten().any(|it| it.holder == holder)
    }

    /// How many legs have this behind them, and how many of these may be used.
    pub(super) fn holders(&self, behind: Behind) -> (usize, usize) {
        let its = || self.places.iter().flatten().filter(|it| it.behind == behind);
        (its().count(), its().filter(|it| it.holder == Holder::Own).count())
    }

    pub(super) fn inflight(&self, leg: Leg) -> u32 {
        self.places.get(index(leg)).copied().flatten().map_or(0, |place| place.inflight)
    }

    fn place(&mut self, leg: Leg) -> Option<&mut LegSlot> {
        self.places.get_mut(index(leg))?.as_mut()
    }

    pub(super) fn behind(&self, leg: Leg) -> Option<Behind> {
        self.places.get(index(leg)).copied().flatten().map(|place| place.behind)
    }

    pub(super) fn conn(&self, leg: Leg) -> Option<ConnId> {
        match self.behind(leg) {
            Some(Behind::Conn(conn)) => Some(conn),
            _ => None,
        }
    }

    pub(super) fn connected(&mut self, leg: Leg, conn: ConnId) {
        if let Some(place) = self.place(leg) {
            place.behind = Behind::Conn(conn);
        }
    }

    /// An operation on a leg is asked for.
    pub(super) fn asked(&mut self, leg: Leg, op: Op) -> Result<(), String> {
        let Some(place) = self.place(leg) else {
            return Err(format!("{op:?} on a leg that is not open"));
        };
        place.inflight += 1;
        let fits = match (op, place.behind) {
            (Op::Accept(_), Behind::Listener(_)) => true,
            (Op::Connect(..), Behind::Nothing) => place.inflight == 1,
            (Op::Receive { .. }, Behind::Conn(_)) => !std::mem::replace(&mut place.receiving, true),
            (Op::Send { .. }, Behind::Conn(_)) => !std::mem::replace(&mut place.sending, true),
            _ => false,
        };
        if fits { Ok(()) } else { Err(format!("{op:?} does not fit {place:?}")) }
    }

    /// The shard has heard an operation's answer.
    pub(super) fn answered(&mut self, leg: Leg, op: Op) {
        let Some(place) = self.place(leg) else { return };
        place.inflight -= 1;
        match op {
            Op::Receive { .. } => place.receiving = false,
            Op::Send { .. } => place.sending = false,
            _ => {}
        }
    }

    pub(super) fn is_sending(&self, leg: Leg) -> bool {
        self.places.get(index(leg)).copied().flatten().is_some_and(|place| place.sending)
    }

    pub(super) fn is_receiving(&self, leg: Leg) -> bool {
        self.places.get(index(leg)).copied().flatten().is_some_and(|place| place.receiving)
    }

    /// True if a receive is asked for on the leg of this connection.
    pub(super) fn is_received_from(&self, conn: ConnId) -> bool {
        let mut places = self.places.iter().flatten();
        places.any(|place| place.behind == Behind::Conn(conn) && place.receiving)
    }

    pub(super) fn is_nonblocking(&self, leg: Leg) -> bool {
        self.places.get(index(leg)).copied().flatten().is_some_and(|place| place.nonblocking)
    }

    pub(super) fn set_nonblocking(&mut self, leg: Leg, on: bool) {
        if let Some(place) = self.place(leg) {
            place.nonblocking = on;
        }
    }

    pub(super) fn close(&mut self, leg: Leg) -> Result<Behind, String> {
        let place = self.places.get_mut(index(leg)).and_then(Option::take);
        match place {
            None => Err(format!("{leg:?} is closed, but it is not open")),
            Some(place) if place.inflight > 0 => {
                Err(format!("{leg:?} is closed with operations in flight: {place:?}"))
            }
            Some(place) => Ok(place.behind),
        }
    }

    /// Closes all of them, whatever is in flight, and says what was behind them.
    pub(super) fn drop_all(&mut self) -> Vec<Behind> {
        self.places.drain(..).flatten().map(|place| place.behind).collect()
    }

    /// The listeners among them: indices into `Net::listening`.
    pub(super) fn listeners(&self) -> impl Iterator<Item = usize> {
        self.places.iter().flatten().filter_map(|place| match place.behind {
            Behind::Listener(listener) => Some(listener),
            _ => None,
        })
    }

    /// What is still open, as text.
    pub(super) fn left(&self, may_listen: bool) -> Option<String> {
        let is_left =
            |place: &&LegSlot| !(may_listen && matches!(place.behind, Behind::Listener(_)));
        let left: Vec<&LegSlot> = self.places.iter().flatten().filter(is_left).collect();
        (!left.is_empty()).then(|| format!("{left:?}"))
    }
}
