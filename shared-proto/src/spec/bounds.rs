//! Bounds of settings that more than their row needs.

/// The largest weight of a backend (HAProxy's bound). 0 takes no new sessions.
pub const WEIGHT_MAX: u16 = 256;
/// The longest times of keepalive (MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL are 32,767 s), and the
/// most questions (MAX_TCP_KEEPCNT).
pub const KEEPALIVE_SECS_MAX: u16 = 9 * 3600;
pub const KEEPALIVE_COUNT_MAX: u8 = 127;
/// The most other backends that are tried when a connect fails.
pub const RETRY_ATTEMPTS_MAX: u8 = 3;
/// The most bytes of a client that are kept for another backend: a buffer of a shard holds them.
pub const REPLAY_MAX: u16 = 32 * 1024;
/// The most sessions that wait for a backend of one pool on one shard: more than a shard has.
pub const QUEUE_SIZE_MAX: u32 = 1_000_000;
/// The bounds of a socket's buffer, in bytes: a few segments of any path, and what the kernel's own
/// limits come to at most.
pub const SOCKET_BUFFER_MIN: u32 = 32 * 1024;
pub const SOCKET_BUFFER_MAX: u32 = 64 * 1024 * 1024;
/// The highest rate of new sessions, for each second.
pub const RATE_MAX: u32 = 1_000_000;
