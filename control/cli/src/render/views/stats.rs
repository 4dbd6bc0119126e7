//! `weirctl stats`: rates, whom to ask, durations and ends.

use weir_proto::answer::{ConnectFailures, EndRow, FirstCloses, Percentiles, Stats};

use super::Column::{Left, Right};
use super::{Cell, Style, Table, pairs};
use crate::render::human::{byte_rate, bytes, count, rate, seconds};

pub(super) fn stats(stats: &Stats, style: Style) -> String {
    let subject = if stats.subject.is_empty() { "all" } else { &stats.subject };
    let rows = [
        ("subject", subject.into()),
        ("sessions", count(stats.sessions, style).into()),
        ("sessions total", count(stats.sessions_total, style).into()),
        ("session rate", rate(stats.session_rate_per_s, style).into()),
        ("received", bytes(stats.received_bytes_total, style).into()),
        ("received rate", byte_rate(stats.received_bytes_per_s, style).into()),
        ("sent", bytes(stats.sent_bytes_total, style).into()),
        ("sent rate", byte_rate(stats.sent_bytes_per_s, style).into()),
    ];
    let mut text = pairs(&rows, style);
    text += &format!("\n{}", blame_table(stats, style));
    text += &format!("\n{}", failure_table(stats, style));
    let durations = [
        ("connect", &stats.connect_duration_s),
        ("first-byte", &stats.first_byte_duration_s),
        ("session", &stats.session_duration_s),
    ];
    let kept: Vec<_> =
        durations.into_iter().filter_map(|(name, row)| Some((name, row.as_ref()?))).collect();
    if !kept.is_empty() {
        text += &format!("\n{}", duration_table(&kept, style));
    }
    if let Some(ends) = stats.ends.as_ref().filter(|ends| !ends.is_empty()) {
        text += &format!("\n{}", end_table(ends, style));
    }
    if !stats.pools.is_empty() {
        text += &format!("\n{}", pool_stats(stats, style));
    }
    text
}

fn duration_table(rows: &[(&str, &Percentiles)], style: Style) -> String {
    let columns = [Left("DURATION"), Right("COUNT"), Right("P50"), Right("P99"), Right("P99.9")];
    let mut table = Table::new(&columns);
    for (name, row) in rows {
        let [p50, p99, p999] = percentiles(row, style);
        table.row(vec![name.into(), count(row.count, style).into(), p50, p99, p999]);
    }
    table.print(style)
}

/// Sessions that came to nothing through their backend: it closed before its first byte, or did not
/// take them.
fn failure_table(stats: &Stats, style: Style) -> String {
    let mut table = Table::new(&[Left("BACKEND-FAILED"), Right("COUNT")]);
    let ConnectFailures { refused, timeout, unreachable, local, closed, source } =
        stats.connect_failures_total;
    for (what, number) in [
        ("closed before its first byte", stats.early_closes_total),
        ("the same, another was tried", closed),
        ("connect refused", refused),
        ("connect timed out", timeout),
        ("unreachable", unreachable),
        ("this host was short of something", local),
        ("its source is not on this host", source),
    ] {
        table.row(vec![what.into(), count(number, style).into()]);
    }
    table.print(style)
}

/// Which side is to be asked: who closed first, who kept the other waiting, what was lost.
fn blame_table(stats: &Stats, style: Style) -> String {
    let columns = [Left("SIDE"), Right("CLOSED-FIRST"), Right("BLOCKED"), Right("UNDELIVERED")];
    let mut table = Table::new(&columns);
    let FirstCloses { client, backend, weir, operator } = stats.first_closes_total;
    let (blocked, lost) = (stats.blocked_s_total, stats.undelivered_bytes_total);
    let sides = [
        ("client", client, blocked.client, lost.client),
        ("backend", backend, blocked.backend, lost.backend),
    ];
    for (side, first, blocked_s, lost) in sides {
        let (blocked, lost) = (seconds(blocked_s, style), bytes(lost, style));
        table.row(vec![side.into(), count(first, style).into(), blocked.into(), lost.into()]);
    }
    for (side, first) in [("weir", weir), ("operator", operator)] {
        table.row(vec![side.into(), count(first, style).into(), "-".into(), "-".into()]);
    }
    table.print(style)
}

fn end_table(ends: &[EndRow], style: Style) -> String {
    let columns = [Left("ENDED-BY"), Left("DURING"), Left("WHY"), Left("CODE"), Right("COUNT")];
    let mut table = Table::new(&columns);
    for end in ends {
        table.row(vec![
            end.by.label().into(),
            end.during.label().into(),
            end.why.label().into(),
            (&end.code).into(),
            count(end.count, style).into(),
        ]);
    }
    table.print(style)
}

fn pool_stats(stats: &Stats, style: Style) -> String {
    let columns = [
        Left("POOL"),
        Right("SESSIONS"),
        Right("STALLED"),
        Right("QUEUED"),
        Right("TOTAL"),
        Right("RECEIVED"),
        Right("SENT"),
        Right("NO-BACKEND"),
        Right("RETRIES"),
        Right("P50"),
        Right("P99"),
        Right("P99.9"),
    ];
    let mut table = Table::new(&columns);
    for pool in &stats.pools {
        let [p50, p99, p999] = percentiles(&pool.connect_duration_s, style);
        table.row(vec![
            (&pool.name).into(),
            count(pool.sessions, style).into(),
            count(pool.sessions_stalled, style).into(),
            count(pool.sessions_queued, style).into(),
            count(pool.sessions_total, style).into(),
            bytes(pool.received_bytes_total, style).into(),
            bytes(pool.sent_bytes_total, style).into(),
            count(pool.no_backend_total, style).into(),
            count(pool.retries_total, style).into(),
            p50,
            p99,
            p999,
        ]);
    }
    table.print(style)
}

fn percentiles(row: &Percentiles, style: Style) -> [Cell; 3] {
    [row.p50, row.p99, row.p999].map(|value| duration(value, style))
}

/// A duration in seconds, or a dash for one that was never counted.
pub(super) fn duration(seconds_or_none: Option<f64>, style: Style) -> Cell {
    seconds_or_none.map_or_else(|| "-".into(), |value| seconds(value, style).into())
}
