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
    for (key, word) in meant(model) {
        let length = key.chars().count() + word.chars().count() + 3;
        if used + length > room {
            break;
        }
        used += length;
        spans.push(Span::styled(key, bold()));
        spans.push(Span::raw(format!(" {word}  ")));
    }
    spans.push(Span::raw(" ".repeat(room.saturating_sub(used) + 1)));
    spans.push(Span::styled(place, dress(Tone::Dim, false)));
    Line::from(spans)
}

/// The most important first.
fn meant(model: &Model) -> Vec<(&'static str, String)> {
    let word = |key, word: &str| (key, word.to_owned());
    let pause = if model.is_paused { "go on" } else { "pause" };
    let filter = match model.filter.as_str() {
        "" => "filter".to_owned(),
        filter => format!("filter: {}", plain(filter)),
    };
    let mut keys = vec![word("?", "help"), word("q", "quit")];
    match model.view {
        View::Overview => keys.extend([
            word("d", "drain"),
            word("r", "ready"),
            ("/", filter),
            ("s", format!("sort: {}", model.sort.word())),
            word("p", pause),
            word("Enter", "sessions"),
            word("Tab", "view"),
            word("m", "maint"),
            word("t", if model.is_tree { "flat" } else { "tree" }),
        ]),
        View::Sessions => keys.extend([
            word("Esc", "back"),
            ("/", filter),
            ("s", format!("sort: {}", model.session_sort.word())),
            word("Enter", "show"),
            word("x", "cut it"),
            word("p", pause),
            word("Tab", "view"),
        ]),
        View::Events => {
            keys.extend([word("Esc", "back"), ("/", filter), word("p", pause), word("Tab", "view")])
        }
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
    format!("{first}-{last} of {all}")
}
