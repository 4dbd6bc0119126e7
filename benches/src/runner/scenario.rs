//! Scenario files (benches/scenarios/*.toml): what is done, through whom, and which bars hold.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::load::bulk::Direction;
use crate::runner::config::{Balance, Buffers, SESSIONS_MAX};
use crate::runner::peer::Peer;
use crate::runner::{context, fault};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Round trips on standing connections, each after the answer to the one before.
    Rr,
    /// Connect, one round trip, close.
    Crr,
    /// Streams that stay full.
    Bulk,
    /// Sessions that said something once.
    Idle,
    /// Round trips at a fixed rate, latency from the intended send time.
    OpenLoop,
    /// Round trips at a fixed rate beside streams that stay full.
    Mixed,
}

/// Which run takes it in when no scenario is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// The table of bars.
    Bars,
    /// How the cost grows.
    Growth,
}

/// One value, or one case for each of several.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Several<T> {
    One(T),
    Many(Vec<T>),
}

impl<T: Clone> Several<T> {
    fn all(&self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::Many(many) => many.clone(),
        }
    }
}

/// A file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// The same as the file's name.
    pub name: String,
    pub kind: Kind,
    pub group: Group,
    /// Who takes part; all that there are by default.
    #[serde(default = "everybody")]
    pub peers: Vec<Peer>,
    #[serde(default = "one_u32")]
    connections: Several<u32>,
    /// Bytes of a request and of its answer.
    #[serde(default = "size")]
    pub size: u32,
    /// Bulk streams.
    #[serde(default = "streams")]
    pub streams: u32,
    /// Bulk: MiB of each stream.
    #[serde(default = "mib")]
    pub mib: u64,
    #[serde(default)]
    pub direction: Direction,
    /// Length of one measurement.
    #[serde(default = "seconds")]
    pub seconds: f64,
    /// Measurements of each case through each peer.
    #[serde(default = "rounds")]
    pub rounds: u32,
    /// Open loop: requests a second, as shares of HAProxy's capacity, measured in the same run.
    #[serde(default)]
    rates: Vec<f64>,
    /// Mixed: requests a second.
    #[serde(default)]
    rate: Option<f64>,
    /// Threads or processes of the proxy, all on its one core.
    #[serde(default = "one_u16")]
    shards: Several<u16>,
    /// Addresses that the proxy balances between.
    #[serde(default = "one_u16")]
    backends: Several<u16>,
    #[serde(default)]
    pub balance: Balance,
    #[serde(default)]
    pub buffers: Buffers,
    #[serde(default, rename = "bar")]
    pub bars: Vec<Bar>,
}

/// What must hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Bar {
    pub what: String,
    /// A value of the samples.
    pub value: String,
    /// weir's value over that of this peer, round by round; `none`: D = (weir - none) / none.
    /// Without it: weir's value itself.
    #[serde(default)]
    pub against: Option<Peer>,
    pub at_most: f64,
}

fn everybody() -> Vec<Peer> {
    Peer::ALL.to_vec()
}
fn one_u32() -> Several<u32> {
    Several::One(1)
}
fn one_u16() -> Several<u16> {
    Several::One(1)
}
fn size() -> u32 {
    64
}
fn streams() -> u32 {
    4
}
fn mib() -> u64 {
    256
}
fn seconds() -> f64 {
    1.5
}
fn rounds() -> u32 {
    10
}

/// How often requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rate {
    /// As soon as the answer is there.
    Closed,
    PerSecond(f64),
    /// Share of HAProxy's closed-loop rate with as many connections.
    OfCapacity(f64),
}

/// One combination of a scenario's lists.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// The scenario's name, and what distinguishes the case.
    pub label: String,
    pub connections: u32,
    pub rate: Rate,
    pub shards: u16,
    pub backends: u16,
}

impl Scenario {
    /// Reads one file's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        let most = u32::try_from(SESSIONS_MAX).unwrap_or(u32::MAX);
        let wrong = match self.kind {
            _ if self.name.is_empty() => "it has no name",
            _ if !(0.001..=600.0).contains(&self.seconds) => "seconds: from 0.001 to 600",
            _ if self.rounds == 0 || self.rounds > 1_000 => "rounds: from 1 to 1,000",
            _ if self.cases().is_empty() => "a list is empty",
            _ if self.cases().iter().any(|case| case.connections > most) => "connections: too many",
            _ if self.cases().iter().any(|case| case.connections == 0) => "connections: from 1",
            _ if !self.cases().iter().all(|case| (1..=64).contains(&case.shards)) => {
                "shards: from 1 to 64"
            }
            _ if !self.cases().iter().all(|case| (1..=1_000).contains(&case.backends)) => {
                "backends: from 1 to 1,000"
            }
            Kind::OpenLoop if self.rates.is_empty() => "open-loop needs rates",
            Kind::Mixed if self.rate.is_none() => "mixed needs a rate",
            Kind::Rr | Kind::Crr | Kind::Bulk | Kind::Idle | Kind::Mixed
                if !self.rates.is_empty() =>
            {
                "rates are for open-loop"
            }
            _ if self.rate.is_some() && self.kind != Kind::Mixed => "rate is for mixed",
            _ if self.rates.iter().chain(&self.rate).any(|rate| rate.is_nan() || *rate <= 0.0) => {
                "a rate must be above 0"
            }
            _ => return Ok(()),
        };
        Err(wrong.to_string())
    }

    /// All combinations of the lists.
    #[must_use]
    pub fn cases(&self) -> Vec<Case> {
        let mut rates: Vec<Rate> = self.rates.iter().map(|rate| Rate::OfCapacity(*rate)).collect();
        rates.extend(self.rate.map(Rate::PerSecond));
        if rates.is_empty() {
            rates.push(Rate::Closed);
        }
        let (connections, shards) = (self.connections.all(), self.shards.all());
        let backends = self.backends.all();
        let mut cases = Vec::new();
        for &shards_of in &shards {
            for &backends_of in &backends {
                for &connections_of in &connections {
                    for &rate in &rates {
                        let mut label = self.name.clone();
                        if shards.len() > 1 {
                            label.push_str(&format!(", shards {shards_of}"));
                        }
                        if backends.len() > 1 {
                            label.push_str(&format!(", backends {backends_of}"));
                        }
                        if connections.len() > 1 {
                            label.push_str(&format!(", connections {connections_of}"));
                        }
                        if let Rate::OfCapacity(share) = rate {
                            label.push_str(&format!(" at {:.0} %", share * 100.0));
                        }
                        cases.push(Case {
                            label,
                            connections: connections_of,
                            rate,
                            shards: shards_of,
                            backends: backends_of,
                        });
                    }
                }
            }
        }
        cases
    }
}

/// Reads the scenarios of a folder: those named, or all of a group; in the order of their names.
pub fn load(folder: &Path, wanted: &[String], group: Group) -> io::Result<Vec<Scenario>> {
    let mut all = Vec::new();
    let mut files: Vec<_> = fs::read_dir(folder)
        .map_err(context(folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file).map_err(context(file.display()))?;
        let scenario = Scenario::parse(&text)
            .map_err(|error| fault(format!("{}: {error}", file.display())))?;
        if file.file_stem().is_some_and(|stem| stem != scenario.name.as_str()) {
            return Err(fault(format!("{}: it is named {}", file.display(), scenario.name)));
        }
        all.push(scenario);
    }
    let known: Vec<String> = all.iter().map(|scenario| scenario.name.clone()).collect();
    if let Some(name) = wanted.iter().find(|name| !known.contains(name)) {
        return Err(fault(format!("no scenario {name:?}; there are: {}", known.join(", "))));
    }
    all.retain(|scenario| match wanted {
        [] => scenario.group == group,
        names => names.contains(&scenario.name),
    });
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_in_the_tree_is_understood() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let bars = load(&folder, &[], Group::Bars).expect("readable");
        assert!(bars.iter().all(|scenario| !scenario.bars.is_empty()), "bars without a bar");
        assert!(!load(&folder, &[], Group::Growth).expect("readable").is_empty());
        let one = load(&folder, &["idle".to_string()], Group::Growth).expect("by its name");
        assert_eq!(one.len(), 1);
        let error = load(&folder, &["tea".to_string()], Group::Bars).expect_err("not there");
        assert!(error.to_string().contains("idle"), "{error}");
    }

    #[test]
    fn lists_are_multiplied_and_named() {
        let text = "name = \"x\"\nkind = \"open-loop\"\ngroup = \"bars\"\nconnections = [1, 64]\n\
            rates = [0.3, 0.7]\n";
        let cases = Scenario::parse(text).expect("understood").cases();
        let labels: Vec<&str> = cases.iter().map(|case| case.label.as_str()).collect();
        assert_eq!(
            labels,
            [
                "x, connections 1 at 30 %",
                "x, connections 1 at 70 %",
                "x, connections 64 at 30 %",
                "x, connections 64 at 70 %"
            ]
        );
        assert_eq!(cases[3].rate, Rate::OfCapacity(0.7));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let head = "name = \"x\"\ngroup = \"bars\"\n";
        for (wrong, why) in [
            ("kind = \"tea\"", "tea"),
            ("kind = \"rr\"\nspeed = 1", "speed"),
            ("kind = \"rr\"\nrounds = 0", "rounds"),
            ("kind = \"rr\"\nrates = [0.3]", "open-loop"),
            ("kind = \"open-loop\"", "rates"),
            ("kind = \"mixed\"", "rate"),
            ("kind = \"rr\"\nconnections = []", "empty"),
            ("kind = \"rr\"\nconnections = 100000", "too many"),
            ("kind = \"rr\"\nshards = 65", "shards"),
            ("kind = \"rr\"\nseconds = -1.0", "seconds"),
        ] {
            let error = Scenario::parse(&format!("{head}{wrong}")).expect_err(wrong);
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
