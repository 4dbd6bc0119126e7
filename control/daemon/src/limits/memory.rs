//! How much memory receive buffers may take, and how much the rings lock.

use std::path::Path;

use weir_engine::{BUFFER_BYTES, BUFFERS_MAX};

/// The fewest buffers of a shard: with fewer they wait for each other all the time.
const BUFFERS_MIN: u64 = 64;
/// Buffers for each session at most: two chunks in each direction.
const PER_SESSION: u64 = 4;
/// Even the smallest shard may have a burst.
const BUFFERS_FEW: u64 = 1024;
/// The share of a cgroup's memory that buffers may take.
const SHARE: u64 = 4;
/// Locked for the control thread: glommio's rings, rounded up.
const CONTROL_LOCKED: u64 = 512 << 10;

/// How many buffers each of `shards` shards with `sessions` sessions has, a power of two: as many
/// as fit into `bytes` for all of them, `None` being no limit. `None` if `bytes` are too few.
pub(super) fn buffers(bytes: Option<u64>, shards: u16, sessions: u32) -> Option<u16> {
    let wanted = (PER_SESSION * u64::from(sessions)).max(BUFFERS_FEW).min(BUFFERS_MAX.into());
    let fit = bytes.map_or(u64::MAX, |it| it / u64::from(shards) / u64::from(BUFFER_BYTES));
    let count = wanted.next_power_of_two().min(power_of_two_below(fit));
    (count >= BUFFERS_MIN).then_some(u16::try_from(count).unwrap_or(BUFFERS_MAX))
}

/// The least that the setting `buffers` may be, in bytes.
pub(super) fn least(shards: u16) -> u64 {
    u64::from(shards) * BUFFERS_MIN * u64::from(BUFFER_BYTES)
}

/// The memory that buffers may take if nothing is set, in bytes: a share of the cgroup's memory.
/// `None`: it has no limit.
pub(super) fn of_the_cgroup() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    Some(memory_max(Path::new("/sys/fs/cgroup"), &own)? / SHARE)
}

/// The smallest memory.max of the cgroup that `/proc/self/cgroup` names and of those above it
/// (cgroups(7), version 2).
fn memory_max(root: &Path, own: &str) -> Option<u64> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let groups = Path::new(path).ancestors().map(|group| root.join(group).join("memory.max"));
    groups.filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

/// Bytes that `shards` shards and control lock, for users without CAP_IPC_LOCK.
pub(crate) fn locked_bytes(shards: u16, sessions: u32, buffers: u16) -> u64 {
    CONTROL_LOCKED + u64::from(shards) * weir_engine::locked_bytes(sessions, buffers)
}

fn power_of_two_below(count: u64) -> u64 {
    if count == 0 { 0 } else { 1 << count.ilog2() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn buffers_fit_the_memory_and_the_sessions() {
        assert_eq!(buffers(None, 8, 500_000), Some(32_768));
        assert_eq!(buffers(None, 1, 300), Some(2048));
        assert_eq!(buffers(None, 1, 14), Some(1024));
        assert_eq!(buffers(Some(256 * MIB), 2, 500_000), Some(4096));
        assert_eq!(buffers(Some(300 * MIB), 2, 500_000), Some(4096), "a power of two");
        assert_eq!(buffers(Some(4 * MIB), 2, 500_000), Some(64));
        assert_eq!(buffers(Some(4 * MIB - 1), 2, 500_000), None);
        assert_eq!(least(2), 4 * MIB);
    }

    #[test]
    fn a_cgroup_is_as_small_as_the_smallest_above_it() {
        let root = std::env::temp_dir().join(format!("weir-cgroup-{}", std::process::id()));
        let below = root.join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        let own = "4:memory:/old\n0::/a/b\n";
        assert_eq!(memory_max(&root, own), None);
        std::fs::write(below.join("memory.max"), "max\n").unwrap();
        assert_eq!(memory_max(&root, own), None);
        std::fs::write(root.join("a/memory.max"), "1073741824\n").unwrap();
        assert_eq!(memory_max(&root, own), Some(1024 * MIB));
        std::fs::write(below.join("memory.max"), "268435456\n").unwrap();
        assert_eq!(memory_max(&root, own), Some(256 * MIB));
        assert_eq!(memory_max(&root, "4:memory:/a/b\n"), None, "version 1");
        std::fs::remove_dir_all(&root).unwrap();
    }

    /// Measured as an unprivileged user: 5 shards of 32,768 buffers start with 7,029 KiB and not
    /// with 16 KiB less (benches/results/2026-11-29-memlock.txt).
    #[test]
    fn rings_lock_what_was_measured() {
        assert_eq!(weir_engine::locked_bytes(500_000, 32_768), 1364 << 10);
        let need = locked_bytes(5, 500_000, 32_768) >> 10;
        assert!((7_029..7_500).contains(&need), "{need}");
    }
}
