//! Compiles the copy of the sources.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// What was compiled from the copy.
#[derive(Clone, Debug)]
pub struct Built {
    /// The simulation.
    pub simulate: PathBuf,
    /// The product's own tests; none if nobody needs them.
    pub tests: Option<PathBuf>,
    /// Courses of events that are written down, by the file that they are in.
    pub courses: BTreeMap<String, PathBuf>,
    /// The copy, from which tests read files.
    pub folder: PathBuf,
}

/// What is to be compiled apart from the simulation.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The product's own tests.
    pub tests: bool,
    /// Files with courses of events, such as `l_rows`.
    pub courses: Vec<String>,
}

/// Variables by which cargo tells a program of its own package.
const OWN_PACKAGE: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// What others wrote is compiled as for a release, and once. The product, which has another mutant every time, is compiled
/// quickly: a seed takes a little longer then, but few are run of each mutant.
const PROFILE: [&str; 3] = [
    "profile.release.incremental=true",
    "profile.release.package.memgraph-operator.opt-level=1",
    "profile.release.package.simulation.opt-level=1",
];

/// Compiles the simulation in `folder`, and what else is wanted. `target` must be for nothing else: cargo takes two copies of a
/// workspace for one, and would take what has mutants in it for the product.
///
/// # Errors
/// When it does not compile.
pub fn build(folder: &Path, target: &Path, wanted: &Wanted) -> anyhow::Result<Built> {
    let simulation = ["build", "--package", "simulation", "--bin", "simulate"];
    cargo(folder, target, &simulation.map(str::to_owned))?;
    let mut courses = BTreeMap::new();
    if !wanted.courses.is_empty() {
        let mut package = ["test", "--no-run", "--package", "simulation"]
            .map(str::to_owned)
            .to_vec();
        for file in &wanted.courses {
            package.extend(["--test".to_owned(), file.clone()]);
        }
        let told = cargo(folder, target, &package)?;
        for file in &wanted.courses {
            let path = executable(folder, &told, &format!("tests/{file}"))?;
            courses.insert(file.clone(), path);
        }
    }
    // Last: they need some crates with other features.
    let tests = if wanted.tests {
        let package = ["test", "--no-run", "--package", "memgraph-operator", "--lib"];
        let told = cargo(folder, target, &package.map(str::to_owned))?;
        Some(executable(folder, &told, "src/lib.rs")?)
    } else {
        None
    };
    Ok(Built {
        simulate: target.join("release/simulate"),
        tests,
        courses,
        folder: folder.to_owned(),
    })
}

/// Finds `Executable tests/l_rows/main.rs (target/release/deps/l_rows-5b1d)` in what cargo said.
fn executable(folder: &Path, told: &str, source: &str) -> anyhow::Result<PathBuf> {
    let mut named = told.lines().filter_map(|line| {
        let (of, path) = line.trim().strip_prefix("Executable ")?.split_once('(')?;
        let of = of.trim().trim_start_matches("unittests ");
        (of == source || of.starts_with(&format!("{source}/")) || of == format!("{source}.rs"))
            .then(|| path.trim_end_matches(')'))
    });
    let path = named
        .next()
        .with_context(|| format!("cargo does not name what it has compiled from {source}"))?;
    Ok(folder.join(path))
}

/// Runs cargo, and returns what it said.
fn cargo(folder: &Path, target: &Path, arguments: &[String]) -> anyhow::Result<String> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(arguments)
        .args(["--release", "--locked"])
        .args(PROFILE.iter().flat_map(|setting| ["--config", setting]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compiled_is_found_by_its_source() {
        let told = "  Executable unittests src/lib.rs (t/release/deps/memgraph_operator-1)\n\
                    \x20 Executable tests/l_rows/main.rs (t/release/deps/l_rows-2)\n\
                    \x20 Executable tests/main_job.rs (t/release/deps/main_job-3)\n";
        let find = |source| executable(Path::new("/copy"), told, source).ok();
        let path = |name: &str| Some(Path::new("/copy/t/release/deps").join(name));
        assert_eq!(find("src/lib.rs"), path("memgraph_operator-1"));
        assert_eq!(find("tests/l_rows"), path("l_rows-2"));
        assert_eq!(find("tests/main_job"), path("main_job-3"));
        assert_eq!(find("tests/main"), None);
    }
}
