//! Replicas that are not what their main takes them for.

use std::time::Duration;

use bolt_server::Version;
use memgraph_sim::config::Config;

use crate::network::Network;
use crate::releases::{each_mode, each_release};

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";
const PROMOTE: &str = "SET REPLICATION ROLE TO MAIN";

#[test]
fn j33_a_replica_that_is_ahead_in_the_same_epoch_looks_ready() {
    each_mode(|version, mode| {
        let mut network = Network::new(version, &["b"]);
        network.add(
            "a",
            Config {
                version,
                wal_flush_every: 10,
                ..Config::default()
            },
        );
        network.attach("a", "b", mode);
        for i in 0..15 {
            network.must("a", &format!("CREATE (:T {{i: {i}}})"));
            network.run(Duration::from_millis(10));
        }
        // The last five transactions of main were in its page cache only.
        network.power_off("a");
        network.start("a");
        network.until_ready("a");
        network.until_status("a", "b", "ready");
        assert_eq!((network.count("a"), network.count("b")), (10, 15));
        let (position, ahead, _) = network.replica("a", "b").unwrap();
        assert!(ahead > 0, "{ahead}");
        // As long as main is behind, its commits are acknowledged and skipped.
        let mut skipped = 0;
        loop {
            assert_eq!(network.notifications("a", "CREATE (:Skipped)"), []);
            network.run(Duration::from_millis(10));
            skipped += 1;
            let (shown, ahead, status) = network.replica("a", "b").unwrap();
            assert_eq!(status, "ready");
            // Up to 3.11 main takes it for where main itself is.
            let is_behind = if version < Version::V3_12 {
                assert_eq!(ahead, 0);
                shown < position
            } else {
                ahead > 0
            };
            if !is_behind {
                break;
            }
        }
        assert!(skipped > 1);
        let seen = network.must("b", "MATCH (n:Skipped) RETURN n").len();
        assert!(seen < skipped, "{seen} of {skipped}");
        // From then on the replica takes part again. What main creates now has an id that is taken there.
        let _ = network.query("a", "CREATE (:New)");
        network.run(Duration::from_secs(5));
        assert!(network.logged(
            "b",
            "Failed to apply a transaction of main: cannot create an existing node"
        ));
        assert_eq!(network.must("b", "MATCH (n:New) RETURN n").len(), 0);
        assert_eq!(network.must("b", "MATCH (n:T) RETURN n").len(), 15);
        assert_eq!(network.must("a", "MATCH (n:T) RETURN n").len(), 10);
    });
}

/// Data of `b` diverges from that of its main `a`, and `a` sees that at a heartbeat: `b`, which obeys `a`, gets
/// the data of an instance that was promoted and written to.
fn with_foreign_data(version: Version) -> Network {
    let mut network = Network::new(version, &["a", "b", "c"]);
    network.attach("a", "b", "ASYNC");
    network.attach("a", "c", "ASYNC");
    network.must("a", "CREATE (:T)");
    network.run(Duration::from_secs(1));
    network.must("a", "DROP REPLICA c");
    network.must("c", PROMOTE);
    network.must("c", "CREATE (:Own)");
    network.kill("c");
    network.kill("b");
    // Only after three missed pings main asks where b is.
    network.run(Duration::from_secs(5));
    let data = network.disk("c").clone();
    for folder in ["snapshots", "wal"] {
        network.disk("b").take_folder(&data, folder);
    }
    network.start("b");
    network.until_ready("b");
    network
}

#[test]
fn j34_a_diverged_replica_is_looked_at_again_only_after_missed_pings() {
    each_release(|version| {
        let mut network = with_foreign_data(version);
        network.until_status("a", "b", "diverged");
        network.run(Duration::from_secs(30));
        assert_eq!(network.status("a", "b"), "diverged", "pings do not look again");
        network.must("a", "CREATE (:T)");
        assert_eq!(network.status("a", "b"), "diverged", "commits do not, either");
        // What was put right is not seen.
        network.kill("b");
        network.disk("b").remove("snapshots");
        network.disk("b").remove("wal");
        network.start("b");
        network.until_ready("b");
        network.run(Duration::from_secs(30));
        assert_eq!(network.status("a", "b"), "diverged");
        network.kill("b");
        network.run(Duration::from_secs(5));
        assert_eq!(network.status("a", "b"), "invalid");
        network.start("b");
        network.until_ready("b");
        network.until_status("a", "b", "ready");
        assert_eq!(network.count("b"), 2);
    });
}

#[test]
fn j34_a_diverged_replica_shows_after_a_restart_of_main() {
    each_release(|version| {
        if version >= Version::Head {
            // There a registration of diverged data leaves nothing behind.
            let mut network = with_foreign_data(version);
            network.restart("a");
            assert_eq!(network.status("a", "b"), "diverged");
            return;
        }
        let mut network = Network::pair(version, "ASYNC");
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        network.must("b", PROMOTE);
        network.must("b", "CREATE (:Own)");
        network.must("b", DEMOTE);
        network.must("a", "DROP REPLICA b");
        network.refused("a", "REGISTER REPLICA b ASYNC TO 'b:10000'");
        assert_eq!(network.status("a", "b"), "ghost");
        network.restart("a");
        assert_eq!(network.status("a", "b"), "diverged");
        network.run(Duration::from_secs(10));
        assert_eq!(network.status("a", "b"), "diverged");
        network.kill("b");
        network.run(Duration::from_secs(5));
        assert_eq!(network.status("a", "b"), "invalid");
        network.start("b");
        network.until_status("a", "b", "diverged");
    });
}

#[test]
fn j36_without_a_log_nothing_is_replicated() {
    each_mode(|version, mode| {
        let mut network = Network::pair_without_a_log(version, mode);
        assert_eq!(network.notifications("a", "CREATE (:T)"), []);
        network.run(Duration::from_secs(30));
        assert_eq!(network.count("a"), 1);
        assert_eq!(network.count("b"), 0);
        let (ts, behind, status) = network.replica("a", "b").unwrap();
        assert_eq!((ts, status.as_str()), (0, "ready"));
        assert!(behind < 0, "{behind}");
    });
}
