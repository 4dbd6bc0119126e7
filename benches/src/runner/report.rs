//! Samples become medians and ratios: the table on stdout, and the raw numbers as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::runner::bars::Verdict;
use crate::runner::context;
use crate::runner::machine::Machine;
use crate::runner::peer::{Found, Peer};
use crate::runner::scenario::Scenario;

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
#[derive(Clone, Debug)]
pub struct Row {
    pub work: String,
    pub value: &'static str,
    /// What a reader sees.
    pub label: String,
    /// Divides the value for display (1000 makes ms of µs).
    pub scale: f64,
    /// Also show D = (x − none) / none.
    pub distance: bool,
}

/// The medians of one row, and the spread of its ratios within each round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub work: String,
    pub value: String,
    pub label: String,
    pub medians: BTreeMap<&'static str, f64>,
    /// weir's value over that of each peer.
    pub weir_to: BTreeMap<&'static str, Spread>,
    /// D of each peer.
    pub distance: BTreeMap<&'static str, Spread>,
}

/// Values of some rounds: the middle, the quartiles, the ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub lower: f64,
    pub upper: f64,
    pub min: f64,
    pub max: f64,
    pub rounds: usize,
}

impl Spread {
    /// None of no values.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        // Quartiles are the medians of the two halves, the middle one in neither.
        let (low, high) = (&sorted[..half], &sorted[sorted.len() - half..]);
        let middle = median(&sorted)?;
        Some(Self {
            median: middle,
            lower: median(low).unwrap_or(middle),
            upper: median(high).unwrap_or(middle),
            min: *sorted.first()?,
            max: *sorted.last()?,
            rounds: sorted.len(),
        })
    }

    fn shown(&self) -> String {
        format!("{:.2} ({:.2}-{:.2})", self.median, self.lower, self.upper)
    }
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

/// One value of one work, by peer and round.
#[derive(Clone, Copy)]
pub struct Series<'a> {
    pub samples: &'a [Sample],
    pub work: &'a str,
    pub value: &'a str,
}

impl Series<'_> {
    fn of(&self, peer: Peer) -> BTreeMap<u32, f64> {
        let wanted = |sample: &&Sample| sample.work == self.work && sample.peer == peer;
        let value = |sample: &Sample| Some((sample.round, *sample.values.get(self.value)?));
        self.samples.iter().filter(wanted).filter_map(value).collect()
    }

    /// `f(peer, base)` of each round that has both.
    fn paired(&self, peer: Peer, base: Peer, f: impl Fn(f64, f64) -> f64) -> Option<Spread> {
        let (peer, base) = (self.of(peer), self.of(base));
        let pairs = peer.iter().filter_map(|(round, x)| Some(f(*x, *base.get(round)?)));
        // A base of 0 gives no ratio.
        Spread::of(&pairs.filter(|value| value.is_finite()).collect::<Vec<f64>>())
    }

    /// The values of one peer.
    #[must_use]
    pub fn values(&self, peer: Peer) -> Option<Spread> {
        Spread::of(&self.of(peer).into_values().collect::<Vec<f64>>())
    }

    /// weir over `base`, round by round.
    #[must_use]
    pub fn ratio(&self, base: Peer) -> Option<Spread> {
        self.paired(Peer::Weir, base, |x, base| x / base)
    }

    /// D of a peer, round by round.
    #[must_use]
    pub fn distance(&self, peer: Peer) -> Option<Spread> {
        self.paired(peer, Peer::None, |x, none| (x - none) / none)
    }
}

/// The lines of these rows.
#[must_use]
pub fn summary(samples: &[Sample], rows: &[Row]) -> Vec<Line> {
    let line = |row: &Row| {
        let series = Series { samples, work: &row.work, value: row.value };
        let each = |f: &dyn Fn(Peer) -> Option<Spread>| -> BTreeMap<&'static str, Spread> {
            let peers = Peer::ALL.into_iter().filter(|peer| *peer != Peer::None);
            peers.filter_map(|peer| Some((peer.name(), f(peer)?))).collect()
        };
        let others = |peer: Peer| series.ratio(peer).filter(|_| peer != Peer::Weir);
        let medians = Peer::ALL.into_iter();
        Line {
            work: row.work.clone(),
            value: row.value.to_string(),
            label: row.label.clone(),
            medians: medians
                .filter_map(|peer| Some((peer.name(), series.values(peer)?.median)))
                .collect(),
            weir_to: each(&others),
            distance: if row.distance {
                each(&|peer| series.distance(peer))
            } else {
                BTreeMap::new()
            },
        }
    };
    rows.iter().map(line).filter(|line| !line.medians.is_empty()).collect()
}

/// The table: a row each, a column for each peer, then the ratios; D rows below their value.
#[must_use]
pub fn table(lines: &[Line], rows: &[Row], peers: &[Found]) -> String {
    let mut text = format!("{:<56}", "median (ratios: median, quartiles)");
    for found in peers {
        let _ = write!(text, "{:>9}", found.peer.name().to_uppercase());
    }
    let compared: Vec<&str> = peers
        .iter()
        .filter(|found| !matches!(found.peer, Peer::None | Peer::Weir))
        .map(|found| found.peer.name())
        .collect();
    for name in &compared {
        let _ = write!(text, "{:>20}", format!("WEIR/{}", name.to_uppercase()));
    }
    text.push('\n');
    for line in lines {
        let row = rows.iter().find(|row| row.work == line.work && row.value == line.value);
        let scale = row.map_or(1.0, |row| row.scale);
        let _ = write!(text, "{:<56}", line.label);
        for found in peers {
            let median = line.medians.get(found.peer.name()).map(|median| median / scale);
            let _ = write!(text, "{:>9}", median.map_or("-".into(), short));
        }
        for name in &compared {
            let ratio = line.weir_to.get(name).map(Spread::shown);
            let _ = write!(text, "{:>20}", ratio.unwrap_or("-".into()));
        }
        text.push('\n');
        if !line.distance.is_empty() {
            let _ = write!(text, "{:<56}", "  D, of the above: (x - none) / none");
            for found in peers {
                let distance = line.distance.get(found.peer.name());
                let shown = distance.map_or("-".into(), |spread| format!("{:.2}", spread.median));
                let _ = write!(text, "{shown:>9}");
            }
            text.push('\n');
        }
    }
    text
}

/// A number with three digits that count.
#[must_use]
pub fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// Everything that a run found; what the result file holds.
#[derive(Serialize)]
pub struct Results<'a> {
    pub schema: &'static str,
    pub at_unix_s: u64,
    pub command: Vec<String>,
    pub machine: Machine,
    pub versions: BTreeMap<&'static str, String>,
    /// What each peer was told, by scenario.
    pub settings: BTreeMap<String, BTreeMap<&'static str, String>>,
    /// The cores that each proxy's threads were allowed: shows that pinning held.
    pub cores: BTreeMap<&'static str, Vec<String>>,
    pub baseline_busy_cores: f64,
    pub fairness: Vec<String>,
    pub scenarios: &'a [Scenario],
    /// Cases that broke off, and peers that did not start: their figures are missing.
    pub failures: &'a [String],
    pub verdicts: Vec<Verdict>,
    pub summary: Vec<Line>,
    /// Passes with the kernel's counters on; their times count nowhere.
    pub counts: &'a [Sample],
    pub samples: &'a [Sample],
}

/// The versions of the peers that are programs.
#[must_use]
pub fn versions(peers: &[Found]) -> BTreeMap<&'static str, String> {
    let programs = peers.iter().filter(|found| found.peer != Peer::None);
    programs.map(|found| (found.peer.name(), found.version.clone())).collect()
}

/// What makes the figures doubtful, on stderr.
pub fn warn(samples: &[Sample], baseline: f64) {
    let steal = |sample: &&Sample| sample.values.get("steal_share").is_some_and(|s| *s > 0.01);
    let stolen = samples.iter().filter(steal).count();
    if stolen > 0 {
        eprintln!("weir-bench: {stolen} samples lost more than 1 % of the time to other machines");
    }
    if baseline > 0.05 {
        eprintln!("weir-bench: {baseline:.2} cores were busy before the run: not a quiet machine");
    }
}

/// Writes raw numbers.
pub fn write(results: &impl Serialize, out: &Path) -> io::Result<()> {
    let text = serde_json::to_string_pretty(results).map_err(io::Error::other)?;
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).map_err(context(folder.display()))?;
    }
    fs::write(out, text + "\n").map_err(context(out.display()))?;
    eprintln!("weir-bench: raw numbers in {}", out.display());
    Ok(())
}

/// A day as YYYY-MM-DD, from seconds since 1970 (Howard Hinnant's civil_from_days).
#[must_use]
pub fn date(unix_s: u64) -> String {
    let days = unix_s / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The command line as it may be published.
#[must_use]
pub fn command() -> Vec<String> {
    std::env::args().map(|argument| without_folders(&argument)).collect()
}

/// A result file is published: where programs lie on this machine is nobody's business.
#[must_use]
pub fn without_folders(argument: &str) -> String {
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

    fn row() -> Row {
        let (work, label) = ("rr".to_string(), "cpu".to_string());
        Row { work, value: "cpu", label, scale: 1.0, distance: true }
    }

    #[test]
    fn medians_and_quartiles() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let spread = Spread::of(&[5.0, 1.0, 2.0, 4.0, 3.0]).expect("values");
        assert_eq!((spread.lower, spread.median, spread.upper), (1.5, 3.0, 4.5));
        assert_eq!((spread.min, spread.max, spread.rounds), (1.0, 5.0, 5));
        let one = Spread::of(&[7.0]).expect("a value");
        assert_eq!((one.lower, one.upper), (7.0, 7.0));
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
        let line = &summary(&samples, &[row()])[0];
        let ratio = line.weir_to["haproxy"];
        assert_eq!((ratio.median, ratio.min, ratio.max), (0.5, 0.5, 0.5));
        assert!(!line.weir_to.contains_key("nginx"));
        assert_eq!(line.distance["weir"].median, 0.5);
        assert_eq!(line.distance["haproxy"].median, 2.0);
    }

    #[test]
    fn the_table_has_a_place_for_what_is_missing() {
        let samples = [sample(0, Peer::Weir, 12.34)];
        let lines = summary(&samples, &[row()]);
        let found = |peer| Found { peer, program: "".into(), version: String::new(), module: None };
        let text = table(&lines, &[row()], &[found(Peer::Weir), found(Peer::Nginx)]);
        let row = text.lines().nth(1).expect("a row");
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words, ["cpu", "12.3", "-", "-"]);
    }

    #[test]
    fn dates() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_795_500_000, "2026-11-24"),
            (4_107_542_399, "2100-02-28"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn results_name_no_folder() {
        assert_eq!(without_folders("/a/b/haproxy"), "haproxy");
        assert_eq!(without_folders("--weir=/a/weir"), "--weir=weir");
        assert_eq!(without_folders("--rounds"), "--rounds");
    }
}
