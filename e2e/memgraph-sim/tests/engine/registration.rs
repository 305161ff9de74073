//! Registering and dropping replicas.

use std::time::Duration;

use bolt_server::{Failure, Request, Response, Value, Version};

use crate::clients::prepare;
use crate::network::Network;

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";

fn register_error(version: Version, number: u8) -> String {
    if version >= Version::V3_5 {
        format!("Couldn't register replica b. Error: {number}")
    } else {
        "Couldn't register replica b.".to_owned()
    }
}

#[test]
fn j14_an_unreachable_replica_leaves_a_ghost() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a", "b"]);
        // b is still a main: nothing listens there.
        assert_eq!(
            network.refused("a", "REGISTER REPLICA b ASYNC TO 'b:10000'"),
            register_error(version, 5)
        );
        assert_eq!(network.replica("a", "b"), None, "a ghost");
        network.must("a", "CREATE (:T)");
        network.kill("b");
        assert_eq!(
            network
                .refused("a", "REGISTER REPLICA x ASYNC TO 'b:10001'")
                .replace('x', "b"),
            register_error(version, 5)
        );
    }
}

#[test]
fn a_ghost_becomes_a_live_registration_when_main_restarts() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
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
}

#[test]
fn j15_names_and_addresses_are_taken_once() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.attach("a", "b", "ASYNC");
        assert_eq!(
            network.refused("a", "REGISTER REPLICA b ASYNC TO 'c:10000'"),
            register_error(version, 1)
        );
        let text = network.refused("a", "REGISTER REPLICA d ASYNC TO 'b:10000'");
        assert_eq!(text.replace(" d.", " b."), register_error(version, 2));
        let on_replica = network.refused("b", "REGISTER REPLICA c ASYNC TO 'c:10000'");
        assert_eq!(on_replica, "Replica can't register another replica!");
    }
}

#[test]
fn malformed_addresses_are_refused() {
    let mut network = Network::new(Version::default(), &["a"]);
    let text = network.refused("a", "REGISTER REPLICA b ASYNC TO 'b:c:1'");
    assert!(text.starts_with("Invalid socket address."), "{text}");
    assert!(network.must("a", "SHOW REPLICAS").is_empty());
}

#[test]
fn j16_an_empty_replica_gets_everything_and_loses_its_users() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.must("a", "CREATE (:T {id: 1})-[:R {p: 2}]->(:T {id: 2})");
    network.must("b", "CREATE USER bob IDENTIFIED BY 'secret'");
    network.must("b", DEMOTE);
    assert_eq!(
        network.login("b", "bob", "wrong"),
        Response::AuthenticationRefused
    );
    network.must("a", "REGISTER REPLICA b ASYNC TO 'b:10000'");
    assert_eq!(network.status("a", "b"), "recovery");
    network.until_status("a", "b", "ready");
    let (ts, behind, _) = network.replica("a", "b").unwrap();
    assert_eq!(behind, 0);
    assert_eq!(ts, 2, "the first commit of a fresh main");
    let rows = network.must("b", "MATCH (n:T)-[r:R]->(m) RETURN n.id, r.p, m.id");
    assert_eq!(rows, [[Value::Integer(1), Value::Integer(2), Value::Integer(2)]]);
    assert!(network.must("b", "SHOW USERS").is_empty());
    assert_eq!(network.login("b", "anybody", "wrong"), Response::Authenticated);
}

#[test]
fn j17_a_foreign_database_stays_invalid_for_ever() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.must("a", "CREATE (:T)");
    network.must("b", "CREATE (:Own)");
    network.must("b", DEMOTE);
    network.must("a", "REGISTER REPLICA b ASYNC TO 'b:10000'");
    for _ in 0..5 {
        network.run(Duration::from_secs(10));
        assert_eq!(network.replica("a", "b"), Some((0, -2, "invalid".into())));
    }
    assert_eq!(network.count("b"), 1);
}

#[test]
fn j18_a_stopped_replica_is_invalid_after_three_missed_pings() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.attach("a", "b", "ASYNC");
    network.must("a", "CREATE (:T)");
    network.run(Duration::from_secs(2));
    let ready = network.replica("a", "b").unwrap();
    network.kill("b");
    network.run(Duration::from_millis(1900));
    assert_eq!(network.replica("a", "b").unwrap(), ready, "nobody has noticed");
    network.run(Duration::from_millis(1500));
    assert_eq!(
        network.replica("a", "b"),
        Some((ready.0, ready.1, "invalid".into()))
    );
}

#[test]
fn j19_a_restarted_replica_heals_by_itself() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a", "b"]);
        network.attach("a", "b", "ASYNC");
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        network.kill("b");
        network.run(Duration::from_secs(5));
        network.must("a", "CREATE (:T)");
        network.start("b");
        network.until_ready("b");
        assert_eq!(network.role("b"), "replica");
        network.until_status("a", "b", "ready");
        assert_eq!(network.count("b"), 2);
    }
}

#[test]
fn j20_a_replica_without_its_data_is_filled_again() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.attach("a", "b", "STRICT_SYNC");
    network.must("a", "UNWIND range(1, 20) AS i CREATE (:T {i: i})");
    network.kill("b");
    network.disk("b").remove("snapshots");
    network.disk("b").remove("wal");
    network.run(Duration::from_secs(5));
    network.start("b");
    network.until_ready("b");
    assert_eq!(network.role("b"), "replica");
    network.until_status("a", "b", "ready");
    assert_eq!(network.count("b"), 20);
    network.must("a", "CREATE (:T)");
    assert_eq!(network.count("b"), 21);
}

#[test]
fn j21_a_replica_that_lost_its_volume_must_be_registered_again() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.attach("a", "b", "ASYNC");
    network.must("a", "CREATE (:T)");
    network.kill("b");
    network.disk("b").wipe();
    network.start("b");
    network.until_ready("b");
    assert_eq!(network.role("b"), "main");
    network.run(Duration::from_secs(5));
    assert_eq!(network.status("a", "b"), "invalid");
    network.must("b", DEMOTE);
    network.run(Duration::from_secs(10));
    assert_eq!(network.status("a", "b"), "invalid", "it obeys nobody yet");
    network.must("a", "DROP REPLICA b");
    network.must("a", "REGISTER REPLICA b ASYNC TO 'b:10000'");
    network.until_status("a", "b", "ready");
    assert_eq!(network.count("b"), 1);
}

#[test]
fn j31_everybody_waits_for_a_registration_to_a_black_hole() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.must("b", DEMOTE);
    network.black_hole("b");
    let admin = network.client("a");
    let writer = network.client("a");
    let looker = network.client("a");
    let Response::Prepared(_) = network.prepare(&admin, "REGISTER REPLICA b ASYNC TO 'b:10000'") else {
        panic!()
    };
    let started = network.now;
    network.send_request(&admin, Request::Execute { take: None });
    network.run(Duration::from_secs(1));
    network.send_request(&writer, prepare("CREATE (:T)"));
    network.send_request(&looker, prepare("SHOW REPLICATION ROLE"));
    network.run(Duration::from_secs(1));
    assert_eq!(
        network.response(&writer),
        None,
        "the commit's check of the role waits"
    );
    assert!(matches!(network.response(&looker), Some(Response::Prepared(_))));
    network.send_request(&looker, Request::Execute { take: None });
    network.run(Duration::from_secs(1));
    assert_eq!(network.response(&looker), None);
    let Response::Failed(failure) = network.wait(&admin) else {
        panic!()
    };
    assert_eq!(failure, Failure::client("Couldn't register replica b. Error: 5"));
    assert!(network.now - started >= Duration::from_secs(5));
    assert!(matches!(network.wait(&writer), Response::Prepared(_)));
    assert!(matches!(network.wait(&looker), Response::Executed(_)));
}

#[test]
fn j32_only_one_system_query_runs_at_a_time() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.must("b", DEMOTE);
    network.black_hole("b");
    let first = network.client("a");
    let Response::Prepared(_) = network.prepare(&first, "REGISTER REPLICA b ASYNC TO 'b:10000'") else {
        panic!()
    };
    network.send_request(&first, Request::Execute { take: None });
    network.run(Duration::from_millis(10));
    let started = network.now;
    let text = network.refused("a", "DROP REPLICA b");
    assert_eq!(text, "Multiple concurrent system queries are not supported.");
    assert_eq!((network.now - started).as_millis(), 100);
}

#[test]
fn j40_unknown_replicas_cannot_be_dropped() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a"]);
        assert_eq!(
            network.refused("a", "DROP REPLICA nosuch"),
            "Failed to unregister the replica nosuch."
        );
        network.must("a", DEMOTE);
        assert_eq!(
            network.refused("a", "DROP REPLICA nosuch"),
            "Replica can't unregister a replica! Please rerun the query on main in order to unregister a replica from \
             the cluster."
        );
    }
}

#[test]
fn show_replicas_has_the_columns_of_memgraph() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.attach("a", "b", "STRICT_SYNC");
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
