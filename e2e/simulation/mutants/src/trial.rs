//! Runs the simulation, or unit tests, with one safeguard removed.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::mutant::Mutant;

/// What was compiled from the copy.
#[derive(Clone, Debug)]
pub struct Built {
    /// The simulation.
    pub simulate: PathBuf,
    /// The product's own tests; none if nobody needs them.
    pub tests: Option<PathBuf>,
    /// The copy, from which tests read files.
    pub folder: PathBuf,
}

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The simulation, in this seed.
    Seed(Failure),
    /// These tests fail, and pass with the safeguard.
    Tests(Vec<String>),
    /// Nothing.
    Survived,
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

/// Variables by which cargo tells a program of its own package.
const OWN_PACKAGE: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// Compiles the simulation in `folder`, and the product's own tests if they are wanted. `target` must be for nothing else:
/// cargo takes two copies of a workspace for one, and would take what has mutants in it for the product.
///
/// # Errors
/// When it does not compile.
pub fn build(folder: &Path, target: &Path, with_tests: bool) -> anyhow::Result<Built> {
    compile(
        folder,
        target,
        &[
            "build",
            "--release",
            "--package",
            "simulation",
            "--bin",
            "simulate",
        ],
    )?;
    let tests = if with_tests {
        let package = ["test", "--no-run", "--package", "memgraph-operator", "--lib"];
        let told = compile(folder, target, &package)?;
        let path = told
            .lines()
            .find_map(|line| line.trim().strip_prefix("Executable ")?.split(['(', ')']).nth(1))
            .context("cargo does not name the tests that it has compiled")?;
        Some(folder.join(path))
    } else {
        None
    };
    Ok(Built {
        simulate: target.join("release/simulate"),
        tests,
        folder: folder.to_owned(),
    })
}

/// Runs cargo, and returns what it said.
fn compile(folder: &Path, target: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(arguments)
        .arg("--locked")
        .current_dir(folder)
        .stderr(Stdio::piped());
    // What cargo tells this program of its own package would have others compiled again.
    for (name, _) in std::env::vars_os() {
        if OWN_PACKAGE
            .iter()
            .any(|own| name.to_string_lossy().starts_with(own))
        {
            cargo.env_remove(name);
        }
    }
    let mut cargo = cargo
        .env("CARGO_TARGET_DIR", target)
        .spawn()
        .context("cannot run cargo")?;
    let mut told = String::new();
    if let Some(errors) = cargo.stderr.take() {
        for line in BufReader::new(errors).lines() {
            let line = line?;
            eprintln!("{line}");
            told.push_str(&line);
            told.push('\n');
        }
    }
    if !cargo.wait()?.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(told)
}

/// Looks for what notices this mutant.
///
/// # Errors
/// When the simulation or the tests cannot be run.
pub fn attempt(built: &Built, mutant: &Mutant, seeds: Seeds) -> anyhow::Result<Outcome> {
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
            return Ok(Outcome::Seed(failure));
        }
    }
    let mut failing = Vec::new();
    for test in &mutant.tests {
        anyhow::ensure!(
            passes(built, None, test)?,
            "{test} fails with every safeguard in place"
        );
        if !passes(built, Some(mutant), test)? {
            failing.push(test.clone());
        }
    }
    Ok(if failing.is_empty() {
        Outcome::Survived
    } else {
        Outcome::Tests(failing)
    })
}

fn command(program: &Path, mutant: Option<&Mutant>) -> Command {
    let mut command = Command::new(program);
    command.env_remove("MUTANT");
    if let Some(mutant) = mutant {
        command.env("MUTANT", &mutant.name);
    }
    command
}

fn passes(built: &Built, mutant: Option<&Mutant>, test: &str) -> anyhow::Result<bool> {
    let tests = built.tests.as_deref().context("the tests were not compiled")?;
    let run = command(tests, mutant)
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
