//! What the modes promise, and to whom a replica listens.

use std::{collections::HashMap, time::Duration};

use bolt_server::Version;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::Value as Json;

use super::{OnDisk, cluster, modes, seeds, watch::Watch};
/// A commit that a STRICT_SYNC main acknowledges is on each of its replicas, or prepared there.
fn acknowledged_is_replicated(version: Version, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut network = cluster(version, &["a", "b", "c"]);
    let watch = Watch::on(&mut network, seed);
    for replica in ["b", "c"] {
        network.attach("a", replica, "STRICT_SYNC");
    }
    for token in 0..40 {
        match random.random_range(0..8) {
            0 => {
                let replica = *["b", "c"].choose(&mut random).unwrap();
                network.kill(replica);
                if random.random_bool(0.7) {
                    network.start(replica);
                }
            }
            1 => {
                for replica in ["b", "c"] {
                    if !network.is_ready(replica) {
                        network.start(replica);
                    }
                }
            }
            2 => watch.faults.set(random.random_range(0.0..0.3)),
            3 => watch.faults.set(0.0),
            4 => network.restart("a"),
            5 => {
                let _ = network.query("a", "CREATE SNAPSHOT");
            }
            _ => network.run(Duration::from_millis(random.random_range(0..3000))),
        }
        let before = OnDisk::read(&mut network, "a").durable();
        if network
            .query("a", &format!("CREATE (:T {{token: {token}}})"))
            .is_ok()
        {
            let timestamp = OnDisk::read(&mut network, "a").durable();
            assert!(timestamp > before, "an acknowledged commit is in main's log");
            for replica in ["b", "c"] {
                assert!(
                    OnDisk::read(&mut network, replica).has(timestamp),
                    "seed {seed} on {version}: {replica} misses {timestamp}, which was acknowledged"
                );
            }
        }
    }
}

#[test]
fn what_strict_sync_acknowledges_is_on_the_replicas_or_prepared_there() {
    for version in Version::ALL {
        for seed in seeds(8) {
            if modes(version).contains(&"STRICT_SYNC") {
                acknowledged_is_replicated(version, seed);
            }
        }
    }
}

/// Found by the property above: such a file was not known after a restart, and left behind when older ones went.
#[test]
fn a_log_file_with_nothing_but_aborted_transactions_is_a_part_of_the_chain() {
    for version in [Version::V3_5, Version::V3_12] {
        let mut network = cluster(version, &["a", "b"]);
        network.attach("a", "b", "STRICT_SYNC");
        for round in 0..6 {
            network.must("a", "CREATE ()");
            network.kill("b");
            for _ in 0..2 {
                network.restart("a");
                network.query("a", "CREATE (:Lost)").unwrap_err();
            }
            network.restart("a");
            network.start("b");
            network.until_ready("b");
            network.until_status("a", "b", "ready");
            network.must("a", "CREATE ()");
            network.must("a", "CREATE SNAPSHOT");
            network.restart("a");
            network.until_status("a", "b", "ready");
            assert_eq!(network.count("a"), 2 * (round + 1));
            assert_eq!(network.count("b"), 2 * (round + 1));
        }
    }
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What a replica has accepted, as the messages tell.
#[derive(Default)]
struct Accepted {
    /// By replica: the UUID of the main that it obeys.
    uuid: HashMap<String, Json>,
    /// By replica and UUID: who has written to it under that UUID.
    writers: HashMap<(String, Json), String>,
    applied: usize,
}

impl Accepted {
    fn follow(&mut self, watch: &Watch, run: &str) {
        for call in watch.take() {
            if !call.worked() {
                continue;
            }
            let uuid = call.request["main"].clone();
            match call.name {
                "SwapMainUUIDReq" => {
                    self.uuid.insert(call.replica, uuid);
                }
                "PrepareCommitReq" | "FinalizeCommitReq" | "SnapshotReq" | "WalFilesReq"
                | "CurrentWalReq" => {
                    self.applied += 1;
                    assert_eq!(
                        self.uuid.get(&call.replica),
                        Some(&uuid),
                        "{run}: {} took {} of a main that it does not obey",
                        call.replica,
                        call.name
                    );
                    let writer = self
                        .writers
                        .entry((call.replica.clone(), uuid))
                        .or_insert_with(|| call.main.clone());
                    assert_eq!(*writer, call.main, "{run}: two mains write to {}", call.replica);
                }
                _ => {}
            }
        }
    }
}

/// Everybody may take over at any time, without anybody else being told.
fn two_mains(version: Version, seed: u64) -> usize {
    let run = format!("seed {seed} on {version}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut network = cluster(version, &NAMES);
    let watch = Watch::on(&mut network, seed);
    let mut accepted = Accepted::default();
    network.attach("a", "b", modes(version).choose(&mut random).unwrap());
    network.attach("a", "c", "ASYNC");
    for token in 0..60 {
        let member = *NAMES.choose(&mut random).unwrap();
        accepted.follow(&watch, &run);
        match random.random_range(0..14) {
            0 => network.restart(member),
            change @ 1..3 => {
                let role = match change {
                    1 => "MAIN",
                    _ => "REPLICA WITH PORT 10000",
                };
                let changed = network.query(member, &format!("SET REPLICATION ROLE TO {role}"));
                accepted.follow(&watch, &run);
                if changed.is_ok() {
                    accepted.uuid.remove(member);
                }
            }
            3..6 => {
                let replica = *NAMES.choose(&mut random).unwrap();
                let mode = modes(version).choose(&mut random).unwrap();
                let _ = network.query(member, &format!("DROP REPLICA {replica}"));
                let _ = network.query(
                    member,
                    &format!("REGISTER REPLICA {replica} {mode} TO '{replica}:10000'"),
                );
            }
            6 => watch.faults.set(random.random_range(0.0..0.1)),
            7 => watch.faults.set(0.0),
            8 => network.run(Duration::from_millis(random.random_range(0..3000))),
            _ => {}
        }
        for member in NAMES {
            let _ = network.query(member, &format!("CREATE (:T {{token: {token}, by: '{member}'}})"));
        }
    }
    network.run(Duration::from_secs(5));
    accepted.follow(&watch, &run);
    accepted.applied
}

#[test]
fn a_replica_takes_writes_of_one_main_under_one_uuid() {
    for version in Version::ALL {
        let applied: usize = seeds(8).map(|seed| two_mains(version, seed)).sum();
        assert!(
            applied > 60,
            "on {version} hardly anything was replicated: {applied}"
        );
    }
}

#[test]
fn the_watch_sees_what_it_shall_see() {
    let mut network = cluster(Version::default(), &NAMES);
    let watch = Watch::on(&mut network, 0);
    network.attach("a", "b", "SYNC");
    network.must("a", "CREATE ()");
    let calls = watch.take();
    let commit = calls.iter().find(|call| call.name == "PrepareCommitReq").unwrap();
    assert!(commit.worked(), "{commit:?}");
    assert_eq!(network.main_uuid("b"), commit.request["main"].to_string());
}
