//! How `top` looks: how weir is, what to know first, the charts, the flow, events, keys. Pure: a
//! model onto a frame.

mod charts;
mod columns;
mod dress;
mod footer;
mod head;
mod lists;
mod overlay;
mod sessions;
mod tree;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::model::{Model, View};

/// The smallest screen that is used.
pub(super) const WIDTH_MIN: u16 = 50;
pub(super) const HEIGHT_MIN: u16 = 14;
/// With fewer rows than this the charts give way to the table.
const CHARTS_ROWS_MIN: u16 = 20;
/// A screen of this size has shards beside the events.
const MEDIUM: (u16, u16) = (100, 32);
/// One of this size has sessions beside the events, and shards beside the flow.
const LARGE: (u16, u16) = (180, 40);
/// With fewer rows than this below the table there is no list of sessions.
const SESSIONS_ROWS_MIN: u16 = 10;
/// The columns of shards.
const SIDE: u16 = 40;

/// The parts of the screen, from top to bottom. A part without height is not there.
struct Parts {
    strip: Rect,
    alerts: Rect,
    charts: Rect,
    /// The flow, sessions or events.
    main: Rect,
    /// Tasks and events in the overview.
    events: Rect,
    /// Shards, beside the events.
    side: Rect,
    sessions: Rect,
    notice: Rect,
    keys: Rect,
}

fn has(area: Rect, (width, height): (u16, u16)) -> bool {
    area.width >= width && area.height >= height
}

/// A wide part, and one at its right.
fn beside(area: Rect, right: Constraint) -> [Rect; 2] {
    Layout::horizontal([Constraint::Fill(3), right]).spacing(2).areas(area)
}

fn length(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

impl Parts {
    fn of(area: Rect, model: &Model) -> Parts {
        let width = usize::from(area.width);
        let most = if area.height < CHARTS_ROWS_MIN { 2 } else { usize::from(area.height / 8) };
        let alerts = head::alerts(model, most, width).len();
        let [strip, alerts, body, notice, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(length(alerts)),
            Constraint::Fill(1),
            Constraint::Length(length(footer::notice(model, width).len())),
            Constraint::Length(1),
        ])
        .areas(area);
        let none = Rect { height: 0, ..body };
        let bare = Parts {
            strip,
            alerts,
            charts: none,
            main: body,
            events: none,
            side: none,
            sessions: none,
            notice,
            keys,
        };
        if model.view == View::Overview { bare.overview(area, model) } else { bare }
    }

    /// Divides the body: the table has what it needs, the rest is for what changes.
    fn overview(self, area: Rect, model: &Model) -> Parts {
        let body = self.main;
        let charts = match area {
            _ if area.height < CHARTS_ROWS_MIN => 0,
            _ if area.width >= charts::WIDE => (area.height / 7).max(5),
            _ if has(area, MEDIUM) => 10,
            _ => 6,
        };
        let rest = body.height.saturating_sub(charts);
        let needed = length(model.rows.len() + 1);
        // A line that parts the table from what is below, where there is room for it.
        let (least, gap) = match area {
            _ if has(area, LARGE) => (rest / 2, 1),
            _ if has(area, MEDIUM) => (rest / 3, 1),
            _ => (2.min(rest / 4), 0),
        };
        let table = needed.min(rest.saturating_sub(least + gap)).max(3);
        let [charts, main, _, below] = Layout::vertical([
            Constraint::Length(charts),
            Constraint::Length(table),
            Constraint::Length(gap),
            Constraint::Fill(1),
        ])
        .areas(body);
        if has(area, LARGE) {
            // Two columns: the flow with shards beside it, sessions with events beside them.
            let [main, side] = beside(main, Constraint::Length(SIDE));
            let [sessions, events] = beside(below, Constraint::Fill(2));
            return Parts { charts, main, events, side, sessions, ..self };
        }
        let (mut sessions, mut low) = (self.sessions, below);
        if below.height >= SESSIONS_ROWS_MIN {
            let halves = [Constraint::Fill(1), Constraint::Length(1), Constraint::Fill(1)];
            [sessions, _, low] = Layout::vertical(halves).areas(below);
        }
        let (mut events, mut side) = (low, self.side);
        if has(area, MEDIUM) {
            [events, side] = beside(low, Constraint::Length(SIDE));
        }
        Parts { charts, main, events, side, sessions, ..self }
    }

    /// Rows of the shown table.
    fn page(&self, view: View) -> usize {
        let around = match view {
            View::Overview | View::Events => 1,
            View::Sessions => 2,
        };
        usize::from(self.main.height).saturating_sub(around)
    }
}

/// Says to the model what a screen of this size has room for.
pub(super) fn fit(model: &mut Model, width: u16, height: u16) {
    let area = Rect::new(0, 0, width, height);
    let parts = Parts::of(area, model);
    model.fit((width, height), parts.page(model.view), parts.sessions.height > 0);
}

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let area = frame.area();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        let (width, height) = (area.width, area.height);
        let lines = [
            format!("{width}x{height} is too small"),
            format!("top needs {WIDTH_MIN}x{HEIGHT_MIN}"),
            "q quits".to_owned(),
        ];
        frame.render_widget(Paragraph::new(lines.map(Line::from).to_vec()), area);
        return;
    }
    let parts = Parts::of(area, model);
    let width = usize::from(area.width);
    frame.render_widget(head::strip(model, width), parts.strip);
    let alerts = head::alerts(model, usize::from(parts.alerts.height), width);
    frame.render_widget(Paragraph::new(alerts), parts.alerts);
    if parts.charts.height > 0 {
        charts::draw(frame, model, parts.charts);
    }
    match model.view {
        View::Overview => {
            tree::draw(frame, model, parts.main);
            draw_below(frame, model, &parts);
        }
        View::Sessions => sessions::draw(frame, model, parts.main, true),
        View::Events => lists::event_view(frame, model, parts.main),
    }
    frame.render_widget(Paragraph::new(footer::notice(model, width)), parts.notice);
    frame.render_widget(footer::keys(model, width), parts.keys);
    overlay::draw(frame, model, area);
}

/// Below the table: sessions where there is room, tasks that run above events, and shards.
fn draw_below(frame: &mut Frame<'_>, model: &Model, parts: &Parts) {
    if parts.sessions.height > 0 {
        sessions::draw(frame, model, parts.sessions, false);
    }
    if parts.side.height > 0 {
        lists::shards(frame, model, parts.side);
    }
    lists::tasks_and_events(frame, model, parts.events);
}
