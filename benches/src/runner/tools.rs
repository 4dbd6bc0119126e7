//! Other people's generators: wrk over HTTP, and tcpkali; both closed loops, so no latency claim.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::clock::unix_seconds;
use crate::load::{bulk, rr};
use crate::runner::config::{SESSIONS_MAX, Setup};
use crate::runner::fairness;
use crate::runner::fault;
use crate::runner::machine::Machine;
use crate::runner::peer::{self, Found, Wanted, locate};
use crate::runner::probe::{self, Outcome, micros};
use crate::runner::process::{Backend, Proxy, Scratch};
use crate::runner::report::{self, Results, Row, Sample};
use crate::runner::testbed::Testbed;

/// Options of the runs with other people's generators.
#[derive(Clone, Debug, clap::Args)]
pub struct ToolsOptions {
    #[command(flatten)]
    pub wanted: Wanted,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Length of each measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=8_900))]
    pub connections: u32,
    /// Where the raw numbers go, as JSON.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// What a row shows: work, value, label, scale.
type ToolsShown = (&'static str, &'static str, &'static str, f64);

const WRK_ROWS: &[ToolsShown] = &[
    ("wrk", "per_s", "HTTP requests/s", 1.0),
    ("wrk", "proxy_cpu_us", "HTTP request: proxy CPU us", 1.0),
    ("wrk", "machine_cpu_us", "HTTP request: machine CPU us", 1.0),
    ("wrk", "p50_us", "HTTP request, wrk (closed loop): p50 us", 1.0),
    ("wrk", "p99_us", "HTTP request, wrk (closed loop): p99 us", 1.0),
];

const TCPKALI_ROWS: &[ToolsShown] = &[
    ("tcpkali", "received_mb_per_s", "tcpkali, echo of 64 B messages: MB/s back", 1.0),
    ("tcpkali", "proxy_cpu_us", "tcpkali: proxy CPU ms per GB (both ways)", 1_000.0),
    ("tcpkali", "machine_cpu_us", "tcpkali: machine CPU ms per GB", 1_000.0),
];

const OWN_ROWS: &[ToolsShown] = &[
    ("rr", "per_s", "weir-load: round trips/s", 1.0),
    ("rr", "proxy_cpu_us", "round trip 64 B: proxy CPU us", 1.0),
    ("rr", "p99_us", "round trip, closed loop: p99 us", 1.0),
    ("download", "per_s", "weir-load: download GB/s", 1.0),
    ("download", "proxy_cpu_us", "download: proxy CPU ms per GB", 1_000.0),
];

/// The peers, their stand, and what comes of it.
struct Door {
    peers: Vec<Found>,
    stand: Testbed,
    baseline: f64,
}

impl Door {
    fn open(peers: Vec<Found>, named: Vec<(&'static str, Backend)>) -> io::Result<Self> {
        let baseline = probe::baseline()?;
        let setup = Setup { shards: 1, sessions_max: SESSIONS_MAX, ..Setup::default() };
        let stand = Testbed::start(&peers.iter().collect::<Vec<_>>(), named, setup, baseline)?;
        if let Some(why) = stand.left_out.first() {
            return Err(fault(why));
        }
        Ok(Self { peers, stand, baseline })
    }

    /// Measures each work through each proxy, round by round.
    fn measure(
        &self,
        rounds: u32,
        works: &[&str],
        run: impl Fn(&str, &Proxy) -> io::Result<Outcome>,
    ) -> io::Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for round in 0..rounds {
            eprintln!("weir-bench: round {} of {rounds}", round + 1);
            for work in works {
                samples.extend(self.stand.round(round, work, |proxy| run(work, proxy))?);
            }
        }
        Ok(samples)
    }

    fn publish(
        &self,
        samples: &[Sample],
        shown: &[ToolsShown],
        options: &ToolsOptions,
    ) -> io::Result<()> {
        let row = |(work, value, label, scale): &ToolsShown| Row {
            work: (*work).to_string(),
            value,
            label: (*label).to_string(),
            scale: *scale,
            distance: false,
        };
        let rows: Vec<Row> = shown.iter().map(row).collect();
        let summary = report::summary(samples, &rows);
        print!("{}", report::table(&summary, &rows, &self.peers));
        report::warn(samples, self.baseline);
        let Some(out) = &options.out else { return Ok(()) };
        let machine = Machine::read();
        let fairness = fairness::lines(&machine, &self.peers, self.baseline, "nothing");
        let told = self.stand.proxies.iter();
        let told = told.map(|proxy| (proxy.peer.name(), proxy.settings.clone())).collect();
        let results = Results {
            schema: "weir-bench/v2",
            at_unix_s: unix_seconds(),
            command: report::command(),
            machine,
            versions: report::versions(&self.peers),
            settings: BTreeMap::from([("all".to_string(), told)]),
            cores: self.stand.cores(),
            baseline_busy_cores: self.baseline,
            fairness,
            scenarios: &[],
            failures: &[],
            verdicts: Vec::new(),
            summary,
            counts: &[],
            samples,
        };
        report::write(&results, out)
    }
}

/// wrk against an HTTP backend: nginx when it is there, else weir-load's.
pub fn wrk(options: &ToolsOptions) -> io::Result<()> {
    let wrk = locate(Path::new("wrk")).ok_or_else(|| fault("no program wrk: apt install wrk"))?;
    let peers = peer::find(&options.wanted)?;
    let scratch = Scratch::new()?;
    let (name, backend) = match locate(&options.wanted.nginx) {
        Some(nginx) => ("nginx", Backend::start_nginx(&nginx, &scratch)?),
        None => ("weir-load serve --mode http", Backend::start("http", 1, false)?),
    };
    let ToolsOptions { connections, seconds, rounds, .. } = options;
    println!(
        "wrk -t1 -c{connections} -d{seconds}s, {rounds} rounds, backend {name}; \
         proxies pinned to one core, one thread each"
    );
    let stand = Door::open(peers, vec![("http", backend)])?;
    let samples = stand.measure(*rounds, &["wrk"], |_, proxy| {
        let mut command = Command::new(&wrk);
        command.args(["-t1", "--latency"]);
        command.arg(format!("-c{connections}")).arg(format!("-d{seconds}s"));
        command.arg(format!("http://{}/", proxy.address("http")));
        let text = probe::tool(&mut command)?;
        wrk_outcome(&text).map_err(fault)
    })?;
    stand.publish(&samples, WRK_ROWS, options)
}

/// Reads wrk's report; socket errors and answers that are not 2xx or 3xx are errors.
fn wrk_outcome(text: &str) -> Result<Outcome, String> {
    for bad in ["Socket errors:", "Non-2xx"] {
        if let Some(line) = text.lines().find(|line| line.contains(bad)) {
            return Err(format!("wrk: {}", line.trim()));
        }
    }
    let line = text.lines().find(|line| line.contains(" requests in "));
    let units = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    let units = units.ok_or_else(|| format!("wrk's report is not understood: {text}"))?;
    let percentile = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
        wrk_time_us(line.trim())
    };
    let mut values = BTreeMap::new();
    for (name, key) in [("50%", "p50_us"), ("99%", "p99_us")] {
        if let Some(us) = percentile(name) {
            values.insert(key.to_string(), us);
        }
    }
    Ok(Outcome { units, generator_us: None, values })
}

fn wrk_time_us(text: &str) -> Option<f64> {
    for (suffix, scale) in [("us", 1.0), ("ms", 1e3), ("s", 1e6)] {
        if let Some(number) = text.strip_suffix(suffix) {
            return number.trim().parse::<f64>().ok().map(|number| number * scale);
        }
    }
    None
}

/// tcpkali against the echo backend; without tcpkali: our own generator.
pub fn tcpkali(options: &ToolsOptions) -> io::Result<()> {
    let Some(tcpkali) = locate(Path::new("tcpkali")) else {
        println!(
            "no program tcpkali: Debian has no package of it, it comes from \
             https://github.com/satori-com/tcpkali (put it on PATH); going on with weir-load"
        );
        return own(options);
    };
    let ToolsOptions { connections, seconds, rounds, .. } = options;
    println!("tcpkali -c{connections} -T{seconds}s, 64 B messages, echoed, {rounds} rounds");
    let peers = peer::find(&options.wanted)?;
    let stand = Door::open(peers, vec![("echo", Backend::start("echo", 1, false)?)])?;
    let message = "0123456789abcdef".repeat(4);
    let samples = stand.measure(*rounds, &["tcpkali"], |_, proxy| {
        let mut command = Command::new(&tcpkali);
        command.args(["--workers=1", "--connect-rate=5000"]);
        command.arg(format!("-c{connections}")).arg(format!("-T{seconds}s"));
        command.args(["-m", &message]).arg(proxy.address("echo").to_string());
        let text = probe::tool(&mut command)?;
        tcpkali_outcome(&text).map_err(fault)
    })?;
    stand.publish(&samples, TCPKALI_ROWS, options)
}

/// Reads tcpkali's report: the unit is a GB, sent and received.
fn tcpkali_outcome(text: &str) -> Result<Outcome, String> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
        let inner = line.split_once('(')?.1.split_once(" bytes)")?.0;
        inner.parse::<f64>().ok()
    };
    let seconds = text.lines().find_map(|line| {
        let number = line.trim().strip_prefix("Test duration:")?.trim();
        number.split_whitespace().next()?.parse::<f64>().ok()
    });
    let all = (bytes("Total data sent:"), bytes("Total data received:"), seconds);
    let (Some(sent), Some(received), Some(seconds)) = all else {
        return Err(format!("tcpkali's report is not understood: {text}"));
    };
    let values = BTreeMap::from([
        ("received_mb_per_s".to_string(), received / 1e6 / seconds),
        ("sent_mb_per_s".to_string(), sent / 1e6 / seconds),
    ]);
    Ok(Outcome { units: (sent + received) / 1e9, generator_us: None, values })
}

/// Round trips and downloads by weir-load.
fn own(options: &ToolsOptions) -> io::Result<()> {
    let peers = peer::find(&options.wanted)?;
    let echo = Backend::start("echo", 1, false)?;
    let source = Backend::start("source", 1, false)?;
    let stand = Door::open(peers, vec![("echo", echo), ("source", source)])?;
    let ToolsOptions { connections, seconds, .. } = options;
    let samples = stand.measure(options.rounds, &["rr", "download"], |work, proxy| {
        let words = |text: String| text.split(' ').map(str::to_string).collect::<Vec<_>>();
        if work == "download" {
            let target = proxy.address("source");
            let report: bulk::BulkReport = probe::load(&words(format!("bulk --target {target}")))?;
            let (units, values) = (micros(report.bytes) / 1e9, BTreeMap::new());
            return Ok(Outcome { units, generator_us: Some(micros(report.cpu_us)), values });
        }
        let target = proxy.address("echo");
        let line = format!("rr --target {target} --connections {connections} --seconds {seconds}");
        let report: rr::RrReport = probe::load(&words(line))?;
        let values = BTreeMap::from([
            ("p50_us".to_string(), report.latency.p50_us),
            ("p99_us".to_string(), report.latency.p99_us),
        ]);
        let (units, cpu) = (micros(report.round_trips), micros(report.cpu_us));
        Ok(Outcome { units, generator_us: Some(cpu), values })
    })?;
    stand.publish(&samples, OWN_ROWS, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 5s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  \
        Thread Stats   Avg      Stdev     Max   +/- Stdev\n  Latency Distribution\n     \
        50%  634.00us\n     75%  700.00us\n     90%  800.00us\n     99%    1.25ms\n  \
        504321 requests in 5.00s, 71.66MB read\nRequests/sec: 100864.20\n";

    #[test]
    fn wrk_is_read() {
        let outcome = wrk_outcome(WRK).expect("understood");
        assert_eq!(outcome.units, 504_321.0);
        assert_eq!(outcome.values["p50_us"], 634.0);
        assert_eq!(outcome.values["p99_us"], 1_250.0);
    }

    #[test]
    fn wrk_errors_are_errors() {
        let bad = format!("{WRK}  Socket errors: connect 0, read 5, write 0, timeout 0\n");
        assert!(wrk_outcome(&bad).err().expect("an error").contains("read 5"));
        assert!(wrk_outcome("nothing").is_err());
    }

    #[test]
    fn tcpkali_is_read() {
        let text = "Total data sent:     176.8 MiB (185401344 bytes)\n\
            Total data received: 175.4 MiB (183927028 bytes)\n\
            Bandwidth per channel: 5.908\u{21c5} Mbps (738.4 kBps)\nTest duration: 10.0 s.\n";
        let outcome = tcpkali_outcome(text).expect("understood");
        assert!((outcome.units - 0.369_328_372).abs() < 1e-9);
        assert!((outcome.values["received_mb_per_s"] - 18.392_702_8).abs() < 1e-6);
        assert!(tcpkali_outcome("Total data sent: 1").is_err());
    }
}
