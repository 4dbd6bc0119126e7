//! The last lines: the outcome of the last deed, and the keys, or the filter that is being typed.

use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::dress::{bold, cut, dress};
use crate::render::Tone;
use crate::render::human::plain;
use crate::top::model::{Model, View};

/// The outcome of the last deed: two lines at most.
pub(super) fn notice(model: &Model, width: usize) -> Vec<Line<'static>> {
    let Some(notice) = &model.notice else { return Vec::new() };
    let lines = notice.lines.iter().take(2).enumerate();
    lines
        .map(|(at, line)| {
            let tone = if at == 0 { notice.tone } else { Tone::Plain };
            let style = dress(tone, model.colour).add_modifier(Modifier::BOLD);
            Line::styled(cut(&plain(line), width), style)
        })
        .collect()
}

/// With as many columns as this the keys have more words.
const WIDE: usize = 110;

/// The keys that mean something now, as far as there is room; or the filter.
pub(super) fn keys(model: &Model, width: usize) -> Line<'static> {
    if let Some(typed) = &model.typing {
        let rest = "  Enter keeps it, Esc drops it";
        let typed = cut(&plain(typed), width.saturating_sub(2 + rest.len()).max(1));
        return Line::from(vec![
            Span::styled(format!("/{typed}"), bold()),
            Span::styled(" ", Modifier::REVERSED),
            Span::raw(rest),
        ]);
    }
    let place = place(model);
    let room = width.saturating_sub(place.chars().count() + 1);
    let mut spans = Vec::new();
    let mut used = 0;
    for (key, word) in meant(model, width >= WIDE) {
        let length = key.chars().count() + word.chars().count() + 1;
        let gap = if used == 0 { "" } else { "  " };
        if used + gap.len() + length > room {
            break;
        }
        used += gap.len() + length;
        spans.push(Span::raw(gap));
        spans.push(Span::styled(key, bold()));
        spans.push(Span::raw(format!(" {word}")));
    }
    spans.push(Span::raw(" ".repeat(room.saturating_sub(used) + 1)));
    spans.push(Span::styled(place, dress(Tone::Dim, false)));
    Line::from(spans)
}

/// The most important first; with more words on a wide screen.
fn meant(model: &Model, is_wide: bool) -> Vec<(&'static str, String)> {
    let word = |key, word: &str| (key, word.to_owned());
    let pause = word("p", if model.is_paused { "go on" } else { "pause" });
    let filter = match model.filter.as_str() {
        "" => word("/", if is_wide { "filter" } else { "find" }),
        filter => ("/", format!("find: {}", plain(filter))),
    };
    let sort = |by: &str| if is_wide { format!("sort: {by}") } else { "sort".to_owned() };
    let mut keys = vec![word("?", "help"), word("q", "quit")];
    match model.view {
        View::Overview => keys.extend([
            filter,
            ("s", sort(model.sort.word())),
            word("d", "drain"),
            word("r", "ready"),
            word("⏎", if is_wide { "its sessions" } else { "look" }),
            word("Tab", "view"),
            pause,
            word("m", "maint"),
            ("t", if is_wide { format!("form: {}", model.form.word()) } else { "form".into() }),
        ]),
        View::Sessions => keys.extend([
            word("Esc", "back"),
            filter,
            ("s", sort(model.session_sort.word())),
            word("⏎", "look"),
            word("x", "cut it"),
            word("Tab", "view"),
            pause,
        ]),
        View::Events => keys.extend([
            word("Esc", "back"),
            filter,
            word("⏎", "look"),
            word("Tab", "view"),
            pause,
        ]),
    }
    keys
}

/// The rows that are shown, of how many.
fn place(model: &Model) -> String {
    let cursor = match model.view {
        View::Overview => &model.cursor,
        View::Sessions => &model.session_cursor,
        View::Events => &model.event_cursor,
    };
    let (first, last, all) = cursor.shown();
    // All of them are no place.
    if first <= 1 && last == all { String::new() } else { format!("{first}-{last} of {all}") }
}
