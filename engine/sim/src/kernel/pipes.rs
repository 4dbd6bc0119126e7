//! Pipes and what splice(2) does with them: short moves, EAGAIN from either end, a reset that
//! another operation was told of.

use std::collections::VecDeque;

use weir_core::event::{Errno, Leg, PipeId, Side, SpliceResult};
use weir_core::session::SpliceRequest;

use super::legs::{Behind, Holder};
use super::{Kernel, Seen, is_local};
use crate::net::ConnId;

#[derive(Clone, Debug, Default)]
struct PipeSlot {
    taken: bool,
    /// Its bytes: another shard may have the same.
    object: usize,
    /// Its ends, once it was asked for them or they have come from another shard.
    ends: Option<[Leg; 2]>,
}

/// All pipes of one shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Pipes {
    places: Vec<PipeSlot>,
    objects: Vec<VecDeque<u8>>,
}

impl Pipes {
    pub(super) fn in_use(&self) -> Vec<(u16, usize)> {
        let taken = (0..).zip(&self.places).filter(|(_, place)| place.taken);
        taken.map(|(number, place)| (number, self.objects[place.object].len())).collect()
    }

    /// True if it was asked for its ends.
    pub(super) fn may_be_given(&self, pipe: u16) -> bool {
        self.places[usize::from(pipe)].ends.is_some()
    }

    fn bytes(&mut self, pipe: usize) -> &mut VecDeque<u8> {
        &mut self.objects[self.places[pipe].object]
    }
}

impl Kernel {
    pub(crate) fn take_pipe(&mut self) -> Option<PipeId> {
        if self.rng.hits(self.swarm.pipe_errors) {
            self.note("pipe: none", [0, 0]);
            return None;
        }
        let number = self.free_pipe();
        if number >= self.swarm.pipes {
            return None;
        }
        self.place_pipe(number, None);
        self.note("pipe: taken", [number, 0]);
        Some(PipeId(u16::try_from(number).expect("pipes are few")))
    }

    fn free_pipe(&self) -> usize {
        let free = self.pipes.places.iter().position(|place| !place.taken);
        free.unwrap_or(self.pipes.places.len())
    }

    /// Puts a new pipe there, or one that has come.
    fn place_pipe(&mut self, number: usize, come: Option<(usize, [Leg; 2])>) {
        let object = come.map_or(self.pipes.objects.len(), |(object, _)| object);
        if come.is_none() {
            self.pipes.objects.push(VecDeque::new());
        }
        if number == self.pipes.places.len() {
            self.pipes.places.push(PipeSlot::default());
        }
        let ends = come.map(|(_, ends)| ends);
        self.pipes.places[number] = PipeSlot { taken: true, object, ends };
    }

    pub(crate) fn pipe_ends(&mut self, pipe: PipeId) -> [Leg; 2] {
        let Some(place) = self.pipes.places.get_mut(usize::from(pipe.0)).filter(|it| it.taken)
        else {
            self.fail(format!("{pipe:?} is asked for its ends, and was not taken"));
            return [Leg(-1); 2];
        };
        let object = place.object;
        let legs = &mut self.legs;
        *place.ends.get_or_insert_with(|| {
            [false, true].map(|writes| legs.open(Behind::PipeEnd { object, writes }))
        })
    }

    pub(crate) fn put_pipe(&mut self, ends: [Leg; 2]) -> PipeId {
        let number = self.free_pipe();
        match ends.map(|end| (self.legs.behind(end), self.legs.holder(end))) {
            [
                (Some(Behind::PipeEnd { object, writes: false }), Some(Holder::Own)),
                (Some(Behind::PipeEnd { object: same, writes: true }), Some(Holder::Own)),
            ] if object == same => self.place_pipe(number, Some((object, ends))),
            other => self.fail(format!("{ends:?} are no pipe: {other:?}")),
        }
        self.note("pipe: put", [number, 0]);
        PipeId(u16::try_from(number).expect("pipes are few"))
    }

    /// A pipe is returned: its ends are closed here. True if it was given away.
    fn close_ends(&mut self, pipe: PipeId) -> bool {
        let ends = self.pipes.places[usize::from(pipe.0)].ends.take();
        let mut given = false;
        for end in ends.into_iter().flatten() {
            given |= !matches!(self.legs.holder(end), Some(Holder::Own));
            if let Err(what) = self.legs.close(end) {
                self.fail(what);
            }
        }
        given
    }

    pub(crate) fn return_pipe(&mut self, pipe: PipeId, empty: bool) {
        self.note("pipe: returned (pipe, empty)", [usize::from(pipe.0), usize::from(empty)]);
        let given = self.close_ends(pipe);
        let was = std::mem::take(&mut self.pipes.places[usize::from(pipe.0)]);
        if !was.taken {
            return self.fail(format!("{pipe:?} is returned twice"));
        }
        let count = self.pipes.objects[was.object].len();
        if given && empty {
            self.fail(format!("{pipe:?} is used again, and another shard has it"));
        } else if !given && (count == 0) != empty {
            self.fail(format!("{pipe:?} is returned with {count} bytes; empty: {empty}"));
        }
    }

    pub(crate) fn set_nonblocking(&mut self, leg: Leg, on: bool) {
        if self.legs.conn(leg).is_none() {
            return self.fail(format!("{leg:?} is not connected"));
        }
        self.check_use(leg);
        self.legs.set_nonblocking(leg, on);
    }

    pub(crate) fn splice(&mut self, request: SpliceRequest, bytes: u32) -> SpliceResult {
        let mut moved = SpliceResult::default();
        self.check_use(request.from);
        self.check_use(request.to);
        let (from, to) = match self.check_splice(&request) {
            Ok(conns) => conns,
            Err(what) => {
                self.fail(what);
                return SpliceResult { dry: true, ..moved };
            }
        };
        let pipe = usize::from(request.pipe.0);
        while moved.sent < bytes {
            if self.pipes.bytes(pipe).is_empty() && !self.fill(from, pipe, &mut moved) {
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
        let place = self.pipes.places.get(usize::from(request.pipe.0)).filter(|it| it.taken);
        let held = place.map(|place| self.pipes.objects[place.object].len());
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
        let bytes = &mut self.pipes.objects[self.pipes.places[pipe].object];
        bytes.extend(conn.up.take(count));
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
        let bytes = &mut self.pipes.objects[self.pipes.places[pipe].object];
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
