//! Runs many seeds, or tells one.

use std::{
    collections::{BTreeSet, VecDeque},
    process::ExitCode,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use simulation::{
    coverage::Coverage,
    faults::Kind,
    regressions::{REGRESSIONS, Regression},
    scenario::{FAULT_TIME, Report, Scenario},
};

/// Half of a run's time goes into small pieces of memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Simulates clusters with faults: each seed is a course of events of its own, and the same each time.
#[derive(Parser)]
struct Cli {
    /// How many seeds to run.
    #[arg(long, env = "SEEDS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, env = "FIRST", default_value_t = 1)]
    first: u64,
    /// Runs only this seed, and tells everything that happens.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// How many threads run seeds; each seed is run by one.
    #[arg(long, env = "THREADS")]
    threads: Option<usize>,
    /// For how many (virtual) seconds faults strike.
    #[arg(long, env = "FAULT_SECONDS", default_value_t = 525)]
    fault_seconds: u64,
    /// Runs the seeds that have failed once, before all others and however long that takes.
    #[arg(long, env = "REGRESSIONS")]
    regressions: bool,
    /// How many seeds may fail before the run is given up.
    #[arg(long, env = "MAX_FAILURES", default_value_t = 20)]
    max_failures: u64,
    /// How many seeds in a hundred may end without being whole again, and without saying what a human must do (I14). They
    /// are told all the same; nothing else is ever forgiven.
    #[arg(long, env = "MAX_UNSETTLED", default_value_t = 0)]
    max_unsettled: u64,
    /// Only faults of these kinds, by name.
    #[arg(long, env = "KINDS", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Which release of Memgraph runs, such as 3.8; without it, the one that the operator takes by itself.
    #[arg(long, env = "MEMGRAPH")]
    memgraph: Option<String>,
}

/// With fewer seeds, a step that no fault has met says nothing.
const SEEDS_FOR_COVERAGE: u64 = 1_000;
/// With fewer, the same holds for a step that comes once in a run, or hardly ever within an operation.
const SEEDS_FOR_RARE_STEPS: u64 = 10_000;
/// How many of a failed seed's last lines are shown.
const LAST_LINES: usize = 60;
/// With fewer seeds, a share of them says nothing.
const SEEDS_FOR_SHARES: u64 = 100;
/// How many seeds in a hundred may wait for a human. It takes a human's deeds to get there: a cluster that is made again (one fault
/// in forty) over volumes of instances that it does not declare, or over copies one of which was put back to an older state (another
/// one in forty). Some two in a hundred seeds do.
const MAX_WAITED: u64 = 6;
/// How many may wait to the end, because the condition names nothing that can be done without thinking.
const MAX_STALLED: u64 = 1;
/// How many may be less than a seed should be: clusters that did not become whole for so long that no time was left to make up for it.
const MAX_BELOW: u64 = 2;
/// How many of a million acknowledged writes may be lost within the published limits: in 10,000 seeds two of ten million were.
const MAX_LOST_OF_A_MILLION: u64 = 5;
/// So many may be in any case: a single one says nothing of how often that is.
const MAX_LOST: u64 = 3;
/// After so many seeds a run says how far it is.
const SEEDS_PER_LINE: u64 = 500;

#[derive(Default)]
struct Sum {
    coverage: Coverage,
    seeds: u64,
    acknowledged: u64,
    booked: usize,
    stalled: Vec<(u64, String)>,
    remedied: Vec<(u64, Vec<String>)>,
    below: Vec<(u64, Vec<String>)>,
    failed: Vec<(Scenario, Report)>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("simulate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn scenario(cli: &Cli, seed: u64) -> anyhow::Result<Scenario> {
    let mut scenario = Scenario::new(seed);
    scenario.time = Duration::from_secs(cli.fault_seconds);
    scenario.image = cli
        .memgraph
        .as_ref()
        .map(|release| format!("memgraph/memgraph:{release}"));
    if !cli.kinds.is_empty() {
        scenario.kinds = cli
            .kinds
            .iter()
            .map(|name| kind(name))
            .collect::<Result<_, _>>()?;
    }
    Ok(scenario)
}

fn kind(name: &str) -> anyhow::Result<Kind> {
    let found = Kind::ALL.into_iter().find(|kind| format!("{kind:?}") == name);
    found.ok_or_else(|| anyhow::anyhow!("there is no fault {name}; the table names them"))
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    if let Some(seed) = cli.seed {
        let report = scenario(cli, seed)?.run(true)?;
        for line in &report.outcome.lines {
            println!("{line}");
        }
        tell(&report);
        return Ok(code(report.outcome.violations.is_empty()));
    }
    let began = Instant::now();
    let sum = run_all(cli)?;
    for (scenario, report) in &sum.failed {
        let again = scenario.run(true)?;
        let lines = &again.outcome.lines;
        println!("seed {}:", report.outcome.seed);
        for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
            println!("    {line}");
        }
    }
    let kinds = scenario(cli, 0)?.kinds;
    println!("{}", sum.coverage.table(&kinds));
    for (seed, stalled) in &sum.stalled {
        println!("seed {seed} waits for a human: {stalled}");
    }
    for (seed, remedied) in &sum.remedied {
        println!("seed {seed} needed a human: {}", remedied.join(", "));
    }
    for (seed, below) in &sum.below {
        println!(
            "seed {seed} is less than a seed should be: only {}",
            below.join(", ")
        );
    }
    for (_, report) in &sum.failed {
        tell(report);
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} seeds in {seconds:.1} s ({:.1}/s): {} failed, {} less than whole, {} waited for a human, {} of them to the end; {} writes acknowledged, {} of them lost within the published limits",
        sum.seeds,
        per(sum.seeds, seconds),
        sum.failed.len(),
        sum.below.len(),
        sum.waited(),
        sum.stalled.len(),
        sum.acknowledged,
        sum.booked,
    );
    let holes = sum.coverage.holes(&kinds, sum.seeds >= SEEDS_FOR_RARE_STEPS);
    let covered = sum.seeds < SEEDS_FOR_COVERAGE || holes.is_empty();
    if !covered {
        println!("never met: {}", holes.join(", "));
    }
    let wonders = sum.coverage.wonders();
    for wonder in &wonders {
        println!("met, and taken to be impossible: {wonder}");
    }
    let mut reports = sum.failed.iter().map(|(_, report)| report);
    let only_unsettled = reports.all(is_unsettled);
    let few = per_cent(sum.failed.len(), sum.seeds) <= cli.max_unsettled;
    // Where not all that can go wrong does, or not for long, less is to be expected.
    let is_all = cli.kinds.is_empty() && cli.fault_seconds == FAULT_TIME.as_secs();
    let shares = if is_all { sum.shares() } else { Vec::new() };
    for share in &shares {
        println!("{share}");
    }
    Ok(code(
        few && only_unsettled && covered && wonders.is_empty() && shares.is_empty(),
    ))
}

/// Whether the cluster was not whole again in the end, and nothing else was wrong.
fn is_unsettled(report: &Report) -> bool {
    let mut violations = report.outcome.violations.iter();
    violations.all(|violation| violation.invariant == "I14")
}

/// How many in a hundred, rounded up.
fn per_cent(part: usize, all: u64) -> u64 {
    let part = u64::try_from(part).unwrap_or(u64::MAX);
    part.saturating_mul(100).div_ceil(all.max(1))
}

fn per(count: u64, seconds: f64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds
}

fn code(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn tell(report: &Report) {
    let outcome = &report.outcome;
    for violation in &outcome.violations {
        println!(
            "seed {}: {}: {}",
            outcome.seed, violation.invariant, violation.what
        );
    }
    if let Some(stalled) = &report.stalled {
        println!("seed {}: waits for a human: {stalled}", outcome.seed);
    }
}

/// What is to be run, and what has come of it.
struct Work<'a> {
    cli: &'a Cli,
    /// What is run before the seeds.
    known: Mutex<VecDeque<Scenario>>,
    next: AtomicU64,
    given_up: AtomicBool,
    sum: Mutex<Sum>,
}

fn run_all(cli: &Cli) -> anyhow::Result<Sum> {
    let threads = cli
        .threads
        .map_or_else(thread::available_parallelism, |threads| {
            std::num::NonZeroUsize::new(threads).ok_or(std::io::ErrorKind::InvalidInput.into())
        })?;
    let known: &[Regression] = if cli.regressions { &REGRESSIONS } else { &[] };
    let work = Work {
        cli,
        known: Mutex::new(known.iter().map(Regression::scenario).collect()),
        next: AtomicU64::new(cli.first),
        given_up: AtomicBool::new(false),
        sum: Mutex::default(),
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.get()).map(|_| scope.spawn(|| work.run())).collect();
        for worker in workers {
            match worker.join() {
                Ok(result) => result?,
                Err(_) => anyhow::bail!("a run has panicked"),
            }
        }
        Ok(())
    })?;
    Ok(work.sum.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Work<'_> {
    fn next(&self) -> anyhow::Result<Option<Scenario>> {
        if self.given_up.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let known = lock(&self.known).pop_front();
        if known.is_some() {
            return Ok(known);
        }
        let seed = self.next.fetch_add(1, Ordering::Relaxed);
        let wanted = seed < self.cli.first + self.cli.seeds;
        wanted.then(|| scenario(self.cli, seed)).transpose()
    }

    fn run(&self) -> anyhow::Result<()> {
        while let Some(scenario) = self.next()? {
            let report = scenario.run(false)?;
            let failures = lock(&self.sum).take(scenario, report);
            if failures >= self.cli.max_failures {
                self.given_up.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sum {
    /// In how many seeds the cluster has waited for a human, whether one could help or not.
    fn waited(&self) -> usize {
        let helped: BTreeSet<_> = self.remedied.iter().map(|(seed, _)| *seed).collect();
        let waits = self.stalled.iter().filter(|(seed, _)| !helped.contains(seed));
        helped.len() + waits.count()
    }

    /// What too many of the seeds were, as sentences. With few seeds a share says nothing.
    fn shares(&self) -> Vec<String> {
        if self.seeds < SEEDS_FOR_SHARES {
            return Vec::new();
        }
        let all = [
            (self.waited(), MAX_WAITED, "waited for a human"),
            (self.stalled.len(), MAX_STALLED, "waited for a human to the end"),
            (self.below.len(), MAX_BELOW, "are less than a seed should be"),
        ];
        let many = all
            .into_iter()
            .filter(|(count, most, _)| per_cent(*count, self.seeds) > *most);
        let mut shares: Vec<_> = many
            .map(|(count, most, what)| {
                format!(
                    "{count} of {} seeds {what}: no more than {most} in a hundred may",
                    self.seeds
                )
            })
            .collect();
        let most = MAX_LOST.max(self.acknowledged.saturating_mul(MAX_LOST_OF_A_MILLION) / 1_000_000);
        if u64::try_from(self.booked).unwrap_or(u64::MAX) > most {
            shares.push(format!(
                "{} of {} acknowledged writes are lost within the published limits: no more than {most} may be",
                self.booked, self.acknowledged
            ));
        }
        shares
    }

    /// Takes in what came of a seed. How many have failed by now.
    fn take(&mut self, scenario: Scenario, report: Report) -> u64 {
        let seed = scenario.seed;
        self.seeds += 1;
        self.acknowledged += report.outcome.acknowledged;
        self.booked += report.booked;
        self.coverage.add(&report.coverage);
        if !report.remedied.is_empty() {
            self.remedied.push((seed, report.remedied.clone()));
        }
        if let Some(stalled) = &report.stalled {
            self.stalled.push((seed, stalled.clone()));
        }
        // One that waits for a human, or was ended by a violation, cannot be whole.
        let ended_early = report.stalled.is_some() || !report.outcome.violations.is_empty();
        let below = report.course.shortfalls();
        if !ended_early && !below.is_empty() {
            self.below.push((seed, below));
        }
        if let Some(violation) = report.outcome.violations.first() {
            eprintln!("seed {seed} fails: {}", violation.invariant);
            self.failed.push((scenario, report));
        }
        if self.seeds.is_multiple_of(SEEDS_PER_LINE) {
            eprintln!("{} seeds, {} failed", self.seeds, self.failed.len());
        }
        u64::try_from(self.failed.len()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_no_seeds_is_refused() {
        assert!(Cli::try_parse_from(["simulate", "--seeds", "0"]).is_err());
        assert!(Cli::try_parse_from(["simulate", "--seeds", "1"]).is_ok());
    }

    #[test]
    fn a_few_seeds_may_fall_short_or_wait_and_no_more() {
        let mut sum = Sum {
            seeds: SEEDS_FOR_SHARES,
            below: vec![(1, Vec::new()); 2],
            stalled: vec![(2, String::new())],
            remedied: vec![(2, Vec::new()), (3, Vec::new())],
            ..Sum::default()
        };
        assert_eq!((sum.waited(), sum.shares()), (2, Vec::<String>::new()));
        sum.below.push((4, Vec::new()));
        sum.stalled.push((5, String::new()));
        assert_eq!(sum.shares().len(), 2);
        sum.seeds = SEEDS_FOR_SHARES - 1;
        assert!(sum.shares().is_empty());
    }

    #[test]
    fn few_writes_may_be_lost_within_the_limits() {
        let mut sum = Sum {
            seeds: SEEDS_FOR_SHARES,
            acknowledged: 100_000,
            booked: 3,
            ..Sum::default()
        };
        assert!(sum.shares().is_empty());
        sum.booked = 4;
        assert_eq!(sum.shares().len(), 1);
        sum.acknowledged = 1_000_000;
        assert!(sum.shares().is_empty());
    }
}
