//! One measurement of a scenario: which generator runs against which proxy, and what it said.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::clock::pause;
use crate::latency::Summary;
use crate::load::bulk::{self, Direction};
use crate::load::{crr, idle, rr};
use crate::runner::machine;
use crate::runner::probe::{self, Outcome, micros};
use crate::runner::process::{Backend, Proxy, load_program};
use crate::runner::report::Sample;
use crate::runner::scenario::{Case, Kind, Rate, Scenario};
use crate::runner::{LOAD_CORE, fault};
use crate::sys;

/// Kernel memory is freed late and counted in batches: it settles before it is read.
const SETTLE: Duration = Duration::from_millis(300);
/// Bulk streams of a mixed scenario are full before the small round trips begin.
const HEAD_START: Duration = Duration::from_millis(300);
/// Bytes that no stream of a mixed scenario comes to the end of.
const ENDLESS: u64 = 1 << 50;

/// A case that knows its rate.
pub struct Work<'a> {
    pub scenario: &'a Scenario,
    pub case: &'a Case,
    /// Requests a second; None: closed loop.
    pub rate: Option<f64>,
    /// Length of one measurement.
    pub seconds: f64,
}

/// The backends that a scenario needs, each with its service's name.
pub fn backends(scenario: &Scenario, count: u16) -> io::Result<Vec<(&'static str, Backend)>> {
    // Small round trips must not wait for the bulk generator on the core that they share.
    let urgent = scenario.kind == Kind::Mixed;
    let mut all = Vec::new();
    if scenario.kind != Kind::Bulk {
        all.push(("echo", Backend::start("echo", count, urgent)?));
    }
    if matches!(scenario.kind, Kind::Bulk | Kind::Mixed) {
        let mode = if scenario.direction == Direction::Up { "sink" } else { "source" };
        all.push((mode, Backend::start(mode, count, false)?));
    }
    Ok(all)
}

/// Arguments for weir-load.
pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_string).collect()
}

impl Work<'_> {
    /// A little of it, so that nothing is done for the first time while it is measured.
    pub fn warm_up(&self, proxy: &Proxy) -> io::Result<()> {
        match self.scenario.kind {
            Kind::Bulk => self.bulk(proxy, 16 << 20).map(drop),
            Kind::Crr => {
                let echo = proxy.address("echo");
                let report: io::Result<crr::CrrReport> =
                    probe::load(&words(&format!("crr --target {echo} --count 300")));
                report.map(drop)
            }
            _ => {
                let echo = proxy.address("echo");
                let report: io::Result<rr::RrReport> =
                    probe::load(&words(&format!("rr --target {echo} --seconds 0.2")));
                report.map(drop)
            }
        }
    }

    /// Does the work once; `share` of its length.
    pub fn once(&self, proxy: &Proxy, share: f64) -> io::Result<Outcome> {
        let Scenario { kind, size, .. } = self.scenario;
        let seconds = self.seconds * share;
        let connections = self.case.connections;
        match kind {
            Kind::Bulk => {
                let bytes = self.scenario.mib << 20;
                self.bulk(proxy, if share < 1.0 { bytes / 4 } else { bytes })
            }
            Kind::Crr => {
                let target = proxy.address("echo");
                let line = format!(
                    "crr --target {target} --concurrency {connections} --seconds {seconds} \
                     --size {size}"
                );
                let report: crr::CrrReport = probe::load(&words(&line))?;
                let units = micros(report.connections);
                Ok(outcome(units, report.cpu_us, Some(&report.latency)))
            }
            Kind::Mixed => self.mixed(proxy, seconds),
            Kind::Idle => Err(fault("idle sessions are measured with a fresh proxy")),
            Kind::Rr | Kind::OpenLoop => {
                let report: rr::RrReport = probe::load(&words(&self.rr_line(proxy, seconds)))?;
                Ok(rr_outcome(&report))
            }
        }
    }

    fn rr_line(&self, proxy: &Proxy, seconds: f64) -> String {
        let (target, size) = (proxy.address("echo"), self.scenario.size);
        let connections = self.case.connections;
        let rate = self.rate.map_or(String::new(), |rate| format!("--rate {rate:.3}"));
        format!(
            "rr --target {target} --connections {connections} --size {size} \
             --seconds {seconds} {rate}"
        )
    }

    fn bulk_line(&self, proxy: &Proxy, bytes: u64) -> String {
        let up = self.scenario.direction == Direction::Up;
        let (service, way) = if up { ("sink", "up") } else { ("source", "down") };
        let (target, streams) = (proxy.address(service), self.scenario.streams);
        format!("bulk --target {target} --bytes {bytes} --direction {way} --streams {streams}")
    }

    fn bulk(&self, proxy: &Proxy, bytes: u64) -> io::Result<Outcome> {
        let report: bulk::BulkReport = probe::load(&words(&self.bulk_line(proxy, bytes)))?;
        Ok(outcome(micros(report.bytes) / 1e9, report.cpu_us, None))
    }

    /// Round trips while the streams are full.
    fn mixed(&self, proxy: &Proxy, seconds: f64) -> io::Result<Outcome> {
        let line = self.bulk_line(proxy, ENDLESS);
        let all = seconds + HEAD_START.as_secs_f64() * 2.0;
        let mut command = Command::new(load_program()?);
        command.args(words(&line)).args(["--stop-after", &all.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let streams = Ended(sys::spawn_on(&mut command, LOAD_CORE)?);
        pause(HEAD_START);
        let line = format!("{} --before-others", self.rr_line(proxy, seconds));
        let small: io::Result<rr::RrReport> = probe::load(&words(&line));
        let bulk: bulk::BulkReport = streams.report()?;
        let small = small?;
        if bulk.errors > 0 || bulk.bytes == 0 {
            let first = bulk.first_error.unwrap_or_else(|| "no byte came".to_string());
            return Err(fault(format!("beside it: {first}")));
        }
        let mut outcome = rr_outcome(&small);
        outcome.generator_us = None;
        outcome.values.insert("bulk_gb_per_s".to_string(), bulk.gigabytes_per_s);
        Ok(outcome)
    }

    /// Memory before and while a freshly started proxy holds the sessions.
    pub fn idle_sessions(&self, round: u32, proxy: &Proxy) -> io::Result<Sample> {
        let target = proxy.address("echo");
        let line = format!("rr --target {target} --connections 16 --count 1000");
        let _: rr::RrReport = probe::load(&words(&line))?;
        pause(SETTLE);
        let resident = || proxy.program.as_ref().map(|program| program.resident()).transpose();
        let (before, slab, caches) = (resident()?, machine::slab()?, machine::socket_caches());
        let mut command = Command::new(load_program()?);
        let size = self.scenario.size;
        command.args(words(&format!("idle --target {target} --hold-seconds 120 --size {size}")));
        command.args(["--connections", &self.case.connections.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = Ended(sys::spawn_on(&mut command, LOAD_CORE)?);
        let mut output = BufReader::new(child.0.stdout.take().ok_or_else(|| fault("no output"))?);
        let mut said = String::new();
        output.read_line(&mut said)?;
        pause(SETTLE);
        let (after, slab_after) = (resident()?, machine::slab()?);
        let caches_after = machine::socket_caches();
        drop(child.0.stdin.take());
        let mut text = String::new();
        output.read_to_string(&mut text)?;
        let status = child.0.wait()?;
        if said.trim() != "holding" || !status.success() {
            return Err(fault(format!("weir-load idle: {status}: {said}{text}")));
        }
        let report: idle::IdleReport = serde_json::from_str(&text).map_err(fault)?;
        let sessions = micros(report.connections);
        let per_session = |after: u64, before: u64| (micros(after) - micros(before)) / sessions;
        let mut values = BTreeMap::new();
        values.insert("slab_bytes".to_string(), per_session(slab_after.0, slab.0));
        let unreclaimable = per_session(slab_after.1, slab.1);
        values.insert("slab_unreclaimable_bytes".to_string(), unreclaimable);
        if let (Some(before), Some(after)) = (caches, caches_after) {
            values.insert("socket_slab_bytes".to_string(), per_session(after, before));
        }
        if let (Some(before), Some(after)) = (before, after) {
            values.insert("user_bytes".to_string(), per_session(after, before));
            values.insert("resident_start_bytes".to_string(), micros(before));
            values.insert("resident_bytes".to_string(), micros(after));
        }
        let work = self.case.label.clone();
        Ok(Sample { round, work, peer: proxy.peer, units: sessions, values })
    }
}

/// A case with its rate, once HAProxy's capacity is known.
#[must_use]
pub fn per_second(rate: Rate, capacity: f64) -> Option<f64> {
    match rate {
        Rate::Closed => None,
        Rate::PerSecond(rate) => Some(rate),
        Rate::OfCapacity(share) => Some(share * capacity),
    }
}

/// The proxy's own memory of an idle session in user space and kernel, its two sockets included:
/// what the machine's slab grows more than without it, and its resident set.
pub fn add_totals(samples: &mut [Sample]) {
    use crate::runner::peer::Peer;
    let without: BTreeMap<(String, u32), f64> = samples
        .iter()
        .filter(|sample| sample.peer == Peer::None)
        .filter_map(|sample| {
            Some(((sample.work.clone(), sample.round), *sample.values.get("slab_bytes")?))
        })
        .collect();
    for sample in samples.iter_mut().filter(|sample| sample.peer != Peer::None) {
        let key = (sample.work.clone(), sample.round);
        let values = &mut sample.values;
        let parts = (without.get(&key), values.get("slab_bytes"), values.get("user_bytes"));
        if let (Some(without), Some(with), Some(user)) = parts {
            let (kernel, user) = (with - without, *user);
            values.insert("kernel_bytes".to_string(), kernel);
            values.insert("all_bytes".to_string(), kernel + user);
        }
    }
}

fn rr_outcome(report: &rr::RrReport) -> Outcome {
    let units = micros(report.round_trips);
    let mut outcome = outcome(units, report.cpu_us, Some(&report.latency));
    if let Some(lag) = &report.lag {
        outcome.values.insert("lag_p99_us".to_string(), lag.p99_us);
        outcome.values.insert("unsent".to_string(), micros(report.unsent));
        let offered = (units + micros(report.unsent)) / report.seconds;
        outcome.values.insert("offered_per_s".to_string(), offered);
    }
    outcome
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

/// A generator that is gone with its value.
struct Ended(Child);

impl Ended {
    /// Waits for its end: its report.
    fn report<R: serde::de::DeserializeOwned>(mut self) -> io::Result<R> {
        let mut text = String::new();
        if let Some(mut output) = self.0.stdout.take() {
            output.read_to_string(&mut text)?;
        }
        self.0.wait()?;
        serde_json::from_str(&text).map_err(|error| fault(format!("{text:?}: {error}")))
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::peer::Peer;

    #[test]
    fn a_sessions_memory_is_what_is_more_than_without_a_proxy() {
        let sample = |peer, round, slab: f64, user: Option<f64>| {
            let mut values = BTreeMap::from([("slab_bytes".to_string(), slab)]);
            values.extend(user.map(|user| ("user_bytes".to_string(), user)));
            Sample { round, work: "idle".into(), peer, units: 1.0, values }
        };
        let mut samples = [
            sample(Peer::None, 0, 5_000.0, None),
            sample(Peer::Weir, 0, 12_000.0, Some(200.0)),
            sample(Peer::Weir, 1, 12_000.0, Some(200.0)),
        ];
        add_totals(&mut samples);
        assert_eq!(samples[1].values["all_bytes"], 7_200.0);
        assert!(!samples[2].values.contains_key("all_bytes"), "another round");
        assert!(!samples[0].values.contains_key("all_bytes"));
    }

    #[test]
    fn rates_are_shares_of_the_capacity() {
        assert_eq!(per_second(Rate::OfCapacity(0.3), 50_000.0), Some(15_000.0));
        assert_eq!(per_second(Rate::PerSecond(7.0), 50_000.0), Some(7.0));
        assert_eq!(per_second(Rate::Closed, 50_000.0), None);
    }
}
