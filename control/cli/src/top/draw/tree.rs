//! The table of the overview: each pool below its listeners and above its backends.

use ratatui::Frame;
use ratatui::layout::Rect;
use weir_proto::answer::{LiveBackend, LiveFigures, LiveListener, LivePool};

use super::columns::{self, Cells, Shape, TopColumn};
use super::dress::{HUMAN, bar, bits, mark};
use crate::render::human::{count, plain, rate, seconds, share};
use crate::render::{Tone, tone_of};
use crate::top::model::{Model, Row, Sort, pool_of};

const COLUMNS: [TopColumn; 12] = [
    ("NAME", 0, false),
    ("ADDRESS", 0, false),
    ("STATE", 0, false),
    ("WEIGHT", 6, true),
    ("SESSIONS", 9, true),
    ("SHARE", 11, false),
    ("NEW", 7, true),
    ("RECV bit/s", 11, true),
    ("SENT bit/s", 10, true),
    ("FAILURES", 9, true),
    ("TOTAL", 8, true),
    ("CHECK, CONNECT", 0, false),
];
/// Which columns go first when the screen is narrow. Name, state and sessions stay.
const DROPPED: [usize; 9] = [3, 10, 9, 1, 5, 6, 8, 7, 11];
/// With fewer columns than this there is none for addresses.
const WIDE: u16 = 110;
/// The columns of a bar; its share stands behind it.
const BAR: usize = 6;

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let Some(figures) = &model.figures else { return };
    let page = usize::from(area.height.saturating_sub(1));
    let is_wide = area.width >= WIDE;
    let shown = model.rows.iter().skip(model.cursor.offset()).take(page);
    let rows: Vec<Cells> = shown.map(|row| cells(*row, figures, is_wide)).collect();
    let cursor = model.cursor.index() - model.cursor.offset();
    let sorted = Some(match model.sort {
        Sort::Name => 0,
        Sort::State => 2,
        Sort::Sessions => 4,
        Sort::NewSessions => 6,
        Sort::Traffic => 7,
        Sort::Failures => 9,
    });
    let shape = Shape { columns: &COLUMNS, dropped: &DROPPED, sorted };
    columns::draw(frame, area, &shape, &rows, (Some(cursor), model.colour));
}

fn cells(row: Row, figures: &LiveFigures, is_wide: bool) -> Cells {
    match row {
        Row::Listener(index) => listener(&figures.listeners[index], figures, is_wide),
        Row::Pool(index) => pool(&figures.pools[index], figures, is_wide),
        Row::Backend { index, is_below } => backend(&figures.backends[index], figures, is_below),
    }
}

fn state(word: &str) -> (String, Tone) {
    (format!("{} {}", mark(word), plain(word)), tone_of(word))
}

fn text(text: impl Into<String>) -> (String, Tone) {
    (text.into(), Tone::Plain)
}

/// A bar and the share in words.
fn load(part: u64, whole: u64) -> (String, Tone) {
    if whole == 0 {
        return text("");
    }
    let of = part as f64 / whole as f64;
    text(format!("{:<BAR$} {:>4}", bar(of, BAR), share(of, HUMAN)))
}

fn all(figures: &LiveFigures) -> u64 {
    figures.listeners.iter().map(|it| it.row.sessions).sum()
}

fn listener(listener: &LiveListener, figures: &LiveFigures, is_wide: bool) -> Cells {
    let row = &listener.row;
    let bind = plain(&row.bind.join(","));
    let detail = if is_wide { String::new() } else { bind.clone() };
    let cells = vec![
        text(format!("→ {}", plain(&row.name))),
        text(bind),
        state(row.state.word()),
        text(""),
        text(count(row.sessions, HUMAN)),
        load(row.sessions, all(figures)),
        text(rate(listener.sessions_per_s, HUMAN)),
        text(""),
        text(""),
        text(""),
        text(count(row.sessions_total, HUMAN)),
        text(detail),
    ];
    Cells { cells, is_bold: false }
}

fn pool(pool: &LivePool, figures: &LiveFigures, is_wide: bool) -> Cells {
    let (up, backends) = (pool.backends_up, pool.backends);
    let (mark, tone) = match (up, pool.panic) {
        (0, _) => ("○", Tone::Bad),
        (_, true) => ("○", Tone::Bad),
        (up, _) if up < backends => ("◐", Tone::Warn),
        _ => ("●", Tone::Good),
    };
    let panic = if pool.panic { " panic" } else { "" };
    let strategy = pool.strategy.word();
    let detail = match pool.connect_s {
        _ if !is_wide => strategy.to_owned(),
        None => "no connect yet".to_owned(),
        // There is room for two figures.
        Some(it) if pool.sessions_stalled > 0 => format!("p99 {}", seconds(it.p99, HUMAN)),
        Some(it) => format!("p50 {} p99 {}", seconds(it.p50, HUMAN), seconds(it.p99, HUMAN)),
    };
    let (detail, worry) = match pool.sessions_stalled {
        _ if pool.sessions_queued > 0 => {
            (format!("{} wait for a backend", count(pool.sessions_queued, HUMAN)), Tone::Warn)
        }
        0 => (detail, Tone::Plain),
        stalled if is_wide => (format!("{detail}, {} stalled", count(stalled, HUMAN)), Tone::Warn),
        stalled => (format!("{} stalled", count(stalled, HUMAN)), Tone::Warn),
    };
    let failures = figures.backends.iter().map(|it| &it.row);
    let failures = failures.filter(|row| pool_of(&row.name) == pool.name);
    let failures: u64 = failures.map(|row| row.connect_failures_total).sum();
    let cells = vec![
        text(plain(&pool.name)),
        text(strategy),
        (format!("{mark} {up}/{backends} up{panic}"), tone),
        text(""),
        text(count(pool.sessions, HUMAN)),
        load(pool.sessions, all(figures)),
        text(rate(pool.sessions_per_s, HUMAN)),
        text(bits(pool.received_bytes_per_s)),
        text(bits(pool.sent_bytes_per_s)),
        text(count(failures, HUMAN)),
        text(count(pool.sessions_total, HUMAN)),
        (detail, worry),
    ];
    Cells { cells, is_bold: true }
}

fn backend(backend: &LiveBackend, figures: &LiveFigures, is_below: bool) -> Cells {
    let row = &backend.row;
    let name = match row.name.split_once('/') {
        Some((_, name)) if is_below => format!("  {}", plain(name)),
        _ => plain(&row.name),
    };
    let pool = figures.pools.iter().find(|pool| pool.name == pool_of(&row.name));
    let whole = pool.map_or(0, |pool| pool.sessions);
    let check = row.check.result.as_str();
    let tone = if row.removed { Tone::Dim } else { tone_of(check) };
    let failures = if row.connect_failures_total > 0 { Tone::Warn } else { Tone::Plain };
    let mut detail = format!("{} {}", plain(check), seconds(row.check.since_s, HUMAN));
    if let Some(first_byte) = backend.first_byte_s {
        detail += &format!(", first byte {}", seconds(first_byte.p50, HUMAN));
    }
    let cells = vec![
        text(name),
        text(plain(&row.address)),
        state(row.state.word()),
        text(row.weight.to_string()),
        text(count(row.sessions, HUMAN)),
        load(row.sessions, whole),
        text(rate(backend.sessions_per_s, HUMAN)),
        text(bits(backend.received_bytes_per_s)),
        text(bits(backend.sent_bytes_per_s)),
        (count(row.connect_failures_total, HUMAN), failures),
        text(count(row.sessions_total, HUMAN)),
        (detail, tone),
    ];
    Cells { cells, is_bold: false }
}
