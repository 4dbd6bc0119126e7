//! `weir-bench run`: scenarios, all peers interleaved, then the tables and the raw numbers.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::clock::{now_ns, unix_seconds};
use crate::runner::bars;
use crate::runner::config::{SESSIONS_MAX, Setup};
use crate::runner::counters::{self, Source};
use crate::runner::fairness;
use crate::runner::machine::Machine;
use crate::runner::peer::{self, Found, Peer, Wanted};
use crate::runner::probe;
use crate::runner::process::{Proxy, Service};
use crate::runner::report::{self, Results, Row, Sample};
use crate::runner::scenario::{self, Case, Group, Kind, Rate, Scenario};
use crate::runner::testbed::Testbed;
use crate::runner::work::{self, Work};
use crate::runner::{context, fault};
use crate::sys;

/// Part of a measurement's length that a counted pass takes.
const COUNTED_SHARE: f64 = 0.5;
/// Looks at the capacity that open-loop rates are shares of.
const CAPACITY_LOOKS: u32 = 3;

/// Options of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Scenarios by name; without any: all of the group.
    pub scenarios: Vec<String>,
    #[arg(long, value_enum, default_value = "bars")]
    pub group: GroupName,
    /// The folder with the scenario files.
    #[arg(long, default_value = "benches/scenarios")]
    pub folder: PathBuf,
    /// Instead of each scenario's own.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: Option<u32>,
    /// Length of one measurement, instead of each scenario's own.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: Option<u32>,
    /// MiB of each bulk stream, instead of each scenario's own.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub mib: Option<u64>,
    /// Where the raw numbers go, as JSON; by default benches/results/DATE-run.json.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Only say which scenarios there are.
    #[arg(long)]
    pub list: bool,
    #[command(flatten)]
    pub wanted: Wanted,
}

/// A group by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupName {
    Bars,
    Growth,
}

/// What a run gathers.
struct Run<'a> {
    options: &'a Options,
    peers: Vec<Found>,
    baseline: f64,
    source: Source,
    samples: Vec<Sample>,
    counts: Vec<Sample>,
    settings: BTreeMap<String, BTreeMap<&'static str, String>>,
    cores: BTreeMap<&'static str, Vec<String>>,
    /// Measurements that failed. The others continue.
    failures: Vec<String>,
    /// HAProxy's closed-loop round trips a second, by connections.
    capacities: BTreeMap<u32, f64>,
}

/// Runs the scenarios and publishes what came of it.
pub fn run(options: &Options) -> io::Result<()> {
    let group = match options.group {
        GroupName::Bars => Group::Bars,
        GroupName::Growth => Group::Growth,
    };
    let begin = now_ns();
    let mut scenarios = scenario::load(&options.folder, &options.scenarios, group)?;
    for scenario in &mut scenarios {
        scenario.rounds = options.rounds.unwrap_or(scenario.rounds);
        scenario.seconds = options.seconds.map_or(scenario.seconds, f64::from);
        scenario.mib = options.mib.unwrap_or(scenario.mib);
        if options.list {
            let cases: Vec<String> = scenario.cases().into_iter().map(|case| case.label).collect();
            println!("{}: {}", scenario.name, cases.join("; "));
        }
    }
    if options.list {
        return Ok(());
    }
    sys::raise_open_files()?;
    let peers = peer::find(&options.wanted)?;
    let baseline = probe::baseline()?;
    let (source, counted_with) = counters::source();
    let fairness = fairness::lines(&Machine::read(), &peers, baseline, &counted_with);
    println!("{}\n", fairness.join("\n"));
    let mut run = Run {
        options,
        peers,
        baseline,
        source,
        samples: Vec::new(),
        counts: Vec::new(),
        settings: BTreeMap::new(),
        cores: BTreeMap::new(),
        failures: Vec::new(),
        capacities: BTreeMap::new(),
    };
    for scenario in &scenarios {
        run.scenario(scenario);
    }
    work::add_totals(&mut run.samples);
    run.publish(&scenarios, fairness)?;
    let minutes = probe::micros((now_ns() - begin) / 1_000_000) / 60_000.0;
    eprintln!("weir-bench: {minutes:.1} minutes");
    Ok(())
}

impl Run<'_> {
    fn scenario(&mut self, scenario: &Scenario) {
        let cases = scenario.cases();
        for (at, case) in cases.iter().enumerate() {
            eprintln!(
                "weir-bench: {} ({} of {}), {} rounds",
                case.label,
                at + 1,
                cases.len(),
                scenario.rounds
            );
            let measured = match scenario.kind {
                Kind::Idle => self.idle(scenario, case),
                _ => self.timed(scenario, case),
            };
            if let Err(error) = measured {
                self.fail(&format!("{}: {error}", case.label));
            }
        }
    }

    fn fail(&mut self, what: &str) {
        eprintln!("weir-bench: {what}");
        // It is published, and other programs say where they lie.
        let words: Vec<String> = what.split(' ').map(report::without_folders).collect();
        self.failures.push(words.join(" "));
    }

    fn setup(scenario: &Scenario, case: &Case) -> Setup {
        let Scenario { balance, buffers, .. } = *scenario;
        let (shards, sessions_max) = (case.shards, SESSIONS_MAX);
        Setup { shards, balance, buffers, sessions_max, logs_sessions: false }
    }

    /// The peers that take part.
    fn present(&self, scenario: &Scenario) -> Vec<Found> {
        let takes_part = |found: &&Found| scenario.peers.contains(&found.peer);
        self.peers.iter().filter(takes_part).cloned().collect()
    }

    fn timed(&mut self, scenario: &Scenario, case: &Case) -> io::Result<()> {
        let peers = self.present(scenario);
        let backends = work::backends(scenario, case.backends)?;
        let setup = Self::setup(scenario, case);
        let stand =
            Testbed::start(&peers.iter().collect::<Vec<_>>(), backends, setup, self.baseline)?;
        for why in &stand.left_out {
            self.fail(&format!("{}: not measured: {why}", case.label));
        }
        let capacity = match case.rate {
            Rate::OfCapacity(_) => self.capacity(scenario, case, &stand)?,
            _ => 0.0,
        };
        let seconds = scenario.seconds;
        let rate = work::per_second(case.rate, capacity);
        let work = Work { scenario, case, rate, seconds };
        for proxy in &stand.proxies {
            work.warm_up(proxy).map_err(context(proxy.peer.name()))?;
            let told = self.settings.entry(scenario.name.clone()).or_default();
            told.entry(proxy.peer.name()).or_insert_with(|| proxy.settings.clone());
        }
        for round in 0..scenario.rounds {
            let taken = stand.round(round, &case.label, |proxy| work.once(proxy, 1.0))?;
            self.samples.extend(taken);
        }
        let once = |proxy: &Proxy| work.once(proxy, COUNTED_SHARE);
        self.counts.extend(stand.count(&case.label, self.source, once)?);
        self.cores.extend(stand.cores());
        Ok(())
    }

    /// HAProxy's rate in a closed loop; without HAProxy weir's, and it is said.
    fn capacity(&mut self, scenario: &Scenario, case: &Case, stand: &Testbed) -> io::Result<f64> {
        if let Some(known) = self.capacities.get(&case.connections) {
            return Ok(*known);
        }
        let by = |peer| stand.proxies.iter().find(|proxy: &&Proxy| proxy.peer == peer);
        let proxy = by(Peer::Haproxy)
            .or_else(|| by(Peer::Weir))
            .or_else(|| by(Peer::None))
            .ok_or_else(|| fault("nobody to take the capacity of"))?;
        if proxy.peer != Peer::Haproxy {
            let name = proxy.peer.name();
            eprintln!("weir-bench: no HAProxy: the rates are shares of the capacity of {name}");
        }
        let work = Work { scenario, case, rate: None, seconds: scenario.seconds };
        work.warm_up(proxy)?;
        let label = format!("capacity, connections {}", case.connections);
        let mut seen = Vec::new();
        for round in 0..CAPACITY_LOOKS {
            let outcome = work.once(proxy, 1.0)?;
            let per_s = outcome.units / scenario.seconds;
            let values = BTreeMap::from([("per_s".to_string(), per_s)]);
            let (work, peer, units) = (label.clone(), proxy.peer, outcome.units);
            self.samples.push(Sample { round, work, peer, units, values });
            seen.push(per_s);
        }
        let capacity = report::median(&seen).unwrap_or(0.0);
        self.capacities.insert(case.connections, capacity);
        Ok(capacity)
    }

    fn idle(&mut self, scenario: &Scenario, case: &Case) -> io::Result<()> {
        let peers = self.present(scenario);
        let named = work::backends(scenario, case.backends)?;
        let services: Vec<Service> = named
            .iter()
            .map(|(name, backend)| Service { name, backends: backend.addresses.clone() })
            .collect();
        let setup = Self::setup(scenario, case);
        let work = Work { scenario, case, rate: None, seconds: scenario.seconds };
        for round in 0..scenario.rounds {
            for at in 0..peers.len() {
                let found = &peers[(at + round as usize) % peers.len()];
                let proxy = Proxy::start(found, &services, setup)?;
                let sample = work.idle_sessions(round, &proxy);
                self.samples.push(sample.map_err(context(found.peer.name()))?);
                let told = self.settings.entry(scenario.name.clone()).or_default();
                told.entry(proxy.peer.name()).or_insert_with(|| proxy.settings.clone());
            }
        }
        Ok(())
    }

    fn publish(self, scenarios: &[Scenario], fairness: Vec<String>) -> io::Result<()> {
        let rows: Vec<Row> = scenarios.iter().flat_map(rows).collect();
        let summary = report::summary(&self.samples, &rows);
        let verdicts = bars::judge(scenarios, &self.samples, &self.counts);
        print!("{}", report::table(&summary, &rows, &self.peers));
        print!("{}", bars::counts(&self.counts));
        print!("{}", bars::table(&verdicts));
        report::warn(&self.samples, self.baseline);
        let at_unix_s = unix_seconds();
        let out = self.options.out.clone().unwrap_or_else(|| {
            PathBuf::from(format!("benches/results/{}-run.json", report::date(at_unix_s)))
        });
        let results = Results {
            schema: "weir-bench/v2",
            at_unix_s,
            command: report::command(),
            machine: Machine::read(),
            versions: report::versions(&self.peers),
            settings: self.settings,
            cores: self.cores,
            baseline_busy_cores: self.baseline,
            fairness,
            scenarios,
            failures: &self.failures,
            verdicts,
            summary,
            counts: &self.counts,
            samples: &self.samples,
        };
        report::write(&results, &out)?;
        match self.failures.first() {
            None => Ok(()),
            Some(first) => Err(fault(format!(
                "{} cases or peers are missing, the first: {first}",
                self.failures.len()
            ))),
        }
    }
}

/// What the table shows of a scenario: for each case, by kind.
fn rows(scenario: &Scenario) -> Vec<Row> {
    type Shown = (&'static str, &'static str, f64, bool);
    const CPU: [Shown; 3] = [
        ("proxy_cpu_us", "proxy CPU us", 1.0, false),
        ("machine_cpu_us", "machine CPU us", 1.0, true),
        ("processes_cpu_us", "proxy+generator+backend CPU us", 1.0, true),
    ];
    const LATENCY: [Shown; 2] =
        [("p50_us", "p50 us", 1.0, false), ("p99_us", "p99 us", 1.0, false)];
    const RATE: [Shown; 1] = [("per_s", "per second", 1.0, false)];
    const BULK: [Shown; 4] = [
        ("proxy_cpu_us", "proxy CPU ms per GB", 1_000.0, false),
        ("machine_cpu_us", "machine CPU ms per GB", 1_000.0, true),
        ("processes_cpu_us", "the three processes CPU ms per GB", 1_000.0, true),
        ("per_s", "GB/s", 1.0, false),
    ];
    const OPEN: [Shown; 3] = [
        ("lag_p99_us", "lag of the offer, p99 us", 1.0, false),
        ("unsent", "due and never sent", 1.0, false),
        ("offered_per_s", "offered per second", 1.0, false),
    ];
    const MIXED: [Shown; 1] = [("bulk_gb_per_s", "bulk beside it, GB/s", 1.0, false)];
    const IDLE: [Shown; 6] = [
        ("user_bytes", "user bytes a session", 1.0, false),
        ("slab_bytes", "slab bytes of the machine", 1.0, false),
        ("socket_slab_bytes", "of it in the caches of sockets", 1.0, false),
        ("kernel_bytes", "slab more than without a proxy", 1.0, false),
        ("all_bytes", "the proxy's user + kernel bytes", 1.0, false),
        ("resident_bytes", "proxy resident MB", 1e6, false),
    ];
    let shown: Vec<Shown> = match scenario.kind {
        Kind::Rr | Kind::Crr => [&CPU[..], &LATENCY, &RATE].concat(),
        Kind::Bulk => BULK.to_vec(),
        Kind::Idle => IDLE.to_vec(),
        Kind::OpenLoop => [&LATENCY[..], &CPU[..1], &OPEN].concat(),
        Kind::Mixed => [&LATENCY[..], &MIXED, &OPEN[..2]].concat(),
    };
    let row = |case: &Case, (value, label, scale, distance): &Shown| Row {
        work: case.label.clone(),
        value,
        label: format!("{}: {label}", case.label),
        scale: *scale,
        distance: *distance,
    };
    let cases = scenario.cases();
    cases.iter().flat_map(|case| shown.iter().map(move |one| row(case, one))).collect()
}
