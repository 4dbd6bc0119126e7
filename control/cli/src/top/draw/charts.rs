//! The four charts of the last 15 minutes. One with two curves has one below the other, each up to
//! its own peak, so that they are told apart without colour, and the smaller one has a form.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph, Sparkline};

use super::dress::{HUMAN, bits, curve, dress, whole};
use crate::render::Tone;
use crate::render::human::{count, rate, seconds};
use crate::top::model::{Figure, Model};

/// With fewer columns than this the charts stand in two rows of two.
pub(super) const WIDE: u16 = 150;
/// The steps of a chart from 0 to its peak.
const STEPS: f64 = 10_000.0;
/// The columns before a curve that has a name.
const NAME: u16 = 5;

struct Chart {
    title: &'static str,
    /// Each with its name.
    curves: &'static [(&'static str, Figure)],
    format: fn(f64) -> String,
    /// The unit of the figures, where they do not have it themselves.
    unit: &'static str,
}

const CHARTS: [Chart; 4] = [
    Chart {
        title: "sessions",
        curves: &[("", |point| Some(point.sessions as f64))],
        unit: "",
        format: |value| count(whole(value), HUMAN),
    },
    Chart {
        title: "new",
        curves: &[("", |point| Some(point.sessions_per_s))],
        unit: "",
        format: |value| rate(value, HUMAN),
    },
    Chart {
        title: "traffic",
        curves: &[
            ("recv", |point| Some(point.received_bits_per_s)),
            ("sent", |point| Some(point.sent_bits_per_s)),
        ],
        unit: " bit/s",
        format: |value| bits(value / 8.0),
    },
    Chart {
        title: "connect",
        curves: &[("p50", |point| point.connect_p50_s), ("p99", |point| point.connect_p99_s)],
        unit: "",
        format: |value| seconds(value, HUMAN),
    },
];

/// Four in a row if that is wide enough for their titles, else two by two.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let across = |area: Rect, parts: u32| {
        let parts = vec![Constraint::Ratio(1, parts); parts as usize];
        Layout::horizontal(parts).spacing(2).split(area).to_vec()
    };
    let areas = if area.width >= WIDE {
        across(area, 4)
    } else {
        let halves = [Constraint::Ratio(1, 2); 2];
        let rows = Layout::vertical(halves).split(area);
        rows.iter().flat_map(|row| across(*row, 2)).collect()
    };
    for (chart, area) in CHARTS.iter().zip(areas) {
        one(frame, model, chart, area);
    }
}

fn one(frame: &mut Frame<'_>, model: &Model, chart: &Chart, area: Rect) {
    let history = &model.history;
    let now = |of: Figure| {
        let value = history.newest().and_then(of);
        value.map_or_else(|| "–".to_owned(), chart.format)
    };
    let values = chart.curves.iter().map(|(name, of)| match *name {
        "" => now(*of),
        name => format!("{name} {}", now(*of)),
    });
    let values = values.collect::<Vec<_>>().join(" ");
    let title = format!("{} {values}{}", chart.title, chart.unit);
    let peaks: Vec<Option<f64>> = chart.curves.iter().map(|(_, of)| history.peak(*of)).collect();
    let words = peaks.iter().map(|peak| peak.map_or_else(|| "–".to_owned(), chart.format));
    let words = words.collect::<Vec<_>>().join(" ");
    let whole_scale = format!("peak {words} in {}", span(history.span_s()));
    let room = usize::from(area.width).saturating_sub(title.chars().count() + 2);
    let scales = [whole_scale, format!("peak {words}")];
    let scale = scales.into_iter().find(|scale| scale.chars().count() < room);
    let scale = scale.filter(|_| peaks.iter().any(Option::is_some));
    let mut block = Block::new().borders(Borders::TOP).border_style(dress(Tone::Dim, false));
    if let Some(scale) = scale {
        block = block.title_top(Line::from(scale).alignment(Alignment::Right));
    }
    // The figures of now are not as faint as the line that they stand on.
    let bright = Style::new().remove_modifier(Modifier::DIM);
    let block = block.title_top(Line::styled(title, bright));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let rows = vec![Constraint::Fill(1); chart.curves.len()];
    let rows = Layout::vertical(rows).split(inner);
    for (index, ((name, of), row)) in chart.curves.iter().zip(rows.iter()).enumerate() {
        let mut place = *row;
        if !name.is_empty() && place.width > 2 * NAME {
            let [left, right] =
                Layout::horizontal([Constraint::Length(NAME), Constraint::Fill(1)]).areas(place);
            frame.render_widget(Paragraph::new(Line::styled(*name, dress(Tone::Dim, false))), left);
            place = right;
        }
        let bars = bars(model, *of, peaks[index].unwrap_or(0.0), place);
        let line = Sparkline::default().data(bars).max(whole(STEPS));
        frame.render_widget(line.style(curve(index, model.colour)), place);
    }
}

/// The heights of a curve's columns. Something is never drawn as nothing.
fn bars(model: &Model, of: Figure, peak: f64, area: Rect) -> Vec<Option<u64>> {
    let least = STEPS / (8.0 * f64::from(area.height.max(1)));
    let height = |value: f64| match value / peak {
        share if share > 0.0 => (share * STEPS).clamp(least, STEPS),
        _ => 0.0,
    };
    let columns = model.history.columns(usize::from(area.width), of).into_iter();
    columns.map(|value| value.map(|value| whole(height(value).ceil()))).collect()
}

/// The time that a chart spans: `15m`, `2m`.
fn span(span_s: f64) -> String {
    format!("{:.0}m", (span_s / 60.0).ceil())
}
