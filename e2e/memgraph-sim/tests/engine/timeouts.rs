//! The fixed time-outs between instances (semantics E.4): what happens when a message gets no answer, and when.

use std::time::Duration;

use bolt_server::Version;
use memgraph_sim::config::Config;

use crate::network::{Fate, Network};

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";
const REGISTER: &str = "REGISTER REPLICA b SYNC TO 'b:10000'";

/// A main with data and an empty replica that is not registered yet.
fn pair(version: Version) -> Network {
    let mut network = Network::new(version, &["a", "b"]);
    network.must("a", "CREATE (:T)");
    network.must("b", DEMOTE);
    network
}

/// Lets time pass until the status of `b` is no longer `status`; tells how many seconds that took.
fn seconds_of(network: &mut Network, status: &str) -> u64 {
    let started = network.now;
    while network.status("a", "b") == status {
        assert!(
            network.now - started < Duration::from_secs(200),
            "it stays {status}"
        );
        network.run(Duration::from_millis(50));
    }
    (network.now - started).as_secs()
}

/// Loses the first message of a kind.
fn lose_once(network: &mut Network, name: &'static str) {
    let mut done = false;
    network.decide(move |_, _, message| {
        if !done && message.name() == name {
            done = true;
            return Fate::Lost;
        }
        Fate::Delivered
    });
}

#[test]
fn connecting_takes_five_seconds_at_most() {
    for version in Version::ALL {
        let mut network = pair(version);
        network.black_hole("b");
        let started = network.now;
        network.refused("a", REGISTER);
        assert_eq!((network.now - started).as_secs(), 5);
    }
}

#[test]
fn a_main_uuid_that_is_not_taken_fails_the_registration_after_ten_seconds() {
    for version in Version::ALL {
        let mut network = pair(version);
        lose_once(&mut network, "SwapMainUUIDReq");
        let started = network.now;
        network.refused("a", REGISTER);
        assert_eq!((network.now - started).as_secs(), 10);
        assert_eq!(network.status("a", "b"), "ghost");
    }
}

#[test]
fn a_system_recovery_without_an_answer_delays_the_registration_by_half_a_minute() {
    for version in Version::ALL {
        let mut network = pair(version);
        lose_once(&mut network, "SystemRecoveryReq");
        let started = network.now;
        network.must("a", REGISTER);
        assert_eq!((network.now - started).as_secs(), 30);
        // The database has another UUID until the next ping has it sent again.
        assert_eq!(network.status("a", "b"), "invalid");
        network.until_status("a", "b", "ready");
        assert_eq!(network.count("b"), 1);
    }
}

#[test]
fn a_heartbeat_without_an_answer_leaves_the_state_open_for_ten_seconds() {
    for version in Version::ALL {
        let mut network = pair(version);
        lose_once(&mut network, "HeartbeatReq");
        let started = network.now;
        network.must("a", REGISTER);
        assert_eq!((network.now - started).as_secs(), 10);
        assert_eq!(network.status("a", "b"), "invalid");
        network.until_status("a", "b", "ready");
    }
}

#[test]
fn the_current_log_file_is_waited_for_for_half_a_minute() {
    let mut network = pair(Version::default());
    lose_once(&mut network, "CurrentWalReq");
    network.must("a", REGISTER);
    assert_eq!(seconds_of(&mut network, "recovery"), 30);
    network.until_status("a", "b", "ready");
    assert_eq!(network.count("b"), 1);
}

/// A main whose log file is finished after each transaction.
fn with_short_logs() -> Network {
    let mut network = Network::new(Version::default(), &["b"]);
    network.add(
        "a",
        Config {
            wal_file_kib: 0,
            ..Config::default()
        },
    );
    network.must("b", DEMOTE);
    network.must("a", "CREATE (:T)");
    network
}

#[test]
fn log_files_are_waited_for_for_half_a_minute() {
    let mut network = with_short_logs();
    lose_once(&mut network, "WalFilesReq");
    network.must("a", REGISTER);
    assert_eq!(seconds_of(&mut network, "recovery"), 30);
    network.until_status("a", "b", "ready");
}

#[test]
fn a_snapshot_is_waited_for_for_a_minute() {
    let mut network = with_short_logs();
    for _ in 0..3 {
        network.must("a", "CREATE (:T)");
        network.must("a", "CREATE SNAPSHOT");
    }
    network.configure("a", |config| config.snapshot_retention = 1);
    network.restart("a");
    network.must("a", "CREATE (:T)");
    network.must("a", "CREATE SNAPSHOT");
    lose_once(&mut network, "SnapshotReq");
    network.must("a", REGISTER);
    assert_eq!(seconds_of(&mut network, "recovery"), 60);
    network.until_status("a", "b", "ready");
    assert_eq!(network.count("b"), 5);
}

#[test]
fn a_replica_that_answers_no_pings_is_lost_after_three_of_them() {
    let mut network = pair(Version::default());
    network.must("a", REGISTER);
    network.until_status("a", "b", "ready");
    network.lose(|_, _, message| message.name() == "FrequentHeartbeatReq");
    // One second between them, and five for each answer.
    let seconds = seconds_of(&mut network, "ready");
    assert!((16..=18).contains(&seconds), "{seconds}");
}

#[test]
fn a_commit_waits_for_a_ping_unless_its_replica_is_async() {
    for mode in ["SYNC", "ASYNC"] {
        let mut network = Network::pair(Version::default(), mode);
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_millis(500));
        lose_once(&mut network, "FrequentHeartbeatReq");
        network.run(Duration::from_millis(1000));
        let started = network.now;
        let result = network.query("a", "CREATE (:T)");
        let waited = network.now - started;
        assert_eq!(result, Ok(Vec::new()), "{mode}");
        if mode == "SYNC" {
            // The ping has given its connection up; the commit makes another one.
            assert!(
                waited > Duration::from_secs(3) && waited < Duration::from_secs(5),
                "{waited:?}"
            );
            assert_eq!(network.status("a", "b"), "ready");
        } else {
            assert!(
                waited >= Duration::from_millis(50) && waited < Duration::from_millis(60),
                "{waited:?}"
            );
            assert_eq!(network.status("a", "b"), "invalid");
            network.until_status("a", "b", "ready");
        }
        assert_eq!(network.count("b"), 2);
    }
}

#[test]
fn a_replica_waits_for_access_to_load_a_snapshot_for_half_a_minute() {
    for (version, seconds) in [(Version::V3_4, 30), (Version::V3_12, 30), (Version::Head, 20)] {
        let mut network = Network::pair(version, "ASYNC");
        network.must("a", "CREATE (:T)");
        let path = crate::clients::text(
            &{
                network.must("a", "CREATE SNAPSHOT");
                network.must("a", "SHOW SNAPSHOTS")
            }[0][0],
        );
        network.run(Duration::from_secs(1));
        let reader = network.client("b");
        network.begin(&reader);
        network.run_on(&reader, "MATCH (n) RETURN n").unwrap();
        network.must("a", &format!("RECOVER SNAPSHOT '{path}' FORCE"));
        assert_eq!(seconds_of(&mut network, "recovery"), seconds, "{version:?}");
        network.close(&reader);
        // Nothing tells main to reset it once more, but it has what main has.
        network.until_status("a", "b", "ready");
        assert_eq!(network.count("b"), 1);
    }
}
