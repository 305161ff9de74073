//! Rows as mgconsole prints them (`namespace format` in `src/utils/utils.cpp`).

use std::io::{self, Write};

use bolt_server::Value;

use crate::{
    client::Answer,
    flags::{Csv, Flags, Format},
    values::Shown,
};

/// The narrowest column, with the border at its left.
const NARROWEST: usize = 5;
/// Blanks at each side of a field.
const MARGIN: usize = 1;
/// The width of what is no terminal.
const SCREEN: usize = 80;

/// Why rows cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Only rows of one column can be statements.
    #[error("ERROR: cypherl output format requires exactly 1 output column")]
    Columns,
    /// What was returned is no statement.
    #[error("ERROR: cypherl output format is currently only supported for the DUMP DATABASE query")]
    NoStatement,
    /// Nobody takes what is written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Shows an answer; nothing if it has no rows.
pub(crate) fn write(output: &mut impl Write, answer: &Answer, flags: &Flags) -> Result<(), Error> {
    if answer.rows.is_empty() {
        return Ok(());
    }
    match flags.format {
        Format::Csv => csv(output, answer, &flags.csv)?,
        Format::Tabular => {
            let screen = flags.fit_to_screen.then(screen_width);
            tabular(output, answer, screen)?;
        }
        Format::Cypherl => cypherl(output, answer)?,
    }
    Ok(())
}

fn cells(row: &[Value]) -> Vec<String> {
    row.iter().map(|value| Shown(value).to_string()).collect()
}

fn csv(output: &mut impl Write, answer: &Answer, style: &Csv) -> io::Result<()> {
    let quote = format!("{}\"", style.escape);
    let mut line = |fields: &[String]| {
        let fields: Vec<_> = fields
            .iter()
            .map(|field| format!("\"{}\"", field.replace('"', &quote)))
            .collect();
        writeln!(output, "{}", fields.join(&style.delimiter))
    };
    line(&answer.header)?;
    answer.rows.iter().try_for_each(|row| line(&cells(row)))
}

fn cypherl(output: &mut impl Write, answer: &Answer) -> Result<(), Error> {
    if answer.header.len() != 1 {
        return Err(Error::Columns);
    }
    for value in answer.rows.iter().flatten() {
        let statement = value.as_str().ok_or(Error::NoStatement)?;
        writeln!(output, "{statement}")?;
    }
    Ok(())
}

fn screen_width() -> usize {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => SCREEN,
    }
}

/// How wide a table's columns are, and how many of them are shown.
struct Layout {
    width: usize,
    columns: usize,
    /// The last column stands for those that are not shown.
    cut: bool,
}

impl Layout {
    /// All columns are as wide as the widest field needs, counted in bytes.
    fn new(header: &[String], rows: &[Vec<String>], screen: Option<usize>) -> Self {
        let fields = rows.iter().flatten().chain(header);
        let widest = fields.map(|field| field.len() + 2 * MARGIN + 1).max();
        let mut layout = Self {
            width: widest.unwrap_or(0).max(NARROWEST),
            columns: header.len(),
            cut: false,
        };
        if let Some(screen) = screen
            && layout.total() > screen
        {
            layout.width = narrowed(layout.width, layout.columns, screen);
            while layout.total() > screen && layout.columns > 1 {
                layout.columns -= 1;
                layout.cut = true;
            }
        }
        layout
    }

    fn total(&self) -> usize {
        self.width * self.columns + 1
    }

    fn rule(&self) -> String {
        format!(
            "{}+",
            format!("+{}", "-".repeat(self.width - 1)).repeat(self.columns)
        )
    }

    fn line(&self, fields: &[String]) -> String {
        let shown = self.columns - usize::from(self.cut);
        let room = self.width - 2 * MARGIN - 1;
        let mut line = String::new();
        for field in fields.iter().take(shown) {
            let field = shorten(field, room);
            let blanks = room - field.len();
            line += &format!("| {field}{} ", " ".repeat(blanks));
        }
        if self.cut {
            line += &format!("...{}", " ".repeat(self.width - 3));
        }
        line + "|"
    }
}

/// About the largest width with which all columns fit: mgconsole's search sometimes misses it by one.
fn narrowed(width: usize, columns: usize, screen: usize) -> usize {
    let (mut low, mut high, mut fitting) = (NARROWEST, width, NARROWEST);
    while low < high {
        let middle = low + (high - low) / 2;
        if middle * columns < screen {
            fitting = middle;
            low = middle + 1;
        } else {
            high = middle - 1;
        }
    }
    fitting
}

/// At most `room` bytes, the last ones of which tell that something is missing.
fn shorten(field: &str, room: usize) -> String {
    if field.len() <= room {
        return field.to_owned();
    }
    let kept = (0..=room.saturating_sub(3))
        .rev()
        .find(|end| field.is_char_boundary(*end));
    let mut short = field[..kept.unwrap_or(0)].to_owned();
    short += "...";
    short.truncate(room);
    short
}

fn tabular(output: &mut impl Write, answer: &Answer, screen: Option<usize>) -> io::Result<()> {
    let rows: Vec<_> = answer.rows.iter().map(|row| cells(row)).collect();
    let layout = Layout::new(&answer.header, &rows, screen);
    let rule = layout.rule();
    writeln!(output, "{rule}\n{}\n{rule}", layout.line(&answer.header))?;
    for row in &rows {
        writeln!(output, "{}", layout.line(row))?;
    }
    writeln!(output, "{rule}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(header: &[&str], rows: Vec<Vec<Value>>) -> Answer {
        Answer {
            header: header.iter().map(|it| (*it).to_owned()).collect(),
            rows,
        }
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut output = Vec::new();
        write(&mut output);
        String::from_utf8(output).unwrap()
    }

    fn style(escape: &str) -> Csv {
        Csv {
            delimiter: ",".into(),
            escape: escape.into(),
        }
    }

    #[test]
    fn csv_quotes_everything() {
        let answer = answer(&["a", "b\"c"], vec![vec!["x".into(), 1.into()]]);
        let shown = text(|output| csv(output, &answer, &style("\"")).unwrap());
        assert_eq!(shown, "\"a\",\"b\"\"c\"\n\"\"\"x\"\"\",\"1\"\n");
        let shown = text(|output| csv(output, &answer, &style("\\")).unwrap());
        assert_eq!(shown, "\"a\",\"b\\\"c\"\n\"\\\"x\\\"\",\"1\"\n");
    }

    #[test]
    fn columns_of_a_table_are_equally_wide() {
        let answer = answer(&["replication role", "n"], vec![vec!["main".into(), 1.into()]]);
        let shown = text(|output| tabular(output, &answer, None).unwrap());
        assert_eq!(
            shown,
            "+------------------+------------------+\n\
             | replication role | n                |\n\
             +------------------+------------------+\n\
             | \"main\"           | 1                |\n\
             +------------------+------------------+\n"
        );
        let narrow =
            text(|output| tabular(output, &self::answer(&["n"], vec![vec![1.into()]]), None).unwrap());
        assert_eq!(narrow, "+----+\n| n  |\n+----+\n| 1  |\n+----+\n");
    }

    #[test]
    fn a_table_can_be_made_to_fit() {
        let answer = answer(&["first", "second"], vec![vec!["abcdefghij".into(), 1.into()]]);
        let shown = text(|output| tabular(output, &answer, Some(21)).unwrap());
        assert_eq!(
            shown,
            "+---------+---------+\n\
             | first   | second  |\n\
             +---------+---------+\n\
             | \"abc... | 1       |\n\
             +---------+---------+\n"
        );
        let shown = text(|output| tabular(output, &answer, Some(9)).unwrap());
        assert_eq!(shown, "+----+\n...  |\n+----+\n...  |\n+----+\n");
    }

    #[test]
    fn cypherl_is_for_statements() {
        let dump = answer(&["QUERY"], vec![vec!["CREATE ();".into()]]);
        assert_eq!(text(|output| cypherl(output, &dump).unwrap()), "CREATE ();\n");
        let number = answer(&["n"], vec![vec![1.into()]]);
        assert!(matches!(
            cypherl(&mut Vec::new(), &number),
            Err(Error::NoStatement)
        ));
        let two = answer(&["a", "b"], vec![vec!["".into(), "".into()]]);
        assert!(matches!(cypherl(&mut Vec::new(), &two), Err(Error::Columns)));
    }
}
