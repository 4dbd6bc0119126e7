//! The first figures: CPU per round trip, per connection, per GB, and memory per idle session.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::clock::pause;
use crate::latency::Summary;
use crate::load::{bulk, crr, idle, rr};
use crate::runner::machine;
use crate::runner::peer::{self, Found, Wanted};
use crate::runner::probe::{self, Meter, Outcome, micros};
use crate::runner::process::{Backend, Proxy, Service, load_program};
use crate::runner::report::{self, Circumstances, Row, Sample};
use crate::runner::{LOAD_CORE, fault};
use crate::sys;

/// Kernel memory is freed late and counted in batches: it settles before it is read.
const SETTLE: Duration = Duration::from_millis(300);

/// Options of the first-light run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub wanted: Wanted,
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Length of each measurement of round trips and of connections.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// Bytes of each of the four bulk streams, in MiB.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub bulk_mib: u64,
    /// Idle sessions held.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=8_900))]
    pub sessions: u32,
    /// Where the raw numbers go, as JSON.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// The works of the timed part, in order.
const WORKS: [&str; 4] = ["rr", "crr", "download", "upload"];

const ROWS: &[Row] = &[
    row("rr", "proxy_cpu_us", "round trip 64 B x 64: proxy CPU us", 1.0),
    far("rr", "machine_cpu_us", "round trip: machine CPU us", 1.0),
    far("rr", "processes_cpu_us", "round trip: proxy+generator+backend CPU us", 1.0),
    row("rr", "p50_us", "round trip, closed loop: p50 us", 1.0),
    row("rr", "p99_us", "round trip, closed loop: p99 us", 1.0),
    row("crr", "proxy_cpu_us", "connection (connect, 1 RT, reset) x 64: proxy CPU us", 1.0),
    far("crr", "machine_cpu_us", "connection: machine CPU us", 1.0),
    far("crr", "processes_cpu_us", "connection: the three processes CPU us", 1.0),
    row("crr", "p99_us", "connection: p99 us", 1.0),
    row("download", "proxy_cpu_us", "download, 4 streams: proxy CPU ms per GB", 1_000.0),
    far("download", "machine_cpu_us", "download: machine CPU ms per GB", 1_000.0),
    row("download", "per_s", "download: GB/s", 1.0),
    row("upload", "proxy_cpu_us", "upload, 4 streams: proxy CPU ms per GB", 1_000.0),
    far("upload", "machine_cpu_us", "upload: machine CPU ms per GB", 1_000.0),
    row("upload", "per_s", "upload: GB/s", 1.0),
    row("idle", "user_bytes", "idle session after an exchange: user bytes", 1.0),
    row("idle", "slab_bytes", "idle session: slab bytes of the machine", 1.0),
    row("idle", "slab_unreclaimable_bytes", "  of these unreclaimable", 1.0),
    row("idle", "resident_bytes", "proxy with the idle sessions: resident MB", 1e6),
];

const fn row(work: &'static str, value: &'static str, label: &'static str, scale: f64) -> Row {
    Row { work, value, label, scale, distance: false }
}

const fn far(work: &'static str, value: &'static str, label: &'static str, scale: f64) -> Row {
    Row { work, value, label, scale, distance: true }
}

/// Runs everything and publishes it.
pub fn run(options: &Options) -> io::Result<()> {
    sys::raise_open_files()?;
    let peers = peer::find(&options.wanted)?;
    let baseline = probe::baseline()?;
    let backends: Vec<Backend> =
        ["echo", "source", "sink"].into_iter().map(Backend::start).collect::<io::Result<_>>()?;
    let services: Vec<Service> = ["echo", "source", "sink"]
        .into_iter()
        .zip(&backends)
        .map(|(name, backend)| Service { name, backend: backend.address })
        .collect();
    let mut samples = Vec::new();
    let mut cores = BTreeMap::new();
    {
        let start = |found: &Found| Proxy::start(found, &services);
        let proxies: Vec<Proxy> = peers.iter().map(start).collect::<io::Result<_>>()?;
        for proxy in &proxies {
            warm_up(proxy)?;
            let allowed = proxy.program.as_ref().map(|program| program.cores());
            cores.insert(proxy.peer.name(), allowed.unwrap_or_default());
        }
        for round in 0..options.rounds {
            eprintln!("weir-bench: round {} of {}", round + 1, options.rounds);
            for work in WORKS {
                for at in 0..proxies.len() {
                    // Each round begins with another one: none is always first after the pause.
                    let proxy = &proxies[(at + round as usize) % proxies.len()];
                    let meter = Meter { proxy, backends: &backends, baseline };
                    samples.push(meter.sample(round, work, || timed(work, proxy, options))?);
                }
            }
        }
    }
    for round in 0..options.rounds {
        eprintln!("weir-bench: idle sessions, round {} of {}", round + 1, options.rounds);
        for at in 0..peers.len() {
            let found = &peers[(at + round as usize) % peers.len()];
            let sample = idle_sessions(round, &Proxy::start(found, &services)?, options);
            samples.push(sample.map_err(|error| {
                fault(format!("idle sessions through {}: {error}", found.peer.name()))
            })?);
        }
    }
    let around = Circumstances { peers: &peers, cores: &cores, baseline };
    report::publish(&samples, ROWS, &around, options.out.as_deref())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_string).collect()
}

/// A little of everything, so that nothing is done for the first time while it is measured.
fn warm_up(proxy: &Proxy) -> io::Result<()> {
    let (echo, source) = (proxy.address("echo"), proxy.address("source"));
    let sink = proxy.address("sink");
    let _: rr::Report = probe::load(&words(&format!("rr --target {echo} --seconds 0.3")))?;
    let _: crr::Report = probe::load(&words(&format!("crr --target {echo} --count 300")))?;
    for (target, way) in [(source, "down"), (sink, "up")] {
        let line = format!("bulk --target {target} --bytes 16777216 --direction {way}");
        let _: bulk::Report = probe::load(&words(&line))?;
    }
    Ok(())
}

fn timed(work: &str, proxy: &Proxy, options: &Options) -> io::Result<Outcome> {
    let (echo, seconds) = (proxy.address("echo"), options.seconds);
    match work {
        "rr" => {
            let line = format!("rr --target {echo} --connections 64 --seconds {seconds}");
            let report: rr::Report = probe::load(&words(&line))?;
            Ok(outcome(micros(report.round_trips), report.cpu_us, Some(&report.latency)))
        }
        "crr" => {
            let line = format!("crr --target {echo} --concurrency 64 --seconds {seconds}");
            let report: crr::Report = probe::load(&words(&line))?;
            Ok(outcome(micros(report.connections), report.cpu_us, Some(&report.latency)))
        }
        _ => {
            let (service, way) = if work == "upload" { ("sink", "up") } else { ("source", "down") };
            let (target, bytes) = (proxy.address(service), options.bulk_mib << 20);
            let line = format!("bulk --target {target} --bytes {bytes} --direction {way}");
            let report: bulk::Report = probe::load(&words(&line))?;
            Ok(outcome(micros(report.bytes) / 1e9, report.cpu_us, None))
        }
    }
}

fn outcome(units: f64, generator_us: u64, latency: Option<&Summary>) -> Outcome {
    let mut values = BTreeMap::new();
    if let Some(latency) = latency {
        values.insert("p50_us".to_string(), latency.p50_us);
        values.insert("p90_us".to_string(), latency.p90_us);
        values.insert("p99_us".to_string(), latency.p99_us);
        values.insert("p999_us".to_string(), latency.p999_us);
        values.insert("max_us".to_string(), latency.max_us);
    }
    Outcome { units, generator_us: Some(micros(generator_us)), values }
}

/// Memory before and while a freshly started proxy holds the sessions.
fn idle_sessions(round: u32, proxy: &Proxy, options: &Options) -> io::Result<Sample> {
    let target = proxy.address("echo");
    let line = format!("rr --target {target} --connections 16 --count 1000");
    let _: rr::Report = probe::load(&words(&line))?;
    pause(SETTLE);
    let resident = || proxy.program.as_ref().map(|program| program.resident()).transpose();
    let (before, slab) = (resident()?, machine::slab()?);
    let mut command = Command::new(load_program()?);
    command.args(words(&format!("idle --target {target} --hold-seconds 120")));
    command.args(["--connections", &options.sessions.to_string()]);
    let mut child = sys::spawn_on(
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()),
        LOAD_CORE,
    )?;
    let mut output = BufReader::new(child.stdout.take().ok_or_else(|| fault("no output"))?);
    let mut said = String::new();
    output.read_line(&mut said)?;
    pause(SETTLE);
    let (after, slab_after) = (resident()?, machine::slab()?);
    drop(child.stdin.take());
    let mut text = String::new();
    output.read_to_string(&mut text)?;
    let status = child.wait()?;
    if said.trim() != "holding" || !status.success() {
        return Err(fault(format!("weir-load idle: {status}: {said}{text}")));
    }
    let report: idle::Report = serde_json::from_str(&text).map_err(fault)?;
    let sessions = micros(report.connections);
    let mut values = BTreeMap::new();
    if let (Some(before), Some(after)) = (before, after) {
        values.insert("user_bytes".to_string(), (micros(after) - micros(before)) / sessions);
        values.insert("resident_start_bytes".to_string(), micros(before));
        values.insert("resident_bytes".to_string(), micros(after));
    }
    let per_session = |after: u64, before: u64| (micros(after) - micros(before)) / sessions;
    values.insert("slab_bytes".to_string(), per_session(slab_after.0, slab.0));
    let unreclaimable = per_session(slab_after.1, slab.1);
    values.insert("slab_unreclaimable_bytes".to_string(), unreclaimable);
    Ok(Sample { round, work: "idle".to_string(), peer: proxy.peer, units: sessions, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_of_a_work_that_is_run() {
        for row in ROWS {
            assert!(row.work == "idle" || WORKS.contains(&row.work), "{}", row.work);
            assert!(row.label.len() <= 52, "{}", row.label);
        }
    }
}
