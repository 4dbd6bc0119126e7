//! Live sessions: a view of its own, and a panel where the screen is large.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use weir_proto::answer::SessionRow;
use weir_proto::session::SessionSort;

use super::columns::{self, Cells, Shape, TopColumn};
use super::dress::{HUMAN, bits, dress};
use super::lists::heading;
use crate::render::human::{bytes, count, plain, seconds};
use crate::render::{Tone, tone_of};
use crate::top::model::Model;

const COLUMNS: [TopColumn; 12] = [
    ("SESSION", 0, false),
    ("CLIENT", 0, false),
    ("LISTENER", 0, false),
    ("BACKEND", 0, false),
    ("STATE", 11, false),
    ("BLOCKED", 7, false),
    ("AGE", 7, true),
    ("IDLE", 7, true),
    ("RECEIVED", 9, true),
    ("SENT", 8, true),
    ("bit/s", 7, true),
    ("VERSION", 7, true),
];
const DROPPED: [usize; 10] = [11, 2, 9, 8, 7, 5, 6, 4, 10, 0];

/// The list, below a line that says which of them.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, area: Rect, is_view: bool) {
    let listed = model.listed();
    let words = words(model, listed.len(), is_view);
    let (title, place) = heading("Live sessions", &words, area);
    frame.render_widget(title, Rect { height: area.height.min(1), ..area });
    let empty = match &model.sessions {
        Err(failure) => Some((plain(&failure.message), Tone::Bad)),
        Ok(None) => Some(("asking…".to_owned(), Tone::Dim)),
        Ok(Some(_)) if listed.is_empty() => Some(("none".to_owned(), Tone::Dim)),
        Ok(Some(_)) => None,
    };
    if let Some((text, tone)) = empty {
        frame.render_widget(Line::styled(text, dress(tone, model.colour)), place);
        return;
    }
    let page = usize::from(place.height.saturating_sub(1));
    let (offset, cursor) = if is_view {
        let cursor = &model.session_cursor;
        (cursor.offset(), Some(cursor.index() - cursor.offset()))
    } else {
        (0, None)
    };
    let rows: Vec<Cells> = listed.into_iter().skip(offset).take(page).map(cells).collect();
    let sort = if is_view { model.session_sort } else { SessionSort::Rate };
    let sorted = Some(match sort {
        SessionSort::Age => 6,
        SessionSort::Idle => 7,
        SessionSort::Bytes => 8,
        SessionSort::Rate => 10,
    });
    let shape = Shape { columns: &COLUMNS, dropped: &DROPPED, sorted };
    columns::draw(frame, place, &shape, &rows, (cursor, model.colour));
}

fn words(model: &Model, shown: usize, is_view: bool) -> String {
    let Ok(Some(sessions)) = &model.sessions else { return String::new() };
    let by = if is_view { model.session_sort.word() } else { "rate" };
    let scope = model.scope.words().map(|it| format!(" of {it}")).unwrap_or_default();
    let silent = sessions.missing_shards.len();
    let silent = if silent > 0 { format!(", {silent} shards are silent") } else { String::new() };
    format!("{shown} of {}{scope} by {by}{silent}", count(sessions.matched, HUMAN))
}

fn cells(row: &SessionRow) -> Cells {
    let text = |text: String| (text, Tone::Plain);
    let or_dash = |text: Option<&str>| (plain(text.unwrap_or("–")), Tone::Plain);
    let state = row.state.word();
    let tone = if row.blocked_on.is_some() { Tone::Warn } else { tone_of_session(state) };
    let cells = vec![
        text(plain(&row.id)),
        or_dash(row.client.as_deref()),
        text(plain(&row.listener)),
        or_dash(row.backend.as_deref().or(Some(&row.pool))),
        (state.to_owned(), tone),
        or_dash(row.blocked_on.map(|side| side.word())),
        text(seconds(row.age_s, HUMAN)),
        text(seconds(row.idle_s, HUMAN)),
        text(bytes(row.received_bytes, HUMAN)),
        text(bytes(row.sent_bytes, HUMAN)),
        text(bits(row.rate_bytes_per_s as f64)),
        text(row.version.to_string()),
    ];
    Cells { cells, is_bold: false }
}

/// A session that relays is as it should be.
fn tone_of_session(state: &str) -> Tone {
    if state == "relaying" { Tone::Plain } else { tone_of(state) }
}
