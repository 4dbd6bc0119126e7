//! Every bound of a shard, each with its reason. What is not listed here, or in the snapshot's
//! bounds, does not exist.

use crate::action::ACTIONS_MAX;
use crate::flow::QUEUE_MAX;

/// A timer is at most this late, in milliseconds.
pub const TICK_MS: u32 = 8;

/// How long a session is half closed before the side that ended is watched for a reset, in
/// milliseconds. Most are over sooner and cost nothing; a reset must be passed on within 100 ms.
pub const WATCH_AFTER_MS: u32 = 40;

/// Sessions of one shard: a slot has 24 bits in a token.
pub const SLOTS_MAX: u32 = 1 << 24;

/// Operations of one session at the kernel's: on each side a receive, a send, and a cancel for
/// each; and the cancel of a connect that succeeded all the same, which may answer late.
pub const OPERATIONS_PER_SESSION_MAX: u32 = 9;

/// Ejections that wait to be told to control; one more waits for its next failed connect.
pub const EJECTIONS_MAX: usize = 64;

/// Sessions that are ended in one turn by a kill or a stop, so that no turn takes long.
pub const SWEEP_PER_TURN_MAX: u32 = 256;

/// Orders that are taken in one turn.
pub const ORDERS_PER_TURN_MAX: u32 = 64;

/// Flows that leave the line for a buffer in one turn.
pub const RESUMES_PER_TURN_MAX: u32 = 256;

// An event gives back both queues, cancels both receives and both sends, closes both legs, frees.
const _: () = assert!(ACTIONS_MAX >= 2 * QUEUE_MAX + 4 + 2 + 1 + 2);
