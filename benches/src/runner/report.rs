//! Samples become medians and ratios: the table on stdout, and the raw numbers as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::clock::unix_seconds;
use crate::runner::context;
use crate::runner::machine::Machine;
use crate::runner::peer::{Found, Peer};

/// One measurement: a work through a peer in a round. Values named `…_us` are per unit of work.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    pub round: u32,
    pub work: String,
    pub peer: Peer,
    /// How much work was done: round trips, connections, gigabytes, requests, sessions.
    pub units: f64,
    pub values: BTreeMap<String, f64>,
}

/// What a row of the table shows.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub work: &'static str,
    pub value: &'static str,
    /// What a reader sees.
    pub label: &'static str,
    /// Divides the value for display (1000 makes ms of µs).
    pub scale: f64,
    /// Also show D = (x − none) / none.
    pub distance: bool,
}

/// Everything of a run.
#[derive(Serialize)]
pub struct Results<'a> {
    schema: &'static str,
    at_unix_s: u64,
    command: Vec<String>,
    machine: Machine,
    versions: BTreeMap<&'static str, String>,
    /// The cores that each proxy's threads were allowed: shows that pinning held.
    cores: &'a BTreeMap<&'static str, Vec<String>>,
    baseline_busy_cores: f64,
    summary: Vec<Line>,
    samples: &'a [Sample],
}

/// The medians of one row, and the medians of its ratios within each round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub work: String,
    pub value: String,
    pub medians: BTreeMap<&'static str, f64>,
    pub weir_to_haproxy: Option<Ratio>,
    pub weir_to_nginx: Option<Ratio>,
    pub distance: BTreeMap<&'static str, f64>,
}

/// A ratio taken round by round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// The middle value; the mean of the two middle ones of an even number.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (half, odd) = (sorted.len() / 2, sorted.len() % 2 == 1);
    match (sorted.is_empty(), odd) {
        (true, _) => None,
        (_, true) => Some(sorted[half]),
        (_, false) => Some(f64::midpoint(sorted[half - 1], sorted[half])),
    }
}

/// The values of one row by peer and round.
struct Series<'a> {
    samples: &'a [Sample],
    row: Row,
}

impl Series<'_> {
    fn of(&self, peer: Peer) -> BTreeMap<u32, f64> {
        let wanted = |sample: &&Sample| sample.work == self.row.work && sample.peer == peer;
        let value = |sample: &Sample| Some((sample.round, *sample.values.get(self.row.value)?));
        self.samples.iter().filter(wanted).filter_map(value).collect()
    }

    /// `f(peer, base)` of each round that has both.
    fn paired(&self, peer: Peer, base: Peer, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let (peer, base) = (self.of(peer), self.of(base));
        let pairs = peer.iter().filter_map(|(round, x)| Some(f(*x, *base.get(round)?)));
        // A base of 0 gives no ratio.
        pairs.filter(|value| value.is_finite()).collect()
    }

    fn ratio(&self, base: Peer) -> Option<Ratio> {
        let ratios = self.paired(Peer::Weir, base, |x, base| x / base);
        Some(Ratio {
            median: median(&ratios)?,
            min: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            max: ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }

    fn line(&self) -> Line {
        let medians = Peer::ALL.into_iter().filter_map(|peer| {
            let values: Vec<f64> = self.of(peer).into_values().collect();
            Some((peer.name(), median(&values)?))
        });
        let distance = Peer::ALL.into_iter().skip(1).filter_map(|peer| {
            let distances = self.paired(peer, Peer::None, |x, none| (x - none) / none);
            Some((peer.name(), median(&distances)?))
        });
        Line {
            work: self.row.work.to_string(),
            value: self.row.value.to_string(),
            medians: medians.collect(),
            weir_to_haproxy: self.ratio(Peer::Haproxy),
            weir_to_nginx: self.ratio(Peer::Nginx),
            distance: if self.row.distance { distance.collect() } else { BTreeMap::new() },
        }
    }
}

/// The lines of these rows.
#[must_use]
pub fn summary(samples: &[Sample], rows: &[Row]) -> Vec<Line> {
    rows.iter().map(|row| Series { samples, row: *row }.line()).collect()
}

/// The table: a row each, a column for each peer, then the ratios; D rows below their value.
#[must_use]
pub fn table(lines: &[Line], rows: &[Row], peers: &[Found]) -> String {
    let mut text = format!("{:<52}", "");
    for found in peers {
        let _ = write!(text, "{:>10}", found.peer.name().to_uppercase());
    }
    let _ = writeln!(text, "{:>24}{:>24}", "WEIR/HAPROXY (MIN-MAX)", "WEIR/NGINX (MIN-MAX)");
    for (line, row) in lines.iter().zip(rows) {
        let _ = write!(text, "{:<52}", row.label);
        for found in peers {
            let median = line.medians.get(found.peer.name()).map(|median| median / row.scale);
            let _ = write!(text, "{:>10}", median.map_or("-".into(), short));
        }
        for ratio in [line.weir_to_haproxy, line.weir_to_nginx] {
            let shown = ratio.map_or("-".into(), |ratio| {
                format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.min, ratio.max)
            });
            let _ = write!(text, "{shown:>24}");
        }
        text.push('\n');
        if row.distance {
            let _ = write!(text, "{:<52}", "  D, of the above: (x - none) / none");
            for found in peers {
                let distance = line.distance.get(found.peer.name());
                let shown = distance.map_or("-".into(), |distance| format!("{distance:.2}"));
                let _ = write!(text, "{shown:>10}");
            }
            text.push('\n');
        }
    }
    text
}

fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// What a run knows besides its samples.
pub struct Circumstances<'a> {
    pub peers: &'a [Found],
    pub cores: &'a BTreeMap<&'static str, Vec<String>>,
    pub baseline: f64,
}

/// Prints the table and, with a file, writes everything there.
pub fn publish(
    samples: &[Sample],
    rows: &[Row],
    around: &Circumstances<'_>,
    out: Option<&Path>,
) -> io::Result<()> {
    let lines = summary(samples, rows);
    print!("{}", table(&lines, rows, around.peers));
    let steal = |sample: &&Sample| sample.values.get("steal_share").is_some_and(|s| *s > 0.01);
    let stolen = samples.iter().filter(steal).count();
    if stolen > 0 {
        eprintln!("weir-bench: {stolen} samples lost more than 1 % of the time to other machines");
    }
    if around.baseline > 0.05 {
        let cores = around.baseline;
        eprintln!("weir-bench: {cores:.2} cores were busy before the run: not a quiet machine");
    }
    let Some(out) = out else { return Ok(()) };
    let results = Results {
        schema: "weir-bench/v1",
        at_unix_s: unix_seconds(),
        command: std::env::args().map(|argument| without_folders(&argument)).collect(),
        machine: Machine::read(),
        versions: around
            .peers
            .iter()
            .filter(|found| found.peer != Peer::None)
            .map(|found| (found.peer.name(), found.version.clone()))
            .collect(),
        cores: around.cores,
        baseline_busy_cores: around.baseline,
        summary: lines,
        samples,
    };
    let text = serde_json::to_string_pretty(&results).map_err(io::Error::other)?;
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).map_err(context(folder.display()))?;
    }
    fs::write(out, text + "\n").map_err(context(out.display()))?;
    eprintln!("weir-bench: raw numbers in {}", out.display());
    Ok(())
}

/// A result file is published: where programs lie on this machine is nobody's business.
fn without_folders(argument: &str) -> String {
    let (flag, path) = argument.split_once('=').map_or(("", argument), |(flag, path)| (flag, path));
    let name = path.rsplit('/').next().unwrap_or(path);
    if flag.is_empty() { name.to_string() } else { format!("{flag}={name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(round: u32, peer: Peer, cpu: f64) -> Sample {
        let values = BTreeMap::from([("cpu".to_string(), cpu)]);
        Sample { round, work: "rr".into(), peer, units: 1.0, values }
    }

    const ROW: Row = Row { work: "rr", value: "cpu", label: "cpu", scale: 1.0, distance: true };

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn ratios_are_of_pairs_in_a_round() {
        // The machine slows down threefold; the ratio in each round is the same.
        let mut samples = Vec::new();
        for (round, slow) in [(0, 1.0), (1, 2.0), (2, 3.0)] {
            samples.push(sample(round, Peer::None, 10.0 * slow));
            samples.push(sample(round, Peer::Weir, 15.0 * slow));
            samples.push(sample(round, Peer::Haproxy, 30.0 * slow));
        }
        samples.push(sample(3, Peer::Weir, 1e9));
        let line = &summary(&samples, &[ROW])[0];
        assert_eq!(line.weir_to_haproxy, Some(Ratio { median: 0.5, min: 0.5, max: 0.5 }));
        assert_eq!(line.weir_to_nginx, None);
        assert_eq!(line.distance["weir"], 0.5);
        assert_eq!(line.distance["haproxy"], 2.0);
    }

    #[test]
    fn the_table_has_a_place_for_what_is_missing() {
        let samples = [sample(0, Peer::Weir, 12.34)];
        let lines = summary(&samples, &[ROW]);
        let found = |peer| Found { peer, program: "".into(), version: String::new(), module: None };
        let text = table(&lines, &[ROW], &[found(Peer::Weir), found(Peer::Nginx)]);
        let row = text.lines().nth(1).expect("a row");
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words, ["cpu", "12.3", "-", "-", "-"]);
    }

    #[test]
    fn results_name_no_folder() {
        assert_eq!(without_folders("/a/b/haproxy"), "haproxy");
        assert_eq!(without_folders("--weir=/a/weir"), "--weir=weir");
        assert_eq!(without_folders("--rounds"), "--rounds");
    }
}
