//! Registering and dropping replicas.

use std::{collections::BTreeMap, time::Duration};

use bolt_server::{Failure, Notification, Request, Response, Value, Version};

use crate::clients::{Stage, prepare};
use crate::network::Network;
use crate::releases::{each_mode, each_release};

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";

/// Why `name` cannot be registered.
fn register_error(version: Version, name: &str, number: u8) -> (Stage, Failure) {
    let text = if version >= Version::V3_5 {
        format!("Couldn't register replica {name}. Error: {number}")
    } else {
        format!("Couldn't register replica {name}.")
    };
    (Stage::Pull, Failure::client(text))
}

/// The row of a ghost in SHOW REPLICAS.
fn ghost(name: &str, address: &str, mode: &str) -> Vec<Value> {
    vec![
        name.into(),
        address.into(),
        mode.into(),
        Value::Null,
        Value::Map(BTreeMap::new()),
    ]
}

#[test]
fn j14_an_unreachable_replica_leaves_a_ghost() {
    each_mode(|version, mode| {
        let mut network = Network::new(version, &["a", "b", "c"]);
        // b is still a main: nothing listens there.
        let register = format!("REGISTER REPLICA b {mode} TO 'b:10000'");
        assert_eq!(network.failure("a", &register), register_error(version, "b", 5));
        // c is down.
        network.kill("c");
        let register = format!("REGISTER REPLICA c {mode} TO 'c:10000'");
        assert_eq!(network.failure("a", &register), register_error(version, "c", 5));
        // Nobody has that name.
        let register = format!("REGISTER REPLICA d {mode} TO 'nowhere:10000'");
        assert_eq!(network.failure("a", &register), register_error(version, "d", 5));
        let mode = mode.to_lowercase();
        assert_eq!(
            network.must("a", "SHOW REPLICAS"),
            [
                ghost("b", "b:10000", &mode),
                ghost("c", "c:10000", &mode),
                ghost("d", "nowhere:10000", &mode)
            ]
        );
        // Commits pass them by, in every mode.
        assert_eq!(network.notifications("a", "CREATE (:T)"), []);
        // Only dropping it makes room for another attempt.
        network.must("b", DEMOTE);
        let register = "REGISTER REPLICA b ASYNC TO 'b:10000'";
        assert_eq!(network.failure("a", register), register_error(version, "b", 1));
        network.must("a", "DROP REPLICA b");
        network.must("a", register);
        network.until_status("a", "b", "ready");
        assert_eq!(network.count("b"), 1);
    });
}

#[test]
fn a_ghost_becomes_a_live_registration_when_main_restarts() {
    each_release(|version| {
        let mut network = Network::new(version, &["a", "b"]);
        network.refused("a", "REGISTER REPLICA b ASYNC TO 'b:10000'");
        network.must("b", DEMOTE);
        network.run(Duration::from_secs(10));
        assert_eq!(network.status("a", "b"), "ghost");
        network.restart("a");
        // The replica was never told to obey this main.
        assert_eq!(network.status("a", "b"), "invalid");
        network.must("a", "DROP REPLICA b");
        network.must("a", "REGISTER REPLICA b ASYNC TO 'b:10000'");
        assert_eq!(network.status("a", "b"), "ready");
    });
}

#[test]
fn j15_names_and_addresses_are_taken_once() {
    each_release(|version| {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.attach("a", "b", "ASYNC");
        let failure = network.failure("a", "REGISTER REPLICA b ASYNC TO 'c:10000'");
        assert_eq!(failure, register_error(version, "b", 1));
        for address in ["b:10000", "b"] {
            let failure = network.failure("a", &format!("REGISTER REPLICA d ASYNC TO '{address}'"));
            assert_eq!(failure, register_error(version, "d", 2));
        }
        // The name is looked at first.
        let failure = network.failure("a", "REGISTER REPLICA b ASYNC TO 'b:10000'");
        assert_eq!(failure, register_error(version, "b", 1));
        assert_eq!(
            network.failure("b", "REGISTER REPLICA c ASYNC TO 'c:10000'"),
            (
                Stage::Pull,
                Failure::client("Replica can't register another replica!")
            )
        );
        assert_eq!(network.must("a", "SHOW REPLICAS").len(), 1);
        network.run(Duration::from_secs(2));
        assert_eq!(network.status("a", "b"), "ready", "b has not been harmed");
    });
}

#[test]
fn j16_an_empty_replica_gets_everything_and_loses_its_users() {
    each_mode(|version, mode| {
        let mut network = Network::new(version, &["a", "b"]);
        network.must("a", "CREATE (:T {id: 1})-[:R {p: 2}]->(:T {id: 2})");
        network.must("b", "CREATE USER bob IDENTIFIED BY 'secret'");
        network.must("b", DEMOTE);
        assert_eq!(
            network.login("b", "bob", "wrong"),
            Response::AuthenticationRefused
        );
        assert_ne!(network.database_uuid("a"), network.database_uuid("b"));
        let register = format!("REGISTER REPLICA b {mode} TO 'b:10000'");
        assert_eq!(
            network.notifications("a", &register),
            [Notification::info("RegisterReplica", "Replica b is registered.")]
        );
        assert_eq!(network.database_uuid("a"), network.database_uuid("b"));
        assert_eq!(network.main_uuid("a"), network.main_uuid("b"));
        assert_eq!(network.status("a", "b"), "recovery");
        network.until_status("a", "b", "ready");
        let (ts, behind, _) = network.replica("a", "b").unwrap();
        assert_eq!(ts, 2, "the first commit of a fresh main");
        assert_eq!(behind, 0);
        assert_eq!(network.durable("a"), 2);
        let rows = network.must("b", "MATCH (n:T)-[r:R]->(m) RETURN n.id, r.p, m.id");
        assert_eq!(rows, [[Value::Integer(1), Value::Integer(2), Value::Integer(2)]]);
        assert!(network.must("b", "SHOW USERS").is_empty());
        assert_eq!(network.login("b", "anybody", "wrong"), Response::Authenticated);
        network.restart("b");
        assert_eq!(network.login("b", "anybody", "wrong"), Response::Authenticated);
    });
}

#[test]
fn j17_a_foreign_database_stays_invalid_for_ever() {
    each_mode(|version, mode| {
        let mut network = Network::new(version, &["a", "b"]);
        network.must("a", "CREATE (:T)");
        network.must("b", "CREATE (:Own)");
        network.must("b", DEMOTE);
        let uuid_before = network.database_uuid("b");
        network.must("a", &format!("REGISTER REPLICA b {mode} TO 'b:10000'"));
        for _ in 0..5 {
            network.run(Duration::from_secs(10));
            assert_eq!(network.replica("a", "b"), Some((0, -2, "invalid".into())));
        }
        network.restart("b");
        network.run(Duration::from_secs(10));
        assert_eq!(network.replica("a", "b"), Some((0, -2, "invalid".into())));
        assert_eq!(network.database_uuid("b"), uuid_before);
        assert_eq!(network.must("b", "MATCH (n:Own) RETURN n").len(), 1);
        assert_eq!(network.count("b"), 1);
    });
}

#[test]
fn j18_a_stopped_replica_is_invalid_after_three_missed_pings() {
    each_mode(|version, mode| {
        let mut network = Network::pair(version, mode);
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(2));
        let ready = network.replica("a", "b").unwrap();
        assert_eq!(ready, (2, 0, "ready".into()));
        network.kill("b");
        network.run(Duration::from_millis(1900));
        assert_eq!(network.replica("a", "b").unwrap(), ready, "nobody has noticed");
        network.run(Duration::from_millis(1500));
        assert_eq!(network.replica("a", "b"), Some((2, 0, "invalid".into())));
    });
}

#[test]
fn j19_a_restarted_replica_heals_by_itself() {
    each_mode(|version, mode| {
        let mut network = Network::pair(version, mode);
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        network.kill("b");
        network.run(Duration::from_secs(5));
        assert_eq!(network.status("a", "b"), "invalid");
        // Fails, commits or does both, depending on mode and release.
        let _ = network.query("a", "CREATE (:T)");
        network.start("b");
        network.until_ready("b");
        assert_eq!(network.role("b"), "replica");
        network.until_status("a", "b", "ready");
        assert_eq!(network.replica("a", "b").unwrap().1, 0);
        assert_eq!(network.count("b"), network.count("a"));
    });
}

#[test]
fn j20_a_replica_without_its_data_is_filled_again() {
    each_mode(|version, mode| {
        let mut network = Network::pair(version, mode);
        network.must("a", "UNWIND range(1, 20) AS i CREATE (:T {i: i})");
        network.run(Duration::from_secs(1));
        network.kill("b");
        network.disk("b").remove("snapshots");
        network.disk("b").remove("wal");
        network.run(Duration::from_secs(5));
        network.start("b");
        network.until_ready("b");
        assert_eq!(network.role("b"), "replica");
        assert_eq!(network.count("b"), 0);
        network.until_status("a", "b", "ready");
        assert_eq!(network.count("b"), 20);
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        assert_eq!(network.count("b"), 21);
    });
}

#[test]
fn j21_a_replica_that_lost_its_volume_must_be_registered_again() {
    each_mode(|version, mode| {
        let mut network = Network::pair(version, mode);
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        network.kill("b");
        network.disk("b").wipe();
        network.start("b");
        network.until_ready("b");
        assert_eq!(network.role("b"), "main");
        network.run(Duration::from_secs(5));
        assert_eq!(network.status("a", "b"), "invalid");
        network.must("b", DEMOTE);
        network.run(Duration::from_secs(30));
        assert_eq!(network.status("a", "b"), "invalid", "it obeys nobody yet");
        assert_eq!(network.count("b"), 0);
        network.must("a", "DROP REPLICA b");
        network.must("a", &format!("REGISTER REPLICA b {mode} TO 'b:10000'"));
        network.until_status("a", "b", "ready");
        assert_eq!(network.count("b"), 1);
    });
}

#[test]
fn j31_everybody_waits_for_a_registration_to_a_black_hole() {
    each_release(|version| {
        let mut network = Network::new(version, &["a", "b"]);
        network.must("b", DEMOTE);
        network.black_hole("b");
        let admin = network.client("a");
        let Response::Prepared(_) = network.prepare(&admin, "REGISTER REPLICA b ASYNC TO 'b:10000'") else {
            panic!()
        };
        // A transaction that was begun before: its commit waits, too.
        let open = network.client("a");
        network.begin(&open);
        network.run_on(&open, "CREATE (:T)").unwrap();
        let lookers = ["SHOW REPLICATION ROLE", "SHOW REPLICAS"].map(|query| {
            let client = network.client("a");
            assert!(matches!(network.prepare(&client, query), Response::Prepared(_)));
            client
        });
        let started = network.now;
        network.send_request(&admin, Request::Execute { take: None });
        network.run(Duration::from_secs(1));
        let writer = network.client("a");
        network.send_request(&writer, prepare("CREATE (:T)"));
        network.send_request(&open, Request::Commit);
        for looker in &lookers {
            network.send_request(looker, Request::Execute { take: None });
        }
        network.run(Duration::from_millis(3900));
        assert_eq!(
            network.response(&writer),
            None,
            "it cannot see whether this is main"
        );
        assert_eq!(network.response(&open), None);
        assert_eq!(network.response(&lookers[0]), None);
        assert_eq!(network.response(&lookers[1]), None);
        let (_, failure) = register_error(version, "b", 5);
        assert_eq!(network.wait(&admin), Response::Failed(failure));
        let took = network.now - started;
        assert!(took >= Duration::from_secs(5), "{took:?}");
        assert!(took < Duration::from_secs(6), "{took:?}");
        assert!(matches!(network.wait(&writer), Response::Prepared(_)));
        assert!(matches!(network.wait(&open), Response::Committed { .. }));
        for looker in &lookers {
            assert!(matches!(network.wait(looker), Response::Executed(_)));
        }
        assert!(network.now - started < Duration::from_secs(6));
    });
}

#[test]
fn j32_only_one_system_query_runs_at_a_time() {
    each_release(|version| {
        for second in [
            "DROP REPLICA b",
            DEMOTE,
            "REGISTER REPLICA c ASYNC TO 'c:10000'",
            "CREATE USER u",
        ] {
            let mut network = Network::new(version, &["a", "b"]);
            network.must("b", DEMOTE);
            network.black_hole("b");
            let first = network.client("a");
            let Response::Prepared(_) = network.prepare(&first, "REGISTER REPLICA b ASYNC TO 'b:10000'")
            else {
                panic!()
            };
            network.send_request(&first, Request::Execute { take: None });
            network.run(Duration::from_millis(10));
            let started = network.now;
            assert_eq!(
                network.failure("a", second),
                (
                    Stage::Run,
                    Failure::client("Multiple concurrent system queries are not supported.")
                )
            );
            assert_eq!((network.now - started).as_millis(), 100);
        }
    });
}

#[test]
fn j40_unknown_replicas_cannot_be_dropped() {
    each_release(|version| {
        let mut network = Network::pair(version, "ASYNC");
        assert_eq!(
            network.failure("a", "DROP REPLICA nosuch"),
            (
                Stage::Pull,
                Failure::client("Failed to unregister the replica nosuch.")
            )
        );
        assert_eq!(
            network.notifications("a", "DROP REPLICA b"),
            [Notification::info("DropReplica", "Replica b is dropped.")]
        );
        network.must("a", DEMOTE);
        assert_eq!(
            network.refused("a", "DROP REPLICA nosuch"),
            "Replica can't unregister a replica! Please rerun the query on main in order to unregister a replica from \
             the cluster."
        );
    });
}

#[test]
fn a_dropped_replica_keeps_everything() {
    each_release(|version| {
        let mut network = Network::pair(version, "ASYNC");
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        let uuid = network.main_uuid("b");
        network.must("a", "DROP REPLICA b");
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(5));
        assert_eq!(network.role("b"), "replica");
        assert_eq!(network.main_uuid("b"), uuid);
        assert_eq!(network.count("b"), 1);
    });
}

#[test]
fn show_replicas_has_the_columns_of_memgraph() {
    let mut network = Network::pair(Version::default(), "STRICT_SYNC");
    let client = network.client("a");
    let Response::Prepared(prepared) = network.prepare(&client, "SHOW REPLICAS") else {
        panic!()
    };
    assert_eq!(
        prepared.fields,
        ["name", "socket_address", "sync_mode", "system_info", "data_info"]
    );
    let rows = network.must("a", "SHOW REPLICAS");
    assert_eq!(
        rows[0][..4],
        ["b".into(), "b:10000".into(), "strict_sync".into(), Value::Null]
    );
}
