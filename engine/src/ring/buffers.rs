//! The shard's receive buffers: one arena, and two rings of buffers that the kernel takes from.
//!
//! ```text
//! free stack ──publish──▶ ring (the kernel's) ──taken──▶ a flow's chunk ──release──▶ free stack
//! ```
//! Only a window of the free buffers is published, always from the top of the stack: the buffers
//! that were used last are used again first, so memory that was never needed is never touched.
//!
//! The reserve is a ring of its own, an eighth of the buffers: receives that are armed already take
//! from the ring that they were asked for, so nothing else could keep it from them.

use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use weir_core::event::{BufferId, Chunk};

use crate::io::{FreeBuffers, reserve_of};

/// The group that receives take from, the one of the reserve, and one that has no buffers.
pub(super) const SHARED: u16 = 0;
pub(super) const RESERVE: u16 = 1;
pub(super) const NOWHERE: u16 = 2;

/// Bytes of one buffer. Large enough that bulk needs few operations, small enough that a thousand
/// stalled readers (two chunks each) stay under 64 MiB. To be settled by measurement (docs/adr).
pub(super) const SIZE: u16 = 32_768;

/// Buffers that are published at least, and at most. The window doubles when the kernel found it
/// empty while there were free buffers.
const WINDOW_MIN: u16 = 64;
const WINDOW_MAX: u16 = 2048;

/// Anonymous memory that is given back when it is dropped.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
    /// The kernel may write into it after that: the addresses stay taken, their memory goes.
    stays: bool,
}

impl Mapping {
    fn new(length: usize) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping touches nothing that exists.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("a mapping is not at 0");
        Ok(Mapping { start, length, stays: false })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.stays {
            // SAFETY: it was mapped in `new` with this length. Who writes to it later writes to new
            // pages of its own.
            unsafe { libc::madvise(self.start.as_ptr().cast(), self.length, libc::MADV_DONTNEED) };
            return;
        }
        // SAFETY: it was mapped in `new` with this length, and nothing points into it any more: the
        // ring, which is dropped before its buffers, was the last user.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// A ring of buffers that the kernel takes from.
struct Group {
    ring: Mapping,
    entries: u16,
    tail: u16,
    /// Buffers in the ring, as far as their answers have been seen.
    published: u16,
    window: u16,
    free: Vec<u16>,
}

impl Group {
    /// Registers a ring of `entries` (a power of two) for these buffers.
    fn new(
        (ring, group): (&IoUring, u16),
        entries: u16,
        window: u16,
        numbers: Range<u16>,
    ) -> io::Result<Group> {
        assert!(entries.is_power_of_two() && numbers.len() <= usize::from(entries));
        let memory = Mapping::new(usize::from(entries) * size_of::<BufRingEntry>())?;
        let address = memory.start.as_ptr() as u64;
        // SAFETY: page-aligned, `entries` entries long, and alive as long as the ring (`Drop`
        // order).
        unsafe { ring.submitter().register_buf_ring_with_flags(address, entries, group, 0)? };
        let free = numbers.rev().collect();
        Ok(Group { ring: memory, entries, tail: 0, published: 0, window, free })
    }

    fn free(&self) -> u32 {
        u32::from(self.published) + u32::try_from(self.free.len()).unwrap_or(u32::MAX)
    }

    /// Tops the ring up to the window. `address` says where a buffer is.
    fn publish(&mut self, address: impl Fn(u16) -> *mut u8) {
        let before = self.tail;
        while self.published < self.window {
            let Some(buffer) = self.free.pop() else { break };
            let index = usize::from(self.tail & (self.entries - 1));
            // SAFETY: `index` is below `entries`; the kernel reads an entry only after the tail
            // says so.
            let entry = unsafe { &mut *self.ring.start.as_ptr().cast::<BufRingEntry>().add(index) };
            entry.set_addr(address(buffer) as u64);
            entry.set_len(u32::from(SIZE));
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            self.published += 1;
        }
        if self.tail != before {
            // SAFETY: the tail lies in the first entry of our own, registered ring, aligned for
            // u16.
            let tail = unsafe {
                let tail = BufRingEntry::tail(self.ring.start.as_ptr().cast());
                AtomicU16::from_ptr(tail.cast_mut())
            };
            // Release: the kernel must see the entries before the tail
            // (io_uring_buf_ring_advance(3)).
            tail.store(self.tail, Ordering::Release);
        }
    }
}

/// All buffers of one ring: the first ones are anybody's, the rest are the reserve.
pub(super) struct Buffers {
    arena: Mapping,
    entries: u16,
    shared: Group,
    shared_count: u16,
    reserve: Group,
}

impl Buffers {
    /// Makes `entries` buffers (a power of two) and registers their rings.
    pub(super) fn new(ring: &IoUring, entries: u16) -> io::Result<Buffers> {
        assert!(entries.is_power_of_two() && entries >= 2, "buffer rings are powers of two");
        let arena = Mapping::new(usize::from(entries) * usize::from(SIZE))?;
        let reserved = reserve_of(entries);
        let shared_count = entries - reserved;
        let window = WINDOW_MIN.min(entries);
        let shared = Group::new((ring, SHARED), entries, window, 0..shared_count)?;
        let reserve_entries = reserved.next_power_of_two();
        let reserve =
            Group::new((ring, RESERVE), reserve_entries, reserved, shared_count..entries)?;
        Ok(Buffers { arena, entries, shared, shared_count, reserve })
    }

    /// Bytes that the rings of `entries` buffers take of RLIMIT_MEMLOCK.
    pub(super) fn locked_bytes(entries: u16) -> u64 {
        let rings = u64::from(entries) + u64::from(reserve_of(entries).next_power_of_two());
        rings * size_of::<BufRingEntry>() as u64
    }

    /// Buffers that no session holds.
    pub(super) fn free(&self) -> FreeBuffers {
        let shared = self.shared.free();
        let low = shared <= u32::from(self.shared_count / 2);
        FreeBuffers { shared, reserved: self.reserve.free(), low }
    }

    /// Keeps the arena's addresses when this is dropped. Receives that were asked for outlive the
    /// ring for a moment, and the arena of the next ring would be mapped at the same place: one
    /// client's bytes in another's buffer.
    pub(super) fn keep_for_the_kernel(&mut self) {
        self.arena.stays = true;
    }

    /// Where a chunk's bytes are.
    pub(super) fn bytes(&self, chunk: Chunk) -> *const u8 {
        assert!(chunk.buffer.0 < self.entries && chunk.end <= SIZE, "a chunk lies in its buffer");
        address(&self.arena, chunk.buffer.0).wrapping_add(usize::from(chunk.start))
    }

    /// Copies the chunk's bytes into that buffer, from byte `at` on.
    pub(super) fn merge(&mut self, chunk: Chunk, into: BufferId, at: u16) {
        let place = Chunk { buffer: into, start: at, end: at + chunk.len() };
        let (from, to) = (self.bytes(chunk), self.bytes(place).cast_mut());
        assert_ne!(chunk.buffer, into, "a chunk is merged into another one's buffer");
        // SAFETY: both lie in buffers of the arena (`bytes` has checked it), in different ones, and
        // both are the session's: the kernel has answered what it did with them.
        unsafe { std::ptr::copy_nonoverlapping(from, to, usize::from(chunk.len())) };
    }

    /// Copies the bytes of a chunk behind those.
    pub(super) fn read(&self, chunk: Chunk, into: &mut Vec<u8>) {
        // SAFETY: they lie in a buffer of the arena (`bytes` has checked it) that is the session's.
        into.extend_from_slice(unsafe {
            std::slice::from_raw_parts(self.bytes(chunk), usize::from(chunk.len()))
        });
    }

    /// Puts bytes into a buffer that is free and not published.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> Option<BufferId> {
        let end = u16::try_from(bytes.len()).ok().filter(|length| *length <= SIZE)?;
        let buffer = BufferId(self.shared.free.pop()?);
        let place = self.bytes(Chunk { buffer, start: 0, end }).cast_mut();
        // SAFETY: it lies in a buffer of the arena that no session has.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        Some(buffer)
    }

    /// The kernel took this buffer for an answer. If no bytes came in it, it is free again.
    pub(super) fn taken(&mut self, buffer: BufferId, holds_bytes: bool) {
        let group = self.group(buffer);
        group.published = group.published.checked_sub(1).expect("it was published");
        if !holds_bytes {
            self.release(buffer);
        }
    }

    /// The bytes are no longer needed.
    pub(super) fn release(&mut self, buffer: BufferId) {
        let group = self.group(buffer);
        assert!(group.free.len() < usize::from(group.entries), "each buffer is given back once");
        group.free.push(buffer.0);
    }

    /// Tops both rings up. Called once before each wait.
    pub(super) fn publish(&mut self) {
        if self.shared.published == 0 && self.shared.window < WINDOW_MAX {
            self.shared.window = (self.shared.window * 2).min(self.entries); // it ran dry: widen
        }
        let arena = &self.arena;
        self.shared.publish(|buffer| address(arena, buffer));
        self.reserve.publish(|buffer| address(arena, buffer));
    }

    /// The ring that this buffer belongs to.
    fn group(&mut self, buffer: BufferId) -> &mut Group {
        if buffer.0 < self.shared_count { &mut self.shared } else { &mut self.reserve }
    }
}

fn address(arena: &Mapping, buffer: u16) -> *mut u8 {
    arena.start.as_ptr().wrapping_add(usize::from(buffer) * usize::from(SIZE))
}
