//! DIVERGED exactly by the rule (semantics D.3), computed here from snapshots of MAIN and from what replicas say.

use std::time::Duration;

use bolt_server::Version;
use memgraph_sim::durability::inspect::SnapshotSummary;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{
    OnDisk, cluster, modes, seeds,
    watch::{Call, Watch},
    write,
};
use crate::network::Network;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// How often which decision was seen.
#[derive(Debug, Default)]
struct Seen {
    diverged: usize,
    fine: usize,
}

/// The epochs of a MAIN. Its history changes only while it is no MAIN, so that a snapshot of now will do.
fn epochs(network: &mut Network, main: &str) -> Option<SnapshotSummary> {
    if let Err(failure) = network.query(main, "CREATE SNAPSHOT") {
        // Before 3.5 a snapshot needs something new.
        if !failure.message.starts_with("Nothing has been written") {
            return None;
        }
        network.query(main, "CREATE (n:Probe) DELETE n").ok()?;
        network.query(main, "CREATE SNAPSHOT").ok()?;
    }
    OnDisk::read(network, main).snapshots.pop()
}

/// Where a replica says it is; the last time that `main` asked.
fn reported(calls: &[Call], main: &str, replica: &str) -> Option<(u64, String)> {
    let asked = |call: &&Call| call.name == "HeartbeatReq" && call.main == main && call.replica == replica;
    let heartbeat = &calls.iter().rev().find(asked)?.reply.as_ref()?["Heartbeat"];
    let epoch = heartbeat["epoch"].as_str()?.to_owned();
    Some((heartbeat["durable"].as_u64()?, epoch))
}

/// The rule.
fn diverges(main: &SnapshotSummary, (durable, epoch): &(u64, String)) -> bool {
    if *epoch == main.epoch.to_string() || *durable == 0 {
        return false;
    }
    match main.history.iter().find(|(past, _)| past.to_string() == *epoch) {
        None => true,
        Some((_, last)) => last < durable,
    }
}

/// What a replica says must be true: the epoch of its last transaction (since 3.5).
fn check_report(
    network: &mut Network,
    version: Version,
    replica: &str,
    (durable, epoch): &(u64, String),
    run: &str,
) {
    if version < Version::V3_5 {
        return;
    }
    let disk = OnDisk::read(network, replica);
    let log = disk.logs.iter().find(|log| log.committed.contains(durable));
    if let Some(log) = log {
        assert_eq!(log.epoch.to_string(), *epoch, "{run}: {replica} at {durable}");
    }
}

fn register(
    network: &mut Network,
    watch: &Watch,
    (main, replica, mode): (&str, &str, &str),
    run: &str,
    seen: &mut Seen,
) {
    let _ = network.query(main, &format!("DROP REPLICA {replica}"));
    let Some(epochs) = epochs(network, main) else {
        return;
    };
    watch.take();
    let result = network.query(
        main,
        &format!("REGISTER REPLICA {replica} {mode} TO '{replica}:10000'"),
    );
    let calls = watch.take();
    if !calls
        .iter()
        .any(|call| call.name == "SwapMainUUIDReq" && call.worked())
    {
        return;
    }
    let Some(report) = reported(&calls, main, replica) else {
        // It does not know the database.
        assert!(result.is_ok(), "{run}: {result:?}");
        return;
    };
    let diverged = diverges(&epochs, &report);
    assert_eq!(
        result.is_err(),
        diverged,
        "{run}: {main} with {epochs:?} registers {replica} at {report:?}: {result:?}"
    );
    seen.diverged += usize::from(diverged);
    seen.fine += usize::from(!diverged);
}

/// After a restart MAIN looks at all of its replicas anew.
fn restart(network: &mut Network, watch: &Watch, main: &str, run: &str) {
    watch.take();
    network.restart(main);
    if network.role(main) != "main" {
        return;
    }
    let calls = watch.take();
    let Some(epochs) = epochs(network, main) else {
        return;
    };
    for replica in NAMES {
        if let Some(report) = reported(&calls, main, replica) {
            let status = network.status(main, replica);
            assert_eq!(
                status == "diverged",
                diverges(&epochs, &report),
                "{run}: {main} with {epochs:?} shows {replica} at {report:?} as {status}"
            );
        }
    }
}

/// A promotion ends an epoch where the instance stands.
fn promote(network: &mut Network, member: &str, run: &str) {
    if network.query(member, "SET REPLICATION ROLE TO MAIN").is_err() {
        return;
    }
    // Not from before: until its server has ended, it can still get a transaction.
    let durable = OnDisk::read(network, member).durable();
    if let Some(epochs) = epochs(network, member) {
        let (_, last) = epochs.history.last().unwrap();
        assert_eq!(
            *last, durable,
            "{run}: {member} was promoted at {durable}: {epochs:?}"
        );
        let past = epochs.history.iter().any(|(past, _)| *past == epochs.epoch);
        assert!(!past, "{run}: the epoch of {member} is not new");
    }
}

fn run(version: Version, seed: u64, seen: &mut Seen) {
    let run = format!("seed {seed} on {version}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut network = cluster(version, &NAMES);
    let watch = Watch::on(&mut network, seed);
    network.attach("a", "b", modes(version).choose(&mut random).unwrap());
    network.attach("a", "c", "ASYNC");
    for token in 0..50 {
        let member = *NAMES.choose(&mut random).unwrap();
        let other = *NAMES.choose(&mut random).unwrap();
        let mode = modes(version).choose(&mut random).unwrap();
        match random.random_range(0..10) {
            0 => restart(&mut network, &watch, member, &run),
            1 | 2 => promote(&mut network, member, &run),
            3 => {
                let _ = network.query(member, "SET REPLICATION ROLE TO REPLICA WITH PORT 10000");
            }
            4..7 => register(&mut network, &watch, (member, other, mode), &run, seen),
            7 => network.run(Duration::from_millis(random.random_range(0..3000))),
            _ => {}
        }
        if random.random_bool(0.5) {
            let _ = network.query(member, &write(&mut random, token, false));
        }
        let told = watch.take();
        for replica in NAMES {
            for main in NAMES {
                if let Some(report) = reported(&told, main, replica)
                    && OnDisk::read(&mut network, replica).durable() == report.0
                {
                    check_report(&mut network, version, replica, &report, &run);
                }
            }
        }
    }
}

#[test]
fn diverged_is_who_the_rule_says() {
    for version in Version::ALL {
        let mut seen = Seen::default();
        for seed in seeds(12) {
            run(version, seed, &mut seen);
        }
        assert!(seen.diverged > 3 && seen.fine > 10, "on {version} only {seen:?}");
    }
}

#[test]
fn the_rule_is_the_rule() {
    let mut random = StdRng::seed_from_u64(1);
    let [first, second, other, database] = std::array::from_fn(|_| memgraph_sim::Uuid::random(&mut random));
    let main = SnapshotSummary {
        database,
        epoch: second,
        history: vec![(first, 10)],
        durable: 20,
    };
    let at = |durable, epoch: memgraph_sim::Uuid| (durable, epoch.to_string());
    assert!(!diverges(&main, &at(10, first)));
    assert!(diverges(&main, &at(12, first)), "it has more of that epoch");
    assert!(!diverges(&main, &at(99, second)), "equal epochs are not compared");
    assert!(diverges(&main, &at(1, other)));
    assert!(!diverges(&main, &at(0, other)), "it is empty");
}
