//! Tables for people: they fit a terminal of 100 columns, whatever stands in their last one.

use std::fmt::{self, Write as _};

use crate::text::wrap;

/// How wide a line is.
const WIDTH: usize = 100;

/// The least that the last column gets.
const LEAST: usize = 30;

/// Between two columns.
const GAP: usize = 2;

/// A row, and what is to be read below it.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    cells: Vec<String>,
    notes: Vec<String>,
    heading: Option<String>,
}

impl Row {
    /// A row of these cells.
    pub(super) fn new(cells: impl IntoIterator<Item = impl Into<String>>) -> Row {
        Row { cells: cells.into_iter().map(Into::into).collect(), ..Row::default() }
    }

    /// A line of its own between rows, after an empty one.
    pub(super) fn heading(text: impl Into<String>) -> Row {
        Row { heading: Some(text.into()), ..Row::default() }
    }

    /// The row with something to be read below it.
    pub(super) fn note(mut self, note: impl Into<String>) -> Row {
        self.notes.push(note.into());
        self
    }
}

/// Writes a table with a blank line before it; nothing at all without rows. `header` may be empty.
pub(super) fn table(text: &mut String, header: &[&str], rows: Vec<Row>) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    if !header.is_empty() {
        writeln!(text)?;
    }
    let header = Some(Row::new(header.iter().copied())).filter(|row| !row.cells.is_empty());
    let rows: Vec<Row> = header.into_iter().chain(rows).collect();
    let columns = rows.iter().map(|row| row.cells.len()).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.cells.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let indent: usize = widths.iter().take(columns.saturating_sub(1)).map(|width| width + GAP).sum();
    for row in &rows {
        if let Some(heading) = &row.heading {
            writeln!(text, "\n{heading}")?;
            continue;
        }
        let mut line = String::new();
        for (column, cell) in row.cells.iter().enumerate() {
            if column + 1 < columns {
                write!(line, "{cell:<width$}", width = widths[column] + GAP)?;
                continue;
            }
            let room = WIDTH.saturating_sub(indent).max(LEAST);
            line.push_str(&wrap(cell, room).join(&format!("\n{:indent$}", "")));
        }
        line.lines().try_for_each(|line| writeln!(text, "{}", line.trim_end()))?;
        for note in &row.notes {
            let lines = wrap(note, WIDTH - 2 * INDENT);
            for (number, line) in lines.iter().enumerate() {
                let indent = if number == 0 { INDENT } else { 2 * INDENT };
                writeln!(text, "{:indent$}{line}", "")?;
            }
        }
    }
    Ok(())
}

/// How far notes stand in.
const INDENT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_goes_on_below_itself_and_no_line_is_too_wide() {
        let long = "word ".repeat(60);
        let rows = vec![
            Row::new(["10.0.1.1", "x"]).note(format!("why: {}", long.trim())),
            Row::heading("below"),
            Row::new(["fd00:10:96::1", long.trim()]),
        ];
        let mut text = String::new();
        table(&mut text, &["PEER", "WHAT"], rows).unwrap();
        assert!(text.starts_with("\nPEER           WHAT\n10.0.1.1       x\n    why: word word"), "{text}");
        assert!(text.contains("\n\nbelow\nfd00:10:96::1  word"), "{text}");
        assert!(text.contains("\n               word"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH && !line.ends_with(' ')), "{text}");
    }

    #[test]
    fn no_rows_no_table() {
        let mut text = String::new();
        table(&mut text, &["PEER"], Vec::new()).unwrap();
        assert_eq!(text, "");
    }
}
