//! The same random schedules on virtual time and on real processes: all replies are the same.
//!
//! `SCHEDULES=5000` runs more of them, `SCHEDULE=17` only the one with this seed.

mod generate;
mod processes;
mod simulated;
mod wire;

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use bolt_server::Map;

use self::{
    generate::{Schedule, schedule},
    processes::Processes,
    simulated::Simulation,
    wire::{Message, Reply},
};

/// How many schedules an ordinary run compares.
const SCHEDULES: u64 = 1000;
/// How many run at the same time: mostly they wait for each other's processes.
const WORKERS: usize = 12;

/// What an action led to.
#[derive(Debug, Clone, Default)]
struct Outcome {
    replies: Vec<Reply>,
    /// The server has closed the connection.
    closed: bool,
    /// For each instance that runs, what it shows once nothing goes on in the background.
    settled: Vec<Option<Settled>>,
}

/// What an instance shows.
#[derive(Debug, Clone, PartialEq)]
struct Settled {
    /// The answer to SHOW REPLICAS.
    replicas: Vec<Reply>,
    /// How many transactions are open.
    transactions: usize,
}

/// What an observer of an instance asks, in one go. Changes nothing there.
fn questions() -> Vec<Message> {
    let ask = |text: &str| Message::Run {
        query: text.to_owned(),
        extra: Map::new(),
    };
    vec![
        Message::Reset,
        ask("SHOW REPLICAS"),
        Message::Pull(-1),
        Message::Reset,
        ask("SHOW TRANSACTIONS"),
        Message::Pull(-1),
    ]
}

impl Settled {
    /// Reads the answers to [`questions`].
    fn read(mut replies: Vec<Reply>) -> Self {
        let ends = replies.iter().enumerate().filter(|(_, reply)| reply.is_last());
        let (about_replicas, _) = ends.map(|(at, reply)| (at + 1, reply)).nth(2).unwrap();
        let rest = replies.split_off(about_replicas);
        Self {
            replicas: replies,
            transactions: rest.iter().filter(|reply| !reply.is_last()).count(),
        }
    }
}

/// The flags of all instances of a schedule.
fn arguments(schedule: &Schedule) -> Vec<String> {
    let pings = schedule.pings;
    [
        "--bolt-address=127.0.0.1".to_owned(),
        "--storage-wal-enabled=true".to_owned(),
        "--storage-properties-on-edges=true".to_owned(),
        // Memgraph does not log without periodic snapshots; this is the longest interval.
        "--storage-snapshot-interval-sec=604800".to_owned(),
        format!("--replication-replica-check-frequency-sec={pings}"),
    ]
    .into()
}

/// Runs a schedule on both, action by action. The result is how many actions there were.
fn compare(schedule: &Schedule) -> Result<usize, String> {
    let mut simulation = Simulation::new(schedule);
    let mut processes = Processes::new(schedule)?;
    for (number, action) in schedule.actions.iter().enumerate() {
        let Ok(expected) = simulation.perform(action) else {
            return Ok(number);
        };
        processes.perform(action, &expected).map_err(|difference| {
            let before: Vec<_> = schedule.actions[..=number]
                .iter()
                .map(|action| format!("    {action:?}\n"))
                .collect();
            format!(
                "seed {} ({}, pings {}, {:?}), action {number}: {difference}\n{}",
                schedule.seed,
                schedule.version,
                schedule.pings,
                schedule.sessions,
                before.concat()
            )
        })?;
    }
    Ok(schedule.actions.len())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn virtual_time_and_real_processes_give_the_same_replies() {
    let seeds = match number("SCHEDULE") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SCHEDULES").unwrap_or(SCHEDULES),
    };
    let next = AtomicU64::new(seeds.start);
    let actions = AtomicU64::new(0);
    let differences = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || differences.lock().unwrap().len() >= 5 {
                        return;
                    }
                    match compare(&schedule(seed)) {
                        Ok(done) => actions.fetch_add(done as u64, Ordering::Relaxed),
                        Err(difference) => {
                            differences.lock().unwrap().push(difference);
                            continue;
                        }
                    };
                }
            });
        }
    });
    let differences = differences.into_inner().unwrap();
    assert!(
        differences.is_empty(),
        "{} of {} schedules differ:\n{}",
        differences.len(),
        seeds.end - seeds.start,
        differences.join("\n")
    );
    // Some end early, where one query takes longer than the test's patience; they must stay few.
    let (actions, schedules) = (actions.into_inner(), seeds.end - seeds.start);
    println!("{actions} actions");
    assert!(
        schedules < 100 || actions >= 15 * schedules,
        "only {actions} actions in {schedules} schedules"
    );
}
