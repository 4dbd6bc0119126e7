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

use super::Shard;
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

/// True if a message that was refused for that may be sent later: the other end has to take some
/// before, or this host is short of something.
fn may_go_later(errno: Errno) -> bool {
    matches!(errno, Errno::EAGAIN | Errno::ETOOMANYREFS) || errno.is_local()
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
/// The other end is gone, or says what no shard says.
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

impl<I: Io> Shard<I> {
    /// Sessions that have no slot and will want one: those that the taker has not acknowledged, and
    /// those that have come and wait.
    pub(super) fn on_their_way(&self) -> u32 {
        let given = self.giving.as_ref().map_or(0, Giving::sessions);
        let come = self.taking.iter().flatten().map(Taking::sessions).sum::<usize>();
        u32::try_from(given + come).unwrap_or(u32::MAX)
    }

    /// True if sessions are handed over, or may be.
    pub(super) fn hands_over(&self) -> bool {
        self.giving.is_some() || self.taking.iter().any(Option::is_some)
    }

    /// The shard is to stop: nothing more goes or comes, and what has not left stays.
    pub(super) fn stop_handing_over(&mut self) {
        self.stop_giving();
        self.taking.iter_mut().flatten().for_each(|taking| taking.stop(&mut self.io));
    }
}

fn chunks(holdings: &Holdings) -> impl Iterator<Item = Chunk> + '_ {
    holdings.chunks.iter().flatten().flatten().copied()
}
