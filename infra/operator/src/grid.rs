//! Rows and columns of text.

use std::io::{self, Write};

use sparkle_core::unit::{MicroUsd, grouped};

/// A table whose first columns are names, set left, and whose others are figures, set right.
#[derive(Debug)]
pub(crate) struct Grid {
    names: usize,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// A table with that head, of which so many columns are names.
    pub(crate) fn new<'a>(names: usize, head: impl IntoIterator<Item = &'a str>) -> Self {
        let rows = vec![head.into_iter().map(str::to_owned).collect()];
        Self { names, rows }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(column, (cell, &width))| {
                if column < self.names {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Money in a column: every amount to the micro-dollar, so that the points stand below each other.
pub(crate) fn money(amount: MicroUsd) -> String {
    let (dollars, millionths) = (amount.get() / 1_000_000, amount.get() % 1_000_000);
    format!("${}.{millionths:06}", grouped(dollars))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_left_and_figures_right_whatever_their_alphabet() {
        let mut grid = Grid::new(1, ["who", "cost"]);
        grid.row(["é".to_owned(), money(MicroUsd::new(1_000_000_021))]);
        grid.row(["annabel".to_owned(), money(MicroUsd::new(5))]);
        let mut text = Vec::new();
        grid.write(&mut text).unwrap();
        let expected = "who               cost\n\
                        é        $1,000.000021\n\
                        annabel      $0.000005\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
