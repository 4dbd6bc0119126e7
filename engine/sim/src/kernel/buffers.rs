//! Provided buffers with real bytes: who owns each one is known at any time, and a freed one is
//! poisoned.

use weir_core::event::{BufferId, Chunk};
use weir_engine::io::{FreeBuffers, reserve_of};

/// Who owns a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// Given back; the kernel gets it at the next wait.
    Nobody,
    Kernel,
    /// In an answer that has not been taken yet.
    Answer,
    Session,
}

/// All buffers of one shard.
#[derive(Clone, Debug)]
pub(super) struct Buffers {
    size: usize,
    memory: Vec<u8>,
    owners: Vec<Owner>,
    /// A send that has not been answered reads from it.
    sending: Vec<bool>,
    /// What the kernel may take, the next one last: of those that all may use, and of the reserve.
    offered: [Vec<u16>; 2],
    released: Vec<u16>,
    /// Taken, and not heard of by the shard, of both.
    in_answers: [u32; 2],
    /// Where the reserve begins.
    shared: u16,
    /// Their bytes were read, to be given to another shard.
    read: Vec<bool>,
}

const POISON: u8 = 0xdd;

impl Buffers {
    #[must_use]
    pub(super) fn new(count: u16, size: u16) -> Buffers {
        let shared = count - reserve_of(count);
        let (entries, size) = (usize::from(count), usize::from(size));
        Buffers {
            size,
            memory: vec![POISON; entries * size],
            owners: vec![Owner::Kernel; entries],
            sending: vec![false; entries],
            offered: [(0..shared).rev().collect(), (shared..count).rev().collect()],
            released: Vec::new(),
            in_answers: [0; 2],
            shared,
            read: vec![false; entries],
        }
    }

    #[must_use]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// True if the kernel has one to take.
    #[must_use]
    pub(super) fn any_offered(&self, reserved: bool) -> bool {
        !self.offered[usize::from(reserved)].is_empty()
    }

    /// Buffers that no session holds, as the ring counts them: an answer's is free until it is
    /// taken.
    #[must_use]
    pub(super) fn free(&self) -> FreeBuffers {
        let mut free = self.in_answers;
        for list in self.offered.iter().chain([&self.released]) {
            for buffer in list {
                free[usize::from(*buffer >= self.shared)] += 1;
            }
        }
        let [shared, reserved] = free;
        FreeBuffers { shared, reserved, low: shared <= u32::from(self.shared / 2) }
    }

    /// True if this buffer is of the reserve.
    #[must_use]
    pub(super) fn is_reserved(&self, buffer: u16) -> bool {
        buffer >= self.shared
    }

    /// True if every buffer is where it was at the start.
    #[must_use]
    pub(super) fn all_free(&self) -> bool {
        let free = self.free();
        self.in_answers == [0; 2] && (free.shared + free.reserved) as usize == self.owners.len()
    }

    /// The bytes of a chunk, which go to another shard.
    ///
    /// # Errors
    /// It is no session's, or a send reads from it.
    pub(super) fn read(&mut self, chunk: Chunk) -> Result<&[u8], String> {
        let index = usize::from(chunk.buffer.0);
        if self.owners.get(index) != Some(&Owner::Session) || self.sending[index] {
            return Err(format!("{chunk:?} is read, and is not the session's"));
        }
        self.read[index] = true;
        Ok(self.bytes(chunk))
    }

    /// True if its bytes were read since it was taken.
    pub(super) fn was_read(&self, buffer: u16) -> bool {
        self.read[usize::from(buffer)]
    }

    /// Another shard's bytes get a buffer; `offered`: also one of those that the kernel may take.
    pub(super) fn fill(&mut self, bytes: &[u8], offered: bool) -> Option<BufferId> {
        let place = self.released.iter().rposition(|buffer| *buffer < self.shared);
        let buffer = match place {
            Some(place) => self.released.swap_remove(place),
            None if offered => self.offered[0].pop()?,
            None => return None,
        };
        self.owners[usize::from(buffer)] = Owner::Session;
        self.read[usize::from(buffer)] = false;
        let start = usize::from(buffer) * self.size;
        self.memory[start..start + bytes.len()].copy_from_slice(bytes);
        Some(BufferId(buffer))
    }

    /// Numbers of the buffers that sessions own, in order.
    pub(super) fn held(&self) -> Vec<u16> {
        let numbered = (0..).zip(&self.owners);
        numbered.filter(|(_, owner)| **owner == Owner::Session).map(|(number, _)| number).collect()
    }

    /// What was given back is the kernel's from now on.
    pub(super) fn publish(&mut self) {
        for buffer in self.released.drain(..) {
            self.owners[usize::from(buffer)] = Owner::Kernel;
            self.offered[usize::from(buffer >= self.shared)].push(buffer);
        }
    }

    /// The kernel takes a buffer for an answer; the bytes go into the slice.
    pub(super) fn take(&mut self, reserved: bool) -> Option<(BufferId, &mut [u8])> {
        let buffer = self.offered[usize::from(reserved)].pop()?;
        self.owners[usize::from(buffer)] = Owner::Answer;
        self.in_answers[usize::from(reserved)] += 1;
        let start = usize::from(buffer) * self.size;
        Some((BufferId(buffer), &mut self.memory[start..start + self.size]))
    }

    /// The answer with this buffer has been taken by the shard.
    pub(super) fn answered(&mut self, buffer: BufferId) {
        self.read[usize::from(buffer.0)] = false;
        self.owners[usize::from(buffer.0)] = Owner::Session;
        self.in_answers[usize::from(buffer.0 >= self.shared)] -= 1;
    }

    /// The bytes of a chunk.
    #[must_use]
    pub(super) fn bytes(&self, chunk: Chunk) -> &[u8] {
        let start = usize::from(chunk.buffer.0) * self.size;
        &self.memory[start + usize::from(chunk.start)..start + usize::from(chunk.end)]
    }

    /// A send of this chunk has been asked for.
    ///
    /// # Errors
    /// The chunk is not one that may be sent.
    pub(super) fn begin_send(&mut self, chunk: Chunk) -> Result<(), String> {
        let index = usize::from(chunk.buffer.0);
        let inside = chunk.start < chunk.end && usize::from(chunk.end) <= self.size;
        if index >= self.owners.len() || !inside {
            return Err(format!("{chunk:?} does not lie in a buffer"));
        }
        if self.owners[index] != Owner::Session || self.sending[index] {
            let (owner, sending) = (self.owners[index], self.sending[index]);
            return Err(format!("{chunk:?} is sent, but it is {owner:?}'s (sending: {sending})"));
        }
        self.sending[index] = true;
        Ok(())
    }

    /// The send has been answered.
    pub(super) fn end_send(&mut self, buffer: BufferId) {
        self.sending[usize::from(buffer.0)] = false;
    }

    /// The shard copies a chunk's bytes into another buffer.
    ///
    /// # Errors
    /// One of the two is not the shard's, or a send reads from where the bytes are to go.
    pub(super) fn merge(&mut self, chunk: Chunk, into: BufferId, at: u16) -> Result<(), String> {
        let place = Chunk { buffer: into, start: at, end: at.saturating_add(chunk.len()) };
        let owned =
            |buffer: BufferId| self.owners.get(usize::from(buffer.0)) == Some(&Owner::Session);
        let fits = usize::from(place.end) <= self.size && chunk.buffer != into;
        if !fits || !owned(chunk.buffer) || !owned(into) || self.sending[usize::from(into.0)] {
            return Err(format!("{chunk:?} is merged into {place:?}"));
        }
        let bytes = self.bytes(chunk).to_vec();
        let start = usize::from(into.0) * self.size + usize::from(at);
        self.memory[start..start + bytes.len()].copy_from_slice(&bytes);
        Ok(())
    }

    /// The shard gives a buffer back.
    ///
    /// # Errors
    /// It is not the shard's, or a send still reads from it.
    pub(super) fn release(&mut self, buffer: BufferId) -> Result<(), String> {
        let index = usize::from(buffer.0);
        match self.owners.get(index) {
            Some(Owner::Session) => {}
            other => return Err(format!("{buffer:?} is given back, but it is {other:?}'s")),
        }
        let free_under_a_send = self.sending[index];
        self.owners[index] = Owner::Nobody;
        self.released.push(buffer.0);
        self.memory[index * self.size..(index + 1) * self.size].fill(POISON);
        if free_under_a_send {
            return Err(format!("{buffer:?} is given back under a send"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_goes_round_once_and_comes_back_poisoned() {
        let mut buffers = Buffers::new(2, 4);
        let (id, bytes) = buffers.take(false).expect("the kernel has one");
        bytes.copy_from_slice(b"weir");
        assert!(buffers.take(false).is_none(), "the other one is the reserve");
        assert_eq!(buffers.free().shared, 1);
        assert!(buffers.release(id).is_err(), "the answer has not been taken");
        buffers.answered(id);
        assert_eq!(buffers.free().shared, 0);
        let chunk = Chunk { buffer: id, start: 1, end: 4 };
        buffers.begin_send(chunk).expect("it is the session's");
        assert_eq!(buffers.bytes(chunk), b"eir");
        assert!(buffers.begin_send(chunk).is_err(), "one send at a time");
        assert!(buffers.release(id).is_err(), "under a send");
        assert_eq!(buffers.bytes(chunk), [POISON; 3]);
        assert!(buffers.release(id).is_err(), "twice");
        buffers.publish();
        assert!(buffers.all_free());
    }
}
