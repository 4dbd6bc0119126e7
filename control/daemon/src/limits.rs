//! How many sessions fit: from the descriptor limit, which is raised as far as it goes.

mod memory;

use std::num::NonZero;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use weir_proto::complaint::Complaint;
use weir_proto::spec::Size;

/// More descriptors than this are of no use to us.
const DESCRIPTORS_MAX: u64 = 1 << 20;
/// For each shard, which has a descriptor table of its own: its ring, its listeners, its channels,
/// what is accepted past its limit. A quarter of the limit, if that is less.
const RESERVED_MAX: u64 = 128;
/// Pipes for bulk, two descriptors each: up to 256, but never more than a quarter of the limit.
const PIPES_MAX: u64 = 512;
/// What control's own table must hold: logs, the state, the doors, what the libraries open; and for
/// each shard its listeners and channels.
const CONTROL_MIN: u64 = 48;
const CONTROL_PER_SHARD: u64 = 8;
/// A session's client and backend.
const PER_SESSION: u64 = 2;

/// Cores that the process may use.
pub(crate) fn cores() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    u16::try_from(cores).unwrap_or(u16::MAX)
}

/// What the process may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) descriptors: u64,
    pub(crate) sessions_per_shard: u32,
    pub(crate) pipes_per_shard: u16,
    pub(crate) buffers_per_shard: u16,
    pub(crate) shards: u16,
}

impl Limits {
    /// Raises RLIMIT_NOFILE to its hard limit; it counts each shard's descriptors by themselves.
    /// Receive buffers take `buffers` bytes at most, or a share of the cgroup's memory.
    ///
    /// # Errors
    /// So few descriptors that no session fits, or so few bytes that no buffer does.
    pub(crate) fn of_this_process(shards: u16, buffers: Option<Size>) -> Result<Limits, String> {
        let limit = getrlimit(Resource::Nofile);
        let hard = limit.maximum.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX);
        let mut descriptors = limit.current.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX);
        if descriptors < hard {
            let raised = Rlimit { current: Some(hard), maximum: limit.maximum };
            if setrlimit(Resource::Nofile, raised).is_ok() {
                descriptors = hard;
            }
        }
        let set = buffers.map(|size| u64::from(size.bytes()));
        let least = memory::least(shards);
        if let Some(size) = buffers.filter(|size| u64::from(size.bytes()) < least) {
            return Err(format!(
                "[weir] buffers = \"{size}\" is too little for {shards} shards\n\
                 hint: {} MiB or more, 2 MiB a shard",
                least >> 20
            ));
        }
        // However small the cgroup is, weir starts: its limit is for the kernel to enforce.
        let bytes = set.or_else(|| Some(memory::of_the_cgroup()?.max(least)));
        Limits::of(descriptors, shards, bytes).ok_or_else(|| {
            format!(
                "{descriptors} descriptors are too few for {shards} shards; \
                 raise the limit: ulimit -n 65536, or LimitNOFILE= in the systemd unit"
            )
        })
    }

    /// Computes the limits from `descriptors` for each table and `bytes` for receive buffers
    /// (`None`: unlimited). Returns `None` if a shard has no room for a session or for the fewest
    /// buffers.
    pub(crate) fn of(descriptors: u64, shards: u16, bytes: Option<u64>) -> Option<Limits> {
        if descriptors < CONTROL_MIN + CONTROL_PER_SHARD * u64::from(shards) {
            return None;
        }
        let pipes = PIPES_MAX.min(descriptors / 4);
        let reserved = RESERVED_MAX.min(descriptors / 4) + pipes;
        let pipes_per_shard = u16::try_from(pipes / 2).ok()?;
        let each = u32::try_from(descriptors.checked_sub(reserved)? / PER_SESSION).ok()?;
        let buffers_per_shard = memory::buffers(bytes, shards, each)?;
        (each > 0).then_some(Limits {
            descriptors,
            sessions_per_shard: each,
            pipes_per_shard,
            buffers_per_shard,
            shards,
        })
    }

    /// Bytes of RLIMIT_MEMLOCK that the rings of these shards take.
    pub(crate) fn locked_bytes(&self) -> u64 {
        memory::locked_bytes(self.shards, self.sessions_per_shard, self.buffers_per_shard)
    }

    /// Says which limit to raise, if the engine did not start because too little may be locked.
    pub(crate) fn explain(&self, failed: Complaint) -> Complaint {
        let need = self.locked_bytes();
        match getrlimit(Resource::Memlock).current {
            Some(limit) if limit < need => {
                let (limit, shards) = (limit >> 10, self.shards);
                let what = format!(
                    "{}; RLIMIT_MEMLOCK is {limit} KiB, {shards} shards need {} KiB",
                    failed.what,
                    need >> 10
                );
                Complaint::new(what, memlock_hint(need))
            }
            _ => failed,
        }
    }
}

/// How to raise RLIMIT_MEMLOCK: to twice what is needed, as a shard that is built again after a
/// panic has two rings for a moment.
pub(crate) fn memlock_hint(need: u64) -> String {
    let mib = (2 * need).div_ceil(1 << 20);
    format!("LimitMEMLOCK={mib}M in the unit, or ulimit -l {}", mib << 10)
}

impl core::fmt::Display for Limits {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Limits { descriptors, sessions_per_shard: each, shards, .. } = *self;
        let all = u64::from(each) * u64::from(shards);
        let noun = if shards == 1 { "shard" } else { "shards" };
        write!(
            f,
            "{descriptors} descriptors a shard: at most {all} sessions, {each} on each of {shards} \
             {noun}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_has_all_descriptors_but_the_reserve() {
        let limits = Limits::of(65_536, 2, None).unwrap();
        assert_eq!(limits.sessions_per_shard, (65_536 - 128 - 512) / 2);
        assert_eq!(
            limits.to_string(),
            "65536 descriptors a shard: at most 64896 sessions, 32448 on each of 2 shards"
        );
        assert_eq!(Limits::of(200, 2, None).map(|limits| limits.sessions_per_shard), Some(50));
        assert_eq!(Limits::of(55, 1, None), None);
        assert_eq!(Limits::of(56, 1, None).map(|limits| limits.sessions_per_shard), Some(14));
    }
}
