//! Events, tasks and shards.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use weir_proto::answer::{EventKind, EventRow, TaskKind, TaskRow};

use super::dress::{HUMAN, bar, bold, cut, dress};
use crate::render::human::{count, plain, seconds, share};
use crate::render::{Tone, tone_of};
use crate::top::model::{Model, running};

/// Tasks that are shown.
const TASKS_MAX: usize = 5;
/// The columns of a bar.
const BAR: usize = 8;

/// A part's heading, and the place below it.
pub(super) fn heading(name: &str, words: &str, area: Rect) -> (Line<'static>, Rect) {
    let width = usize::from(area.width);
    let name = cut(name, width);
    let rest = cut(words, width.saturating_sub(name.chars().count() + 2));
    let line = Line::from(vec![
        Span::styled(name, bold()),
        Span::raw("  "),
        Span::styled(rest, dress(Tone::Dim, false)),
    ]);
    let place =
        Rect { y: area.y + area.height.min(1), height: area.height.saturating_sub(1), ..area };
    (line, place)
}

/// The newest events, below a heading where there is room for one.
fn events(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let mut place = area;
    if area.height > 2 {
        let (title, below) = heading("Events", "the newest first", area);
        frame.render_widget(title, Rect { height: 1, ..area });
        place = below;
    }
    let shown = model.shown_events();
    let shown = shown.iter().take(usize::from(place.height));
    let lines: Vec<Line<'_>> =
        shown.map(|row| event(row, usize::from(place.width), model.colour)).collect();
    if lines.is_empty() {
        frame.render_widget(Line::styled("no events yet", dress(Tone::Dim, false)), place);
        return;
    }
    frame.render_widget(Paragraph::new(lines), place);
}

/// The view of events, with a cursor.
pub(super) fn event_view(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let shown = model.shown_events();
    let words = format!("{}, the newest first", shown.len());
    let (title, place) = heading("Events", &words, area);
    frame.render_widget(title, Rect { height: area.height.min(1), ..area });
    let cursor = &model.event_cursor;
    let rows = shown.iter().enumerate().skip(cursor.offset()).take(usize::from(place.height));
    let lines: Vec<Line<'_>> = rows
        .map(|(at, row)| {
            let is_on = at == cursor.index();
            let line = event(row, usize::from(place.width).saturating_sub(2), model.colour);
            let mark = Span::raw(if is_on { "▶ " } else { "  " });
            let line = std::iter::once(mark).chain(line.spans).collect::<Vec<_>>();
            let line = Line::from(line);
            if is_on { line.patch_style(Modifier::REVERSED) } else { line }
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), place);
}

/// `14:03:22  health  web/b1  is down: refused`
fn event(row: &EventRow, width: usize, colour: bool) -> Line<'static> {
    let at = row.at.get(11..19).unwrap_or(&row.at);
    let kind = row.kind.word();
    let head = format!("{}  ", plain(at));
    let subject = plain(&row.subject);
    let gap = if subject.is_empty() { "" } else { "  " };
    let text = format!("  {subject}{gap}{}", plain(&row.text));
    let used = head.chars().count() + 7;
    Line::from(vec![
        Span::styled(head, dress(Tone::Dim, colour)),
        Span::styled(format!("{kind:<7}"), dress(tone(row.kind), colour)),
        Span::raw(cut(&text, width.saturating_sub(used))),
    ])
}

fn tone(kind: EventKind) -> Tone {
    match kind {
        EventKind::Health | EventKind::Limit | EventKind::Shard | EventKind::Discovery => {
            Tone::Warn
        }
        EventKind::Config | EventKind::Reload | EventKind::Process | EventKind::Task => Tone::Plain,
        EventKind::Audit => Tone::Dim,
    }
}

/// The tasks that run, above the newest events.
pub(super) fn tasks_and_events(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let mut tasks = model.figures.as_ref().map(running).unwrap_or_default();
    tasks.truncate(TASKS_MAX);
    let room = usize::from(area.height.saturating_sub(1));
    let width = usize::from(area.width);
    let lines: Vec<Line<'_>> =
        tasks.into_iter().take(room).map(|it| task(it, width, model.colour)).collect();
    let used = u16::try_from(lines.len()).unwrap_or(area.height).min(area.height);
    frame.render_widget(Paragraph::new(lines), Rect { height: used, ..area });
    events(frame, model, Rect { y: area.y + used, height: area.height - used, ..area });
}

/// A line about a task, with its end in sight.
fn task(task: &TaskRow, width: usize, colour: bool) -> Line<'static> {
    let kind = match task.kind {
        TaskKind::BackendDrain | TaskKind::ListenerDrain => "drain",
        TaskKind::PoolRebalance => "rebalance",
        TaskKind::SessionKill => "kill",
        TaskKind::ConfigConfirm => "confirm",
    };
    let part = if task.total == 0 { 1.0 } else { task.done as f64 / task.total as f64 };
    let end = task
        .eta_s
        .map_or_else(String::new, |left| format!(", at most {} left", seconds(left, HUMAN)));
    let word = task.state.word();
    let head = format!("task {}  {kind} {}  ", task.id, plain(&task.subject));
    let (done, total) = (count(task.done, HUMAN), count(task.total, HUMAN));
    let rest = format!("  {:<BAR$} {done}/{total}{end}", bar(part, BAR));
    let used = head.chars().count() + word.len();
    Line::from(vec![
        Span::raw(head),
        Span::styled(word, dress(tone_of(word), colour)),
        Span::raw(cut(&rest, width.saturating_sub(used))),
    ])
}

/// Each shard: how busy it is, its sessions, and its version if that is an old one.
pub(super) fn shards(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let Some(figures) = &model.figures else { return };
    let version = figures.status.version;
    let shards = &figures.status.shards;
    let room = usize::from(area.height.saturating_sub(1));
    let hidden = shards.len().saturating_sub(room);
    let words = if hidden > 0 { format!("{hidden} more: weirctl shards") } else { String::new() };
    let (title, place) = heading("Shards", &words, area);
    frame.render_widget(title, Rect { height: area.height.min(1), ..area });
    let lines: Vec<Line<'_>> = shards
        .iter()
        .take(room)
        .map(|shard| {
            let late = if shard.version == version {
                Span::raw("")
            } else {
                let text = format!("  by version {}", shard.version);
                Span::styled(text, dress(Tone::Warn, model.colour))
            };
            let (busy, open) = (share(shard.busy, HUMAN), count(shard.sessions, HUMAN));
            let text = format!(
                "{:>3}  {:<BAR$} {busy:>4} busy  {open:>6} sessions",
                shard.id,
                bar(shard.busy, BAR)
            );
            Line::from(vec![Span::raw(text), late])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), place);
}
