//! What survives, and how replicas catch up.

use std::time::Duration;

use bolt_server::{Failure, Version};
use memgraph_sim::{
    config::Config,
    durability::inspect,
    engine::{DiskOperation, DiskReply, ExitReason},
};

use crate::clients::{Stage, text};
use crate::network::Network;
use crate::releases::{each_mode, each_release};

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";
const PROMOTE: &str = "SET REPLICATION ROLE TO MAIN";

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged() {
    let mut network = Network::new(Version::default(), &["a"]);
    for i in 0..10 {
        network.must("a", &format!("CREATE (:T {{i: {i}}})"));
    }
    network.must("a", "MATCH (n:T {i: 3}) DELETE n");
    network.must("a", "CREATE INDEX ON :T(i)");
    network.must("a", "CREATE CONSTRAINT ON (n:T) ASSERT n.i IS UNIQUE");
    network.must("a", "CREATE ENUM E VALUES { x }");
    network.must("a", "CREATE (n:X) DELETE n");
    network.restart("a");
    assert_eq!(network.count("a"), 9);
    assert_eq!(network.must("a", "SHOW INDEX INFO").len(), 1);
    assert_eq!(network.must("a", "SHOW CONSTRAINT INFO").len(), 1);
    assert_eq!(network.must("a", "SHOW ENUMS").len(), 1);
    let text = network.refused("a", "CREATE (:T {i: 4})");
    assert_eq!(
        text,
        "Unable to commit due to unique constraint violation on :T(i)"
    );
}

#[test]
fn a_power_loss_takes_the_unsynced_tail() {
    for (every, expected) in [(100_000, 0), (1, 3), (2, 2)] {
        let mut network = Network::new(Version::default(), &[]);
        network.add(
            "a",
            Config {
                wal_flush_every: every,
                ..Config::default()
            },
        );
        for _ in 0..3 {
            network.must("a", "CREATE (:T)");
        }
        network.power_off("a");
        network.start("a");
        network.until_ready("a");
        assert_eq!(network.count("a"), expected, "flush every {every}");
    }
}

#[test]
fn a_power_loss_leaves_the_header_of_a_new_log_file() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a"]);
        network.must("a", "CREATE (:T)");
        network.kill("a");
        network.disk("a").lose_unsynced();
        let names = network.disk("a").list("wal");
        assert_eq!(names.len(), 1, "{version}: {names:?}");
        let read = DiskOperation::Read(format!("wal/{}", names[0]));
        let Ok(DiskReply::Content(bytes)) = network.disk("a").perform(read) else {
            panic!("{version}: {names:?} cannot be read");
        };
        let log = inspect::log(&bytes).unwrap();
        assert_eq!((log.sequence, log.committed), (0, Vec::new()), "{version}");
        // It counts for nothing, now and later.
        for nodes in 0..3 {
            network.run(Duration::from_millis(10));
            network.start("a");
            network.until_ready("a");
            assert_eq!(network.count("a"), nodes, "{version}");
            network.must("a", "CREATE (:T)");
            network.kill("a");
        }
    }
}

#[test]
fn an_instance_without_its_volume_is_an_empty_main() {
    let mut network = Network::new(Version::default(), &["a"]);
    network.must("a", "CREATE (:T)");
    network.must("a", DEMOTE);
    network.kill("a");
    network.disk("a").wipe();
    network.start("a");
    network.until_ready("a");
    assert_eq!(network.role("a"), "main");
    assert_eq!(network.count("a"), 0);
}

/// With what the process ends after a sync has failed that `query` leads to.
fn after_a_failed_sync(version: Version, query: &str) -> String {
    let mut network = Network::new(version, &[]);
    let config = Config {
        version,
        wal_flush_every: 1,
        ..Config::default()
    };
    network.add("a", config);
    network.must("a", "CREATE (:T)");
    network.disk("a").fail_next_sync = true;
    let client = network.client("a");
    network.prepare(&client, query);
    network.send_request(&client, bolt_server::Request::Execute { take: None });
    network.run(Duration::from_secs(1));
    match network.has_exited("a") {
        Some(ExitReason::Fatal(reason)) => reason,
        other => panic!("{query} with {version}: {other:?}"),
    }
}

#[test]
fn a_failed_sync_ends_the_process() {
    for version in Version::ALL {
        for (query, folder) in [("CREATE (:T)", "wal"), ("CREATE SNAPSHOT", "snapshots")] {
            let reason = after_a_failed_sync(version, query);
            let (path, rest) = reason.split_once(", ").unwrap();
            let beginning = format!("While trying to sync /var/lib/memgraph/{folder}/");
            assert!(path.starts_with(&beginning), "{reason}");
            let bytes = rest
                .strip_prefix("an error occurred: Input/output error (5). Possibly ")
                .and_then(|rest| rest.strip_suffix(" bytes from previous write calls were lost."));
            assert!(
                bytes.is_some_and(|bytes| bytes.parse::<u64>().unwrap() > 0),
                "{reason}"
            );
        }
    }
}

#[test]
fn recovery_takes_the_newest_snapshot_and_the_log_after_it() {
    let mut network = Network::new(Version::default(), &["a"]);
    network.must(
        "a",
        "UNWIND range(1, 100) AS i CREATE (:T {i: i})-[:R {w: i}]->(:U)",
    );
    network.must("a", "CREATE SNAPSHOT");
    network.must("a", "CREATE (:T {i: 101})");
    network.restart("a");
    assert_eq!(network.count("a"), 201);
    assert_eq!(
        network.must("a", "MATCH (:T)-[r:R]->(:U) RETURN sum(r.w)")[0][0],
        5050.into()
    );
}

#[test]
fn old_snapshots_and_logs_are_removed() {
    let mut network = Network::new(Version::default(), &[]);
    network.add(
        "a",
        Config {
            wal_file_kib: 0,
            snapshot_retention: 2,
            ..Config::default()
        },
    );
    for _ in 0..6 {
        network.must("a", "CREATE (:T)");
        network.must("a", "CREATE SNAPSHOT");
    }
    assert_eq!(network.disk("a").list("snapshots").len(), 2);
    assert!(
        network.disk("a").list("wal").len() <= 3,
        "{:?}",
        network.disk("a").list("wal")
    );
    network.must("a", "CREATE (:T)");
    network.restart("a");
    assert_eq!(network.count("a"), 7);
}

#[test]
fn a_replica_that_is_too_far_behind_gets_a_snapshot() {
    let mut network = Network::new(Version::default(), &[]);
    network.add(
        "a",
        Config {
            wal_file_kib: 0,
            snapshot_retention: 1,
            ..Config::default()
        },
    );
    network.add("b", Config::default());
    network.attach("a", "b", "ASYNC");
    network.must("a", "CREATE (:T)");
    network.run(Duration::from_secs(1));
    network.kill("b");
    network.run(Duration::from_secs(5));
    for _ in 0..5 {
        network.must("a", "CREATE (:T)");
        network.must("a", "CREATE SNAPSHOT");
    }
    network.must("a", "CREATE (:T)");
    network.start("b");
    network.until_ready("b");
    network.until_status("a", "b", "ready");
    assert_eq!(network.count("b"), 7);
    let old = network.disk("b").list("wal/.old");
    assert!(!old.is_empty(), "what was there was put aside");
    network.restart("b");
    assert_eq!(network.count("b"), 7);
    network.until_status("a", "b", "ready");
}

#[test]
fn commits_during_a_recovery_are_not_lost() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.must("a", "UNWIND range(1, 50) AS i CREATE (:T)");
    network.must("b", DEMOTE);
    network.must("a", "REGISTER REPLICA b SYNC TO 'b:10000'");
    for _ in 0..20 {
        let _ = network.query("a", "CREATE (:T)");
    }
    network.until_status("a", "b", "ready");
    assert_eq!(network.count("b"), 70);
    assert_eq!(network.replica("a", "b").unwrap().1, 0);
}

#[test]
fn a_new_main_brings_the_others_up_to_date() {
    let mut network = Network::new(Version::default(), &["a", "b", "c"]);
    network.attach("a", "b", "STRICT_SYNC");
    network.attach("a", "c", "ASYNC");
    network.must("a", "CREATE (:T)");
    network.run(Duration::from_secs(1));
    network.kill("c");
    network.must("a", "CREATE (:T)");
    network.kill("a");
    network.must("b", PROMOTE);
    network.must("b", "CREATE (:T)");
    network.start("c");
    network.until_ready("c");
    network.must("b", "REGISTER REPLICA c STRICT_SYNC TO 'c:10000'");
    network.until_status("b", "c", "ready");
    assert_eq!(network.count("c"), 3);
    network.start("a");
    network.until_ready("a");
    network.must("a", DEMOTE);
    network.must("b", "REGISTER REPLICA a ASYNC TO 'a:10000'");
    network.until_status("b", "a", "ready");
    assert_eq!(network.count("a"), 3);
    network.must("b", "CREATE (:T)");
    network.run(Duration::from_secs(1));
    assert_eq!((network.count("a"), network.count("c")), (4, 4));
}

#[test]
fn j38_a_snapshot_tells_the_position_of_a_replica_since_3_8() {
    each_release(|version| {
        let mut network = Network::pair(version, "SYNC");
        for _ in 0..3 {
            network.must("a", "CREATE (:T)");
            let (ts, ..) = network.replica("a", "b").unwrap();
            if version < Version::V3_8 {
                assert_eq!(
                    network.failure("b", "CREATE SNAPSHOT"),
                    (
                        Stage::Pull,
                        Failure::transient(
                            "Failed to create a snapshot. Replica instances are not allowed to create them."
                        )
                    )
                );
                assert!(network.disk("b").list("snapshots").is_empty());
                continue;
            }
            let answer = network.answer("b", "CREATE SNAPSHOT").unwrap();
            assert_eq!(answer.fields, ["path"]);
            let path = text(&answer.rows[0][0]);
            assert!(path.starts_with("/var/lib/memgraph/snapshots/"), "{path}");
            assert!(path.ends_with(&format!("_timestamp_{ts}")), "{path} {ts}");
            let newest = network.disk("b").list("snapshots").pop().unwrap();
            assert!(path.ends_with(&newest), "{path} {newest}");
        }
    });
}

#[test]
fn j39_recovering_a_snapshot_resets_all_replicas() {
    each_mode(|version, mode| {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.attach("a", "b", mode);
        network.attach("a", "c", "ASYNC");
        network.must("a", "CREATE (:T)");
        network.durable("a");
        // Newest first.
        let path = text(&network.must("a", "SHOW SNAPSHOTS")[0][0]);
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        assert_eq!((network.count("b"), network.count("c")), (2, 2));
        assert_eq!(
            network.failure("a", &format!("RECOVER SNAPSHOT '{path}'")),
            (
                Stage::Pull,
                Failure::transient("Failed to recover a snapshot. Storage is not clean. Try using FORCE.")
            )
        );
        network.must("a", &format!("RECOVER SNAPSHOT '{path}' FORCE"));
        assert_eq!(network.status("a", "b"), "recovery");
        assert_eq!(network.status("a", "c"), "recovery");
        network.until_status("a", "b", "ready");
        network.until_status("a", "c", "ready");
        let counts = |network: &mut Network| ["a", "b", "c"].map(|name| network.count(name));
        assert_eq!(counts(&mut network), [1, 1, 1]);
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        assert_eq!(counts(&mut network), [2, 2, 2]);
        for name in ["b", "c", "a"] {
            network.restart(name);
        }
        assert_eq!(counts(&mut network), [2, 2, 2]);
    });
}

#[test]
fn a_replica_that_restarted_makes_others_look_diverged_when_it_is_promoted() {
    // Recovery puts the epoch that goes on into the history, with the position of that moment, and a later
    // promotion adds it once more. Others are judged by the first entry.
    let mut network = Network::new(Version::default(), &["a", "b", "c"]);
    network.attach("a", "b", "STRICT_SYNC");
    network.attach("a", "c", "ASYNC");
    network.must("a", "CREATE (:T)");
    network.restart("b");
    // The first commit meets the broken connection.
    network.refused("a", "CREATE (:T)");
    network.until_status("a", "b", "ready");
    network.until_status("a", "c", "ready");
    network.must("a", "CREATE (:T)");
    network.run(Duration::from_secs(1));
    network.kill("a");
    network.must("b", PROMOTE);
    assert_eq!(
        network.refused("b", "REGISTER REPLICA c ASYNC TO 'c:10000'"),
        "Couldn't register replica c. Error: 3"
    );
    assert_eq!(
        network.count("b"),
        network.count("c"),
        "although they are the same"
    );
}

#[test]
fn dumps_contain_the_whole_graph() {
    let mut network = Network::new(Version::default(), &["a"]);
    network.must("a", "CREATE INDEX ON :T(i)");
    network.must("a", "CREATE (:T {i: 1, s: 'x'})-[:R]->(:U)");
    let lines: Vec<_> = network
        .must("a", "DUMP DATABASE")
        .iter()
        .map(|row| text(&row[0]))
        .collect();
    assert_eq!(
        lines,
        [
            "CREATE INDEX ON :`T`(`i`);",
            "CREATE INDEX ON :__mg_vertex__(__mg_id__);",
            "CREATE (:__mg_vertex__:`T` {__mg_id__: 0, `i`: 1, `s`: \"x\"});",
            "CREATE (:__mg_vertex__:`U` {__mg_id__: 1});",
            "MATCH (u:__mg_vertex__), (v:__mg_vertex__) WHERE u.__mg_id__ = 0 AND v.__mg_id__ = 1 CREATE (u)-[:`R`]->(v);",
            "DROP INDEX ON :__mg_vertex__(__mg_id__);",
            "MATCH (u) REMOVE u:__mg_vertex__, u.__mg_id__;",
        ]
    );
}
