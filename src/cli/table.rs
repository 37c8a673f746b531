//! Tables for people.

use super::style::{self, Paint};

/// The widest column; longer texts are cut.
const WIDTH_MAX: usize = 44;

/// Rows under a head, each column as wide as it must be.
pub(super) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Prints it; `nothing` when there are no rows.
    pub(super) fn print(&self, nothing: &str) {
        if self.rows.is_empty() {
            return style::note(nothing);
        }
        let widths: Vec<usize> = self
            .head
            .iter()
            .enumerate()
            .map(|(column, name)| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let widest = cells.map(|cell| cell.chars().count()).max();
                widest.unwrap_or_default().clamp(name.len(), WIDTH_MAX)
            })
            .collect();
        let head: Vec<String> = self.head.iter().map(|&name| name.to_owned()).collect();
        style::print(Paint::Dim.on(line(&head, &widths)));
        for row in &self.rows {
            style::print(line(row, &widths));
        }
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let cells = cells.iter().zip(widths).map(|(cell, &width)| {
        let cell = cut(cell);
        format!("{cell:width$}")
    });
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// A text that cannot break a line or a terminal.
fn cut(text: &str) -> String {
    let clean = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    match text.chars().count() > WIDTH_MAX {
        false => clean.collect(),
        true => clean.take(WIDTH_MAX - 1).chain(['…']).collect(),
    }
}
