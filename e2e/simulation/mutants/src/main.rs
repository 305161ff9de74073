//! Runs the simulation without one safeguard after the other.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, ValueEnum};
use simulation_mutants::{
    build::{self, Wanted},
    mutant::{self, Mutant},
    table, tree,
    trial::{self, Seeds},
};

/// Removes each safeguard of the product in turn, and looks for a seed of the simulation that fails for it.
#[derive(Parser)]
struct Cli {
    /// Only these, such as `M6 M7`.
    #[arg(long, env = "MUTANTS", value_delimiter = ' ')]
    mutants: Vec<String>,
    /// What is to notice them; everything where nothing is named.
    #[arg(long, env = "ONLY", value_delimiter = ' ')]
    only: Vec<Witness>,
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

/// What can notice that a safeguard is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Witness {
    /// Seeds of the simulation.
    Seeds,
    /// Courses of events that are written down.
    Courses,
    /// The product's own tests.
    Tests,
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
    let asks = |witness| cli.only.is_empty() || cli.only.contains(&witness);
    let scratch = target.join("mutants");
    let folder = scratch.join("sources");
    tree::lay_out(&root, &folder, &all)?;
    let wanted: Vec<_> = wanted
        .into_iter()
        .map(|mutant| mutant.noticed_by(asks(Witness::Courses), asks(Witness::Tests)))
        .collect();
    let files = wanted.iter().flat_map(|mutant| &mutant.courses);
    let files: BTreeSet<_> = files
        .filter_map(|course| course.split_once("::"))
        .map(|(file, _)| file.to_owned())
        .collect();
    let parts = Wanted {
        tests: wanted.iter().any(|mutant| !mutant.tests.is_empty()),
        courses: files.into_iter().collect(),
    };
    let built = build::build(&folder, &scratch.join("target"), &parts)?;
    let seeds = Seeds {
        first: cli.first,
        count: if asks(Witness::Seeds) { cli.seeds } else { 0 },
        threads: cli.threads,
    };
    println!("{}", table::head());
    let mut survivors = Vec::new();
    for mutant in &wanted {
        let noticed =
            trial::attempt(&built, mutant, seeds).with_context(|| format!("cannot try {}", mutant.name))?;
        println!("{}", table::line(mutant, &noticed, seeds));
        if noticed.is_nothing() {
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
