//! Promotions, and what becomes of the others.

use std::time::Duration;

use bolt_server::{Failure, Value, Version};
use memgraph_sim::engine::{ConnectionId, Event};

use crate::clients::Stage;
use crate::network::{Delivery, Network};
use crate::releases::{each_mode, each_release};

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";
const PROMOTE: &str = "SET REPLICATION ROLE TO MAIN";

#[test]
fn j10_a_promoted_replica_is_writable_and_stops_listening() {
    each_mode(|version, mode| {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.attach("a", "b", mode);
        network.attach("a", "c", "ASYNC");
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        let (at, ..) = network.replica("a", "b").unwrap();
        let before = network.main_uuid("b");
        assert_eq!(before, network.main_uuid("a"));
        network.must("b", PROMOTE);
        assert_eq!(network.role("b"), "main");
        assert!(!network.is_listening("b"));
        assert_ne!(network.main_uuid("b"), before);
        assert!(network.must("b", "SHOW REPLICAS").is_empty());
        assert!(network.logged("b", "Generated new epoch "));
        // c has all of the former epoch up to where it ended: continuous, for that is in the history.
        network.must("b", "REGISTER REPLICA c ASYNC TO 'c:10000'");
        assert_eq!(network.status("b", "c"), "ready");
        network.must("b", "CREATE (:T)");
        assert!(network.durable("b") > at);
        network.run(Duration::from_secs(1));
        assert_eq!(
            (network.count("a"), network.count("b"), network.count("c")),
            (1, 2, 2)
        );
    });
}

#[test]
fn j10_what_a_replica_has_beyond_the_end_of_an_epoch_diverges() {
    each_release(|version| {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.attach("a", "b", "ASYNC");
        network.attach("a", "c", "SYNC");
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        network.kill("b");
        let _ = network.query("a", "CREATE (:OnlyOnC)");
        network.kill("a");
        network.start("b");
        network.until_ready("b");
        network.must("b", PROMOTE);
        let text = network.refused("b", "REGISTER REPLICA c ASYNC TO 'c:10000'");
        assert!(text.starts_with("Couldn't register replica c."), "{text}");
        assert!(network.logged("b", &diverged("c")));
    });
}

/// How long the promotion of a replica takes whose last connection has ended 50 ms before, and to which another one that
/// says nothing is there, which ends after `ended`.
fn promotion(version: Version, ended: Option<Duration>) -> Duration {
    let mut network = Network::new(version, &["a", "b"]);
    network.attach("a", "b", "SYNC");
    network.kill("a");
    network.run(Duration::from_millis(50));
    let silent = ConnectionId(9_001);
    network.schedule(Duration::ZERO, "b", Delivery::Event(Event::Accepted(silent)));
    if let Some(ended) = ended {
        network.schedule(ended, "b", Delivery::Event(Event::Disconnected(silent)));
    }
    let begun = network.now;
    network.must("b", PROMOTE);
    network.now - begun
}

#[test]
fn a_promotion_waits_until_the_replication_server_looks_which_it_does_when_a_connection_ends() {
    each_release(|version| {
        let alone = promotion(version, None).as_millis();
        assert!((100..160).contains(&alone), "{alone} ms");
        let hurried = promotion(version, Some(Duration::from_millis(20))).as_millis();
        assert!((20..30).contains(&hurried), "{hurried} ms");
    });
}

/// A replica of `a` that was promoted once.
fn after_promotion(version: Version) -> Network {
    let mut network = Network::new(version, &["a", "b", "c"]);
    network.attach("a", "b", "SYNC");
    network.attach("a", "c", "SYNC");
    network.must("a", "CREATE (:T)");
    network.must("b", PROMOTE);
    network
}

const REGISTER_B: &str = "REGISTER REPLICA b SYNC TO 'b:10000'";

/// Why `b` cannot be registered.
fn register_error(version: Version, number: u8) -> (Stage, Failure) {
    let text = if version >= Version::V3_5 {
        format!("Couldn't register replica b. Error: {number}")
    } else {
        "Couldn't register replica b.".to_owned()
    };
    (Stage::Pull, Failure::client(text))
}

fn diverged(replica: &str) -> String {
    format!(
        "You cannot register Replica {replica} to this Main because at one point Replica {replica} acted as the Main \
         instance. Both the Main and Replica {replica} now hold unique data. Please resolve data conflicts and start \
         the replication on a clean instance."
    )
}

#[test]
fn j11_a_promotion_without_a_commit_does_no_harm_since_3_5() {
    each_release(|version| {
        let mut network = after_promotion(version);
        network.must("b", DEMOTE);
        network.must("a", "DROP REPLICA b");
        if version >= Version::V3_5 {
            network.must("a", REGISTER_B);
            assert_eq!(network.status("a", "b"), "ready");
            network.must("a", "CREATE (:T)");
            assert_eq!(network.count("b"), 2);
        } else {
            assert_eq!(network.failure("a", REGISTER_B), register_error(version, 3));
            assert_eq!(network.status("a", "b"), "ghost");
            assert!(network.logged("a", &diverged("b")));
        }
    });
}

#[test]
fn j12_a_promotion_with_a_commit_makes_data_diverge() {
    each_release(|version| {
        let mut network = after_promotion(version);
        network.must("b", "CREATE (:Own)");
        network.must("b", DEMOTE);
        network.must("a", "DROP REPLICA b");
        assert!(!network.logged("a", &diverged("b")));
        assert_eq!(network.failure("a", REGISTER_B), register_error(version, 3));
        assert!(network.logged("a", &diverged("b")));
    });
}

#[test]
fn j13_a_diverged_registration_leaves_a_ghost_up_to_3_12() {
    each_release(|version| {
        let mut network = after_promotion(version);
        network.must("b", "CREATE (:Own)");
        network.must("b", DEMOTE);
        network.must("a", "DROP REPLICA b");
        network.refused("a", REGISTER_B);
        let rows = network.must("a", "SHOW REPLICAS");
        if version >= Version::Head {
            assert_eq!(rows.len(), 1, "only c: {rows:?}");
            assert_eq!(network.failure("a", REGISTER_B), register_error(version, 3));
            return;
        }
        assert_eq!(
            rows[1],
            [
                "b".into(),
                "b:10000".into(),
                "sync".into(),
                Value::Null,
                Value::Map(std::collections::BTreeMap::new()),
            ]
        );
        assert_eq!(network.failure("a", REGISTER_B), register_error(version, 1));
        network.must("a", "DROP REPLICA b");
        assert_eq!(network.must("a", "SHOW REPLICAS").len(), 1, "only c");
        assert_eq!(network.failure("a", REGISTER_B), register_error(version, 3));
    });
}

#[test]
fn a_promotion_that_is_not_followed_by_a_commit_leaves_no_epoch_behind() {
    let mut network = after_promotion(Version::default());
    network.restart("b");
    assert_eq!(network.role("b"), "main");
    // Its epoch is the former one again, so that a main of that epoch accepts it.
    network.must("b", DEMOTE);
    network.must("a", "DROP REPLICA b");
    network.must("a", "REGISTER REPLICA b SYNC TO 'b:10000'");
    assert_eq!(network.status("a", "b"), "ready");
}
