//! Alerts, warnings and notes: the first things to know, in words, as the dashboard has them.

use std::collections::{BTreeMap, VecDeque};

use weir_proto::answer::{BackendRow, BackendState, ListenerState, LiveFigures, ProcessState};

use crate::render::human::{count, seconds};
use crate::render::{Style, Tone};

const HUMAN: Style = Style { human: true, colour: false };
/// Failed connects are an alert while the last one is no older, in seconds.
const FAILED_S: f64 = 60.0;
/// With more backends than this that are down there is one line about all of them.
const DOWN_MAX: usize = 3;
/// Names in the line about them, and in the one about those that were taken out by hand.
const NAMES_MAX: usize = 6;
/// A shard with more of its sessions than this is nearly full.
const FULL: f64 = 0.9;

/// One line: `Bad` is an alert, `Warn` a warning, `Dim` a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct Alert {
    pub(in crate::top) tone: Tone,
    pub(in crate::top) subject: String,
    pub(in crate::top) text: String,
}

impl Alert {
    fn new(tone: Tone, subject: impl Into<String>, text: impl Into<String>) -> Alert {
        Alert { tone, subject: subject.into(), text: text.into() }
    }

    /// The word beside the colour.
    pub(in crate::top) fn word(&self) -> &'static str {
        match self.tone {
            Tone::Bad => "ALERT",
            Tone::Warn => "WARNING",
            Tone::Plain | Tone::Good | Tone::Dim => "note",
        }
    }
}

/// The failed connects of each backend: when its total was first seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(BTreeMap<String, VecDeque<(f64, u64)>>);

impl Failures {
    /// Takes in the totals of a second.
    pub(super) fn watch(&mut self, figures: &LiveFigures) {
        let shown: BTreeMap<&str, u64> = figures
            .backends
            .iter()
            .map(|it| (it.row.name.as_str(), it.row.connect_failures_total))
            .collect();
        self.0.retain(|name, _| shown.contains_key(name.as_str()));
        for (name, total) in shown {
            let seen = self.0.entry(name.to_owned()).or_default();
            // Another process counts from 0.
            if seen.back().is_some_and(|(_, before)| *before > total) {
                seen.clear();
            }
            if seen.back().is_none_or(|(_, before)| *before != total) {
                seen.push_back((figures.at, total));
            }
            while seen.len() > 1 && seen[1].0 <= figures.at - FAILED_S {
                seen.pop_front();
            }
        }
    }

    /// Those of the last minute.
    fn lately(&self, name: &str) -> u64 {
        let seen = self.0.get(name);
        let ends = seen.and_then(|seen| seen.front().zip(seen.back()));
        ends.map_or(0, |((_, first), (_, last))| last - first)
    }
}

/// The lines, the worst first.
pub(super) fn alerts(figures: &LiveFigures, failures: &Failures) -> Vec<Alert> {
    let mut found = Vec::new();
    of_process(figures, &mut found);
    of_backends(figures, failures, &mut found);
    of_listeners(figures, &mut found);
    of_shards(figures, &mut found);
    by_hand(figures, &mut found);
    let here = figures.backends.iter().filter(|backend| !backend.row.removed).count() as u64;
    if here < figures.backends_total {
        let text = format!(
            "{here} of {} backends, those in trouble and the busiest: weirctl backend list has all",
            figures.backends_total
        );
        found.push(Alert::new(Tone::Dim, "shown", text));
    }
    let keys = figures.status.drift_keys;
    if keys > 0 {
        let differ = if keys == 1 { "key differs" } else { "keys differ" };
        let text = format!("{keys} {differ} from the file as last applied: weirctl config diff");
        found.push(Alert::new(Tone::Dim, "drift", text));
    }
    found.sort_by_key(|alert| match alert.tone {
        Tone::Bad => 0,
        Tone::Warn => 1,
        Tone::Plain | Tone::Good | Tone::Dim => 2,
    });
    found
}

fn of_process(figures: &LiveFigures, found: &mut Vec<Alert>) {
    let status = &figures.status;
    for text in &status.warnings {
        let known = text.starts_with("pool ") || text.starts_with("listener ");
        let (subject, text) =
            text.split_once(": ").filter(|_| known).unwrap_or(("weir", text.as_str()));
        found.push(Alert::new(Tone::Bad, subject, text));
    }
    if status.state == ProcessState::Draining {
        found.push(Alert::new(Tone::Warn, "weir", "draining: it takes no new sessions"));
    }
    if let Some(terms) = &status.unconfirmed {
        let text = format!(
            "not confirmed: it is rolled back to {} in {:.0} s (c: keep it)",
            terms.rolls_back_to, terms.left_s
        );
        found.push(Alert::new(Tone::Warn, format!("version {}", terms.version), text));
    }
}

fn of_backends(figures: &LiveFigures, failures: &Failures, found: &mut Vec<Alert>) {
    let rows = figures.backends.iter().map(|backend| &backend.row);
    let down: Vec<&BackendRow> =
        rows.clone().filter(|row| row.state == BackendState::Down).collect();
    if down.len() > DOWN_MAX {
        let each = |row: &&BackendRow| format!("{} {}", row.name, row.check.result.as_str());
        let text = some_of(&down.iter().map(each).collect::<Vec<_>>());
        found.push(Alert::new(Tone::Bad, format!("{} backends are down", down.len()), text));
    } else {
        found.extend(down.into_iter().map(|row| {
            let (why, since) = (row.check.result.as_str(), seconds(row.check.since_s, HUMAN));
            Alert::new(Tone::Bad, &row.name, format!("down for {since}: {why}"))
        }));
    }
    for row in rows {
        let failed = failures.lately(&row.name);
        if failed > 0 && row.state == BackendState::Up {
            let connects = if failed == 1 { "connect" } else { "connects" };
            let text = format!("{} {connects} failed in the last minute", count(failed, HUMAN));
            found.push(Alert::new(Tone::Warn, &row.name, text));
        }
    }
}

fn of_listeners(figures: &LiveFigures, found: &mut Vec<Alert>) {
    for row in figures.listeners.iter().map(|listener| &listener.row) {
        let subject = format!("listener {}", row.name);
        let serving = figures.status.state == ProcessState::Serving;
        if row.state == ListenerState::Draining && serving {
            found.push(Alert::new(Tone::Warn, subject, "draining: it takes no new sessions"));
        }
    }
}

fn of_shards(figures: &LiveFigures, found: &mut Vec<Alert>) {
    for shard in &figures.status.shards {
        let subject = format!("shard {}", shard.id);
        let is_known = shard.sessions_max > 0;
        if is_known && shard.sessions as f64 >= shard.sessions_max as f64 * FULL {
            let (open, most) = (count(shard.sessions, HUMAN), count(shard.sessions_max, HUMAN));
            let text = format!("{open} of {most} sessions: nearly full");
            found.push(Alert::new(Tone::Warn, subject, text));
        }
    }
}

fn by_hand(figures: &LiveFigures, found: &mut Vec<Alert>) {
    let is_out = |state| matches!(state, BackendState::Draining | BackendState::Maint);
    let rows = figures.backends.iter().map(|backend| &backend.row);
    let out: Vec<String> = rows.filter(|it| is_out(it.state)).map(|it| it.name.clone()).collect();
    if out.is_empty() {
        return;
    }
    let take = if out.len() == 1 { "takes" } else { "take" };
    let text = format!("{} {take} no new sessions", some_of(&out));
    found.push(Alert::new(Tone::Dim, "by hand", text));
}

/// As in `web/b1, web/b2 and 7 more`.
fn some_of(all: &[String]) -> String {
    let some = all[..all.len().min(NAMES_MAX)].join(", ");
    match all.len().saturating_sub(NAMES_MAX) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}
