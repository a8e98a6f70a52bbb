//! Columns that line up, and fit.

use super::words::{cut_end, cut_start, width};

/// What stands between two columns.
const GAP: &str = "  ";

/// A column is not made narrower than this to fit.
const NARROWEST: usize = 8;

/// On which side of its column a cell stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// What is left out of a cell that is too long.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nothing: the column has the width it needs.
    Never,
    /// Its end.
    End,
    /// Its beginning.
    Start,
}

/// One column of a table.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) align: Align,
    pub(super) cut: Cut,
}

/// A table to be filled row by row; each row has as many cells as there are columns.
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: Vec<Column>) -> Table {
        Table {
            columns,
            rows: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, row: Vec<String>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// The title line and the rows, in lines of at most `columns` columns as far as that is
    /// possible. Columns that are empty in every row are left out.
    pub(super) fn render(&self, columns: Option<usize>) -> String {
        let shown: Vec<_> = (0..self.columns.len())
            .filter(|at| self.rows.iter().any(|row| !row[*at].is_empty()))
            .collect();
        let widths = self.widths(&shown, columns);
        let titles: Vec<_> = self.columns.iter().map(|c| c.title.to_owned()).collect();
        let mut text = String::new();
        for row in std::iter::once(&titles).chain(&self.rows) {
            text.push_str(&self.line(row, &shown, &widths));
            text.push('\n');
        }
        text
    }

    fn line(&self, row: &[String], shown: &[usize], widths: &[usize]) -> String {
        let mut line = String::new();
        for (at, room) in shown.iter().zip(widths) {
            let column = &self.columns[*at];
            let cell = match column.cut {
                Cut::Start => cut_start(&row[*at], *room),
                Cut::Never | Cut::End => cut_end(&row[*at], *room),
            };
            let padding = " ".repeat(room.saturating_sub(width(&cell)));
            match column.align {
                Align::Left => line.extend([&cell, padding.as_str()]),
                Align::Right => line.extend([padding.as_str(), &cell]),
            }
            line.push_str(GAP);
        }
        line.truncate(line.trim_end().len());
        line
    }

    /// The width of each column that is shown: what it needs, or less for those that can be cut,
    /// the widest first.
    fn widths(&self, shown: &[usize], columns: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<_> = shown.iter().map(|at| self.needed(*at)).collect();
        let Some(columns) = columns else {
            return widths;
        };
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        loop {
            let excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(columns);
            if excess == 0 {
                return widths;
            }
            let can_shrink = |index: &usize| {
                self.columns[shown[*index]].cut != Cut::Never && widths[*index] > NARROWEST
            };
            let mut by_width: Vec<_> = (0..widths.len()).filter(can_shrink).collect();
            by_width.sort_by_key(|index| std::cmp::Reverse(widths[*index]));
            let Some(&widest) = by_width.first() else {
                return widths;
            };
            // Down to the next one, so that the widest give first and the rest share.
            let next = by_width.get(1).map_or(NARROWEST, |index| widths[*index]);
            let step = (widths[widest] - next).max(1).min(excess);
            widths[widest] -= step;
        }
    }

    fn needed(&self, at: usize) -> usize {
        let cells = self.rows.iter().map(|row| width(&row[at]));
        cells.max().unwrap_or(0).max(width(self.columns[at].title))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let column = |title, align, cut| Column { title, align, cut };
        let mut table = Table::new(vec![
            column("ID", Align::Right, Cut::Never),
            column("NAME", Align::Left, Cut::End),
            column("NOTHING", Align::Left, Cut::Never),
            column("AT", Align::Left, Cut::Start),
        ]);
        for (id, name, at) in [
            ("1", "main", "app.py:3 main"),
            (
                "127",
                "a-worker-with-a-long-name",
                "services/app.py:12 work",
            ),
        ] {
            table.push(vec![id.into(), name.into(), String::new(), at.into()]);
        }
        table
    }

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        assert_eq!(
            table().render(None),
            " ID  NAME                       AT\n\
             \u{20} 1  main                       app.py:3 main\n\
             127  a-worker-with-a-long-name  services/app.py:12 work\n"
        );
    }

    #[test]
    fn what_is_too_wide_is_cut_where_it_says_least() {
        assert_eq!(
            table().render(Some(40)),
            " ID  NAME              AT\n\
             \u{20} 1  main              app.py:3 main\n\
             127  a-worker-with-a…  …s/app.py:12 work\n"
        );
    }

    #[test]
    fn there_is_a_width_below_which_nothing_is_cut() {
        let text = table().render(Some(3));
        assert!(
            text.lines()
                .all(|line| width(line) == 23 || width(line) < 23),
            "{text}"
        );
    }
}
