//! Channels between shards, and what goes through them. No world hands sessions over yet.

use weir_core::event::{BufferId, Chunk, Errno, Leg, PipeId};

use super::Kernel;

impl Kernel {
    pub(crate) fn give(&mut self, _: Leg, _: &[u8], _: &[Leg]) -> Result<(), Errno> {
        Err(Errno::ECONNRESET)
    }

    pub(crate) fn take(
        &mut self,
        _: Leg,
        message: &mut Vec<u8>,
        _: &mut Vec<Leg>,
    ) -> Result<(), Errno> {
        message.clear();
        Ok(())
    }

    pub(crate) fn let_go(&mut self, leg: Leg) {
        self.fail(format!("{leg:?} is let go of, and no other table has it"));
    }

    pub(crate) fn read(&mut self, chunk: Chunk, into: &mut Vec<u8>) {
        into.extend_from_slice(self.buffers.bytes(chunk));
    }

    pub(crate) fn fill_buffer(&mut self, _: &[u8]) -> Option<BufferId> {
        None
    }

    pub(crate) fn pipe_ends(&mut self, pipe: PipeId) -> [Leg; 2] {
        self.fail(format!("{pipe:?} goes nowhere"));
        [Leg(-1); 2]
    }

    pub(crate) fn put_pipe(&mut self, ends: [Leg; 2]) -> PipeId {
        self.fail(format!("{ends:?} have come from nowhere"));
        PipeId(0)
    }
}
