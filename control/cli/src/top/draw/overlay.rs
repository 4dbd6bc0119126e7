//! Dialogs in front of the tables: help, a question, all about a session.

use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Clear, Paragraph};

use super::dress::{bold, dress};
use crate::render::Tone;
use crate::render::human::plain;
use crate::top::model::{Dialog, Model};
use crate::top::wrap::{dialog_width, room, wrapped};

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let (title, lines, end) = match &model.dialog {
        Dialog::None => return,
        Dialog::Help => (" Help ".to_owned(), help(), " any key closes it "),
        Dialog::Trying(proposal) => {
            let lines = vec![Line::raw("asking weir what it would do…")];
            (title(&proposal.command), lines, " Esc gives it up ")
        }
        Dialog::Question { proposal, lines, .. } => {
            let tone = |line: &str| {
                let is_loss = line.starts_with("warning:");
                if is_loss { Tone::Bad } else { Tone::Plain }
            };
            let mut lines: Vec<Line<'_>> = lines
                .iter()
                .map(|line| Line::styled(plain(line), dress(tone(line), model.colour)))
                .collect();
            lines.push(Line::raw(""));
            lines.push(Line::styled("Do it? y: yes, any other key: no", bold()));
            (title(&proposal.command), lines, "")
        }
        Dialog::Doing(proposal) => {
            let lines = vec![Line::raw("weir is doing it…")];
            (title(&proposal.command), lines, " Esc: go on without its answer ")
        }
        Dialog::Detail { name, lines, .. } => {
            let lines = match lines {
                Some(lines) => lines.iter().map(|line| Line::raw(plain(line))).collect(),
                None => vec![Line::raw("asking…")],
            };
            (title(name), lines, " j k scroll, another key closes it ")
        }
    };
    let width = dialog_width(area.width);
    let (inner, _) = room((area.width, area.height));
    let lines: Vec<Line<'_>> = lines
        .iter()
        .flat_map(|line| {
            let text = wrapped(&line.to_string(), inner).into_iter();
            text.map(|text| Line::styled(text, line.style))
        })
        .collect();
    let offset = match &model.dialog {
        Dialog::Detail { offset, .. } => *offset,
        _ => 0,
    };
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let place = centred(area, width, height);
    let block = Block::new().borders(Borders::ALL).title(title).title_bottom(end);
    let inner = block.inner(place);
    frame.render_widget(Clear, place);
    frame.render_widget(block, place);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let offset = offset.min(lines.len().saturating_sub(usize::from(inner.height)));
    let shown: Vec<Line<'_>> = lines.into_iter().skip(offset).collect();
    frame.render_widget(Paragraph::new(shown), inner);
}

fn title(text: &str) -> String {
    format!(" {} ", plain(text))
}

fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let [row] = Layout::vertical([Constraint::Length(height)]).flex(Flex::Center).areas(area);
    let [place] = Layout::horizontal([Constraint::Length(width)]).flex(Flex::Center).areas(row);
    place
}

fn help() -> Vec<Line<'static>> {
    HELP.lines().map(Line::raw).collect()
}

/// Lines of at most 76 columns.
const HELP: &str = "\
1 2 3, Tab   overview, sessions, events    /    filter; Esc drops it
j k, arrows  move; PgUp PgDn, g G too      s S  sort by another figure
Enter        its sessions; all of it       t    tree, pools, or backends
d r          drain, ready: asks first      p    pause, go on (also space)
m            maint, of a backend           x    cut a session: asks first
c            keep an unconfirmed version   X    cancel a task: asks first
a            all alerts, in full           q    quit (also Ctrl-C)
Esc          one step back

● up, open   ◐ draining, maint, not all up   ○ down   · removed
→ is a listener; its pool and the pool's backends stand below it.
RECV and SENT are from and to the backends; FAILURES are failed connects.
CHECK is the last result and for how long; CONNECT, FAILURES and TOTAL are
since weir started. BLOCKED is the side that takes no bytes.
Charts: the last 15 minutes, as weir kept them; – was never counted.
A filter of sessions may be an address or a network, as 10.0.0.0/8.
Times of day are UTC.";
