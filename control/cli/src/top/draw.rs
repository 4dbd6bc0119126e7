//! How `top` looks: a heading, four curves, the backends, the keys. Pure: a model onto a frame.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table};
use weir_proto::answer::BackendRow;

use super::model::{Curve, Model, Sort};
use crate::render::human::{byte_rate, bytes, count, plain, rate, seconds};
use crate::render::views::state_of;
use crate::render::{Style as Text, Tone, tone_of};

/// Numbers are for people here.
const HUMAN: Text = Text { human: true, colour: false };
/// With fewer rows than this the curves give way to the table.
const CURVES_ROWS_MIN: u16 = 14;
/// With fewer columns than this the curves stand in two rows of two.
const CURVES_WIDE: u16 = 120;

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, colour: bool) {
    let area = frame.area();
    let curves = match area {
        Rect { height, .. } if height < CURVES_ROWS_MIN => 0,
        Rect { width, .. } if width >= CURVES_WIDE => 5,
        Rect { height, .. } if height >= CURVES_ROWS_MIN + 6 => 8,
        _ => 4,
    };
    let notes = notes(model);
    let note_rows = u16::try_from(notes.len().min(3)).unwrap_or(3).min(area.height / 4);
    let [head, note, top, table, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(note_rows),
        Constraint::Length(curves),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(heading(model, colour), head);
    let lines: Vec<Line<'_>> =
        notes.into_iter().map(|(text, tone)| Line::styled(text, dress(tone, colour))).collect();
    frame.render_widget(Paragraph::new(lines), note);
    if curves > 0 {
        draw_curves(frame, model, top, colour);
    }
    draw_backends(frame, model, table, colour);
    frame.render_widget(Line::styled(key_line(model), dress(Tone::Dim, colour)), keys);
}

/// Colour is never the only sign: each of these tones comes with a word or a mark.
fn dress(tone: Tone, colour: bool) -> Style {
    let style = match tone {
        Tone::Plain => Style::new(),
        Tone::Dim => return Style::new().add_modifier(Modifier::DIM),
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Warn => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red),
    };
    if colour { style } else { Style::new() }
}

fn heading(model: &Model, colour: bool) -> Line<'static> {
    let status = &model.sample.status;
    let (state, tone) = match model.gone {
        Some(_) => ("gone, reconnecting".to_owned(), Tone::Bad),
        None => (status.state.word().to_owned(), tone_of(status.state.word())),
    };
    let adopted = status.shards.iter().filter(|shard| shard.version == status.version).count();
    let rest = format!(
        "  up {}  version {} on {adopted}/{} shards  sessions {} of {}",
        seconds(status.uptime_s, HUMAN),
        status.version,
        status.shards.len(),
        count(model.sample.stats.sessions, HUMAN),
        count(status.sessions_max, HUMAN),
    );
    let name = format!("weir {}  ", plain(&status.program));
    Line::from(vec![
        Span::styled(name, Style::new().add_modifier(Modifier::BOLD)),
        Span::styled(state, dress(tone, colour)),
        Span::raw(rest),
    ])
}

/// What the operator should know, the most urgent first.
fn notes(model: &Model) -> Vec<(String, Tone)> {
    let gone = model.gone.iter().map(|why| (format!("! {}", plain(why)), Tone::Bad));
    let warnings = model.sample.status.warnings.iter();
    gone.chain(warnings.map(|text| (format!("! {}", plain(text)), Tone::Warn))).collect()
}

fn draw_curves(frame: &mut Frame<'_>, model: &Model, area: Rect, colour: bool) {
    let stats = &model.sample.stats;
    let connect = &stats.connect_duration_recent_s;
    let panels: [(String, &Curve); 4] = [
        (format!("sessions {}", count(stats.sessions, HUMAN)), &model.sessions),
        (format!("new {}", rate(stats.session_rate_per_s, HUMAN)), &model.session_rate),
        (
            format!(
                "in {} out {}",
                byte_rate(stats.received_bytes_per_s, HUMAN),
                byte_rate(stats.sent_bytes_per_s, HUMAN)
            ),
            &model.byte_rate,
        ),
        (
            format!(
                "connect p50 {} p99 {}",
                seconds(connect.p50, HUMAN),
                seconds(connect.p99, HUMAN)
            ),
            &model.connect_p99,
        ),
    ];
    for ((title, curve), area) in panels.into_iter().zip(panel_areas(area)) {
        let block = Block::new().borders(Borders::TOP).title(title);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let values = curve.newest(usize::from(inner.width));
        let most = values.iter().copied().max().unwrap_or(0).max(1);
        let line = Sparkline::default().data(values).max(most).style(if colour {
            Style::new().fg(Color::Cyan)
        } else {
            Style::new()
        });
        frame.render_widget(line, inner);
    }
}

/// Four in a row if that is wide enough for their titles, else two by two.
fn panel_areas(area: Rect) -> Vec<Rect> {
    let across = |area: Rect, parts: u32| {
        let parts = vec![Constraint::Ratio(1, parts); parts as usize];
        Layout::horizontal(parts).spacing(2).split(area).to_vec()
    };
    if area.width >= CURVES_WIDE {
        return across(area, 4);
    }
    let rows = Layout::vertical([Constraint::Ratio(1, 2), Constraint::Ratio(1, 2)]).split(area);
    rows.iter().flat_map(|row| across(*row, 2)).collect()
}

/// A mark that tells a state without its colour.
fn mark(state: &str) -> &'static str {
    match state {
        "up" => "●",
        "draining" | "maint" => "◐",
        "removed" => "·",
        _ => "○",
    }
}

/// The columns of the backends' table: heading, width (0: as wide as its longest text), whether it
/// holds numbers.
const COLUMNS: [(&str, usize, bool); 9] = [
    ("BACKEND", 0, false),
    ("ADDRESS", 0, false),
    ("STATE", 10, false),
    ("SESSIONS", 8, true),
    ("TOTAL", 8, true),
    ("FAILURES", 8, true),
    ("IN", 8, true),
    ("OUT", 8, true),
    ("CHECK", 14, false),
];
/// Which columns go first when the screen is narrow. Name, state and sessions stay.
const DROPPED: [usize; 6] = [1, 7, 6, 4, 5, 8];
/// The widest that a name or an address may be.
const TEXT_MAX: usize = 40;

fn draw_backends(frame: &mut Frame<'_>, model: &Model, area: Rect, colour: bool) {
    let rows = model.sample.backends.iter().skip(model.offset).take(usize::from(area.height));
    let rows: Vec<[(String, Tone); COLUMNS.len()]> = rows.map(cells).collect();
    let widths: Vec<usize> = COLUMNS
        .iter()
        .enumerate()
        .map(|(index, (name, width, _))| {
            let longest = || rows.iter().map(|row| row[index].0.chars().count()).max();
            let least = name.len();
            if *width > 0 { *width } else { longest().unwrap_or(0).clamp(least, TEXT_MAX) }
        })
        .collect();
    let shown = shown_columns(&widths, usize::from(area.width));
    let cell = |index: usize, (text, tone): &(String, Tone)| {
        let line = Line::styled(text.clone(), dress(*tone, colour));
        Cell::from(if COLUMNS[index].2 { line.right_aligned() } else { line })
    };
    let header = shown.iter().map(|index| cell(*index, &(COLUMNS[*index].0.into(), Tone::Plain)));
    let header = Row::new(header).style(Style::new().add_modifier(Modifier::BOLD));
    let rows =
        rows.iter().map(|row| Row::new(shown.iter().map(|index| cell(*index, &row[*index]))));
    let widths = shown
        .iter()
        .map(|index| Constraint::Length(u16::try_from(widths[*index]).unwrap_or(u16::MAX)));
    frame.render_widget(Table::new(rows, widths).header(header).column_spacing(1), area);
}

/// The columns that fit, in their order.
fn shown_columns(widths: &[usize], width: usize) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..widths.len()).collect();
    for dropped in DROPPED {
        let needed: usize = shown.iter().map(|index| widths[*index] + 1).sum();
        if needed <= width + 1 {
            break;
        }
        shown.retain(|index| *index != dropped);
    }
    shown
}

fn cells(backend: &BackendRow) -> [(String, Tone); COLUMNS.len()] {
    let state = state_of(backend);
    let check = &backend.check;
    let text = |text: String| (text, Tone::Plain);
    [
        text(plain(&backend.name)),
        text(plain(&backend.address)),
        (format!("{} {}", mark(state), plain(state)), tone_of(state)),
        text(count(backend.sessions, HUMAN)),
        text(count(backend.sessions_total, HUMAN)),
        text(count(backend.connect_failures_total, HUMAN)),
        text(bytes(backend.received_bytes_total, HUMAN)),
        text(bytes(backend.sent_bytes_total, HUMAN)),
        (
            format!("{} {}", plain(check.result.as_str()), seconds(check.since_s, HUMAN)),
            tone_of(check.result.as_str()),
        ),
    ]
}

fn key_line(model: &Model) -> String {
    let sorts = Sort::ALL.map(|(key, sort, word)| {
        let chosen = if sort == model.sort { "*" } else { "" };
        format!("{key} {word}{chosen}")
    });
    format!("q quit  ↑↓ scroll  sort: {}", sorts.join("  "))
}
