//! Columns of text.

use std::fmt;

/// Between two columns.
const BLANKS: usize = 3;

/// Rows under headings; each column is as wide as its widest cell, three blanks apart, but the last.
#[derive(Debug)]
pub(super) struct Table {
    columns: usize,
    least: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes a table of headings only.
    pub(super) fn new(headings: &[&str]) -> Self {
        Self { columns: headings.len(), least: 0, rows: vec![headings.iter().map(ToString::to_string).collect()] }
    }

    /// Makes columns at least so many characters wide, the blanks counted: docker's tables have ten.
    pub(super) fn at_least(self, width: usize) -> Self {
        Self { least: width.saturating_sub(BLANKS), ..self }
    }

    /// Adds a row; a cell that is missing is empty, one too many is dropped.
    pub(super) fn row<Cell: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells = cells.into_iter().take(self.columns).map(|cell| cell.as_ref().to_owned());
        self.rows.push(cells.collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width_of = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count()).max()
        };
        let widths: Vec<usize> =
            (0..self.columns).map(|column| width_of(column).unwrap_or(0).max(self.least)).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join(&" ".repeat(BLANKS));
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
