//! Fifteen minutes of figures: those that weir had kept, then those that came.

use std::collections::VecDeque;

use weir_proto::answer::{LiveHistory, LivePoint};

/// Points that are kept.
pub(in crate::top) const POINTS_MAX: usize = 900;
/// The least time that a chart spans, in seconds.
const SPAN_MIN_S: f64 = 120.0;
/// A chart spans no more.
const SPAN_MAX_S: f64 = 900.0;
/// Without a point for so long a chart has a gap, in seconds.
const GAP_S: f64 = 3.0;

/// One of the figures of a point; `None` where it was not counted.
pub(in crate::top) type Figure = fn(&LivePoint) -> Option<f64>;

/// Points, the oldest first.
#[derive(Clone, Debug, Default)]
pub(in crate::top) struct History(VecDeque<LivePoint>);

impl History {
    /// Takes in what weir had kept. What was seen before it stays: weir has none of the time before
    /// its last start.
    pub(super) fn begin(&mut self, kept: &LiveHistory) {
        let first = kept.at.first().copied().unwrap_or(f64::INFINITY);
        self.0.retain(|point| point.at < first);
        for (index, at) in kept.at.iter().enumerate() {
            let figure = |of: &Vec<f64>| of.get(index).copied().unwrap_or(0.0);
            let duration = |of: &Vec<Option<f64>>| of.get(index).copied().flatten();
            self.push(LivePoint {
                at: *at,
                sessions: kept.sessions.get(index).copied().unwrap_or(0),
                sessions_per_s: figure(&kept.sessions_per_s),
                received_bits_per_s: figure(&kept.received_bits_per_s),
                sent_bits_per_s: figure(&kept.sent_bits_per_s),
                connect_p50_s: duration(&kept.connect_p50_s),
                connect_p99_s: duration(&kept.connect_p99_s),
            });
        }
    }

    /// Adds a point, unless it is there already.
    pub(super) fn push(&mut self, point: LivePoint) {
        match self.0.back() {
            Some(last) if (last.at - point.at).abs() < 0.3 => return,
            // weir's clock was set back: times that are to come mean nothing.
            Some(last) if last.at > point.at => self.0.retain(|it| it.at < point.at),
            _ => {}
        }
        if self.0.len() == POINTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(point);
    }

    pub(in crate::top) fn newest(&self) -> Option<&LivePoint> {
        self.0.back()
    }

    #[cfg(test)]
    pub(in crate::top) fn len(&self) -> usize {
        self.0.len()
    }

    /// The time that a chart spans, in seconds.
    pub(in crate::top) fn span_s(&self) -> f64 {
        let (first, last) = (self.0.front(), self.0.back());
        let seen = first.zip(last).map_or(0.0, |(first, last)| last.at - first.at);
        seen.clamp(SPAN_MIN_S, SPAN_MAX_S)
    }

    /// The largest value in the time that a chart spans.
    pub(in crate::top) fn peak(&self, of: Figure) -> Option<f64> {
        let from = self.0.back()?.at - self.span_s();
        self.0.iter().filter(|point| point.at >= from).filter_map(of).reduce(f64::max)
    }

    /// A value for each column of a chart, the newest last: the largest of its time, so that a
    /// short peak is seen.
    pub(in crate::top) fn columns(&self, width: usize, of: Figure) -> Vec<Option<f64>> {
        let mut columns = vec![None; width];
        let Some(last) = self.0.back() else { return columns };
        let span = self.span_s();
        let from = last.at - span;
        let step = span / width.max(1) as f64;
        for point in self.0.iter().filter(|point| point.at >= from) {
            let Some(value) = of(point) else { continue };
            #[expect(clippy::cast_possible_truncation, reason = "within the columns")]
            let place = (((point.at - from) / step) as usize).min(width.saturating_sub(1));
            if let Some(column) = columns.get_mut(place) {
                *column = Some(column.map_or(value, |it: f64| it.max(value)));
            }
        }
        bridge(&mut columns, step);
        columns
    }
}

/// A point that came a little late, and a column between two points, are no gap.
fn bridge(columns: &mut [Option<f64>], step: f64) {
    let mut last: Option<usize> = None;
    for index in 0..columns.len() {
        if columns[index].is_none() {
            continue;
        }
        if let Some(before) = last.filter(|before| (index - before) as f64 * step <= GAP_S) {
            let value = columns[before];
            columns[before + 1..index].fill(value);
        }
        last = Some(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: f64, sessions: u64) -> LivePoint {
        LivePoint { at, sessions, ..LivePoint::default() }
    }

    const SESSIONS: Figure = |point| Some(point.sessions as f64);

    #[test]
    fn a_column_has_the_peak_of_its_time_and_a_gap_stays_one() {
        let mut history = History::default();
        for second in 0..=900 {
            if (300..400).contains(&second) {
                continue;
            }
            history.push(point(f64::from(second), if second == 777 { 99 } else { 5 }));
        }
        assert_eq!((history.span_s(), history.peak(SESSIONS)), (900.0, Some(99.0)));
        let columns = history.columns(9, SESSIONS);
        let wanted = [5, 5, 5, 0, 5, 5, 5, 99, 5].map(|it| (it > 0).then_some(f64::from(it)));
        assert_eq!(columns, wanted);
        assert_eq!(history.columns(0, SESSIONS), []);
        assert_eq!(History::default().columns(2, SESSIONS), [None, None]);
    }

    #[test]
    fn few_points_fill_many_columns() {
        let mut history = History::default();
        for second in 0..=120 {
            history.push(point(1000.0 + f64::from(second), 7));
        }
        let columns = history.columns(240, SESSIONS);
        let filled = columns.iter().flatten().count();
        assert!(filled >= 238, "{filled}");
    }

    #[test]
    fn a_restart_keeps_what_was_seen_and_repeats_nothing() {
        let mut history = History::default();
        for second in 0..2000 {
            history.push(point(f64::from(second), 1));
        }
        history.push(point(1999.1, 2));
        assert_eq!(history.len(), POINTS_MAX);
        let mut kept = LiveHistory::default();
        kept.push(point(1990.0, 3));
        kept.push(point(2010.0, 4));
        history.begin(&kept);
        assert_eq!(history.len(), POINTS_MAX - 10 + 2);
        assert_eq!(history.newest().map(|it| it.sessions), Some(4));
        history.push(point(1500.0, 5));
        assert_eq!(history.newest().map(|it| it.at), Some(1500.0), "the clock was set back");
    }
}
