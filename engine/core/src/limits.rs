//! Every bound of a shard, each with its reason. What is not listed here, or in the snapshot's
//! bounds, does not exist.

use crate::action::ACTIONS_MAX;
use crate::base::wheel::Work;
use crate::flow::QUEUE_MAX;

/// A timer is at most this late, in milliseconds.
pub const TICK_MS: u32 = 8;

/// How long nobody receives from a side, because it has ended or the other one takes nothing,
/// before it is watched for a reset, in milliseconds. Most are over sooner and cost nothing; a
/// reset must be passed on within 100 ms.
pub const WATCH_AFTER_MS: u32 = 40;

/// How often a session is looked at in which a multishot receive has brought bytes, in
/// milliseconds: twice that, at most, after the last bytes it is watched for a reset.
pub const RESET_CHECK_MS: u32 = 20;

/// News of one session's watches without a byte that moves, before they rest until the next look,
/// [`WATCH_AFTER_MS`] later. One is usual, a few can be chance; more are a kernel that says
/// "ready" and then EAGAIN, such as one that is short of memory for TCP (`net.ipv4.tcp_mem`).
pub const FRUITLESS_MAX: u8 = 8;

/// Retransmissions, or probes of a closed window, that go unanswered in a row before a peer counts
/// as vanished. A living peer with a closed window answers each probe,
/// however far apart they are (up to 120 s).
pub const UNANSWERED_MIN: u8 = 3;

/// A side that takes nothing is looked at once in this share of the time since it last did...
pub const STALLED_LOOKS: u32 = 8;

/// ...and at least once in this many times [`Tuning::quiescent_after_ms`].
pub const STALLED_LOOKS_SPAN: u32 = 5;

/// How long a session that is as old as its pool allows may wait for a quiet moment, at most, in
/// milliseconds; a tenth of a lifetime that is shorter than ten times that.
pub const LIFETIME_GRACE_MS_MAX: u32 = 10_000;

/// What a shard may be given to make it faster or a test sharper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How long nothing moves in a session before it is parked: its receives are cancelled and a
    /// watch waits instead, which costs the kernel 192 bytes a socket and not 865; an empty pipe is
    /// given back. In milliseconds, 1 or more. Also how often a session that moves is looked at.
    pub quiescent_after_ms: u32,
    /// Bytes from which on a receive counts as large; several in a row make a flow bulk.
    pub bulk_bytes: u16,
    /// The most bytes that a multishot receive brings at a time. It ends once it has brought this
    /// many; twice that, less one, must fit into a buffer. 0: all receives are one-shot.
    pub multishot_bytes: u16,
    /// Timers of one turn; [`TIMERS_PER_TURN_MAX`].
    pub timers: Work,
}

impl Default for Tuning {
    fn default() -> Tuning {
        // Half a buffer: less per receive is cheaper to copy than to splice (docs/adr/0007).
        Tuning {
            quiescent_after_ms: 1_000,
            bulk_bytes: 16 * 1024,
            multishot_bytes: 16 * 1024,
            timers: TIMERS_PER_TURN_MAX,
        }
    }
}

/// Pipes that move bytes in one turn, and bytes that each of them moves while nobody else is there.
pub const MOVES_PER_TURN_MAX: u32 = 2;
pub const MOVE_BYTES_MAX: u32 = 1024 * 1024;

/// Bytes that each of them moves beside sessions that go through buffers, and how long after the
/// last word of one of these, in milliseconds: so much can come between two small round trips.
pub const MOVE_BYTES_BESIDE: u32 = 64 * 1024;
pub const BESIDE_MS: u32 = 2;

pub use crate::base::slab::SLOTS_MAX;

/// Operations of one session at the kernel's: on each side a receive, a send, a cancel for each,
/// and the cancel of a receive that was parked, which may answer late; and the cancel of a connect
/// that succeeded anyway, which may answer late.
pub const OPERATIONS_PER_SESSION_MAX: u32 = 11;

/// Ejections that wait to be told to control; one more waits for its next failed connect.
pub const EJECTIONS_MAX: usize = 64;

/// Retries of one pool at once, on one shard: this share of its connects, in percent...
pub const RETRIES_PERCENT: u32 = 20;

/// ...and at least this many. More would double the load on what is left of a pool just when half
/// of it is gone.
pub const RETRIES_MIN: u64 = 3;

/// How long a retry waits for its turn when there are too many, in milliseconds: so long at least,
/// twice that at most.
pub const RETRY_WAIT_MS: u32 = 10;

/// How long an address that connects come from is passed over after it had no port left, or was not
/// on this host, in milliseconds: the kernel looks at each of 28,232 ports before it says so.
pub const SOURCE_RESTS_MS: u32 = 1_000;

/// Addresses that are passed over, and that one connect tries anyway when there is no other.
pub const RESTING_SOURCES_MAX: u32 = 3;

/// Connects to one backend that wait, on one shard, for it to be avoided...
pub const STUCK_CONNECTS: u32 = 8;

/// ...if none has succeeded for so long, in milliseconds.
pub const STUCK_AFTER_MS: u32 = 250;

/// Sessions that are ended in one turn by a kill, a stop or shedding, so that no turn takes long.
pub const SWEEP_PER_TURN_MAX: u32 = 256;

/// Sessions of one backend or listener that are shed by one order, at most.
pub const SHED_MAX: u32 = 1_000;

/// Slots of [`SCANNED_PER_TURN_MAX`] that one look of shedding counts for. It compares sessions and
/// waits for memory: 4,096 looks a turn take 0.12 ms in the median where 16,384 took 0.6.
pub const SHED_LOOK_COST: u32 = 4;

/// The same of a look at a session that may get another deadline: its timer moves.
pub const RESCHEDULE_COST: u32 = 4;

/// The same of a look of a search, which compares as much; of one that asks the kernel for the
/// client's address, some 0.4 µs more; of a row of a list, for which the kernel is asked and
/// memory taken, and more than that takes: 128 rows are a step; and of a row with TCP_INFO of both
/// legs, some 10 µs.
pub const SEARCH_LOOK_COST: u32 = 4;
pub const PEER_COST: u32 = 12;
pub const LISTED_COST: u32 = 128;
pub const DETAILS_COST: u32 = 512;

/// Between two steps of a search, in milliseconds. A step takes 0.1 ms or so: of a list of very
/// many sessions traffic notices that much, and a core that several shards share stays free.
pub const SEARCH_PAUSE_MS: u32 = 1;

/// Sessions that a sweep passes over in one turn because it is not about them.
pub const SCANNED_PER_TURN_MAX: u32 = 16_384;

/// Timers of one turn. An end costs some 25 µs (two close(2)), so 256 of them are 6 ms; what is put
/// into a lower level of the wheel costs a few cache misses, so 4,096 of them are under 1 ms.
pub const TIMERS_PER_TURN_MAX: Work = Work { due: 256, moved: 4096 };

/// Answers of the kernel that are taken in one turn. From Linux 6.13 on a wait makes at most 64 of
/// them, beside those that were made while they were submitted; before, as many as there are.
pub const ANSWERS_PER_TURN_MAX: u32 = 1024;

/// A turn that begins so much later than its shard wanted to wake, in milliseconds, comes after a
/// time in which the shard did not run: a turn that took long, SIGSTOP, a machine that was paused.
pub const STOOD_STILL_MS: u32 = 100;

/// For how long after such a turn timers may wait for what has come in the meantime, in
/// milliseconds: until a turn takes no answer, and no longer than this.
pub const CATCH_UP_MS: u32 = 250;

/// Late turns in a row that are taken for a standstill. More are a shard that is slow, and its
/// timers wait no longer.
pub const LATE_TURNS_MAX: u8 = 4;

/// Orders that are taken in one turn.
pub const ORDERS_PER_TURN_MAX: u32 = 64;

/// Bytes that a flow receives at most into a buffer of the reserve: half a buffer, so that it still
/// becomes bulk and then needs none.
pub const RESERVED_BYTES: u16 = 16 * 1024;

/// Sessions that leave a pool's line for a backend in one turn: each opens a socket.
pub const QUEUE_SERVED_PER_TURN_MAX: u32 = 256;

/// Sessions that a backend has refused and that are passed over in a pool's line in one turn.
pub const QUEUE_RETRIES_PER_TURN_MAX: u32 = 64;

/// Flows that leave the line for a buffer in one turn.
pub const RESUMES_PER_TURN_MAX: u32 = 256;

// An event gives back both queues or pipes, cancels both receives and both sends, closes both legs,
// frees; a look that was asked for may come first.
const _: () = assert!(ACTIONS_MAX >= 1 + 2 * QUEUE_MAX + 4 + 2 + 1 + 2);
