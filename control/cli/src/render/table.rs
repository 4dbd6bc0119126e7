//! Tables without borders: header in capitals, numbers to the right.

use super::human::plain;
use super::{Style, Tone};

/// One column's heading and where its cells lean.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    Left(&'static str),
    Right(&'static str),
}

/// One cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Text whose tone follows from the state that it names.
    pub(crate) fn state(text: &str) -> Cell {
        Cell { text: plain(text), tone: super::tone_of(text) }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell { text: plain(text.as_ref()), tone: Tone::Plain }
    }
}

/// A table that is filled row by row and printed at once.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(columns: &[Column]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The table, each line ended. Two spaces part the columns; no line ends in one.
    pub(crate) fn print(&self, style: Style) -> String {
        let header: Vec<Cell> = self
            .columns
            .iter()
            .map(|column| match column {
                Column::Left(name) | Column::Right(name) => Cell::from(name),
            })
            .collect();
        let width = |index: usize| {
            let cells = std::iter::once(&header).chain(&self.rows).map(|row| &row[index]);
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        if header.iter().any(|cell| !cell.text.is_empty()) {
            text += &self.line(&header, &widths, style);
        }
        for row in &self.rows {
            text += &self.line(row, &widths, style);
        }
        text
    }

    fn line(&self, cells: &[Cell], widths: &[usize], style: Style) -> String {
        let mut line = String::new();
        let mut owed = 0;
        for ((cell, column), width) in cells.iter().zip(&self.columns).zip(widths) {
            let pad = width - cell.text.chars().count();
            let (before, after) = match column {
                Column::Left(_) => (0, pad),
                Column::Right(_) => (pad, 0),
            };
            // An empty cell writes nothing, so that no line ends in spaces.
            if !cell.text.is_empty() {
                line += &" ".repeat(owed + before);
                line += &style.paint(&cell.text, cell.tone);
                owed = after + 2;
            } else {
                owed += width + 2;
            }
        }
        line.push('\n');
        line
    }
}

/// `key  value` lines, the values under each other.
pub(crate) fn pairs<T: AsRef<str>>(pairs: &[(T, Cell)], style: Style) -> String {
    let mut table = Table::new(&[Column::Left(""), Column::Left("")]);
    for (key, value) in pairs {
        table.row(vec![Cell::from(key), value.clone()]);
    }
    table.print(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_clean() {
        let columns = [Column::Left("NAME"), Column::Right("N"), Column::Left("STATE")];
        let mut table = Table::new(&columns);
        table.row(vec!["web/b1".into(), "7".into(), Cell::state("up")]);
        table.row(vec!["é".into(), "1234".into(), "".into()]);
        table.row(vec!["x".into(), "".into(), "down".into()]);
        let wanted = "\
NAME       N  STATE
web/b1     7  up
é       1234
x             down
";
        assert_eq!(table.print(Style::default()), wanted);
        let colour = table.print(Style { human: true, colour: true });
        assert!(colour.contains("web/b1     7  \x1b[32mup\x1b[0m\n"), "{colour:?}");
    }

    #[test]
    fn pairs_have_no_header() {
        let text = pairs(&[("name", "web".into()), ("strategy", "x\ny".into())], Style::default());
        assert_eq!(text, "name      web\nstrategy  x\\ny\n");
    }
}
