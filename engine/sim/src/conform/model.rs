//! A script's world in the simulated kernel. Cloned for every roll of the dice.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use weir_core::event::{Chunk, Completion, Errno, Leg, Side};
use weir_core::session::SpliceRequest;
use weir_core::table::SessionId;
use weir_engine::io::{Kind, Op, Outcome, Token};

use super::{CONNS, Heard, Host, Piece, Step};
use crate::faults::{Headers, Swarm};
use crate::kernel::Kernel;
use crate::net::{ConnId, Mode, Read};
use crate::rng::Rng;

/// The descriptor that stands for the bound socket.
const BOUND: i32 = 77;
/// So large that a window drawn below it never fills.
const WIDE: usize = 1 << 40;

/// More than any socket of a script holds.
pub(super) const SPLICE_BYTES: u32 = 1 << 20;

/// One connection of the script, in the model.
#[derive(Clone, Debug, Default)]
struct ModelConn {
    leg: Option<Leg>,
    conn: Option<ConnId>,
    /// It has arrived and nobody has accepted it.
    queued: bool,
    narrow: bool,
    received: usize,
    sending: Option<Piece>,
}

/// One world of the model.
#[derive(Clone, Debug)]
pub(super) struct Model {
    kernel: Kernel,
    listener: Leg,
    places: Vec<ModelConn>,
    pieces: BTreeMap<Piece, Chunk>,
    heard: Vec<Heard>,
}

/// The token of an operation of this connection; the real ring gets the same.
pub(super) fn token(conn: usize, kind: Kind) -> Token {
    let slot = u32::try_from(conn).unwrap_or(0);
    Token::Session { id: SessionId { slot, generation: 1 }, side: side(conn), kind }
}

/// The operation that a step asks for, if it asks for one: of both kernels the same, or the
/// comparison would say nothing.
pub(super) fn asks(
    step: Step,
    listener: Leg,
    leg: impl Fn(usize) -> Leg,
    chunk: impl Fn(Piece) -> Chunk,
) -> Option<(Token, Op)> {
    let accepts = Token::Accept { socket: 0 };
    Some(match step {
        Step::Accept => (accepts, Op::Accept(listener)),
        Step::Receive(conn, how) => {
            (token(conn, Kind::Receive), Op::Receive { leg: leg(conn), how })
        }
        Step::Send(conn, piece) => {
            (token(conn, Kind::Send), Op::Send { leg: leg(conn), chunk: chunk(piece) })
        }
        Step::Cancel(conn, kind) => (token(conn, Kind::Cancel), Op::Cancel(token(conn, kind))),
        Step::CancelAccepts => (Token::CancelAccept { socket: 0 }, Op::Cancel(accepts)),
        _ => return None,
    })
}

/// Scripts accept their even connections and connect their odd ones.
pub(super) fn side(conn: usize) -> Side {
    if conn.is_multiple_of(2) { Side::Client } else { Side::Backend }
}

fn address(conn: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 1000 + u16::try_from(conn).unwrap_or(0)))
}

fn listens_at() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], 80))
}

impl Model {
    pub(super) fn new(buffers: u16, mut rng: Rng) -> Model {
        let swarm = Swarm {
            buffers,
            buffer_size: 32_768,
            window: WIDE,
            pipes: 1,
            pipe_size: 1 << 20,
            // What a real kernel may or may not do on a quiet machine.
            late_cancels: 200,
            aborted_accepts: 200,
            reorders: 300,
            // Scripts relay at once.
            headers: Headers::default(),
            ..Swarm::draw(&mut rng).calm()
        };
        let mut kernel = Kernel::new(rng, swarm, false);
        kernel.bound.insert(BOUND, listens_at());
        // Scripts reset what they like.
        kernel.stopping = true;
        let listener = kernel.listen(BOUND).expect("it is bound");
        let places = vec![ModelConn::default(); CONNS];
        Model { kernel, listener, places, pieces: BTreeMap::new(), heard: Vec::new() }
    }

    /// Does the steps, lets the kernel answer what it can, in a random order; what was heard.
    /// `real` is what the real kernel said: the windows of narrow connections follow it, and if
    /// something comes `late`, how much.
    ///
    /// # Errors
    /// The script broke a rule of the shard's: a bug of the script.
    pub(super) fn batch(
        &mut self,
        steps: &[Step],
        real: &[Heard],
        late: bool,
        rng: Rng,
    ) -> Result<Vec<Heard>, String> {
        self.kernel.rng = rng;
        self.lose_as(real);
        for step in steps {
            self.act(*step);
            if self.kernel.rng.hits(100) {
                self.kernel.step();
            }
        }
        self.fit_windows(real);
        self.kernel.wait(None);
        let held_back = if late { self.hold_back(real) } else { Vec::new() };
        if late {
            while self.kernel.step_all() {}
        }
        for (conn, tail, fin) in held_back {
            let up = &mut self.kernel.net.conns[conn].up;
            up.bytes.extend(tail);
            up.fin = fin;
        }
        for _ in 0..self.kernel.rng.below(6) {
            self.kernel.step();
        }
        while self.kernel.step_all() {}
        while let Some((token, outcome)) = self.kernel.next_answer() {
            self.hear(token, outcome);
        }
        self.kernel.seen.clear();
        self.heard.push(Heard::Free(self.kernel.free_buffers().shared));
        let mut heard = std::mem::take(&mut self.heard);
        heard.sort_unstable();
        self.kernel
            .violation
            .take()
            .map_or(Ok(heard), |what| Err(format!("a script's bug: {what}")))
    }

    /// Takes away what comes after the bytes that the real kernel has received, and perhaps all but
    /// the first byte of it: on a busy machine it was still under way.
    fn hold_back(&mut self, real: &[Heard]) -> Vec<(ConnId, VecDeque<u8>, bool)> {
        let mut held_back = Vec::new();
        for heard in real {
            let Heard::Received((number, _), length, _) = *heard else { continue };
            let Some(id) = self.places[number].conn else { continue };
            let up = &mut self.kernel.net.conns[id].up;
            let arrived = usize::from(length) + usize::from(self.kernel.rng.flip());
            let tail = up.bytes.split_off(arrived.min(up.bytes.len()));
            held_back.push((id, tail, std::mem::take(&mut up.fin)));
        }
        held_back
    }

    /// How much of what was under way a reset overtakes is the real kernel's to say.
    fn lose_as(&mut self, real: &[Heard]) {
        for (number, place) in self.places.iter().enumerate() {
            let Some(conn) = place.conn.map(|conn| &mut self.kernel.net.conns[conn]) else {
                continue;
            };
            let counts = real.iter().filter_map(|heard| match heard {
                Heard::PeerRead(conn, count) if *conn == number => Some(*count),
                _ => None,
            });
            let read: usize = counts.sum();
            if conn.weir_closed && read > 0 {
                conn.down.bytes.truncate(read);
            }
        }
    }

    /// How much a narrow connection takes is the real kernel's to say.
    fn fit_windows(&mut self, real: &[Heard]) {
        for (number, place) in self.places.iter().enumerate().filter(|(_, place)| place.narrow) {
            let Some(conn) = place.conn else { continue };
            let sent = real.iter().find_map(|heard| match heard {
                Heard::Sent(conn, count) if *conn == number => usize::try_from(*count).ok(),
                Heard::SendFailed(conn, 11) if *conn == number => Some(0),
                _ => None,
            });
            let down = &mut self.kernel.net.conns[conn].down;
            down.window = down.bytes.len() + sent.unwrap_or(0);
        }
    }

    fn leg(&self, conn: usize) -> Leg {
        self.places[conn].leg.expect("scripts use open legs")
    }

    fn act(&mut self, step: Step) {
        let chunk = |piece| self.pieces[&piece];
        if let Some((token, op)) = asks(step, self.listener, |conn| self.leg(conn), chunk) {
            self.kernel.submit(token, op);
        }
        match step {
            Step::Accept | Step::Receive(..) | Step::Cancel(..) | Step::CancelAccepts => {}
            Step::Send(conn, piece) => self.places[conn].sending = Some(piece),
            Step::Connect(conn, host) => self.connect(conn, host),
            Step::Arrive(conn) => {
                let mut rng = self.kernel.rng.fork();
                let id = self.kernel.net.arrive(listens_at(), WIDE, 0, &mut rng);
                self.places[conn].conn = id;
                self.places[conn].queued = true;
            }
            Step::Release(piece) => {
                let chunk = self.pieces.remove(&piece).expect("scripts release what they hold");
                self.kernel.release(chunk.buffer);
            }
            Step::Finish(conn) => self.kernel.finish(self.leg(conn)),
            Step::Watch(conn, interest) => {
                self.kernel.watch(token(conn, Kind::Watch), self.leg(conn), interest);
            }
            Step::Nonblocking(conn, on) => self.kernel.set_nonblocking(self.leg(conn), on),
            Step::Splice(from, to) => self.splice(from, to),
            Step::Close(conn, how) => {
                let leg = self.places[conn].leg.take().expect("scripts close open legs");
                self.kernel.close(leg, how);
            }
            Step::ShutdownListener => self.kernel.shutdown_listener(self.listener),
            step => self.act_as_peer(step),
        }
    }

    fn connect(&mut self, conn: usize, host: Host) {
        let mode = match host {
            Host::Listens | Host::Narrow => Mode::Listens,
            Host::Refuses => Mode::Refuses,
            Host::Silent => Mode::Silent,
        };
        self.places[conn].narrow = host == Host::Narrow;
        self.kernel.net.hosts.insert(address(conn), mode);
        let leg = self.kernel.open(address(conn).into()).expect("legs do not run out here");
        self.places[conn].leg = Some(leg);
        self.kernel.submit(token(conn, Kind::Connect), Op::Connect(leg, address(conn).into()));
    }

    fn splice(&mut self, from: usize, to: usize) {
        let conns = [from, to].map(|conn| self.places[conn].conn.expect("both are connected"));
        self.kernel.net.conns[conns[0]].partner = Some(conns[1]);
        let pipe = self.kernel.take_pipe().expect("one at a time");
        let request = SpliceRequest { from: self.leg(from), pipe, held: 0, to: self.leg(to) };
        let moved = self.kernel.splice(request, SPLICE_BYTES);
        self.kernel.return_pipe(pipe, moved.received == moved.sent);
        self.heard.push(Heard::moved([from, to], &moved));
    }

    fn act_as_peer(&mut self, step: Step) {
        let mut rng = self.kernel.rng.fork();
        let number = match step {
            Step::PeerSend(conn, _)
            | Step::PeerUrgent(conn)
            | Step::PeerFin(conn)
            | Step::PeerReset(conn)
            | Step::PeerClose(conn)
            | Step::PeerRead(conn, _) => conn,
            step => unreachable!("{step:?} is no peer's"),
        };
        let id = self.places[number].conn.expect("scripts know their peers");
        let conn = &mut self.kernel.net.conns[id];
        match step {
            Step::PeerSend(_, count) => {
                conn.peer_write(count);
            }
            Step::PeerUrgent(_) if conn.peer_write(1) == Some(1) => conn.peer_marks(),
            Step::PeerFin(_) => conn.peer_finish(),
            Step::PeerReset(_) => conn.peer_abort(&mut rng),
            Step::PeerClose(_) => conn.peer_close(&mut rng),
            // A narrow peer has nothing yet: the real kernel said so.
            Step::PeerRead(_, 0) => {}
            Step::PeerRead(_, count) => match conn.peer_read(count, &mut Vec::new(), 0) {
                Read::Bytes(count) => self.heard.push(Heard::PeerRead(number, count)),
                Read::End => self.heard.push(Heard::PeerEnd(number)),
                Read::Reset => self.heard.push(Heard::PeerReset(number)),
                Read::Nothing => {}
            },
            _ => {}
        }
    }

    fn hear(&mut self, token: Token, outcome: Outcome) {
        let heard = match (token, outcome) {
            (Token::Accept { .. }, Outcome::Accepted(result)) => self.accepted(result),
            (Token::CancelAccept { .. }, _) => Heard::CanceledAccepts,
            (Token::Session { id, .. }, Outcome::Ready(ready)) => {
                Heard::Ready(id.slot as usize, [ready.readable, ready.writable, ready.reset])
            }
            (Token::Session { id, .. }, Outcome::Session(done)) => {
                self.done(id.slot as usize, done)
            }
            (token, outcome) => unreachable!("{outcome:?} answers {token:?}"),
        };
        self.heard.push(heard);
    }

    fn accepted(&mut self, result: Result<Leg, Errno>) -> Heard {
        Heard::Accepted(result.map_err(|errno| errno.0).map(|leg| {
            // At most one client waits at a time.
            let number = self.places.iter().position(|place| place.queued);
            let number = number.expect("somebody has arrived");
            self.places[number].queued = false;
            self.places[number].leg = Some(leg);
            // A script watches as it likes, also before it receives.
            let session = (u32::try_from(number).unwrap_or(0), 1);
            let note = self.kernel.notes.entry(session).or_default();
            note.conns[side(number) as usize] = self.places[number].conn;
            number
        }))
    }

    fn done(&mut self, conn: usize, done: Completion) -> Heard {
        match done {
            Completion::Connected(result) => {
                if result.is_ok() {
                    let conns = &self.kernel.net.conns;
                    let id = conns.iter().rposition(|it| it.address == address(conn));
                    self.places[conn].conn = id;
                }
                Heard::Connected(conn, result.map_err(|errno| errno.0))
            }
            Completion::Received { buffer, length, more, last } => {
                let place = &mut self.places[conn];
                self.pieces.insert((conn, place.received), Chunk { buffer, start: 0, end: length });
                place.received += 1;
                Heard::Received((conn, place.received - 1), length, [more, last])
            }
            Completion::Ended => Heard::Ended(conn),
            Completion::Starved => Heard::Starved(conn),
            Completion::ReceiveFailed(errno) => Heard::ReceiveFailed(conn, errno.0),
            Completion::Sent(count) => {
                if let Some(piece) = self.places[conn].sending.take() {
                    let chunk = self.pieces.get_mut(&piece).expect("what is sent is held");
                    chunk.start += u16::try_from(count).unwrap_or(u16::MAX);
                }
                Heard::Sent(conn, count)
            }
            Completion::SendFailed(errno) => {
                self.places[conn].sending = None;
                Heard::SendFailed(conn, errno.0)
            }
            Completion::Canceled => Heard::Canceled(conn),
        }
    }
}
