//! What a script does next: drawn from its seed, among the steps that the shard's rules allow.

use std::collections::BTreeMap;

use weir_core::action::How;
use weir_core::event::{Interest, Receive, Side};
use weir_engine::io::Kind;

use super::model::side;
use super::{CONNS, Heard, Host, Piece, Step};
use crate::rng::Rng;

/// Batches before a script comes to its end.
const BATCHES_MAX: usize = 14;
/// Accepts that are asked for at once.
const ACCEPTS_MAX: usize = 2;
/// Bytes that may wait unread, so that no window but a narrow one ever fills.
const UNREAD_MAX: usize = 60_000;

/// How far a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Unused,
    /// A client's, before it was accepted.
    Queued,
    Connecting,
    Open,
    /// The leg is there, but its connect has failed.
    Failed,
    Closed,
}

/// What the script knows of a connection.
#[derive(Clone, Debug, Default)]
struct ScriptConn {
    stage: Stage,
    narrow: bool,
    connecting: bool,
    receiving: bool,
    sending: Option<Piece>,
    canceling: usize,
    cancel_sent: [bool; 3],
    ended: bool,
    broken: bool,
    finished: bool,
    nonblocking: bool,
    peer_fin: bool,
    peer_gone: bool,
    was_open: bool,
    /// Peer → weir and weir → peer, in bytes that nobody has read.
    up: usize,
    down: usize,
}

impl ScriptConn {
    fn in_flight(&self) -> bool {
        self.connecting || self.receiving || self.sending.is_some() || self.canceling > 0
    }

    fn has_peer(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Queued) && !self.peer_gone
    }
}

/// A script that is being written while it runs.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) buffers: u16,
    rng: Rng,
    places: Vec<ScriptConn>,
    /// Bytes that are left of each piece.
    pieces: BTreeMap<Piece, usize>,
    accepts: usize,
    canceling_accepts: usize,
    is_shut: bool,
    batches: usize,
    /// What comes from connection 3 goes to connection 1, which is narrow, until it is full.
    fills: bool,
    /// Rounds of the end: take back, give back, close.
    ending: usize,
}

impl Script {
    pub(super) fn new(mut rng: Rng) -> Script {
        let fills = rng.below(4) == 0;
        Script {
            buffers: if fills { 8 } else { rng.pick(&[2, 2, 4, 8]) },
            fills,
            places: vec![ScriptConn::default(); CONNS],
            pieces: BTreeMap::new(),
            accepts: 0,
            canceling_accepts: 0,
            is_shut: false,
            batches: rng.between(3, BATCHES_MAX),
            ending: 0,
            rng,
        }
    }

    /// The next steps; `None` when everything is closed.
    pub(super) fn batch(&mut self) -> Option<Vec<Step>> {
        loop {
            let steps = if self.batches == 0 { self.end()? } else { self.some() };
            if !steps.is_empty() {
                return Some(steps);
            }
        }
    }

    fn some(&mut self) -> Vec<Step> {
        self.batches -= 1;
        let mut steps = Vec::new();
        for _ in 0..self.rng.between(1, 8) {
            let drawn = self.draw();
            steps.extend(drawn.inspect(|step| self.did(*step)));
        }
        steps
    }

    /// Takes everything back, gives everything back, closes.
    fn end(&mut self) -> Option<Vec<Step>> {
        self.ending += 1;
        let mut steps = Vec::new();
        match self.ending {
            // Narrow peers read on, so that sends which wait can go on.
            1..=3 => {
                let narrow = |place: &ScriptConn| place.narrow && place.has_peer();
                let numbers = (0..CONNS).filter(|number| narrow(&self.places[*number]));
                steps.extend(numbers.map(|number| Step::PeerRead(number, 200_000)));
            }
            4 => {
                for (number, place) in self.places.iter().enumerate() {
                    let kinds = [
                        (place.connecting, Kind::Connect),
                        (place.receiving, Kind::Receive),
                        (place.sending.is_some(), Kind::Send),
                    ];
                    let pending = kinds.into_iter().filter(|(pending, _)| *pending);
                    steps.extend(pending.map(|(_, kind)| Step::Cancel(number, kind)));
                }
                if self.accepts > 0 {
                    steps.push(Step::CancelAccepts);
                }
            }
            5 => {
                steps.extend(self.pieces.keys().map(|piece| Step::Release(*piece)));
                for (number, place) in self.places.iter().enumerate() {
                    if matches!(place.stage, Stage::Open | Stage::Failed) {
                        steps.push(Step::Close(number, How::Reset));
                    }
                }
                if !self.is_shut {
                    steps.push(Step::ShutdownListener);
                }
            }
            6 => {
                // Those that were open know their end now, those that were queued are reset.
                let had_peer = |place: &ScriptConn| place.was_open || place.stage == Stage::Queued;
                let reads =
                    |place: &&ScriptConn| !place.narrow && !place.peer_gone && had_peer(place);
                let numbers = (0..CONNS).filter(|number| reads(&&self.places[*number]));
                steps.extend(numbers.map(|number| Step::PeerRead(number, 200_000)));
            }
            _ => return None,
        }
        for step in &steps {
            self.did(*step);
        }
        Some(steps)
    }

    fn draw(&mut self) -> Option<Step> {
        let mut conn = self.rng.below(CONNS);
        if self.fills {
            conn = self.rng.pick(&[1, 1, 1, 3, 3, 3, conn]);
        }
        let place = self.places[conn].clone();
        match place.stage {
            Stage::Unused if side(conn) == Side::Backend => {
                let hosts = [
                    Host::Listens,
                    Host::Listens,
                    Host::Listens,
                    Host::Narrow,
                    Host::Refuses,
                    Host::Silent,
                ];
                let host = match conn {
                    1 if self.fills => Host::Narrow,
                    3 if self.fills => Host::Listens,
                    _ => self.rng.pick(&hosts),
                };
                Some(Step::Connect(conn, host))
            }
            Stage::Unused => self.draw_accept(conn),
            Stage::Connecting if self.rng.below(3) == 0 => self.draw_cancel(conn, &place),
            Stage::Connecting => None,
            Stage::Queued if self.rng.below(3) == 0 => self.draw_accept(conn),
            Stage::Queued => self.draw_peer(conn, &place),
            Stage::Failed => Some(Step::Close(conn, How::Reset)),
            Stage::Open if self.rng.below(if place.narrow { 20 } else { 5 }) < 2 => {
                self.draw_peer(conn, &place)
            }
            Stage::Open => self.draw_operation(conn, &place),
            Stage::Closed if place.was_open && !place.narrow && !place.peer_gone => {
                Some(Step::PeerRead(conn, 70_000))
            }
            Stage::Closed => None,
        }
    }

    fn draw_accept(&mut self, conn: usize) -> Option<Step> {
        let somebody_waits = self.places.iter().any(|place| place.stage == Stage::Queued);
        match self.rng.below(8) {
            _ if self.is_shut => None,
            0..4 if !somebody_waits => Some(Step::Arrive(conn)),
            4..7 if self.accepts < ACCEPTS_MAX => Some(Step::Accept),
            7 if self.accepts > 0 && self.canceling_accepts == 0 => Some(Step::CancelAccepts),
            7 if self.rng.below(4) == 0 => Some(Step::ShutdownListener),
            _ => None,
        }
    }

    fn draw_cancel(&mut self, conn: usize, place: &ScriptConn) -> Option<Step> {
        let kinds = [
            (place.connecting, Kind::Connect),
            (place.receiving, Kind::Receive),
            (place.sending.is_some(), Kind::Send),
        ];
        let kinds = kinds
            .into_iter()
            .filter(|(pending, kind)| *pending && !place.cancel_sent[*kind as usize]);
        let kinds: Vec<Kind> = kinds.map(|(_, kind)| kind).collect();
        (!kinds.is_empty()).then(|| Step::Cancel(conn, self.rng.pick(&kinds)))
    }

    fn draw_peer(&mut self, conn: usize, place: &ScriptConn) -> Option<Step> {
        if !place.has_peer() {
            return None;
        }
        match self.rng.below(20) {
            7 | 8 if !place.peer_fin && !place.narrow && place.up < UNREAD_MAX => {
                Some(Step::PeerUrgent(conn))
            }
            0..9 if !place.peer_fin && place.up < UNREAD_MAX => {
                let count = self.rng.pick(&[1, 10, 1000, 5000, 32_768, 40_000]);
                // A narrow peer's bytes do not all come at once.
                let count = if place.narrow { count.min(1000) } else { count };
                let count = if self.fills && conn == 3 { 40_000 } else { count };
                Some(Step::PeerSend(conn, count.min(UNREAD_MAX - place.up)))
            }
            9..11 if !place.peer_fin => Some(Step::PeerFin(conn)),
            11 | 12 => Some(Step::PeerReset(conn)),
            13 => Some(Step::PeerClose(conn)),
            _ if place.stage == Stage::Open => {
                Some(Step::PeerRead(conn, self.rng.pick(&[1, 100, 5000, 70_000])))
            }
            _ => None,
        }
    }

    fn draw_operation(&mut self, conn: usize, place: &ScriptConn) -> Option<Step> {
        let sends_from = if place.narrow { 1 } else { 5 };
        match self.rng.below(24) {
            drawn if drawn < sends_from && !place.receiving => {
                // An end that was heard is heard again; the shard does not ask, the kernel answers.
                let how = match self.rng.below(4) {
                    0 => Receive::AtOnce,
                    1 => Receive::Once,
                    // weir asks for none on such a leg.
                    _ if place.nonblocking => Receive::Once,
                    _ => Receive::Multishot { bytes: 16_384 },
                };
                Some(Step::Receive(conn, how))
            }
            drawn
                if (sends_from..10).contains(&drawn)
                    && place.sending.is_none()
                    && !place.finished =>
            {
                let room = if place.narrow { usize::MAX } else { UNREAD_MAX - place.down };
                let busy: Vec<Piece> = self.places.iter().filter_map(|it| it.sending).collect();
                let fits = |(piece, left): (&Piece, &usize)| {
                    let fits = *left > 0 && *left <= room && !busy.contains(piece);
                    fits.then_some(*piece)
                };
                let pieces: Vec<Piece> = self.pieces.iter().filter_map(fits).collect();
                (!pieces.is_empty()).then(|| Step::Send(conn, self.rng.pick(&pieces)))
            }
            10 | 11 => self.draw_cancel(conn, place),
            12 if !place.finished && place.sending.is_none() => Some(Step::Finish(conn)),
            13 if self.rng.below(4) == 0 => Some(Step::Nonblocking(conn, !place.nonblocking)),
            13 if !place.broken => {
                let readable = self.rng.flip();
                // When a narrow socket has room again is the kernel's to say.
                let writable = !place.narrow && self.rng.flip();
                Some(Step::Watch(conn, Interest { readable, writable }))
            }
            15..22 => self.draw_splice(conn, place),
            14 if !place.in_flight() => {
                let soft = place.finished && place.ended && place.up == 0 && !place.broken;
                let how = if soft && self.rng.flip() { How::Fin } else { How::Reset };
                Some(Step::Close(conn, how))
            }
            _ => {
                let busy: Vec<Piece> = self.places.iter().filter_map(|it| it.sending).collect();
                let free = self.pieces.keys().filter(|piece| !busy.contains(piece));
                let free: Vec<Piece> = free.copied().collect();
                (!free.is_empty()).then(|| Step::Release(self.rng.pick(&free)))
            }
        }
    }

    /// A splice to another connection, or what must come before it.
    fn draw_splice(&mut self, conn: usize, place: &ScriptConn) -> Option<Step> {
        let takes = |it: &ScriptConn| {
            let idle = it.sending.is_none() && !it.finished && !it.narrow;
            it.stage == Stage::Open && idle && it.down + place.up <= UNREAD_MAX
        };
        let takes = |to: &usize| *to != conn && takes(&self.places[*to]);
        let others: Vec<usize> = (0..CONNS).filter(takes).collect();
        if others.is_empty() || place.receiving || place.narrow {
            return None;
        }
        let to = self.rng.pick(&others);
        let waits = [conn, to].into_iter().find(|number| !self.places[*number].nonblocking);
        Some(waits.map_or(Step::Splice(conn, to), |number| Step::Nonblocking(number, true)))
    }

    /// A step was drawn.
    fn did(&mut self, step: Step) {
        match step {
            Step::Connect(conn, host) => {
                let place = &mut self.places[conn];
                (place.stage, place.connecting) = (Stage::Connecting, true);
                place.narrow = host == Host::Narrow;
            }
            Step::Arrive(conn) => self.places[conn].stage = Stage::Queued,
            Step::Accept => self.accepts += 1,
            Step::Receive(conn, _) => self.places[conn].receiving = true,
            Step::Send(conn, piece) => {
                self.places[conn].sending = Some(piece);
                if !self.places[conn].narrow {
                    self.places[conn].down += self.pieces[&piece];
                }
            }
            Step::Cancel(conn, kind) => {
                self.places[conn].canceling += 1;
                self.places[conn].cancel_sent[kind as usize] = true;
            }
            Step::CancelAccepts => self.canceling_accepts += 1,
            Step::Release(piece) => {
                self.pieces.remove(&piece);
            }
            Step::Finish(conn) => self.places[conn].finished = true,
            Step::Watch(..) => {}
            Step::Nonblocking(conn, on) => self.places[conn].nonblocking = on,
            Step::Close(conn, _) => self.places[conn].stage = Stage::Closed,
            Step::ShutdownListener => self.is_shut = true,
            Step::PeerSend(conn, count) => self.places[conn].up += count,
            Step::PeerUrgent(conn) => self.places[conn].up += 1,
            // All of it may move before the kernel says how much: nothing else is drawn to there.
            Step::Splice(from, to) => self.places[to].down += self.places[from].up,
            Step::PeerFin(conn) => self.places[conn].peer_fin = true,
            Step::PeerReset(conn) | Step::PeerClose(conn) => self.places[conn].peer_gone = true,
            Step::PeerRead(..) => {}
        }
    }

    /// What the real kernel said. How many sends were partial.
    pub(super) fn learn(&mut self, heard: &[Heard]) -> u64 {
        let mut parts = 0;
        for heard in heard {
            match *heard {
                Heard::Accepted(result) => {
                    self.accepts -= 1;
                    if let Ok(conn) = result {
                        (self.places[conn].stage, self.places[conn].was_open) = (Stage::Open, true);
                    }
                }
                Heard::CanceledAccepts => self.canceling_accepts -= 1,
                Heard::Connected(conn, result) => {
                    let place = &mut self.places[conn];
                    place.connecting = false;
                    place.was_open = result.is_ok();
                    place.stage = if result.is_ok() { Stage::Open } else { Stage::Failed };
                }
                Heard::Received(piece, length, [_, last]) => {
                    let place = &mut self.places[piece.0];
                    self.pieces.insert(piece, length.into());
                    place.up = place.up.saturating_sub(length.into());
                    if last {
                        place.received();
                    }
                }
                Heard::Ended(conn) => {
                    self.places[conn].ended = true;
                    self.places[conn].received();
                }
                Heard::ReceiveFailed(conn, errno) => {
                    self.places[conn].broken |= errno != 125;
                    self.places[conn].received();
                }
                Heard::Starved(conn) => self.places[conn].received(),
                Heard::Sent(conn, count) => parts += self.sent(conn, count as usize),
                Heard::SendFailed(conn, _) => {
                    self.places[conn].sending = None;
                    self.places[conn].cancel_sent[Kind::Send as usize] = false;
                }
                Heard::Canceled(conn) => self.places[conn].canceling -= 1,
                Heard::SpliceResult([from, to], [received, sent], _, failed) => {
                    let wanted = self.places[from].up;
                    self.places[from].up = wanted.saturating_sub(received as usize);
                    let spared = wanted.saturating_sub(sent as usize);
                    self.places[to].down = self.places[to].down.saturating_sub(spared);
                    self.places[from].broken |= failed[0].is_some();
                    self.places[to].broken |= failed[1].is_some();
                }
                Heard::PeerRead(conn, count) => {
                    let place = &mut self.places[conn];
                    place.down = place.down.saturating_sub(count);
                }
                Heard::PeerEnd(_) | Heard::PeerReset(_) | Heard::Ready(..) | Heard::Free(_) => {}
            }
        }
        parts
    }

    fn sent(&mut self, conn: usize, count: usize) -> u64 {
        let place = &mut self.places[conn];
        place.cancel_sent[Kind::Send as usize] = false;
        let Some(piece) = place.sending.take() else { return 0 };
        let left = self.pieces.get_mut(&piece).expect("what is sent is held");
        *left -= count;
        u64::from(*left > 0)
    }
}

impl ScriptConn {
    fn received(&mut self) {
        self.receiving = false;
        self.cancel_sent[Kind::Receive as usize] = false;
    }
}
