//! Bars: what a scenario's file demands, what was measured, and whether it holds.

use std::fmt::Write;

use serde::Serialize;

use crate::runner::peer::Peer;
use crate::runner::report::{Sample, Series, Spread};
use crate::runner::scenario::{Bar, Scenario};

/// One line of the table of bars.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The case: its label.
    pub case: String,
    pub what: String,
    pub at_most: f64,
    /// None: not measured (a peer is missing, or the machine was not quiet).
    pub measured: Option<Spread>,
    /// Of the median.
    pub pass: Option<bool>,
}

/// All bars of these scenarios; then the two that hold for everything: no io-wq punt and no CQ
/// overflow of weir in any counted pass.
#[must_use]
pub fn judge(scenarios: &[Scenario], samples: &[Sample], counts: &[Sample]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for scenario in scenarios {
        for case in scenario.cases() {
            for bar in &scenario.bars {
                let series = Series { samples, work: &case.label, value: &bar.value };
                verdicts.push(verdict(case.label.clone(), bar, series));
            }
        }
    }
    for (value, what) in [("punts", "io-wq punts"), ("overflows", "CQ overflows")] {
        let of_weir = counts.iter().filter(|sample| sample.peer == Peer::Weir);
        let seen: Vec<f64> =
            of_weir.filter_map(|sample| sample.values.get(value).copied()).collect();
        let Some(measured) = Spread::of(&seen) else { continue };
        verdicts.push(Verdict {
            case: format!("all {} counted passes", seen.len()),
            what: format!("weir: {what}, the most of any"),
            at_most: 0.0,
            measured: Some(Spread { median: measured.max, ..measured }),
            pass: Some(measured.max <= 0.0),
        });
    }
    verdicts
}

fn verdict(case: String, bar: &Bar, series: Series<'_>) -> Verdict {
    let (measured, kind) = match bar.against {
        None => (series.values(Peer::Weir), String::new()),
        Some(Peer::None) => (series.distance(Peer::Weir), ": D".to_string()),
        Some(peer) => (series.ratio(peer), format!(" / {}", peer.name())),
    };
    let pass = measured.map(|spread| spread.median <= bar.at_most);
    Verdict { case, what: format!("{}{kind}", bar.what), at_most: bar.at_most, measured, pass }
}

/// The table of bars.
#[must_use]
pub fn table(verdicts: &[Verdict]) -> String {
    if verdicts.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n{:<30}{:<46}{:>9}{:>9}{:>20}{:>6}  \n",
        "BAR", "", "AT MOST", "MEDIAN", "QUARTILES", ""
    );
    for Verdict { case, what, at_most, measured, pass } in verdicts {
        let (median, quartiles) = measured.map_or(("-".into(), "-".into()), |spread| {
            (number(spread.median), format!("{}-{}", number(spread.lower), number(spread.upper)))
        });
        let said = match pass {
            Some(true) => "pass",
            Some(false) => "MISS",
            None => "?",
        };
        let most = number(*at_most);
        let _ = writeln!(text, "{case:<30}{what:<46}{most:>9}{median:>9}{quartiles:>20}{said:>6}");
    }
    let count = |wanted| verdicts.iter().filter(|verdict| verdict.pass == wanted).count();
    let (passed, missed, open) = (count(Some(true)), count(Some(false)), count(None));
    let _ = writeln!(text, "{passed} pass, {missed} miss, {open} not measured");
    text
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// The counted passes as a table: a row for each case and peer.
#[must_use]
pub fn counts(counts: &[Sample]) -> String {
    let mut text = format!(
        "\n{:<40}{:<9}{:>12}{:>12}{:>12}{:>9}{:>11}\n",
        "COUNTED PER UNIT (own pass)", "", "SYSCALLS", "OF URING", "SWITCHES", "PUNTS", "OVERFLOWS"
    );
    for sample in counts {
        let value = |name: &str, digits: usize| {
            sample.values.get(name).map_or("-".into(), |value| format!("{value:.digits$}"))
        };
        let _ = writeln!(
            text,
            "{:<40}{:<9}{:>12}{:>12}{:>12}{:>9}{:>11}",
            sample.work,
            sample.peer.name(),
            value("syscalls_per_unit", 3),
            value("enters_per_unit", 3),
            value("switches_per_unit", 3),
            value("punts", 0),
            value("overflows", 0),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn sample(peer: Peer, values: &[(&str, f64)]) -> Sample {
        let values = values.iter().map(|(name, value)| ((*name).to_string(), *value)).collect();
        Sample { round: 0, work: "x".into(), peer, units: 1.0, values }
    }

    const FILE: &str = "name = \"x\"\nkind = \"rr\"\ngroup = \"bars\"\n\
        [[bar]]\nwhat = \"cpu\"\nvalue = \"cpu\"\nagainst = \"haproxy\"\nat-most = 0.7\n\
        [[bar]]\nwhat = \"cpu\"\nvalue = \"cpu\"\nagainst = \"none\"\nat-most = 0.4\n\
        [[bar]]\nwhat = \"bytes\"\nvalue = \"bytes\"\nat-most = 256.0\n\
        [[bar]]\nwhat = \"cpu\"\nvalue = \"cpu\"\nagainst = \"nginx\"\nat-most = 0.8\n";

    #[test]
    fn bars_are_ratios_distances_or_values() {
        let scenario = Scenario::parse(FILE).expect("understood");
        let samples = [
            sample(Peer::None, &[("cpu", 10.0)]),
            sample(Peer::Weir, &[("cpu", 15.0), ("bytes", 256.0)]),
            sample(Peer::Haproxy, &[("cpu", 30.0)]),
        ];
        let weir = sample(Peer::Weir, &[("punts", 0.0), ("overflows", 2.0)]);
        let other = sample(Peer::Nginx, &[("punts", 5.0)]);
        let verdicts = judge(&[scenario], &samples, &[weir, other]);
        let passes: Vec<Option<bool>> = verdicts.iter().map(|verdict| verdict.pass).collect();
        let expected = [Some(true), Some(false), Some(true), None, Some(true), Some(false)];
        assert_eq!(passes, expected);
        let text = table(&verdicts);
        assert!(text.contains("3 pass, 2 miss, 1 not measured"), "{text}");
    }

    #[test]
    fn nothing_counted_is_no_verdict() {
        assert!(judge(&[], &[], &[]).is_empty());
        assert_eq!(table(&[]), "");
        let sample = Sample {
            round: 0,
            work: "x".into(),
            peer: Peer::Weir,
            units: 1.0,
            values: BTreeMap::new(),
        };
        assert!(counts(&[sample]).contains('-'));
    }
}
