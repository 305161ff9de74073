//! Statements from lines, cut as mgconsole cuts them (`GetQuery` and `ParseLine` in `src/utils/utils.cpp`).
//!
//! A semicolon outside of quotes ends a statement, even in a comment; backticks quote nothing. Empty lines are
//! left out, also inside of strings. What follows a semicolon on its line is joined to the next line without a
//! space, and a quote that is open there counts twice. The end of the input drops what has no semicolon, and a
//! last line without a line break. A stand-in has to share these faults: scripts work, or do not, because of them.

use std::io::{self, BufRead};

/// Reads statements.
pub(crate) struct Statements<R> {
    lines: R,
    /// What followed the last statement on its line.
    rest: String,
}

/// Where in a string a line ends.
#[derive(Default)]
struct Quoting {
    quote: Option<char>,
    escaped: bool,
}

impl Quoting {
    /// The part of a line that belongs to a statement; `true` if the statement ends there.
    fn cut<'a>(&mut self, line: &'a str) -> (&'a str, bool) {
        for (index, letter) in line.char_indices() {
            match (self.quote, letter) {
                (Some(_), '\\') => {
                    self.escaped = !self.escaped;
                    continue;
                }
                (None, '"' | '\'') => self.quote = Some(letter),
                (Some(quote), _) if quote == letter && !self.escaped => self.quote = None,
                (None, ';') => return (&line[..index], true),
                _ => {}
            }
            self.escaped = false;
        }
        (line, false)
    }
}

/// Removes what C takes for blanks from both ends.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r'])
}

impl<R: BufRead> Statements<R> {
    pub(crate) fn new(lines: R) -> Self {
        Self {
            lines,
            rest: String::new(),
        }
    }

    /// The next statement, without its semicolon; `None` when there is no whole one.
    pub(crate) fn next(&mut self) -> io::Result<Option<String>> {
        self.next_with(|_| Ok(()))
    }

    /// As [`Self::next`]; before each line, `ask` is told whether it is the first one of a statement.
    pub(crate) fn next_with(
        &mut self,
        mut ask: impl FnMut(bool) -> io::Result<()>,
    ) -> io::Result<Option<String>> {
        let mut quoting = Quoting::default();
        let rest = std::mem::take(&mut self.rest);
        if let (statement, true) = quoting.cut(&rest) {
            trim(&rest[statement.len() + 1..]).clone_into(&mut self.rest);
            return Ok(Some(statement.to_owned()));
        }
        let mut before = Some(rest);
        let mut statement = String::new();
        loop {
            ask(statement.is_empty())?;
            let Some(line) = self.line()? else {
                return Ok(None);
            };
            let line = before.take().unwrap_or_default() + &line;
            if line.is_empty() {
                continue;
            }
            let (part, ends) = quoting.cut(&line);
            statement += part;
            if ends {
                trim(&line[part.len() + 1..]).clone_into(&mut self.rest);
                return Ok(Some(statement));
            }
            statement.push('\n');
        }
    }

    /// A line, if it is a whole one.
    fn line(&mut self) -> io::Result<Option<String>> {
        let mut bytes = Vec::new();
        self.lines.read_until(b'\n', &mut bytes)?;
        if bytes.pop() != Some(b'\n') {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<String> {
        let mut statements = Statements::new(text.as_bytes());
        std::iter::from_fn(|| statements.next().unwrap()).collect()
    }

    #[test]
    fn semicolons_end_statements() {
        assert_eq!(cut("RETURN 1;\n"), ["RETURN 1"]);
        assert_eq!(cut("a; b;c ;\n;d\n;\n"), ["a", "b", "c ", "", "d"]);
        assert_eq!(cut("MATCH (n)\n\nRETURN\nn;\n"), ["MATCH (n)\nRETURN\nn"]);
    }

    #[test]
    fn what_has_no_end_is_dropped() {
        assert_eq!(cut("RETURN 1;\nRETURN 2\n"), ["RETURN 1"]);
        assert_eq!(cut("RETURN 1;\nRETURN 2;"), ["RETURN 1"]);
        assert!(cut("RETURN 1;").is_empty());
        assert!(cut("RETURN ';\n").is_empty());
    }

    #[test]
    fn quotes_hide_semicolons() {
        assert_eq!(cut("a ';' \";\" ;\n"), ["a ';' \";\" "]);
        assert_eq!(cut("a \"\\\";\\\\\";\n"), ["a \"\\\";\\\\\""]);
        assert_eq!(cut("a 'x\ny;'\n;\n"), ["a 'x\ny;'\n"]);
    }

    #[test]
    fn faults_are_shared() {
        assert_eq!(cut("// it; was\n;\n"), ["// it", "was"], "comments hide nothing");
        assert_eq!(cut("a; b\nc;\n"), ["a", "bc"]);
        assert_eq!(cut("a; b 'x\ny; z';\n"), ["a", "b 'xy"]);
    }
}
