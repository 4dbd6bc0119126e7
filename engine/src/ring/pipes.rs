//! Pipes for bulk: splice(2) moves references to the kernel's pages from one socket to the other,
//! and no byte is copied here.
//!
//! splice(2) is called by this thread and never through the ring: IORING_OP_SPLICE always goes to a
//! worker thread. A blocking socket would make it wait (SPLICE_F_NONBLOCK is about the pipe), so
//! both legs are non-blocking while a pipe is used.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use weir_core::event::{Errno, Leg, PipeId, SpliceResult};
use weir_core::session::SpliceRequest;

use crate::sys::memory;

/// What is asked of the kernel as a pipe's size, in bytes. A page reference takes a slot, whatever
/// it holds, so a pipe of segments fills up sooner (docs/adr/0007). Users without CAP_SYS_RESOURCE
/// get no more than fs.pipe-max-size.
const SIZE: i32 = 1024 * 1024;

/// A smaller pipe is not worth its calls. An unprivileged user's pipes have two pages or one once
/// they have fs.pipe-user-pages-soft pages in all: 64 pipes of 1 MiB by the kernel's default.
const SIZE_MIN: i32 = 64 * 1024;

/// Flows that get no pipe after one could not be made, before another one is tried.
const REST: u16 = 255;

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    /// Bytes that its sink may hold unsent, and that are received at once.
    unsent: u32,
    /// The most that it will, once its sink has read: the pool's `socket-buffer`, if it has one.
    unsent_max: u32,
    /// The sink took nothing at last; it is tried again only when it takes something.
    was_full: bool,
}

impl Pipe {
    fn new() -> Option<Pipe> {
        let mut ends = [-1; 2];
        // SAFETY: `ends` has room for two descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
            return None;
        }
        // SAFETY: the call has just given us both descriptors; nobody else owns them.
        let [read, write] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
        // A refusal leaves the size that it has, which may do as well.
        // SAFETY: no pointers, in both calls.
        let size = unsafe {
            libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, SIZE);
            libc::fcntl(write.as_raw_fd(), libc::F_GETPIPE_SZ)
        };
        let (unsent, unsent_max) = (memory::UNSENT_MIN, memory::UNSENT_MAX);
        let pipe = Pipe { read, write, unsent, unsent_max, was_full: false };
        (size >= SIZE_MIN).then_some(pipe)
    }

    /// The sink was full and takes bytes again: its peer reads, so it may hold twice as much. What
    /// a peer makes the kernel hold is about as much as it has read before.
    fn sink_reads(&mut self, request: &SpliceRequest) {
        if self.unsent == memory::UNSENT_MIN {
            let fixed = memory::fixed_received(request.from);
            if fixed.is_none() {
                memory::limit_received(request.from);
            }
            let most = fixed.unwrap_or(memory::UNSENT_MAX);
            self.unsent_max = most.clamp(memory::UNSENT_MIN, memory::UNSENT_MAX);
        }
        if self.unsent < self.unsent_max {
            self.unsent = (self.unsent * 2).min(self.unsent_max);
            memory::limit_unsent(request.to, self.unsent);
        }
    }
}

/// All pipes of one shard. A pipe's number is its place here.
pub(super) struct Pipes {
    most: usize,
    places: Vec<Option<Pipe>>,
    /// Places whose pipe is free, or that have none.
    free: Vec<u16>,
    /// Flows for which no pipe is made before the next try.
    rest: u16,
}

impl Pipes {
    /// At most N, made when they are needed: two descriptors each.
    pub(super) fn new(most: u16) -> Pipes {
        Pipes { most: most.into(), places: Vec::new(), free: Vec::new(), rest: 0 }
    }

    pub(super) fn take(&mut self) -> Option<PipeId> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() < self.most => {
                self.places.push(None);
                u16::try_from(self.places.len() - 1).ok()?
            }
            None => return None,
        };
        let pipe = &mut self.places[usize::from(place)];
        if pipe.is_none() {
            if self.rest == 0 {
                *pipe = Pipe::new();
            }
            self.rest = self.rest.checked_sub(1).unwrap_or(REST);
        }
        if pipe.is_none() {
            self.free.insert(0, place); // behind those that have one
            return None;
        }
        self.rest = 0;
        Some(PipeId(place))
    }

    /// The reading and the writing end of a pipe.
    pub(super) fn ends(&self, pipe: PipeId) -> [Leg; 2] {
        let pipe = self.places[usize::from(pipe.0)].as_ref().expect("a pipe that was taken");
        [Leg(pipe.read.as_raw_fd()), Leg(pipe.write.as_raw_fd())]
    }

    /// Takes these ends of another shard's pipe, be there as many as may be or not.
    pub(super) fn put(&mut self, [read, write]: [Leg; 2]) -> PipeId {
        // SAFETY: both have come to this table for us; they have no other owner.
        let [read, write] = [read, write].map(|end| unsafe { OwnedFd::from_raw_fd(end.0) });
        let (unsent, unsent_max) = (memory::UNSENT_MIN, memory::UNSENT_MAX);
        let pipe = Some(Pipe { read, write, unsent, unsent_max, was_full: false });
        let bare = self.free.iter().position(|place| self.places[usize::from(*place)].is_none());
        let place = match bare.map(|at| self.free.remove(at)) {
            Some(place) => {
                self.places[usize::from(place)] = pipe;
                usize::from(place)
            }
            None => {
                self.places.push(pipe);
                self.places.len() - 1
            }
        };
        PipeId(u16::try_from(place).expect("a shard has a few hundred pipes"))
    }

    pub(super) fn put_back(&mut self, pipe: PipeId, empty: bool) {
        let place = &mut self.places[usize::from(pipe.0)];
        if !empty {
            *place = None;
        }
        if let Some(pipe) = place {
            (pipe.unsent, pipe.was_full) = (memory::UNSENT_MIN, false);
        }
        self.free.push(pipe.0);
    }

    /// Fills and empties the pipe until one leg has enough, or until about `bytes` have moved.
    pub(super) fn splice(&mut self, request: SpliceRequest, bytes: u32) -> SpliceResult {
        let pipe =
            self.places[usize::from(request.pipe.0)].as_mut().expect("a pipe that was taken");
        if std::mem::take(&mut pipe.was_full) {
            pipe.sink_reads(&request);
        }
        let mut result = SpliceResult::default();
        let mut held = request.held;
        while result.sent < bytes {
            if held == 0 {
                receive(&request, pipe, bytes.min(pipe.unsent), &mut result);
                held = result.received + request.held - result.sent;
                if held == 0 {
                    break; // dry, unsure or failed
                }
            }
            match call(pipe.read.as_raw_fd(), request.to.0, held) {
                // Nothing was taken, and no reason given: as if there were no room.
                Ok(0) | Err(Errno::EAGAIN) => result.full = true,
                Ok(count) => {
                    result.sent += count;
                    held -= count;
                }
                Err(errno) => result.send_failed = Some(errno),
            }
            if result.full || result.send_failed.is_some() {
                break;
            }
        }
        pipe.was_full = result.full;
        result
    }
}

fn receive(request: &SpliceRequest, pipe: &Pipe, bytes: u32, result: &mut SpliceResult) {
    match call(request.from.0, pipe.write.as_raw_fd(), bytes) {
        // Its end, or an urgent byte with the end behind it; or a reset whose error a send was
        // told: the answer of that send is in the ring already, before that of any receive. EINVAL
        // and EOPNOTSUPP: this socket cannot be spliced.
        Ok(0) | Err(Errno::EINVAL | Errno::EOPNOTSUPP) => result.unsure = true,
        Ok(count) => result.received += count,
        Err(Errno::EAGAIN) => result.dry = true,
        Err(errno) => result.receive_failed = Some(errno),
    }
}

fn call(from: RawFd, to: RawFd, bytes: u32) -> Result<u32, Errno> {
    let none = std::ptr::null_mut();
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    loop {
        // SAFETY: no offsets; both descriptors are open as long as their owners are.
        let count = unsafe { libc::splice(from, none, to, none, bytes as usize, flags) };
        if let Ok(count) = u32::try_from(count) {
            return Ok(count);
        }
        match std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) {
            libc::EINTR => {}
            errno => return Err(Errno(errno)),
        }
    }
}
