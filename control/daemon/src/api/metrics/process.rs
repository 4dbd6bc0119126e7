//! The standard `process_*` metrics, from /proc/self.

use std::fs;
use std::path::Path;

use super::page::Page;

/// Clock ticks a second in /proc (USER_HZ): a constant of Linux's interface on x86 and ARM.
const TICKS_PER_S: f64 = 100.0;

/// What the kernel says about this process. What it does not say is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    cpu_s: Option<f64>,
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
    /// Seconds since 1970.
    start_s: Option<f64>,
}

impl Process {
    /// Reads /proc; takes well under a millisecond.
    pub fn read() -> Process {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Process {
            open_fds: open_fds(),
            ..parse(&Files {
                stat: &text("/proc/self/stat"),
                status: &text("/proc/self/status"),
                limits: &text("/proc/self/limits"),
                boot: &text("/proc/stat"),
            })
        }
    }

    pub(super) fn render(&self, page: &mut Page) {
        if let Some(value) = self.cpu_s {
            let help = "CPU time of the process, user and system.";
            page.counter("process_cpu_seconds_total", help).row(&[], value);
        }
        if let Some(value) = self.start_s {
            let help = "When the process started, in seconds since 1970.";
            page.gauge("process_start_time_seconds", help).row(&[], value);
        }
        let gauges = [
            ("process_resident_memory_bytes", "Memory that is resident.", self.resident_bytes),
            ("process_virtual_memory_bytes", "Address space that is mapped.", self.virtual_bytes),
            ("process_open_fds", "Descriptors that are open.", self.open_fds),
            ("process_max_fds", "The most descriptors that may be open.", self.max_fds),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                page.gauge(name, help).row(&[], value);
            }
        }
    }
}

/// The text of the files under /proc.
struct Files<'a> {
    stat: &'a str,
    status: &'a str,
    limits: &'a str,
    /// /proc/stat, for the time of the boot.
    boot: &'a str,
}

fn parse(files: &Files<'_>) -> Process {
    // The second field is the program's name in parentheses, which may hold spaces and parentheses.
    let after_name = files.stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // Fields are numbered from 1 in proc(5); the first one after the name is the third.
    let field = |number: usize| -> Option<f64> {
        after_name.split_ascii_whitespace().nth(number - 3)?.parse().ok()
    };
    let kib = |key: &str| -> Option<u64> {
        let rest = files.status.lines().find_map(|line| line.strip_prefix(key))?;
        let count: u64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
        count.checked_mul(1024)
    };
    let limit = files.limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let boot_s = files.boot.lines().find_map(|line| line.strip_prefix("btime "));
    let boot_s = boot_s.and_then(|text| text.trim().parse::<f64>().ok());
    Process {
        cpu_s: field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS_PER_S),
        resident_bytes: kib("VmRSS:"),
        virtual_bytes: kib("VmSize:"),
        open_fds: None,
        max_fds: limit.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()),
        start_s: boot_s.zip(field(22)).map(|(boot, ticks)| boot + ticks / TICKS_PER_S),
    }
}

/// Descriptors of the process's table and of each shard's own.
fn open_fds() -> Option<u64> {
    let tasks = fs::read_dir("/proc/self/task").ok()?.flatten();
    let shards = tasks.filter(|task| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with(SHARD))
    });
    // Since Linux 6.2 the folder's size is how many there are.
    let count = |folder: &Path| fs::metadata(folder).ok().map(|it| it.len());
    let tables = shards.filter_map(|task| count(&task.path().join("fd")));
    Some(count(Path::new("/proc/self/fd"))? + tables.sum::<u64>())
}

/// How the threads with a table of their own are called.
const SHARD: &str = "weir-shard-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_understood() {
        let process = parse(&Files {
            stat: "7 (we (i) r) S 1 7 7 0 -1 4194560 1 0 0 0 150 25 0 0 20 0 4 0 4242 9 9 0",
            status: "Name:\tweir\nVmSize:\t    2048 kB\nVmRSS:\t     512 kB\n",
            limits: "Limit  Soft  Hard  Units\nMax open files            1024    524288  files\n",
            boot: "cpu 1 2\nbtime 1700000000\n",
        });
        assert_eq!(
            process,
            Process {
                cpu_s: Some(1.75),
                resident_bytes: Some(512 << 10),
                virtual_bytes: Some(2048 << 10),
                open_fds: None,
                max_fds: Some(1024),
                start_s: Some(1_700_000_042.42),
            }
        );
    }

    #[test]
    fn what_is_missing_is_absent() {
        let none =
            Files { stat: "", status: "VmRSS: x", limits: "Max open files unlimited", boot: "" };
        assert_eq!(parse(&none), Process::default());
        let mut page = Page::default();
        Process::default().render(&mut page);
        assert_eq!(page.text(), "");
    }

    #[test]
    fn this_process_is_read() {
        let process = Process::read();
        assert!(process.open_fds.is_some_and(|count| count >= 3), "{process:?}");
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 100_000), "{process:?}");
        assert!(process.start_s.is_some_and(|at| at > 1.6e9), "{process:?}");
        assert!(process.max_fds.is_some() && process.cpu_s.is_some(), "{process:?}");
    }
}
