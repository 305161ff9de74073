//! What became of each mutant, as a table.

use crate::{
    mutant::Mutant,
    trial::{Outcome, Seeds},
};

/// How much of what was seen is told.
const WIDTH: usize = 110;

/// The table's head.
#[must_use]
pub fn head() -> String {
    "| mutant | without the safeguard | faults | noticed by | what was seen |\n| --- | --- | --- | --- | --- |".to_owned()
}

/// A mutant's line.
#[must_use]
pub fn line(mutant: &Mutant, outcome: &Outcome, seeds: Seeds) -> String {
    let kinds = if mutant.kinds.is_empty() {
        "all".to_owned()
    } else {
        mutant.kinds.join(", ")
    };
    let note = mutant.note.as_deref().unwrap_or_default();
    let (by, what) = match outcome {
        Outcome::Seed(failure) => (
            format!("seed {}: {}", failure.seed, failure.invariant),
            short(&failure.what),
        ),
        Outcome::Tests(tests) => {
            let tests: Vec<_> = tests.iter().map(|test| format!("`{test}`")).collect();
            (tests.join(", "), note.to_owned())
        }
        Outcome::Survived => (format!("**nobody**, in {} seeds", seeds.count), note.to_owned()),
    };
    format!(
        "| {} | {} | {kinds} | {by} | {} |",
        mutant.name,
        mutant.does.trim(),
        what.replace('|', "/").trim()
    )
}

fn short(what: &str) -> String {
    if what.chars().count() <= WIDTH {
        return what.to_owned();
    }
    let short: String = what.chars().take(WIDTH).collect();
    format!("{short} ..")
}
