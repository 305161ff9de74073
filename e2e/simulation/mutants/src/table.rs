//! What became of each mutant, as a table.

use crate::{
    mutant::Mutant,
    trial::{Noticed, Seeds},
};

/// How much of what was seen is told.
const WIDTH: usize = 110;

/// The table's head.
#[must_use]
pub fn head() -> String {
    "| mutant | without the safeguard | faults | seed | courses | tests | what was seen |\n\
     | --- | --- | --- | --- | --- | --- | --- |"
        .to_owned()
}

/// A mutant's line.
#[must_use]
pub fn line(mutant: &Mutant, noticed: &Noticed, seeds: Seeds) -> String {
    let kinds = if mutant.kinds.is_empty() {
        "all".to_owned()
    } else {
        mutant.kinds.join(", ")
    };
    let (seed, what) = match &noticed.seed {
        Some(failure) => (
            format!("{}: {}", failure.seed, failure.invariant),
            short(&failure.what),
        ),
        None if seeds.count == 0 => ("not run".to_owned(), String::new()),
        None => (format!("none of {}", seeds.count), String::new()),
    };
    let what = match &mutant.note {
        Some(note) if what.is_empty() => note.clone(),
        _ => what,
    };
    let names = |tests: &[String]| {
        let names: Vec<_> = tests
            .iter()
            .map(|test| format!("`{}`", test.rsplit("::").next().unwrap_or(test)))
            .collect();
        names.join("<br>")
    };
    format!(
        "| {} | {} | {kinds} | {seed} | {} | {} | {} |",
        mutant.name,
        mutant.does.trim(),
        names(&noticed.courses),
        names(&noticed.tests),
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
