//! F8: the page for Prometheus: whatever weir's own name and numbers are, a strict reader reads it,
//! finds every family declared before its rows, no row twice, and every label as it was given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_control::api::metrics::{
    BackendFigures, HealthCounts, MetricsInput, PoolFigures, Process, ReloadFigures, StateFigures,
    render,
};
use weir_control_core::aggregate::Aggregate;
use weir_control_core::health::AgentCounts;
use weir_core::base::clock::Now;
use weir_proto::counters::BackendCounts;
use weir_proto::ids::{BackendId, Edition, IdSource, ShardId, Version};
use weir_proto::reason::CloseReason;
use weir_proto::snapshot::{Pool, Snapshot};
use weir_proto::spec::{Admin, BackendSpec, ListenerSpec, Name, PoolSpec, Spec};
use weir_proto::stats::{BackendStats, PoolStats, ShardStats};

use crate::choices::Choices;

/// What labels could break out with.
pub const WORDS: &[&[u8]] = &[b"\"} 1\n", b"\\", b"\\\"", b"\n# TYPE x gauge\n", b"{", b"a.b-c"];

/// Any numbers for one backend.
fn health(backend: BackendId) -> HealthCounts {
    let mut choices = Choices::new(b"\x07\xff\xff\x10\x00\xf0\x7f");
    let mut number = || u64::from(choices.short()) << (choices.byte() % 48);
    HealthCounts {
        up: backend.0.is_multiple_of(2),
        hold_s: f64::from_bits(number() << 16),
        checks_ok: number(),
        checks_failed: number(),
        transitions: number(),
        duration_sum_s: f64::from_bits(number() << 16),
        duration_count: number(),
    }
}

/// Names and numbers.
///
/// # Panics
/// A promise is broken.
pub fn run(bytes: &[u8]) -> u64 {
    let mut choices = Choices::new(bytes);
    let program = choices.text();
    let spec = spec(&mut choices);
    let mut ids = IdSource::default();
    let snapshot = Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut ids)
        .expect("the spec has no faults");
    let mut aggregate = Aggregate::new(u16::from(choices.byte() % 3));
    aggregate.adopt(&snapshot);
    if aggregate.shards().count() > 0 {
        aggregate.fold(stats(&snapshot, &mut choices), Now::from_nanos(1));
    }
    let panics = |pool: &Pool| pool.id.0.is_multiple_of(2);
    let pools = snapshot
        .pools
        .iter()
        .map(|pool| PoolFigures::of(pool, &aggregate, (panics(pool), Vec::new()), None));
    let backends = snapshot.backends().map(|(_, it)| BackendFigures {
        totals: aggregate.backend(it.id),
        health: health(it.id),
        agent: Some(AgentCounts { answered: 1, failed: 2, local: 3 }),
    });
    let input = MetricsInput {
        listeners: snapshot.listeners.iter().map(|it| aggregate.listener(it.id)).collect(),
        unbound: vec![0; snapshot.listeners.len()],
        pools: pools.collect(),
        backends: backends.collect(),
        gone: Vec::new(),
        shards: aggregate.shards().copied().collect(),
        program: program.clone(),
        started_ms: u64::from(choices.short()) << (choices.byte() % 48),
        events_dropped: u64::from(choices.byte()),
        log_dropped: u64::from(choices.byte()),
        session_log: Some((u64::from(choices.byte()), 1)),
        reloads: ReloadFigures { done: 6, refused: 7, is_stale: true, applied_ms: 0 },
        state: StateFigures { can_write: true, failures: 1 },
        http_streams: 1,
        longest_turn: std::time::Duration::from_micros(u64::from(choices.byte())),
        supervised: Vec::new(),
        sessions_max: u64::from(choices.short()),
        is_full: true,
        tasks: [1, 2, 0, 1, usize::from(choices.byte())],
        drift_keys: usize::from(choices.byte()),
        is_unconfirmed: choices.byte() > 127,
        rolled_back: [choices.byte().into(), choices.byte().into()],
        snapshot: Arc::new(snapshot.clone()),
    };
    let page = render(&input, &Process::default());
    let rows = read(&page).unwrap_or_else(|why| panic!("{why}\n{page}"));
    let version =
        rows.iter().find(|row| row.name == "weir_build_info").expect("it is always there");
    assert_eq!(version.labels.get("version"), Some(&program), "a label came out another");
    let backends: BTreeSet<_> = rows.iter().filter_map(|row| row.labels.get("backend")).collect();
    for (_, backend) in snapshot.backends() {
        assert!(backends.contains(&backend.name.to_string()), "{} has no row", backend.name);
    }
    rows.len() as u64
}

fn spec(choices: &mut Choices<'_>) -> Spec {
    let name = |choices: &mut Choices<'_>| choices.text().parse::<Name>().ok();
    let mut spec = Spec::default();
    for _ in 0..choices.byte() % 3 {
        let Some(pool) = name(choices) else { continue };
        let mut pool_spec = PoolSpec::default();
        for number in 1..=choices.byte() % 4 {
            let Some(backend) = name(choices) else { continue };
            let address = std::net::SocketAddr::from(([10, 0, 0, number], 80)).into();
            let state = choices.pick(&[Admin::Ready, Admin::Drain, Admin::Maint]);
            pool_spec.backend.insert(backend, BackendSpec { state, ..BackendSpec::new(address) });
        }
        if let Some(listener) = name(choices) {
            let port = 1000 + u16::try_from(spec.listener.len()).unwrap_or(0);
            let bind = vec![([127, 0, 0, 1], port).into()];
            let pool = pool.clone();
            let listener_spec = ListenerSpec::new(pool, bind);
            // A pool that is replaced below has the same name: the listener still leads to it.
            spec.listener.entry(listener).or_insert(listener_spec);
        }
        spec.pool.insert(pool, pool_spec.into());
    }
    spec
}

fn stats(snapshot: &Snapshot, choices: &mut Choices<'_>) -> Box<ShardStats> {
    let mut number = || u64::from(choices.short()) << (choices.byte() % 32);
    let mut stats = Box::new(ShardStats::new(ShardId(0)));
    stats.edition = Edition::of(Version(1));
    (stats.counts.turns, stats.counts.enters, stats.counts.busy_ns) =
        (number(), number(), number());
    stats.pools = snapshot.pools.iter().map(|pool| PoolStats::new(pool.id)).collect();
    for (pool, reason) in stats.pools.iter_mut().zip(CloseReason::all().step_by(5)) {
        pool.ends.count(reason);
    }
    stats.backends = snapshot
        .backends()
        .map(|(_, backend)| BackendStats {
            id: backend.id,
            sessions_now: 1,
            connecting_now: 1,
            counts: BackendCounts {
                sessions: number(),
                connect_failures: [number(), 0, 1, 0, 2, 0],
                capped: [number(), 0],
                received_bytes: number(),
                sent_bytes: number(),
                early_closes: number(),
                blocked_ns: [number(), number()],
                first_closes: [number(), 0, 1, number()],
                undelivered_bytes: [number(), 0],
            },
        })
        .collect();
    stats
}

/// One row of a page.
#[derive(Debug)]
struct Row {
    name: String,
    labels: BTreeMap<String, String>,
}

/// Reads a page, strictly (Prometheus' text format 0.0.4).
fn read(page: &str) -> Result<Vec<Row>, String> {
    let mut family = None;
    let mut declared = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    if !page.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let name = rest.split(' ').next().unwrap_or_default().to_owned();
            if !declared.insert(name.clone()) {
                return Err(format!("{name} is declared twice"));
            }
            family = Some(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("a TYPE without a type")?;
            let kinds = ["counter", "gauge", "histogram", "summary"];
            if family.as_deref() != Some(name) || !kinds.contains(&kind) {
                return Err(format!("TYPE in the wrong place: {line:?}"));
            }
        } else {
            let row = read_row(line).map_err(|why| format!("{why}: {line:?}"))?;
            let family = family.as_deref().ok_or("a row before all families")?;
            let suffix = row.name.strip_prefix(family);
            if !suffix.is_some_and(|it| ["", "_bucket", "_sum", "_count"].contains(&it)) {
                return Err(format!("a row of {} under {family}", row.name));
            }
            if !seen.insert(format!("{}{:?}", row.name, row.labels)) {
                return Err(format!("twice: {line:?}"));
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

fn read_row(line: &str) -> Result<Row, &'static str> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let end = line.find(|letter| !is_name(letter)).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or("a label without a value")?;
            if label.is_empty() || !label.chars().all(is_name) {
                return Err("a strange label");
            }
            let (value, after) = read_value(after)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return Err("a label twice");
            }
            let mut letters = after.chars();
            let next = letters.next();
            rest = letters.as_str();
            match next {
                Some(',') => {}
                Some('}') => break,
                _ => return Err("a label does not end"),
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let special = ["NaN", "+Inf", "-Inf", "inf", "-inf"];
    if name.is_empty() || !(special.contains(&value) || value.parse::<f64>().is_ok()) {
        return Err("not a value");
    }
    Ok(Row { name: name.to_owned(), labels })
}

/// A label's value up to its quote, and what follows.
fn read_value(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Ok((value, letters.as_str())),
            '\\' => value.push(match letters.next() {
                Some('n') => '\n',
                Some(letter @ ('\\' | '"')) => letter,
                _ => return Err("a strange escape"),
            }),
            letter => value.push(letter),
        }
    }
    Err("a value does not end")
}
