//! More traps (`k09_..` to `k15_..`): what a status does not tell, what is lost without a word, what stands still. And
//! the way that avoids them.

use std::time::Duration;

use bolt_server::{FailureCode, Request, Response, Version};
use memgraph_sim::{config::Config, engine::Event};

use crate::clients::text;
use crate::network::{Delivery, Network};
use crate::releases::{each_mode, each_release};
use crate::traps::{assert_diverged, register};

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";
const PROMOTE: &str = "SET REPLICATION ROLE TO MAIN";

#[test]
fn k09_invalid_has_four_meanings_and_ready_is_old_news() {
    each_release(|version| {
        let mut network = Network::new(version, &["a", "down", "deaf", "foreign", "late"]);
        network.must("foreign", "CREATE (:Own)");
        for name in ["down", "deaf", "late"] {
            network.attach("a", name, "ASYNC");
        }
        network.must("a", "CREATE (:T)");
        network.must("foreign", DEMOTE);
        network.must("a", &register("foreign", "ASYNC"));
        network.run(Duration::from_secs(1));
        // It obeys somebody else.
        network.must("deaf", PROMOTE);
        network.must("deaf", DEMOTE);
        // It is behind, and nobody has looked since.
        network.kill("late");
        network.kill("down");
        network.run(Duration::from_secs(2));
        for name in ["down", "late"] {
            assert_eq!(network.status("a", name), "ready", "although {name} is gone");
        }
        network.run(Duration::from_secs(5));
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_millis(10));
        network.start("late");
        network.until_ready("late");
        for name in ["down", "deaf", "foreign", "late"] {
            assert_eq!(network.status("a", name), "invalid", "{name}");
        }
        // Only one of them heals.
        network.until_status("a", "late", "ready");
        network.run(Duration::from_secs(60));
        for name in ["down", "deaf", "foreign"] {
            assert_eq!(network.status("a", name), "invalid", "{name}");
        }
    });
}

#[test]
fn k11_promoting_who_is_behind_makes_the_others_diverge() {
    each_release(|version| {
        let mut network = Network::new(version, &["a", "ahead", "behind"]);
        network.attach("a", "ahead", "SYNC");
        network.attach("a", "behind", "ASYNC");
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        network.kill("behind");
        network.must("a", "CREATE (:Acknowledged)");
        network.kill("a");
        network.start("behind");
        network.until_ready("behind");
        if version >= Version::V3_8 {
            // Their snapshots would have told.
            assert!(network.durable("ahead") > network.durable("behind"));
        }
        network.must("behind", PROMOTE);
        assert_diverged(&mut network, "behind", "ahead");
        assert_eq!((network.count("ahead"), network.count("behind")), (2, 1));
    });
}

#[test]
fn k12_a_registration_opens_a_replica_for_everybody() {
    each_release(|version| {
        let mut network = Network::new(version, &["a"]);
        let config = Config {
            version,
            initial_user: Some(("admin".into(), "secret".into())),
            ..Config::default()
        };
        network.add("b", config);
        assert_eq!(network.login("b", "x", "y"), Response::AuthenticationRefused);
        network.attach("a", "b", "ASYNC");
        assert_eq!(network.login("b", "x", "y"), Response::Authenticated);
        network.must("b", PROMOTE);
        assert_eq!(
            network.login("b", "x", "y"),
            Response::Authenticated,
            "an open main"
        );
        network.must("b", "CREATE (:Anonymous)");
        network.restart("b");
        assert_eq!(network.login("b", "x", "y"), Response::AuthenticationRefused);
        assert_eq!(network.login("b", "admin", "secret"), Response::Authenticated);
    });
}

#[test]
fn k13_without_a_log_a_crash_takes_what_nobody_else_has() {
    each_mode(|version, mode| {
        let mut network = Network::pair_without_a_log(version, mode);
        assert_eq!(network.notifications("a", "CREATE (:Acknowledged)"), []);
        network.run(Duration::from_secs(30));
        assert_eq!(network.status("a", "b"), "ready");
        network.restart("a");
        assert_eq!((network.count("a"), network.count("b")), (0, 0));
    });
}

#[test]
fn k14_a_bad_registration_and_a_hung_replica_freeze_main() {
    each_release(|version| {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.attach("a", "b", "SYNC");
        network.must("c", DEMOTE);
        network.black_hole("c");
        let admin = network.client("a");
        network.prepare(&admin, &register("c", "ASYNC"));
        network.send_request(&admin, Request::Execute { take: None });
        network.run(Duration::from_millis(1));
        // Whoever looks at the role, as a probe of its life would, waits.
        let started = network.now;
        network.role("a");
        assert!((4..6).contains(&(network.now - started).as_secs()));
        network.black_hole("b");
        let slow = network.client("a");
        network.prepare(&slow, "CREATE (:T)");
        let started = network.now;
        network.send_request(&slow, Request::Execute { take: None });
        network.run(Duration::from_millis(1));
        let _ = network.query("a", "CREATE (:T)");
        assert!(
            (network.now - started).as_secs() >= 30,
            "every other writer waits, too"
        );
    });
}

#[test]
fn k15_what_is_committed_while_main_stops_stays_with_main() {
    each_release(|version| {
        let mut network = Network::pair(version, "ASYNC");
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        let writer = network.client("a");
        network.begin(&writer);
        network.run_on(&writer, "CREATE (:Last)").unwrap();
        network.schedule(Duration::ZERO, "a", Delivery::Event(Event::Stop));
        network.send_request(&writer, Request::Commit);
        network.run(Duration::ZERO);
        assert_eq!(
            network.response(&writer),
            Some(Response::Committed {
                notifications: Vec::new()
            })
        );
        network.run(Duration::from_secs(1));
        assert!(network.has_exited("a").is_some());
        assert_eq!(network.count("b"), 1);
        network.must("b", PROMOTE);
        network.must("b", "CREATE (:New)");
        network.start("a");
        network.until_ready("a");
        assert_eq!(network.must("a", "MATCH (n:Last) RETURN n").len(), 1);
        network.must("a", DEMOTE);
        assert_diverged(&mut network, "b", "a");
    });
}

#[test]
fn a_client_that_retries_writes_twice_before_3_8() {
    each_release(|version| {
        let mut network = Network::pair(version, "SYNC");
        network.kill("b");
        network.run(Duration::from_secs(5));
        let mut attempts = 1;
        // As drivers do: once more after a transient error.
        while let Err(failure) = network.query("a", "CREATE (:Once)")
            && failure.code == FailureCode::Transient
            && attempts < 2
        {
            attempts += 1;
        }
        let expected = if version < Version::V3_8 { 2 } else { 1 };
        assert_eq!(network.count("a"), expected);
    });
}

#[test]
fn names_with_a_hyphen_need_back_quotes() {
    each_release(|version| {
        let mut network = Network::new(version, &["a", "b"]);
        network.must("b", DEMOTE);
        network.refused("a", "REGISTER REPLICA mg-0 ASYNC TO 'b:10000'");
        network.must("a", "REGISTER REPLICA `mg-0` ASYNC TO 'b:10000'");
        assert_eq!(text(&network.must("a", "SHOW REPLICAS")[0][0]), "mg-0");
        network.must("a", "DROP REPLICA `mg-0`");
    });
}

#[test]
fn a_switchover_in_the_right_order_loses_nothing() {
    each_mode(|version, mode| {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.attach("a", "b", mode);
        network.attach("a", "c", "ASYNC");
        for _ in 0..10 {
            network.must("a", "CREATE (:T)");
            network.run(Duration::from_millis(10));
        }
        // Writers have stopped. The target is where main is.
        let durable = network.durable("a");
        assert_eq!(network.replica("a", "b"), Some((durable, 0, "ready".into())));
        network.must("a", DEMOTE);
        network.must("b", PROMOTE);
        network.must("b", &register("a", mode));
        network.must("b", &register("c", "ASYNC"));
        network.until_status("b", "a", "ready");
        network.until_status("b", "c", "ready");
        network.must("b", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        let counts = ["a", "b", "c"].map(|name| network.count(name));
        assert_eq!(counts, [11, 11, 11]);
        // And back again.
        network.must("b", DEMOTE);
        network.must("a", PROMOTE);
        network.must("a", &register("b", mode));
        network.must("a", &register("c", "ASYNC"));
        network.until_status("a", "b", "ready");
        network.until_status("a", "c", "ready");
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        let counts = ["a", "b", "c"].map(|name| network.count(name));
        assert_eq!(counts, [12, 12, 12]);
    });
}
