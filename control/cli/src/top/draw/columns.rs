//! A table that drops columns where the screen is narrow, with a cursor.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::dress::{bold, cut, dress};
use crate::render::Tone;

/// The widest that a text may be.
const TEXT_MAX: usize = 40;
/// The cursor's mark, beside the table.
const GUTTER: u16 = 2;

/// A column: its heading, its width (0: as wide as its longest text), whether it holds numbers.
pub(super) type TopColumn = (&'static str, usize, bool);

/// The columns of a table, and which of them go first when the screen is narrow.
pub(super) struct Shape<'a> {
    pub(super) columns: &'a [TopColumn],
    pub(super) dropped: &'a [usize],
    /// The one that the rows are sorted by.
    pub(super) sorted: Option<usize>,
}

/// A row, with a cell for each column.
pub(super) struct Cells {
    pub(super) cells: Vec<(String, Tone)>,
    pub(super) is_bold: bool,
}

/// Draws the rows, which are those that the screen has room for; `cursor` is one of them.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    shape: &Shape<'_>,
    rows: &[Cells],
    (cursor, colour): (Option<usize>, bool),
) {
    let gutter = if cursor.is_some() { GUTTER.min(area.width) } else { 0 };
    let inner = Rect { x: area.x + gutter, width: area.width - gutter, ..area };
    let heading = |index: usize| {
        let mark = if shape.sorted == Some(index) { "▼" } else { "" };
        format!("{}{mark}", shape.columns[index].0)
    };
    let widths: Vec<usize> = shape
        .columns
        .iter()
        .enumerate()
        .map(|(index, (_, width, _))| {
            let longest = || rows.iter().map(|row| row.cells[index].0.chars().count()).max();
            let least = heading(index).chars().count();
            if *width > 0 { *width } else { longest().unwrap_or(0).clamp(least, TEXT_MAX) }
        })
        .collect();
    let shown = shown(shape, &widths, usize::from(inner.width));
    let cell = |index: usize, text: &str, tone: Tone| {
        let line = Line::styled(cut(text, widths[index]), dress(tone, colour));
        Cell::from(if shape.columns[index].2 { line.right_aligned() } else { line })
    };
    let header = shown.iter().map(|index| cell(*index, &heading(*index), Tone::Plain));
    let header = Row::new(header).style(bold());
    let table = rows.iter().enumerate().map(|(at, row)| {
        let cells = shown.iter().map(|index| {
            let (text, tone) = &row.cells[*index];
            cell(*index, text, *tone)
        });
        let style = if row.is_bold { bold() } else { Style::new() };
        let is_on = cursor == Some(at);
        Row::new(cells).style(if is_on { style.add_modifier(Modifier::REVERSED) } else { style })
    });
    let constraints = shown
        .iter()
        .map(|index| Constraint::Length(u16::try_from(widths[*index]).unwrap_or(u16::MAX)));
    frame.render_widget(Table::new(table, constraints).header(header).column_spacing(1), inner);
    let on = cursor.and_then(|at| u16::try_from(at + 1).ok()).filter(|row| *row < area.height);
    if let Some(row) = on {
        let place = Rect { y: area.y + row, height: 1, width: gutter, ..area };
        frame.render_widget(Paragraph::new("▶"), place);
    }
}

/// The columns that fit, in their order.
fn shown(shape: &Shape<'_>, widths: &[usize], width: usize) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..widths.len()).collect();
    // The one that the order comes from is there at every width.
    for dropped in shape.dropped.iter().filter(|index| shape.sorted != Some(**index)) {
        let needed: usize = shown.iter().map(|index| widths[*index] + 1).sum();
        if needed <= width + 1 {
            break;
        }
        shown.retain(|index| index != dropped);
    }
    shown
}
