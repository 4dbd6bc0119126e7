//! What a thread does, by /proc: for the log, when somebody has to find out why it is stuck.

use std::fmt::Write;
use std::fs;

use super::stall_detector::ThreadState;

/// Lines of a file that are shown at most.
const LINES_MAX: usize = 24;

/// What the thread was doing just now.
pub(super) fn state(task: i32) -> ThreadState {
    let stat = fs::read_to_string(format!("/proc/self/task/{task}/stat")).unwrap_or_default();
    of_stat(&stat)
}

fn of_stat(stat: &str) -> ThreadState {
    // The name in round brackets may hold anything: look behind its end.
    let letter = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    match letter {
        Some('R') => ThreadState::Runs,
        Some('S' | 'D' | 'I' | 'K' | 'W' | 'P') => ThreadState::Sleeps,
        _ => ThreadState::Stopped,
    }
}

/// One thread, a line for each thing that may be read (the stack needs CAP_SYS_ADMIN).
pub(super) fn thread(task: Option<i32>) -> String {
    let Some(task) = task else { return "  it has no thread".to_owned() };
    let read = |name: &str| fs::read_to_string(format!("/proc/self/task/{task}/{name}"));
    let mut text = format!("  thread {task} {}", read("comm").unwrap_or_default().trim());
    let status = read("status").unwrap_or_default();
    for key in ["State", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"] {
        if let Some(line) = status.lines().find(|line| line.starts_with(key)) {
            let _ = write!(text, "\n    {}", line.replace('\t', " "));
        }
    }
    for name in ["wchan", "syscall", "schedstat", "stack"] {
        let content = read(name).unwrap_or_else(|error| error.to_string());
        let lines: Vec<&str> = content.lines().take(LINES_MAX).collect();
        let _ = write!(text, "\n    {name}: {}", lines.join("\n      "));
    }
    text
}

/// Every thread of this process.
pub(super) fn all() -> String {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let tasks = tasks.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    tasks.map(|task| thread(Some(task))).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_behind_the_name() {
        assert_eq!(of_stat("12 (weir-shard-0) R 1 12"), ThreadState::Runs);
        assert_eq!(of_stat("12 (a) R (b) D 1 12"), ThreadState::Sleeps);
        assert_eq!(of_stat("12 (weir) S 1 12"), ThreadState::Sleeps);
        for stopped in ["12 (weir) T 1", "12 (weir) Z 1", ""] {
            assert_eq!(of_stat(stopped), ThreadState::Stopped, "{stopped:?}");
        }
    }

    #[test]
    fn this_thread_is_among_all() {
        let task = rustix::thread::gettid().as_raw_nonzero().get();
        assert_eq!(state(task), ThreadState::Runs);
        let all = all();
        assert!(all.contains(&format!("  thread {task} ")), "{all}");
        assert!(all.contains("State: R (running)"), "{all}");
        assert!(thread(Some(i32::MAX)).contains("No such file"));
    }
}
