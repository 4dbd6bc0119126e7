//! How large the large stories are, all in one place.
//!
//! By default each takes at most some 20 s on two cores. `WEIR_STORY_SCALE=n` multiplies what is
//! usual, up to the full size of docs/testing.md.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a story does by default, and what it does at most.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    usual: u64,
    full: u64,
}

/// Close matrix: rounds; a round has one session in each cell.
pub const MATRIX_ROUNDS: Size = Size { usual: 3, full: 100 };
/// Byte integrity: streams, and bytes of all of them together.
pub const INTEGRITY_STREAMS: Size = Size { usual: 2_000, full: 2_000 };
pub const INTEGRITY_BYTES: Size = Size { usual: 384 << 20, full: 20 << 30 };
/// Clients that go away while weir connects.
pub const ABORTS: Size = Size { usual: 20_000, full: 1_000_000 };
/// RLIMIT_NOFILE: clients; seconds of being full.
pub const FULL_CLIENTS: Size = Size { usual: 5_000, full: 5_000 };
pub const FULL_SECONDS: Size = Size { usual: 3, full: 600 };
/// Backpressure: slow readers; normal streams beside them; seconds.
pub const SLOW_READERS: Size = Size { usual: 1_000, full: 1_000 };
pub const NORMAL_STREAMS: Size = Size { usual: 500, full: 500 };
pub const SLOW_SECONDS: Size = Size { usual: 4, full: 120 };
/// Starvation: active streams; seconds. With some minutes more 2,000 saturated sockets here and
/// 2,000 of weir's reach the host's limit of memory for TCP (`tcp_mem`), and then all stand still.
pub const STARVED_STREAMS: Size = Size { usual: 1_000, full: 1_000 };
pub const STARVED_SECONDS: Size = Size { usual: 4, full: 60 };
/// Connections in one burst on a small completion queue.
pub const BURST: Size = Size { usual: 5_000, full: 5_000 };
/// Sessions of the backend that is removed: two descriptors each, here and in weir.
pub const REMOVED_SESSIONS: Size = Size { usual: 8_000, full: 9_000 };
/// Edits over live sessions: two descriptors each, here and in weir; edits.
pub const EDITED_SESSIONS: Size = Size { usual: 2_000, full: 9_000 };
pub const EDITS: Size = Size { usual: 160, full: 1_000 };
/// Accepts whose backend is asked for afterwards, and addresses that they come from.
pub const REPLAYED: Size = Size { usual: 10_000, full: 100_000 };
pub const REPLAYED_CLIENTS: Size = Size { usual: 500, full: 1_000 };
/// Source ports run out: rounds.
pub const PORT_ROUNDS: Size = Size { usual: 2, full: 20 };

impl Size {
    /// The size of this run.
    ///
    /// # Panics
    /// If `WEIR_STORY_SCALE` is no number.
    #[must_use]
    pub fn get(self) -> u64 {
        let scale = std::env::var("WEIR_STORY_SCALE").map_or(1, |text| {
            text.parse::<u64>().unwrap_or_else(|_| panic!("WEIR_STORY_SCALE={text} is no number"))
        });
        self.usual.saturating_mul(scale.max(1)).min(self.full)
    }

    /// [`Size::get`], for counting.
    ///
    /// # Panics
    /// If it is too large for this machine's addresses.
    #[must_use]
    pub fn count(self) -> usize {
        usize::try_from(self.get()).expect("a size fits into memory")
    }
}

/// Large stories take turns: they need the descriptors of the test's process, and they measure.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
