//! How many sessions fit: from the descriptor limit, which is raised as far as it goes.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More descriptors than this are of no use to us.
const DESCRIPTORS_MAX: u64 = 1 << 20;
/// For logs, the state, the doors, the prober and what the libraries open. A quarter of the limit,
/// if that is less.
const RESERVED_MAX: u64 = 256;
/// For each shard: its ring, its listeners, its channels, and what is accepted past its limit.
const RESERVED_PER_SHARD: u64 = 32;
/// A session's client and backend.
const PER_SESSION: u64 = 2;

/// What the process may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) descriptors: u64,
    pub(crate) sessions_per_shard: u32,
    pub(crate) shards: u16,
}

impl Limits {
    /// Raises RLIMIT_NOFILE to its hard limit and divides it.
    ///
    /// # Errors
    /// So few descriptors that no session fits.
    pub(crate) fn of_this_process(shards: u16) -> Result<Limits, String> {
        let limit = getrlimit(Resource::Nofile);
        let hard = limit.maximum.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX);
        let mut descriptors = limit.current.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX);
        if descriptors < hard {
            let raised = Rlimit { current: Some(hard), maximum: limit.maximum };
            if setrlimit(Resource::Nofile, raised).is_ok() {
                descriptors = hard;
            }
        }
        Limits::of(descriptors, shards).ok_or_else(|| {
            format!(
                "{descriptors} descriptors are too few for {shards} shards; \
                 raise the limit: ulimit -n 65536, or LimitNOFILE= in the systemd unit"
            )
        })
    }

    /// Divides `descriptors` among `shards`. `None` if not one session fits on each.
    pub(crate) fn of(descriptors: u64, shards: u16) -> Option<Limits> {
        let reserved = RESERVED_MAX.min(descriptors / 4) + RESERVED_PER_SHARD * u64::from(shards);
        let sessions = descriptors.checked_sub(reserved)? / PER_SESSION;
        let each = u32::try_from(sessions / u64::from(shards.max(1))).ok()?;
        (each > 0).then_some(Limits { descriptors, sessions_per_shard: each, shards })
    }
}

impl core::fmt::Display for Limits {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Limits { descriptors, sessions_per_shard: each, shards } = *self;
        let all = u64::from(each) * u64::from(shards);
        let noun = if shards == 1 { "shard" } else { "shards" };
        write!(
            f,
            "{descriptors} descriptors: at most {all} sessions, {each} on each of {shards} {noun}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_divided_after_the_reserve() {
        let limits = Limits::of(65_536, 2).unwrap();
        assert_eq!(limits.sessions_per_shard, (65_536 - 256 - 64) / 4);
        assert_eq!(
            limits.to_string(),
            "65536 descriptors: at most 32608 sessions, 16304 on each of 2 shards"
        );
        assert_eq!(Limits::of(200, 2).map(|limits| limits.sessions_per_shard), Some(21));
        assert_eq!(Limits::of(42, 1), None);
        assert_eq!(Limits::of(46, 1).map(|limits| limits.sessions_per_shard), Some(1));
    }
}
