//! What the kernel counts of a proxy while it works: syscalls, io_uring_enter, io-wq punts, CQ
//! overflows, context switches. Taken in passes of their own: counting costs time.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::runner::fault;
use crate::runner::process::Proxy;
use crate::sys::perf::{CountedEvent, Counter};

/// Longest wait for the metrics page.
const PATIENCE: Duration = Duration::from_secs(5);
/// The number of io_uring_enter is 426 on every architecture.
const ENTERS: &str = "id == 426";

/// Where the counts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Tracepoints,
    /// weir's own metrics: enters and CQ overflows only, and of weir only.
    Metrics,
}

/// A pass with counters on.
pub struct Counting {
    counters: BTreeMap<&'static str, Vec<Counter>>,
    metrics: Option<(SocketAddr, BTreeMap<&'static str, f64>)>,
}

/// Says what can be counted with here, and why not more.
#[must_use]
pub fn source() -> (Source, String) {
    match events().and_then(|events| {
        events.iter().try_for_each(|(_, event)| Counter::start(event, std::process::id()).map(drop))
    }) {
        Ok(()) => (Source::Tracepoints, "tracepoints (perf_event_open)".to_string()),
        Err(error) => {
            let text = format!("weir's own metrics; tracepoints cannot be used: {error}");
            (Source::Metrics, text)
        }
    }
}

fn events() -> io::Result<Vec<(&'static str, CountedEvent)>> {
    Ok(vec![
        ("syscalls", CountedEvent::tracepoint("raw_syscalls/sys_enter", "")?),
        ("enters", CountedEvent::tracepoint("raw_syscalls/sys_enter", ENTERS)?),
        ("punts", CountedEvent::tracepoint("io_uring/io_uring_queue_async_work", "")?),
        ("overflows", CountedEvent::tracepoint("io_uring/io_uring_cqe_overflow", "")?),
        ("switches", CountedEvent::ContextSwitches),
    ])
}

impl Counting {
    /// Starts to count; None: there is nothing to count with.
    pub fn start(proxy: &Proxy, source: Source) -> io::Result<Option<Self>> {
        let Some(program) = &proxy.program else { return Ok(None) };
        if source == Source::Metrics {
            let Some(admin) = proxy.admin else { return Ok(None) };
            let metrics = Some((admin, own(&metrics(admin)?)));
            return Ok(Some(Self { counters: BTreeMap::new(), metrics }));
        }
        let mut counters: BTreeMap<&'static str, Vec<Counter>> = BTreeMap::new();
        for thread in program.family().into_iter().flat_map(threads) {
            for (name, event) in events()? {
                // A thread can end between the look and this.
                if let Ok(counter) = Counter::start(&event, thread) {
                    counters.entry(name).or_default().push(counter);
                }
            }
        }
        Ok(Some(Self { counters, metrics: None }))
    }

    /// The counts since the start. Syscalls, enters and switches are per unit of work, under
    /// `…_per_unit`; punts and overflows are totals.
    pub fn finish(&self, units: f64) -> io::Result<BTreeMap<String, f64>> {
        let mut totals = BTreeMap::new();
        for (name, counters) in &self.counters {
            let mut sum = 0;
            for counter in counters {
                sum += counter.count()?;
            }
            totals.insert(*name, crate::runner::probe::micros(sum));
        }
        if let Some((admin, before)) = &self.metrics {
            for (name, after) in own(&metrics(*admin)?) {
                totals.insert(name, after - before.get(name).copied().unwrap_or(0.0));
            }
        }
        let per_unit = |name: &str| !matches!(name, "punts" | "overflows");
        Ok(totals
            .into_iter()
            .map(|(name, total)| match per_unit(name) {
                true => (format!("{name}_per_unit"), total / units),
                false => (name.to_string(), total),
            })
            .collect())
    }
}

fn threads(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// weir's metrics page.
pub fn metrics(admin: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    match text.starts_with("HTTP/1.1 200") {
        true => Ok(text),
        false => Err(fault("weir's metrics page does not answer")),
    }
}

/// What weir counts itself, summed over its shards.
fn own(page: &str) -> BTreeMap<&'static str, f64> {
    let sum = |metric: &str| -> f64 {
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(metric)?.strip_prefix('{')?;
            rest.split_once("} ")?.1.trim().parse::<f64>().ok()
        });
        values.sum()
    };
    BTreeMap::from([
        ("enters", sum("weir_shard_enters_total")),
        ("overflows", sum("weir_shard_cq_overflow_total")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_shards() {
        let page = "# HELP weir_shard_enters_total x\nweir_shard_enters_total{shard=\"0\"} 6\n\
            weir_shard_enters_total{shard=\"1\"} 7\nweir_shard_cq_overflow_total{shard=\"0\"} 1\n";
        assert_eq!(own(page), BTreeMap::from([("enters", 13.0), ("overflows", 1.0)]));
    }

    #[test]
    fn this_process_has_its_threads() {
        assert!(threads(std::process::id()).contains(&std::process::id()));
    }
}
