//! A direction on its way from shard to shard.

use weir_proto::handover::HandedFlow;

use super::{BULK_AFTER, Flow, Pipe, QUEUE_MAX, Sink, Source};
use crate::event::{Chunk, PipeId};

impl Flow {
    pub(crate) fn held(&self) -> [Option<Chunk>; QUEUE_MAX] {
        let mut chunks = self.chunks();
        [chunks.next(), chunks.next()]
    }

    pub(crate) fn handed(&self) -> HandedFlow {
        HandedFlow {
            ended: self.source == Source::Ended,
            finished: self.sink == Sink::Finished,
            undelivered: self.undelivered,
            large: self.large,
            chunks: self.held().map(|chunk| chunk.map_or(0, Chunk::len)),
            pipe: self.pipe.map(|pipe| pipe.held),
        }
    }

    pub(crate) fn put_together(
        handed: &HandedFlow,
        chunks: [Option<Chunk>; QUEUE_MAX],
        pipe: Option<PipeId>,
    ) -> Flow {
        let pipe = pipe.zip(handed.pipe).map(|(id, held)| Pipe { id, held });
        let large = handed.large.min(BULK_AFTER);
        let mut flow = Flow { queue: chunks, large, ..Flow::default() };
        flow.source = if handed.ended { Source::Ended } else { Source::Waiting };
        flow.sink = if handed.finished { Sink::Finished } else { Sink::Idle };
        (flow.undelivered, flow.pipe) = (handed.undelivered, pipe);
        flow
    }
}
