//! What /proc says: busy time of the machine, kernel memory, resident bytes, who we are.

use std::fs;
use std::io;
use std::process::Command;

use serde::Serialize;

use crate::clock::now_ns;
use crate::runner::{context, fault};

/// Microseconds of a tick in /proc/stat (USER_HZ is 100 on every Linux).
const TICK_US: u64 = 10_000;

/// Bytes of a page of socket buffers.
const PAGE: u64 = 4_096;

/// A reading of the whole machine's time.
#[derive(Clone, Copy, Debug)]
pub struct MachineTime {
    at_ns: u64,
    cores: u64,
    idle_us: u64,
    steal_us: u64,
}

impl MachineTime {
    /// Reads /proc/stat now.
    pub fn read() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/stat").map_err(context("/proc/stat"))?;
        Self::parse(&text, now_ns()).ok_or_else(|| fault("/proc/stat is not understood"))
    }

    fn parse(text: &str, at_ns: u64) -> Option<Self> {
        let all = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = all.split_whitespace().map_while(|n| n.parse().ok()).collect();
        let cores = text
            .lines()
            .filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "))
            .count();
        let idle_us = (ticks.get(3)? + ticks.get(4)?) * TICK_US;
        let steal_us = ticks.get(7)? * TICK_US;
        Some(Self { at_ns, cores: cores as u64, idle_us, steal_us })
    }

    /// Busy and stolen microseconds from this reading to `later`. Busy is what was not idle: idle
    /// time is exact where user and system time are sampled by the tick.
    #[must_use]
    pub fn until(&self, later: &Self) -> (u64, u64) {
        let all = (later.at_ns - self.at_ns) / 1_000 * self.cores;
        let idle = later.idle_us.saturating_sub(self.idle_us);
        let steal = later.steal_us.saturating_sub(self.steal_us);
        (all.saturating_sub(idle).saturating_sub(steal), steal)
    }
}

/// Kernel memory in bytes: (all slab, unreclaimable slab).
pub fn slab() -> io::Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/meminfo").map_err(context("/proc/meminfo"))?;
    let read = |name| kibibytes(&text, name).ok_or_else(|| fault(format!("no {name} in meminfo")));
    Ok((read("Slab:")?, read("SUnreclaim:")?))
}

/// Kernel memory that connections take, in bytes, by kind: slab, page tables, kernel stacks, and
/// the pages of socket buffers.
pub fn kernel_memory() -> io::Result<Kernel> {
    let text = fs::read_to_string("/proc/meminfo").map_err(context("/proc/meminfo"))?;
    let read = |name| kibibytes(&text, name).ok_or_else(|| fault(format!("no {name} in meminfo")));
    let sockets =
        fs::read_to_string("/proc/net/sockstat").map_err(context("/proc/net/sockstat"))?;
    Ok(Kernel {
        slab: read("Slab:")?,
        page_tables: read("PageTables:")?,
        stacks: read("KernelStack:")?,
        buffers: socket_pages(&sockets).unwrap_or(0) * PAGE,
        available: read("MemAvailable:")?,
    })
}

/// A reading of [`kernel_memory`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Kernel {
    pub slab: u64,
    pub page_tables: u64,
    pub stacks: u64,
    pub buffers: u64,
    /// What programs can still have.
    pub available: u64,
}

impl Kernel {
    /// All that is taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.slab + self.page_tables + self.stacks + self.buffers
    }
}

/// Caches that a TCP socket has objects in.
const SOCKET_CACHES: [&str; 8] = [
    "TCP",
    "sock_inode_cache",
    "filp",
    "dentry",
    "io_kiocb",
    "eventpoll_epi",
    "request_sock_TCP",
    "tw_sock_TCP",
];

/// Bytes of the objects in the caches of sockets and what goes with them: blind to what else the
/// kernel keeps in slab, so steadier on a machine that is not quiet. Needs root.
#[must_use]
pub fn socket_caches() -> Option<u64> {
    cached(&fs::read_to_string("/proc/slabinfo").ok()?)
}

fn cached(text: &str) -> Option<u64> {
    let sizes = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let known = SOCKET_CACHES.contains(words.first()?);
        known.then(|| Some(words.get(1)?.parse::<u64>().ok()? * words.get(3)?.parse::<u64>().ok()?))
    });
    sizes.sum()
}

/// `TCP: ... mem N` of /proc/net/sockstat.
fn socket_pages(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    line.split_once(" mem ")?.1.split_whitespace().next()?.parse().ok()
}

/// Anonymous bytes of one process: what it allocated and touched.
pub fn anonymous(pid: u32) -> io::Result<u64> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&file).map_err(context(&file))?;
    kibibytes(&text, "Anonymous:").ok_or_else(|| fault(format!("no Anonymous in {file}")))
}

/// Resident bytes of one process (exact: the page tables are walked).
pub fn resident(pid: u32) -> io::Result<u64> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&file).map_err(context(&file))?;
    kibibytes(&text, "Rss:").ok_or_else(|| fault(format!("no Rss in {file}")))
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
}

/// The cores that each thread of a process may use, without doubles: shows that pinning held.
#[must_use]
pub fn cores_allowed(pid: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut cores: Vec<String> = threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok())
        .filter_map(|text| {
            let list = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            Some(list.trim().to_string())
        })
        .collect();
    cores.sort();
    cores.dedup();
    cores
}

/// A process and all its descendants.
#[must_use]
pub fn family(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let mut at = 0;
    while at < pids.len() {
        let tasks =
            fs::read_dir(format!("/proc/{}/task", pids[at])).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        at += 1;
    }
    pids
}

/// Which machine, which kernel, which commit.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_bytes: u64,
    pub commit: String,
}

impl Machine {
    #[must_use]
    pub fn read() -> Self {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        let model = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("unknown".into(), |(_, name)| name.trim().to_string());
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_string(),
            cpu: model,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: kibibytes(&read("/proc/meminfo"), "MemTotal:").unwrap_or(0),
            commit: git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]),
        }
    }
}

fn git(arguments: &[&str]) -> String {
    let output = Command::new("git").args(arguments).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    text.map_or("unknown".into(), |text| String::from_utf8_lossy(&text).trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_neither_idle_nor_stolen() {
        let early = "cpu  10 0 10 100 5 0 0 0 0 0\ncpu0 5 0 5 50 5 0 0 0\ncpu1 5 0 5 50 0 0 0 0\n";
        let late = "cpu  60 0 60 190 15 0 0 10 0 0\ncpu0 1\ncpu1 1\n";
        let early = MachineTime::parse(early, 1_000_000_000).expect("understood");
        let late = MachineTime::parse(late, 2_000_000_000).expect("understood");
        // Two cores, one second: 2,000,000 µs; 100 ticks idle, 10 stolen.
        assert_eq!(early.until(&late), (900_000, 100_000));
        assert!(MachineTime::parse("intr 5", 0).is_none());
    }

    #[test]
    fn this_process_is_resident_and_its_own_family() {
        let own = std::process::id();
        assert!(resident(own).expect("readable") > 100_000);
        assert_eq!(family(own)[0], own);
        assert!(!cores_allowed(own).is_empty());
    }

    #[test]
    fn socket_buffers_are_found() {
        let text =
            "sockets: used 9\nTCP: inuse 1 orphan 0 tw 2 alloc 3 mem 77\nUDP: inuse 0 mem 5\n";
        assert_eq!(socket_pages(text), Some(77));
        assert!(kernel_memory().expect("readable").taken() > 1_000_000);
    }

    #[test]
    fn socket_caches_are_summed() {
        let text = "slabinfo - version: 2.1\nTCP 92 143 2368 13 8 : x\nTCPv6 26 26 2496 13\n\
            filp 10 20 192 21 1 : x\n";
        assert_eq!(cached(text), Some(92 * 2_368 + 10 * 192));
    }

    #[test]
    fn kibibytes_are_found_by_name() {
        assert_eq!(kibibytes("Slab:  7 kB\nSUnreclaim: 3 kB\n", "SUnreclaim:"), Some(3_072));
        assert_eq!(kibibytes("Slab: x kB", "Slab:"), None);
    }
}
