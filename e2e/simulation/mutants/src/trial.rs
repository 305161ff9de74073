//! Runs the simulation, or unit tests, with one safeguard removed.

use std::{path::Path, process::Command};

use anyhow::{Context, bail};

use crate::{build::Built, mutant::Mutant};

/// Which seeds are run.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// The first one.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// By how many threads; none: as many as there are processors.
    pub threads: Option<usize>,
}

/// What has noticed that a safeguard is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noticed {
    /// The simulation, in this seed.
    pub seed: Option<Failure>,
    /// These courses of events, which pass with the safeguard.
    pub courses: Vec<String>,
    /// These tests of the product, which pass with the safeguard.
    pub tests: Vec<String>,
}

impl Noticed {
    /// Whether nothing has noticed it.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// A seed that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The invariant that did not hold.
    pub invariant: String,
    /// What was seen.
    pub what: String,
}

/// Looks for what notices this mutant: the tests and courses that are named for it, and seeds up to the first that fails.
///
/// # Errors
/// When the simulation or the tests cannot be run, or a test fails with the safeguard too.
pub fn attempt(built: &Built, mutant: &Mutant, seeds: Seeds) -> anyhow::Result<Noticed> {
    let tests = built.tests.as_deref();
    let mut noticed = Noticed::default();
    for test in &mutant.tests {
        let program = tests.context("the tests were not compiled")?;
        if fails(built, mutant, program, test)? {
            noticed.tests.push(test.clone());
        }
    }
    for course in &mutant.courses {
        let (file, test) = course.split_once("::").context("a course is named file::test")?;
        let program = built.courses.get(file).context("the courses were not compiled")?;
        if fails(built, mutant, program, test)? {
            noticed.courses.push(course.clone());
        }
    }
    noticed.seed = failing_seed(built, mutant, seeds)?;
    Ok(noticed)
}

/// The first seed that fails without the safeguard, by something that counts, and not with it.
fn failing_seed(built: &Built, mutant: &Mutant, seeds: Seeds) -> anyhow::Result<Option<Failure>> {
    let end = seeds.first + seeds.count;
    let mut next = seeds.first;
    while next < end {
        let left = Seeds {
            first: next,
            count: end - next,
            ..seeds
        };
        let Some(failure) = first_failure(built, Some(mutant), &mutant.kinds, left)? else {
            break;
        };
        next = failure.seed + 1;
        if !mutant.is_noticed_by(&failure.invariant) {
            continue;
        }
        // A seed that fails with the safeguard too shows nothing.
        let alone = Seeds {
            first: failure.seed,
            count: 1,
            threads: Some(1),
        };
        if first_failure(built, None, &mutant.kinds, alone)?.is_none() {
            return Ok(Some(failure));
        }
    }
    Ok(None)
}

fn command(program: &Path, mutant: Option<&Mutant>) -> Command {
    let mut command = Command::new(program);
    command.env_remove("MUTANT");
    if let Some(mutant) = mutant {
        command.env("MUTANT", &mutant.name);
    }
    command
}

/// Whether a test fails without the safeguard.
fn fails(built: &Built, mutant: &Mutant, program: &Path, test: &str) -> anyhow::Result<bool> {
    anyhow::ensure!(
        passes(built, None, program, test)?,
        "{test} fails with every safeguard in place"
    );
    Ok(!passes(built, Some(mutant), program, test)?)
}

fn passes(built: &Built, mutant: Option<&Mutant>, program: &Path, test: &str) -> anyhow::Result<bool> {
    let run = command(program, mutant)
        .args(["--exact", test])
        .current_dir(&built.folder)
        .output()
        .context("cannot run the tests")?;
    let told = String::from_utf8_lossy(&run.stdout);
    anyhow::ensure!(told.contains("running 1 test"), "there is no test {test}");
    Ok(run.status.success())
}

/// The first seed that fails.
fn first_failure(
    built: &Built,
    mutant: Option<&Mutant>,
    kinds: &[String],
    seeds: Seeds,
) -> anyhow::Result<Option<Failure>> {
    let mut simulate = command(&built.simulate, mutant);
    simulate
        .env_remove("SEED")
        .env("FIRST", seeds.first.to_string())
        .env("SEEDS", seeds.count.to_string())
        .env("MAX_FAILURES", "1");
    match seeds.threads {
        Some(threads) => simulate.env("THREADS", threads.to_string()),
        None => simulate.env_remove("THREADS"),
    };
    if kinds.is_empty() {
        simulate.env_remove("KINDS");
    } else {
        simulate.env("KINDS", kinds.join(","));
    }
    let run = simulate.output().context("cannot run the simulation")?;
    let told = String::from_utf8_lossy(&run.stdout);
    if !told.lines().any(|line| line.contains(" seeds in ")) {
        bail!(
            "the simulation broke off: {}",
            String::from_utf8_lossy(&run.stderr)
        );
    }
    Ok(told
        .lines()
        .filter_map(failure)
        .min_by_key(|failure| failure.seed))
}

/// Reads `seed 7: I2: what was seen`.
fn failure(line: &str) -> Option<Failure> {
    let (seed, rest) = line.strip_prefix("seed ")?.split_once(": ")?;
    let (invariant, what) = rest.split_once(": ")?;
    let number = invariant.strip_prefix('I')?;
    number.parse::<u32>().ok()?;
    Some(Failure {
        seed: seed.parse().ok()?,
        invariant: invariant.to_owned(),
        what: what.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_name_an_invariant_are_failures() {
        let failed = failure("seed 7: I2: two: of them").unwrap();
        assert_eq!((failed.seed, failed.invariant.as_str()), (7, "I2"));
        assert_eq!(failed.what, "two: of them");
        for other in [
            "seed 7:",
            "seed 7: waits for a human: I2: x",
            "12 seeds in 3 s",
            "seed 7 fails: I2",
        ] {
            assert_eq!(failure(other), None, "{other}");
        }
    }
}
