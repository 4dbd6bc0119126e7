//! Pools, listeners and shards side by side, where the screen is tall enough.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row, Table};

use super::{HUMAN, dress};
use crate::render::human::{count, plain, share};
use crate::render::{Tone, tone_of};
use crate::top::model::Model;

/// With fewer columns than this the listeners are left out.
const LISTENERS_WIDTH_MIN: u16 = 160;

/// The most rows that one of the tables has.
pub(super) fn rows(model: &Model) -> usize {
    let status = &model.sample.status;
    status.pools.len().max(status.listeners.len()).max(status.shards.len())
}

/// Draws the tables. What does not fit is cut off at the end; `weirctl status` has everything.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, area: Rect, colour: bool) {
    if area.height < 2 {
        return;
    }
    let area = Rect { height: area.height - 1, ..area };
    let wide = area.width >= LISTENERS_WIDTH_MIN;
    let parts = if wide { [40, 35, 25] } else { [60, 0, 40] };
    let [pools, listeners, shards] =
        Layout::horizontal(parts.map(Constraint::Percentage)).spacing(2).areas(area);
    draw_pools(frame, model, pools, colour);
    if wide {
        draw_listeners(frame, model, listeners, colour);
    }
    draw_shards(frame, model, shards, colour);
}

fn draw_pools(frame: &mut Frame<'_>, model: &Model, area: Rect, colour: bool) {
    let rows = model.sample.status.pools.iter().map(|pool| {
        let tone = if pool.backends_up == 0 { Tone::Bad } else { Tone::Plain };
        Row::new([
            Cell::from(plain(&pool.name)),
            Cell::from(pool.strategy.word()),
            number(format!("{}/{}", pool.backends_up, pool.backends)).style(dress(tone, colour)),
            number(count(pool.sessions, HUMAN)),
        ])
    });
    let widths =
        [Constraint::Fill(1), Constraint::Length(11), Constraint::Length(9), Constraint::Length(8)];
    table(frame, rows, widths, ["POOL", "STRATEGY", "UP", "SESSIONS"], area);
}

fn draw_listeners(frame: &mut Frame<'_>, model: &Model, area: Rect, colour: bool) {
    let rows = model.sample.status.listeners.iter().map(|listener| {
        let state = listener.state.word();
        Row::new([
            Cell::from(plain(&listener.name)),
            Cell::from(plain(&listener.bind.join(","))),
            Cell::from(state).style(dress(tone_of(state), colour)),
            number(count(listener.sessions, HUMAN)),
        ])
    });
    let widths =
        [Constraint::Fill(1), Constraint::Fill(2), Constraint::Length(8), Constraint::Length(8)];
    table(frame, rows, widths, ["LISTENER", "BIND", "STATE", "SESSIONS"], area);
}

fn draw_shards(frame: &mut Frame<'_>, model: &Model, area: Rect, colour: bool) {
    let version = model.sample.status.version;
    let rows = model.sample.status.shards.iter().map(|shard| {
        let tone = if shard.version == version { Tone::Plain } else { Tone::Warn };
        Row::new([
            number(shard.id.to_string()),
            number(shard.version.to_string()).style(dress(tone, colour)),
            number(count(shard.sessions, HUMAN)),
            number(share(shard.busy, HUMAN)),
        ])
    });
    let widths = [
        Constraint::Length(5),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(4),
    ];
    table(frame, rows, widths, ["SHARD", "VERSION", "SESSIONS", "BUSY"], area);
}

fn number(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

/// The headings of numbers lean as the numbers do: they are the widest of their columns.
fn table<'a>(
    frame: &mut Frame<'_>,
    rows: impl Iterator<Item = Row<'a>>,
    widths: [Constraint; 4],
    heads: [&'static str; 4],
    area: Rect,
) {
    let header = Row::new(heads).style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Table::new(rows, widths).header(header).column_spacing(1), area);
}
