// SPDX-License-Identifier: GPL-2.0
//! Tables of figures, in Markdown and readable as they are.

/// Says on the standard error how far it has come.
pub fn progress(what: &str) {
    eprintln!("# {what}");
}

/// A table; each row begins with what it is about.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[impl ToString]) -> Table {
        Table {
            rows: vec![columns.iter().map(ToString::to_string).collect()],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.rows[0].len(), "cells in a row");
        self.rows.push(cells);
    }

    /// Prints it under a heading; the first column to the left, figures to the right.
    pub fn print(&self, title: &str, text: &str) {
        println!("### {title}\n\n{text}\n");
        let width = |column: usize| {
            let lens = self.rows.iter().map(|row| row[column].chars().count());
            lens.max().unwrap_or(0)
        };
        for (n, row) in self.rows.iter().enumerate() {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let width = width(column);
                match column {
                    0 => format!("{cell:width$}"),
                    _ => format!("{cell:>width$}"),
                }
            });
            println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
            if n == 0 {
                let rules = (0..row.len()).map(|column| {
                    let dashes = "-".repeat(width(column).saturating_sub(1));
                    match column {
                        0 => format!("-{dashes}"),
                        _ => format!("{dashes}:"),
                    }
                });
                println!("| {} |", rules.collect::<Vec<_>>().join(" | "));
            }
        }
        println!();
    }
}

/// How often `unit` goes into `value`, to be read as a ratio.
pub fn ratio(value: u64, unit: u64) -> String {
    format!("{:.2}", value as f64 / unit as f64)
}

/// By how many per cent `value` differs from `base`.
pub fn per_cent_more(value: u64, base: u64) -> f64 {
    (value as f64 / base as f64 - 1.0) * 100.0
}

/// A size in bytes.
pub fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        _ => format!("{} KiB", bytes >> 10),
    }
}
