//! Sessions go to another shard, of this process or of the next one, and come from one: the bytes
//! of the messages between both.
//!
//! ```text
//! giver  begins nothing more ─at rest─▶ Sessions ──▶  taker  has all of it ──▶ Taken, then goes on
//!          closes its descriptors ◀── Taken ─┘
//! ```
//! Until the taker has said so a batch is the giver's, untouched: if the taker dies, the giver puts
//! the sessions back. Two batches are on their way at most, so no session stands still for long.

mod giving;
mod taking;

use weir_core::event::{Chunk, Errno, Leg};
use weir_core::session::Holdings;
use weir_proto::frame;
use weir_proto::handover::HandoverMessage;

use crate::io::Io;

pub(super) use giving::Giving;
pub(super) use taking::Taking;

/// The state of a hand-over after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    GoesOn,
    /// That was all.
    Whole,
    /// The other end is gone, or has refused.
    Broken,
}

/// A message of the giver's without sessions, or one of the taker's.
fn encoded(message: &HandoverMessage) -> Vec<u8> {
    frame::encode(message).expect("a batch is far shorter than a frame")
}

/// A message, and the bytes behind it.
fn decoded(bytes: &[u8]) -> Option<(HandoverMessage, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<{ frame::HEADER }>()?;
    let (body, behind) = rest.split_at_checked(frame::body_length(*header).ok()?)?;
    Some((frame::decode(body).ok()?, behind))
}

/// The next message in a channel, read into `bytes`; `None`: there is none for now.
///
/// # Errors
/// The other end is gone, or does not speak like a shard.
fn hear(
    io: &mut impl Io,
    channel: Leg,
    (bytes, legs): (&mut Vec<u8>, &mut Vec<Leg>),
) -> Result<Option<HandoverMessage>, ()> {
    loop {
        match io.take(channel, bytes, legs) {
            Ok(()) if bytes.is_empty() => return Err(()),
            Ok(()) => {
                let (message, behind) = decoded(bytes).ok_or(())?;
                let length = behind.len();
                bytes.drain(..bytes.len() - length);
                return Ok(Some(message));
            }
            Err(Errno::EAGAIN) => return Ok(None),
            // What it said before comes behind it, then the end.
            Err(Errno::ECONNRESET) => {}
            Err(_) => return Err(()),
        }
    }
}

/// Descriptors of one session at most: two sockets, and both ends of two pipes.
const OF_A_SESSION: usize = 6;

/// The descriptors of a session, in the order in which they travel.
fn descriptors(io: &mut impl Io, holdings: &Holdings) -> Vec<Leg> {
    let pipes = holdings.pipes.iter().flatten();
    holdings.legs.into_iter().chain(pipes.flat_map(|pipe| io.pipe_ends(*pipe))).collect()
}

fn chunks(holdings: &Holdings) -> impl Iterator<Item = Chunk> + '_ {
    holdings.chunks.iter().flatten().flatten().copied()
}
