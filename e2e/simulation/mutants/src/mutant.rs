//! A mutant: the product without one safeguard.

use std::{fs, path::Path};

use anyhow::Context;
use serde::Deserialize;

use crate::edit::Edit;

/// The product without one safeguard.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// Its name, such as `M6`.
    pub name: String,
    /// What it does wrong.
    pub does: String,
    /// The invariants by which it may be noticed, such as `I2`. Every other one counts too, except that a cluster which is
    /// not whole again in time (I14) or is not left alone (I15) counts only where it is named here.
    #[serde(default)]
    pub trips: Vec<String>,
    /// If faults are named, only these strike: it is found in fewer seeds.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Unit tests of the product that fail with it.
    #[serde(default)]
    pub tests: Vec<String>,
    /// Courses of events that fail with it, as `file::test` of the simulation's tests.
    #[serde(default)]
    pub courses: Vec<String>,
    /// Why the simulation cannot notice it.
    #[serde(default)]
    pub note: Option<String>,
    /// What is changed. In the new text `removed("M6")` tells whether the mutant is the one that runs. Where two mutants change
    /// the same lines, the edit of one of them is for both.
    #[serde(default)]
    pub edits: Vec<Edit>,
}

impl Mutant {
    /// Whether a violation of this invariant counts.
    #[must_use]
    pub fn is_noticed_by(&self, invariant: &str) -> bool {
        let liveness = matches!(invariant, "I14" | "I15");
        !liveness || self.trips.iter().any(|trips| trips == invariant)
    }

    /// The same, without the courses or the tests that notice it if they are not to be run.
    #[must_use]
    pub fn noticed_by(&self, courses: bool, tests: bool) -> Self {
        let mut mutant = self.clone();
        if !courses {
            mutant.courses.clear();
        }
        if !tests {
            mutant.tests.clear();
        }
        mutant
    }

    fn number(&self) -> (u32, &str) {
        let digits = |c: char| c.is_ascii_digit();
        let rest = self.name.trim_start_matches(|c| !digits(c));
        let end = rest.find(|c| !digits(c)).unwrap_or(rest.len());
        (rest[..end].parse().unwrap_or(u32::MAX), &rest[end..])
    }
}

/// Every mutant in `folder`, by number.
///
/// # Errors
/// When one cannot be read or two have the same name.
pub fn read_all(folder: &Path) -> anyhow::Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mutant: Mutant =
            serde_yaml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
        mutants.push(mutant);
    }
    mutants.sort_by(|one, other| one.number().cmp(&other.number()));
    for pair in mutants.windows(2) {
        anyhow::ensure!(pair[0].name != pair[1].name, "there are two {}", pair[0].name);
    }
    Ok(mutants)
}
