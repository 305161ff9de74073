//! Traps for whoever operates a cluster: what goes wrong when one walks into them (`k01_..` to `k10_..`).

use std::time::Duration;

use bolt_server::{Request, Version};
use memgraph_sim::config::Config;

use crate::network::Network;
use crate::releases::{each_mode, each_release, each_release_since, modes};

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";
const PROMOTE: &str = "SET REPLICATION ROLE TO MAIN";

pub fn register(name: &str, mode: &str) -> String {
    format!("REGISTER REPLICA {name} {mode} TO '{name}:10000'")
}

/// The failure of a registration because of data that nobody else has.
pub fn assert_diverged(network: &mut Network, main: &str, name: &str) {
    let text = network.refused(main, &register(name, "ASYNC"));
    assert!(
        text.starts_with(&format!("Couldn't register replica {name}.")),
        "{text}"
    );
    assert!(network.logged(main, &format!("You cannot register Replica {name} to this Main")));
}

#[test]
fn k01_an_instance_that_forgot_everything_takes_writes() {
    each_release(|version| {
        let mut network = Network::pair(version, "ASYNC");
        network.must("a", "CREATE (:T)");
        network.kill("b");
        network.disk("b").wipe();
        network.start("b");
        network.until_ready("b");
        assert_eq!(network.role("b"), "main");
        network.must("b", "CREATE (:Astray)");
        // What was written there keeps it from ever being a replica again.
        network.must("b", DEMOTE);
        network.must("a", "DROP REPLICA b");
        network.must("a", &register("b", "ASYNC"));
        network.run(Duration::from_secs(60));
        assert_eq!(network.status("a", "b"), "invalid");
        assert!(network.must("a", "MATCH (n:Astray) RETURN n").is_empty());
    });
}

#[test]
fn k01_an_instance_that_restores_no_roles_takes_writes() {
    each_release(|version| {
        let mut network = Network::new(version, &["a"]);
        let config = Config {
            version,
            restore_replication: false,
            ..Config::default()
        };
        network.add("b", config);
        network.attach("a", "b", "ASYNC");
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        network.restart("b");
        assert_eq!(network.role("b"), "main");
        network.must("b", "CREATE (:Astray)");
        assert_eq!((network.count("a"), network.count("b")), (1, 2));
    });
}

/// `b` has taken over from `a`, which is down; both know one node.
fn after_failover(version: Version, mode: &str, init: Option<&str>) -> Network {
    let mut network = Network::new(version, &["b", "c"]);
    let config = Config {
        version,
        init_statements: init.map(str::to_owned),
        ..Config::default()
    };
    network.add("a", config);
    if init.is_some() {
        network.must("a", PROMOTE);
    }
    network.attach("a", "b", mode);
    network.attach("a", "c", "ASYNC");
    network.must("a", "CREATE (:T)");
    network.run(Duration::from_secs(1));
    network.kill("a");
    network.must("b", PROMOTE);
    network
}

#[test]
fn k02_an_old_main_takes_writes_as_soon_as_it_is_back() {
    each_release(|version| {
        let mut network = after_failover(version, "SYNC", None);
        network.must("b", "CREATE (:New)");
        network.start("a");
        network.until_ready("a");
        let _ = network.query("a", "CREATE (:Astray)");
        assert_eq!(network.must("a", "MATCH (n:Astray) RETURN n").len(), 1);
        network.must("a", DEMOTE);
        assert_diverged(&mut network, "b", "a");
    });
}

#[test]
fn k02_an_init_file_makes_an_old_main_come_back_as_a_replica() {
    each_release(|version| {
        let mut network = after_failover(version, "SYNC", Some(&format!("{DEMOTE};")));
        network.must("b", "CREATE (:New)");
        network.start("a");
        network.until_ready("a");
        assert_eq!(network.role("a"), "replica");
        assert!(network.query("a", "CREATE (:Astray)").is_err());
        network.must("b", &register("a", "ASYNC"));
        network.until_status("b", "a", "ready");
        assert_eq!(network.count("a"), 2);
    });
}

#[test]
fn k03_sync_loses_what_was_acknowledged_and_strict_sync_does_not() {
    each_release(|version| {
        for mode in modes(version).iter().filter(|mode| **mode != "ASYNC") {
            let mut network = Network::pair(version, mode);
            network.must("a", "CREATE (:T)");
            network.kill("b");
            network.run(Duration::from_secs(5));
            let _ = network.query("a", "CREATE (:Alone)");
            let alone = network.must("a", "MATCH (n:Alone) RETURN n").len();
            assert_eq!(alone, usize::from(*mode == "SYNC"), "main has it, or nobody");
            network.kill("a");
            network.start("b");
            network.until_ready("b");
            network.must("b", PROMOTE);
            network.must("b", "CREATE (:New)");
            assert!(network.must("b", "MATCH (n:Alone) RETURN n").is_empty());
            network.start("a");
            network.until_ready("a");
            network.must("a", DEMOTE);
            if *mode == "SYNC" {
                assert_diverged(&mut network, "b", "a");
            } else {
                network.must("b", &register("a", "STRICT_SYNC"));
                network.until_status("b", "a", "ready");
                assert_eq!(network.count("a"), 2);
            }
        }
    });
}

#[test]
fn k04_a_main_on_an_older_volume_looks_in_sync() {
    each_mode(|version, mode| {
        let mut network = Network::pair(version, mode);
        network.must("a", "CREATE (:Old)");
        network.run(Duration::from_secs(1));
        let copy = network.disk("a").clone();
        for _ in 0..5 {
            network.must("a", "CREATE (:Lost)");
            network.run(Duration::from_millis(10));
        }
        network.kill("a");
        *network.disk("a") = copy;
        network.start("a");
        network.until_ready("a");
        network.until_status("a", "b", "ready");
        network.must("a", "CREATE (:Skipped)");
        network.run(Duration::from_secs(5));
        assert_eq!(network.status("a", "b"), "ready");
        assert_eq!(network.must("b", "MATCH (n:Lost) RETURN n").len(), 5);
        // And so an acknowledged write is gone after the next failover.
        network.kill("a");
        network.must("b", PROMOTE);
        assert!(network.must("b", "MATCH (n:Skipped) RETURN n").is_empty());
    });
}

#[test]
fn k05_a_ghost_neither_blocks_nor_receives() {
    each_mode(|version, mode| {
        let mut network = Network::new(version, &["a", "b"]);
        // The role of b was not set in time.
        network.refused("a", &register("b", mode));
        network.must("b", DEMOTE);
        assert_eq!(network.notifications("a", "CREATE (:Acknowledged)"), []);
        network.run(Duration::from_secs(30));
        assert_eq!(network.status("a", "b"), "ghost");
        assert_eq!(network.count("b"), 0);
        let again = network.refused("a", &register("b", mode));
        assert_eq!(again.contains("Error: 1"), version >= Version::V3_5, "{again}");
        network.kill("a");
        network.must("b", PROMOTE);
        assert_eq!(
            network.count("b"),
            0,
            "what strict replication acknowledged is lost"
        );
    });
}

#[test]
fn k06_a_registration_steals_even_if_it_fails() {
    each_release(|version| {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.attach("a", "b", "SYNC");
        network.attach("a", "c", "ASYNC");
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        // c was a main for a moment, and b has more than c knows of.
        network.must("c", PROMOTE);
        network.must("a", "CREATE (:T)");
        assert_diverged(&mut network, "c", "b");
        // Now b obeys neither.
        let _ = network.query("a", "CREATE (:Unreplicated)");
        network.run(Duration::from_secs(60));
        assert_eq!(network.status("a", "b"), "invalid");
        assert_eq!(network.main_uuid("b"), network.main_uuid("c"));
        assert_eq!((network.count("a"), network.count("b")), (3, 2));
    });
}

#[test]
fn k07_a_refused_demotion_has_three_meanings() {
    each_release(|version| {
        let refusal = "Couldn't set role to replica!";
        let mut network = Network::new(version, &["a", "b", "c", "d"]);
        // It is a replica already.
        network.must("c", DEMOTE);
        assert_eq!(network.refused("c", DEMOTE), refusal);
        assert_eq!(
            (network.role("c").as_str(), network.is_listening("c")),
            ("replica", true)
        );
        // A commit is under way.
        network.attach("a", "b", "SYNC");
        network.black_hole("b");
        let writer = network.client("a");
        network.prepare(&writer, "CREATE (:T)");
        network.send_request(&writer, Request::Execute { take: None });
        network.run(Duration::from_millis(100));
        assert_eq!(network.refused("a", DEMOTE), refusal);
        assert_eq!(
            (network.role("a").as_str(), network.is_listening("a")),
            ("main", false)
        );
        network.wait(&writer);
        network.must("a", DEMOTE);
        // The port is taken, and the role half changed.
        network.block_port("d");
        assert_eq!(network.refused("d", DEMOTE), refusal);
        assert_eq!(
            (network.role("d").as_str(), network.is_listening("d")),
            ("replica", false)
        );
    });
}

#[test]
fn k08_a_role_flip_makes_a_replica_deaf_and_a_restart_does_not() {
    each_release_since(Version::V3_5, |version| {
        for mode in modes(version) {
            let mut network = Network::pair(version, mode);
            network.must("a", "CREATE (:T)");
            network.run(Duration::from_secs(1));
            network.restart("b");
            network.run(Duration::from_secs(10));
            assert_eq!(network.status("a", "b"), "ready");
            network.must("b", PROMOTE);
            network.must("b", DEMOTE);
            let _ = network.query("a", "CREATE (:T)");
            network.run(Duration::from_secs(60));
            assert_eq!(network.status("a", "b"), "invalid", "although it can be reached");
            network.must("a", "DROP REPLICA b");
            network.must("a", &register("b", mode));
            network.until_status("a", "b", "ready");
            assert_eq!(network.count("b"), network.count("a"));
        }
    });
}

#[test]
fn k10_no_query_makes_a_diverged_replica_obey() {
    each_release(|version| {
        let mut network = after_failover(version, "ASYNC", None);
        network.must("b", "CREATE (:New)");
        network.start("a");
        network.until_ready("a");
        network.must("a", "CREATE (:Astray)");
        network.must("a", "MATCH (n) DETACH DELETE n");
        network.must("a", DEMOTE);
        for _ in 0..2 {
            assert_diverged(&mut network, "b", "a");
            let _ = network.query("b", "DROP REPLICA a");
        }
        // Without its data, but with its role, it starts from nothing.
        network.kill("a");
        network.disk("a").remove("snapshots");
        network.disk("a").remove("wal");
        network.start("a");
        network.until_ready("a");
        assert_eq!(network.role("a"), "replica");
        network.must("b", &register("a", "ASYNC"));
        network.until_status("b", "a", "ready");
        assert_eq!(network.count("a"), 2);
    });
}
