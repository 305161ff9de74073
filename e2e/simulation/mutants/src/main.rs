//! Runs the simulation without one safeguard after the other.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use simulation_mutants::{
    mutant::{self, Mutant},
    table, tree,
    trial::{self, Outcome, Seeds},
};

/// Removes each safeguard of the product in turn, and looks for a seed of the simulation that fails for it.
#[derive(Parser)]
struct Cli {
    /// Only these, such as `M6 M7`.
    #[arg(long, env = "MUTANTS", value_delimiter = ' ')]
    mutants: Vec<String>,
    /// How many seeds a mutant may survive.
    #[arg(long, env = "SEEDS", default_value_t = 2_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, env = "FIRST", default_value_t = 1)]
    first: u64,
    /// How many threads run seeds.
    #[arg(long, env = "THREADS")]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every mutant was noticed.
fn run(cli: &Cli) -> anyhow::Result<bool> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.join("../../..").canonicalize()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let all = mutant::read_all(&package.join("safeguards"))?;
    let wanted = wanted(cli, &all)?;
    let scratch = target.join("mutants");
    let folder = scratch.join("sources");
    tree::lay_out(&root, &folder, &all)?;
    let with_tests = wanted.iter().any(|mutant| !mutant.tests.is_empty());
    let built = trial::build(&folder, &scratch.join("target"), with_tests)?;
    let seeds = Seeds {
        first: cli.first,
        count: cli.seeds,
        threads: cli.threads,
    };
    println!("{}", table::head());
    let mut survivors = Vec::new();
    for mutant in &wanted {
        let outcome =
            trial::attempt(&built, mutant, seeds).with_context(|| format!("cannot try {}", mutant.name))?;
        println!("{}", table::line(mutant, &outcome, seeds));
        if outcome == Outcome::Survived {
            survivors.push(mutant.name.as_str());
        }
    }
    if survivors.is_empty() {
        println!("\n{} mutants, all of them noticed", wanted.len());
    } else {
        println!(
            "\n{} mutants; not noticed: {}",
            wanted.len(),
            survivors.join(", ")
        );
    }
    Ok(survivors.is_empty())
}

fn wanted<'a>(cli: &Cli, all: &'a [Mutant]) -> anyhow::Result<Vec<&'a Mutant>> {
    let names: Vec<_> = cli.mutants.iter().filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let find = |name: &String| {
        let found = all.iter().find(|mutant| mutant.name == *name);
        found.with_context(|| format!("there is no mutant {name}"))
    };
    names.into_iter().map(find).collect()
}
