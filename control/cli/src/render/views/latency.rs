//! Histograms of durations, as a person sees them.

use weir_proto::answer::{Latency, LatencyBucket, LatencyPhase, PhaseRow};

use crate::render::Style;
use crate::render::human::{count, seconds, share};
use crate::render::table::{Column, Table};
use crate::render::views::stats::duration;

use Column::{Left, Right};

/// The longest bar, in columns. With the three figures before it a line has at most 80.
const BAR_MAX: u64 = 36;

pub(super) fn latency(body: &Latency, style: Style) -> String {
    let columns = [
        Left("PHASE"),
        Right("COUNT"),
        Right("P50"),
        Right("P90"),
        Right("P99"),
        Right("P99.9"),
        Right("MAX"),
    ];
    let mut table = Table::new(&columns);
    for row in &body.phases {
        let PhaseRow { phase, p50_s, p90_s, p99_s, p999_s, max_s, .. } = row;
        let percentiles = [p50_s, p90_s, p99_s, p999_s, max_s].map(|value| duration(*value, style));
        let mut cells = vec![names(*phase).0.into(), count(row.count, style).into()];
        cells.extend(percentiles);
        table.row(cells);
    }
    let mut text = table.print(style);
    for row in body.phases.iter().filter(|row| row.count > 0) {
        text += &format!("\n{}", chart(row, style));
    }
    text
}

/// As in the table of `weirctl stats`, and as a heading.
fn names(phase: LatencyPhase) -> (&'static str, &'static str) {
    match phase {
        LatencyPhase::Queue => ("queue", "QUEUE"),
        LatencyPhase::Connect => ("connect", "CONNECT"),
        LatencyPhase::FirstByte => ("first-byte", "FIRST-BYTE"),
        LatencyPhase::Session => ("session", "SESSION"),
    }
}

/// The buckets from the first one that has something to the last.
fn chart(row: &PhaseRow, style: Style) -> String {
    let columns = [Right(names(row.phase).1), Right("COUNT"), Right("SHARE"), Left("")];
    let mut table = Table::new(&columns);
    let mut before = 0;
    let buckets: Vec<(f64, u64)> = row
        .buckets
        .iter()
        .map(|LatencyBucket { le_s, count }| {
            (*le_s, count - std::mem::replace(&mut before, *count))
        })
        .collect();
    let first = buckets.iter().position(|(_, here)| *here > 0).unwrap_or(0);
    let end = buckets.iter().rposition(|(_, here)| *here > 0).map_or(0, |last| last + 1);
    let most = buckets.iter().map(|(_, here)| *here).max().unwrap_or(0).max(1);
    for (le_s, here) in &buckets[first..end.max(first)] {
        let length = (u128::from(*here) * u128::from(BAR_MAX)).div_ceil(u128::from(most));
        let mark = if style.human { "█" } else { "#" };
        table.row(vec![
            format!("≤ {}", seconds(*le_s, style)).into(),
            count(*here, style).into(),
            share(*here as f64 / row.count as f64, style).into(),
            mark.repeat(usize::try_from(length).unwrap_or(0)).into(),
        ]);
    }
    table.print(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Latency {
        let bucket = |(le_s, count)| LatencyBucket { le_s, count };
        let phase = |phase, buckets: &[(f64, u64)]| {
            let count = buckets.last().map_or(0, |last| last.1);
            let some = |value: f64| (count > 0).then_some(value);
            PhaseRow {
                phase,
                count,
                sum_s: 1.0,
                p50_s: some(0.000_111),
                p90_s: some(0.000_2),
                p99_s: some(0.815),
                p999_s: some(0.815),
                max_s: some(0.82),
                buckets: buckets.iter().copied().map(bucket).collect(),
            }
        };
        let counts = [(0.0001, 0), (0.0002, 60), (0.0005, 60), (1.0, 61), (2.0, 61)];
        Latency {
            subject: "web".into(),
            phases: vec![
                phase(LatencyPhase::Connect, &[]),
                phase(LatencyPhase::FirstByte, &counts),
            ],
        }
    }

    #[test]
    fn a_histogram_begins_and_ends_with_something() {
        let human = Style { human: true, colour: false };
        let wanted = format!(
            "PHASE       COUNT    P50    P90    P99  P99.9    MAX\n\
             connect         0      -      -      -      -      -\n\
             first-byte     61  111µs  200µs  815ms  815ms  820ms\n\
             \n\
             FIRST-BYTE  COUNT  SHARE\n\
             \x20  ≤ 200µs     60    98%  {}\n\
             \x20  ≤ 500µs      0     0%\n\
             \x20     ≤ 1s      1     2%  █\n",
            "█".repeat(36)
        );
        assert_eq!(latency(&sample(), human), wanted);
    }

    #[test]
    fn no_line_is_longer_than_a_small_terminal() {
        let mut body = sample();
        let row = &mut body.phases[1];
        row.count = u64::MAX;
        row.buckets = vec![LatencyBucket { le_s: 3600.0, count: u64::MAX }];
        for human in [true, false] {
            let text = latency(&body, Style { human, colour: false });
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(80), "{longest:?} columns:\n{text}");
        }
    }
}
