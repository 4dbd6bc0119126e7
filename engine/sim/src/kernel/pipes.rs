//! Pipes and what splice(2) does with them: short moves, EAGAIN from either end, a reset that
//! another operation was told of.

use std::collections::VecDeque;

use weir_core::event::{Errno, Leg, PipeId, Side, SpliceResult};
use weir_core::session::SpliceRequest;

use super::{Kernel, Seen, is_local};
use crate::net::ConnId;

#[derive(Clone, Debug, Default)]
struct PipeSlot {
    taken: bool,
    bytes: VecDeque<u8>,
}

/// All pipes of one shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Pipes(Vec<PipeSlot>);

impl Pipes {
    pub(super) fn in_use(&self) -> Vec<(u16, usize)> {
        let taken = (0..).zip(&self.0).filter(|(_, place)| place.taken);
        taken.map(|(number, place)| (number, place.bytes.len())).collect()
    }
}

impl Kernel {
    pub(crate) fn take_pipe(&mut self) -> Option<PipeId> {
        if self.rng.hits(self.swarm.pipe_errors) {
            self.note("pipe: none", [0, 0]);
            return None;
        }
        let free = self.pipes.0.iter().position(|place| !place.taken);
        let number = free.unwrap_or(self.pipes.0.len());
        if free.is_none() {
            if number >= self.swarm.pipes {
                return None;
            }
            self.pipes.0.push(PipeSlot::default());
        }
        self.pipes.0[number].taken = true;
        self.note("pipe: taken", [number, 0]);
        Some(PipeId(u16::try_from(number).expect("pipes are few")))
    }

    pub(crate) fn return_pipe(&mut self, pipe: PipeId, empty: bool) {
        self.note("pipe: returned (pipe, empty)", [usize::from(pipe.0), usize::from(empty)]);
        let place = &mut self.pipes.0[usize::from(pipe.0)];
        let was = std::mem::take(place);
        if !was.taken {
            self.fail(format!("{pipe:?} is returned twice"));
        } else if was.bytes.is_empty() != empty {
            let count = was.bytes.len();
            self.fail(format!("{pipe:?} is returned with {count} bytes; empty: {empty}"));
        }
    }

    pub(crate) fn set_nonblocking(&mut self, leg: Leg, on: bool) {
        if self.legs.conn(leg).is_none() {
            return self.fail(format!("{leg:?} is not connected"));
        }
        self.legs.set_nonblocking(leg, on);
    }

    pub(crate) fn splice(&mut self, request: SpliceRequest, bytes: u32) -> SpliceResult {
        let mut moved = SpliceResult::default();
        let (from, to) = match self.check_splice(&request) {
            Ok(conns) => conns,
            Err(what) => {
                self.fail(what);
                return SpliceResult { dry: true, ..moved };
            }
        };
        let pipe = usize::from(request.pipe.0);
        while moved.sent < bytes {
            if self.pipes.0[pipe].bytes.is_empty() && !self.fill(from, pipe, &mut moved) {
                break;
            }
            if !self.drain(to, pipe, &mut moved) || self.rng.flip() {
                break;
            }
        }
        self.learn_move(from, &moved);
        self.note("spliced (in, out)", [moved.received as usize, moved.sent as usize]);
        moved
    }

    fn check_splice(&self, request: &SpliceRequest) -> Result<(ConnId, ConnId), String> {
        let conn = |leg| self.legs.conn(leg).ok_or(format!("{request:?}: a leg is not connected"));
        let (from, to) = (conn(request.from)?, conn(request.to)?);
        let place = self.pipes.0.get(usize::from(request.pipe.0)).filter(|place| place.taken);
        let held = place.map(|place| place.bytes.len());
        if held != Some(request.held as usize) {
            return Err(format!("{request:?}: the pipe holds {held:?}"));
        }
        if !self.legs.is_nonblocking(request.from) || !self.legs.is_nonblocking(request.to) {
            return Err(format!("{request:?} on a leg that would wait"));
        }
        if self.legs.is_receiving(request.from) || self.legs.is_sending(request.to) {
            return Err(format!("{request:?} under an operation"));
        }
        if self.net.conns[to].weir_finished {
            return Err(format!("{request:?} after the FIN"));
        }
        if self.net.conns[from].partner != Some(to) {
            return Err(format!("{request:?} between two sessions"));
        }
        Ok((from, to))
    }

    /// True if something is in the pipe now.
    fn fill(&mut self, from: ConnId, pipe: usize, moved: &mut SpliceResult) -> bool {
        if self.rng.hits(self.swarm.memory_errors) {
            moved.receive_failed = Some(Errno::ENOMEM);
            return false;
        }
        let conn = &mut self.net.conns[from];
        let here = conn.up.spliceable();
        if here == 0 {
            // Nothing, or nothing before the urgent byte: the answers are the same.
            if conn.up.fin {
                moved.unsure = true;
            } else if let Some(errno) = conn.weir_error.take() {
                moved.receive_failed = Some(errno);
            } else if conn.weir_reset {
                moved.unsure = true;
            } else {
                moved.dry = true;
                conn.up.stops += u32::from(conn.up.mark == Some(0));
                // Once it may not know better, and once more when the source is readable.
                if conn.up.stops > 2 {
                    self.fail(format!("splice(2) stops before an urgent byte of {from} for ever"));
                }
            }
            return false;
        }
        let mut count = here.min(self.swarm.pipe_size);
        if self.rng.hits(self.swarm.short_receives) {
            count = self.rng.between(1, count);
        }
        self.pipes.0[pipe].bytes.extend(conn.up.take(count));
        moved.received += u32::try_from(count).expect("windows are small");
        true
    }

    /// True if the pipe is empty now.
    fn drain(&mut self, to: ConnId, pipe: usize, moved: &mut SpliceResult) -> bool {
        let conn = &mut self.net.conns[to];
        if let Some(errno) = conn.weir_error.take() {
            moved.send_failed = Some(errno);
            return false;
        }
        if conn.weir_reset {
            moved.send_failed = Some(Errno::EPIPE);
            return false;
        }
        let bytes = &mut self.pipes.0[pipe].bytes;
        let held = bytes.len();
        let mut count = if conn.peer_closed { held } else { held.min(conn.down.room()) };
        let refused = self.rng.hits(self.swarm.refused_sends);
        self.has_refused |= refused;
        if count == 0 || refused {
            moved.full = true;
            return false;
        }
        if self.rng.hits(self.swarm.short_sends) {
            count = self.rng.between(1, count);
        }
        if conn.peer_closed {
            bytes.drain(..count);
            conn.throw(count, self.now);
        } else {
            conn.take(bytes.drain(..count), self.now);
        }
        moved.sent += u32::try_from(count).expect("windows are small");
        count == held
    }

    /// The shard hears at once.
    fn learn_move(&mut self, from: ConnId, moved: &SpliceResult) {
        let Some(session) = self.net.conns[from].session else { return };
        let now = self.now;
        let source = self.net.conns[from].side;
        let note = self.notes.entry(session).or_default();
        if moved.received > 0 || moved.sent > 0 {
            note.moved_at = now;
            note.told = (0, now);
        }
        if moved.full {
            note.deaf_at = now;
        }
        let failed = [moved.receive_failed, moved.send_failed].into_iter().flatten();
        note.local_fault |= failed.into_iter().any(|errno| is_local(errno.0));
        let Some(address) = note.address else { return };
        match source {
            Side::Backend if moved.received > 0 => {
                self.seen.push(Seen::Received { session, address, count: moved.received as usize });
            }
            Side::Client if moved.sent > 0 => {
                self.seen.push(Seen::Sent { address, count: moved.sent as usize });
            }
            _ => {}
        }
    }
}
