//! How `top` looks: a heading, four curves, the backends, the keys. Pure: a model onto a frame.

mod overview;

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
/// With fewer rows than this there is no overview of pools, listeners and shards.
const OVERVIEW_ROWS_MIN: u16 = 40;
/// With fewer columns than this the curves stand in two rows of two.
const CURVES_WIDE: u16 = 120;

/// The parts of the screen, from top to bottom.
struct Parts {
    head: Rect,
    notes: Rect,
    curves: Rect,
    /// Pools, listeners and shards, on a tall screen.
    overview: Rect,
    backends: Rect,
    keys: Rect,
}

impl Parts {
    fn of(area: Rect, model: &Model) -> Parts {
        let curves = match area {
            Rect { height, .. } if height < CURVES_ROWS_MIN => 0,
            Rect { width, height, .. } if width >= CURVES_WIDE => height / 7,
            Rect { height, .. } if height >= CURVES_ROWS_MIN + 6 => 8,
            _ => 4,
        };
        let curves = if area.width >= CURVES_WIDE && curves > 0 { curves.max(5) } else { curves };
        let notes = u16::try_from(notes(model).len().min(3)).unwrap_or(3).min(area.height / 4);
        let overview = if area.height < OVERVIEW_ROWS_MIN {
            0
        } else {
            // One row for the headings, one to part it from the backends.
            let rows = u16::try_from(overview::rows(model)).unwrap_or(u16::MAX);
            rows.saturating_add(2).min(area.height / 5)
        };
        let [head, notes, curves, overview, backends, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(notes),
            Constraint::Length(curves),
            Constraint::Length(overview),
            Constraint::Min(1),
            Constraint::Length(1),
        ])
        .areas(area);
        Parts { head, notes, curves, overview, backends, keys }
    }
}

/// How many backends a screen of this size shows.
pub(super) fn backend_rows(area: Rect, model: &Model) -> usize {
    usize::from(Parts::of(area, model).backends.height.saturating_sub(1))
}

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, colour: bool) {
    let parts = Parts::of(frame.area(), model);
    frame.render_widget(heading(model, colour), parts.head);
    let notes = notes(model).into_iter();
    let lines: Vec<Line<'_>> =
        notes.map(|(text, tone)| Line::styled(text, dress(tone, colour))).collect();
    frame.render_widget(Paragraph::new(lines), parts.notes);
    if parts.curves.height > 0 {
        draw_curves(frame, model, parts.curves, colour);
    }
    if model.is_help {
        frame.render_widget(Paragraph::new(HELP), parts.overview.union(parts.backends));
    } else {
        overview::draw(frame, model, parts.overview, colour);
        draw_backends(frame, model, parts.backends, colour);
    }
    frame.render_widget(Line::styled(key_line(model), dress(Tone::Dim, colour)), parts.keys);
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
        None if model.is_paused => ("paused".to_owned(), Tone::Warn),
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
    let connect = stats.connect_duration_recent_s.unwrap_or_default();
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
const COLUMNS: [(&str, usize, bool); 10] = [
    ("BACKEND", 0, false),
    ("ADDRESS", 0, false),
    ("STATE", 10, false),
    ("WEIGHT", 6, true),
    ("SESSIONS", 8, true),
    ("TOTAL", 8, true),
    ("FAILURES", 8, true),
    ("IN", 8, true),
    ("OUT", 8, true),
    ("CHECK", 14, false),
];
/// Which columns go first when the screen is narrow. Name, state and sessions stay.
const DROPPED: [usize; 7] = [3, 1, 8, 7, 5, 6, 9];
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
        text(backend.weight.to_string()),
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
    let (first, last, all) = model.shown();
    let sorts = Sort::ALL.map(|(key, ..)| key.to_string()).join(" ");
    let by = Sort::ALL.iter().find(|(_, sort, _)| *sort == model.sort).map_or("", |(.., by)| *by);
    let pause = if model.is_paused { "p go on" } else { "p pause" };
    format!("q quit  ? help  {pause}  ↑↓ scroll  {sorts} sort: {by}  {first}-{last} of {all}")
}

const HELP: &str = "\
q, Esc      leave                      n  sort by name
p, space    pause, go on               s  sort by sessions
↑ ↓, k j    scroll by a row            t  sort by sessions in total
PgUp PgDn   scroll by a page           f  sort by failed connects
Home End    the first, the last        b  sort by bytes
?, h        this help

SESSIONS are open now, TOTAL ever since weir started; FAILURES are failed connects;
IN is from clients, OUT is to them; CHECK is the last result of the health check and
for how long. ● up  ◐ draining or maint  ○ down  · removed, but with sessions";
