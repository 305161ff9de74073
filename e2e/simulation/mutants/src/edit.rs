//! Replaces lines of a source file.

use serde::Deserialize;

/// Some lines of a file, and what stands there instead.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The file, from the root of the repository.
    pub file: String,
    /// The lines; how far they are indented makes no difference.
    pub find: String,
    /// What stands there instead.
    pub replace: String,
}

/// Why a file could not be edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// The lines must be there once.
    #[error("{file} has these lines {found} times, not once: the safeguard has moved\n{find}")]
    NotOnce {
        /// The file.
        file: String,
        /// The lines.
        find: String,
        /// How often they are there.
        found: usize,
    },
    /// Two edits change the same line.
    #[error("{file}: two mutants change line {line}")]
    Overlap {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: usize,
    },
}

fn lines(text: &str) -> Vec<&str> {
    text.trim().lines().map(str::trim).collect()
}

/// The text with all edits made; each is looked for in the text as it was.
///
/// # Errors
/// When the lines of an edit are not there exactly once, or belong to another edit too.
pub fn apply(text: &str, edits: &[&Edit]) -> Result<String, Misplaced> {
    let before: Vec<_> = text.lines().collect();
    let trimmed: Vec<_> = before.iter().map(|line| line.trim()).collect();
    let mut places = Vec::new();
    for edit in edits {
        let wanted = lines(&edit.find);
        let found: Vec<_> = trimmed
            .windows(wanted.len().max(1))
            .enumerate()
            .filter(|(_, window)| *window == wanted.as_slice())
            .map(|(at, _)| at)
            .collect();
        let [at] = found.as_slice() else {
            return Err(Misplaced::NotOnce {
                file: edit.file.clone(),
                find: edit.find.clone(),
                found: found.len(),
            });
        };
        places.push((*at, at + wanted.len(), *edit));
    }
    places.sort_by_key(|(from, _, _)| *from);
    let mut after = String::with_capacity(text.len());
    let mut next = 0;
    let mut push = |line: &str| {
        after.push_str(line);
        after.push('\n');
    };
    for (from, to, edit) in places {
        if from < next {
            return Err(Misplaced::Overlap {
                file: edit.file.clone(),
                line: from + 1,
            });
        }
        before[next..from].iter().for_each(|line| push(line));
        edit.replace.lines().for_each(&mut push);
        next = to;
    }
    before[next..].iter().for_each(|line| push(line));
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(find: &str, replace: &str) -> Edit {
        Edit {
            file: "a.rs".to_owned(),
            find: find.to_owned(),
            replace: replace.to_owned(),
        }
    }

    #[test]
    fn lines_are_found_however_they_are_indented() {
        let text = "a {\n    b;\n    c;\n}\n";
        let edits = [edit("c;\n", "d;\n"), edit("a {\n  b;\n", "a { // b\n")];
        let edits: Vec<_> = edits.iter().collect();
        assert_eq!(apply(text, &edits).unwrap(), "a { // b\nd;\n}\n");
    }

    #[test]
    fn lines_that_are_not_there_once_are_an_error() {
        let found = |text, find| match apply(text, &[&edit(find, "")]) {
            Err(Misplaced::NotOnce { found, .. }) => Some(found),
            _ => None,
        };
        assert_eq!(found("a\nb\na\n", "a"), Some(2));
        assert_eq!(found("a\n", "b"), Some(0));
        assert_eq!(found("", "b"), Some(0));
    }

    #[test]
    fn no_two_edits_change_the_same_line() {
        let edits = [edit("a\nb", "x"), edit("b\nc", "y")];
        let edits: Vec<_> = edits.iter().collect();
        let overlap = Misplaced::Overlap {
            file: "a.rs".to_owned(),
            line: 2,
        };
        assert_eq!(apply("a\nb\nc\n", &edits), Err(overlap));
    }
}
