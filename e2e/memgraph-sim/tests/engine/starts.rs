//! Starts: with damaged or missing files, without data, without a role, and with an init file.

use std::time::Duration;

use bolt_server::{Request, Response, Version};
use memgraph_sim::{config::Config, engine::ExitReason};

use crate::clients::text;
use crate::files::{files, read, snapshot, write};
use crate::network::Network;

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";

/// Starts an instance that does not survive it, and returns the reason.
fn fails_to_start(network: &mut Network, member: &str) -> String {
    network.start(member);
    network.run(Duration::from_secs(1));
    match network.has_exited(member) {
        Some(ExitReason::Fatal(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_tail_of_a_log_is_left_out_and_a_missing_file_stops_the_start() {
    let mut network = Network::new(Version::default(), &[]);
    network.add(
        "a",
        Config {
            wal_file_kib: 0,
            ..Config::default()
        },
    );
    for _ in 0..4 {
        network.must("a", "CREATE (:T)");
    }
    network.kill("a");
    let logs = files(&mut network, "a", "wal");
    assert_eq!(logs.len(), 4);
    // The last transaction is torn.
    let last = format!("wal/{}", logs[3]);
    let mut content = read(&mut network, "a", &last);
    content.truncate(content.len() - 1);
    write(&mut network, "a", &last, content);
    network.start("a");
    network.until_ready("a");
    assert_eq!(network.count("a"), 3);
    network.kill("a");
    // A file whose beginning cannot be read is as good as missing.
    let second = format!("wal/{}", logs[1]);
    let content = read(&mut network, "a", &second);
    write(&mut network, "a", &second, b"rubbish".to_vec());
    let reason = fails_to_start(&mut network, "a");
    assert!(
        reason.contains("You are missing a WAL file with the sequence number 1!"),
        "{reason}"
    );
    write(&mut network, "a", &second, content);
    network.disk("a").remove(&format!("wal/{}", logs[0]));
    let reason = fails_to_start(&mut network, "a");
    assert!(reason.contains("There are missing prefix WAL files"), "{reason}");
    assert!(
        !files(&mut network, "a", "wal").is_empty(),
        "the files stay as they are"
    );
}

#[test]
fn an_older_snapshot_helps_if_the_newest_is_damaged() {
    let mut network = Network::new(Version::default(), &["a"]);
    network.must("a", "CREATE (:T)");
    snapshot(&mut network, "a");
    network.must("a", "CREATE (:T)");
    let path = snapshot(&mut network, "a");
    network.must("a", "CREATE (:T)");
    network.kill("a");
    let path = path.strip_prefix("/var/lib/memgraph/").unwrap().to_owned();
    let mut content = read(&mut network, "a", &path);
    content.truncate(content.len() - 1);
    write(&mut network, "a", &path, content);
    network.start("a");
    network.until_ready("a");
    assert_eq!(network.count("a"), 3);
}

/// An instance whose only snapshot is damaged.
fn damaged(version: Version, allow: bool) -> Network {
    let mut network = Network::new(version, &["b"]);
    network.add(
        "a",
        Config {
            version,
            allow_recovery_failure: allow,
            ..Config::default()
        },
    );
    network.must("a", "CREATE (:T)");
    let path = snapshot(&mut network, "a");
    network.kill("a");
    let path = path.strip_prefix("/var/lib/memgraph/").unwrap().to_owned();
    let mut content = read(&mut network, "a", &path);
    write(&mut network, "a", "/backup/good", content.clone());
    content.truncate(content.len() - 1);
    write(&mut network, "a", &path, content);
    network
}

#[test]
fn an_instance_may_start_without_its_data_since_3_12() {
    let reason = fails_to_start(&mut damaged(Version::V3_12, false), "a");
    assert!(
        reason.contains("Couldn't recover using any of the specified snapshots!"),
        "{reason}"
    );
    for version in [Version::V3_12, Version::Head] {
        let mut network = damaged(version, true);
        network.start("a");
        network.until_ready("a");
        let broken = "Database is in the broken state because the recovery process failed. Please recover your database \
                      using the RECOVER SNAPSHOT query. If you have a backup of the whole data directory, please \
                      replace the current data directory with the backup one and restart the process.";
        for query in [
            "MATCH (n) RETURN n",
            "CREATE (:T)",
            "CREATE SNAPSHOT",
            "SHOW INDEX INFO",
            "DUMP DATABASE",
        ] {
            assert_eq!(network.refused("a", query), broken, "{query}");
        }
        let client = network.client("a");
        let Response::Failed(failure) = network.request(&client, Request::Begin(Default::default())) else {
            panic!()
        };
        assert_eq!(failure.message, broken);
        let info = network.must("a", "SHOW STORAGE INFO ON CURRENT DATABASE");
        assert_eq!(text(&info.last().unwrap()[1]), "broken");
        assert_eq!(network.role("a"), "main");
        // Nothing is overwritten, however long it runs.
        let before = files(&mut network, "a", "snapshots");
        network.run(Duration::from_secs(700));
        assert_eq!(files(&mut network, "a", "snapshots"), before);
        network.must("a", "RECOVER SNAPSHOT '/backup/good' FORCE");
        assert_eq!(network.count("a"), 1);
        network.must("a", "CREATE (:T)");
        network.restart("a");
        assert_eq!(network.count("a"), 2);
    }
}

#[test]
fn a_broken_replica_is_filled_again() {
    let mut network = damaged(Version::V3_12, true);
    network.start("a");
    network.until_ready("a");
    network.must("b", "CREATE (:X)");
    network.must("a", DEMOTE);
    // It counts as empty, so that it takes the other database's UUID.
    network.must("b", "REGISTER REPLICA a STRICT_SYNC TO 'a:10000'");
    network.until_status("b", "a", "ready");
    network.must("b", "CREATE (:X)");
    assert_eq!(network.count("a"), 2);
}

#[test]
fn an_old_main_feeds_its_replicas_before_the_init_file_can_demote_it() {
    let mut network = Network::pair(Version::default(), "ASYNC");
    network.must("a", "CREATE (:T)");
    network.run(Duration::from_secs(1));
    network.kill("b");
    network.must("a", "CREATE (:Unacknowledged)");
    network.kill("a");
    network.start("b");
    network.until_ready("b");
    assert_eq!(network.count("b"), 1);
    network.configure("a", |config| {
        config.init_statements = Some(format!("{DEMOTE};"));
    });
    network.start("a");
    network.until_ready("a");
    assert_eq!(network.role("a"), "replica");
    network.run(Duration::from_secs(1));
    assert_eq!(
        network.count("b"),
        2,
        "b has a transaction that nobody was told of"
    );
}

#[test]
fn data_that_shall_not_be_recovered_are_set_aside() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.attach("b", "a", "SYNC");
    network.must("b", "CREATE (:T)");
    network.kill("a");
    network.configure("a", |config| config.recover_data = false);
    network.start("a");
    network.until_ready("a");
    assert!(!network.disk("a").list(".backup/wal").is_empty());
    assert_eq!(
        network.role("a"),
        "replica",
        "the role is kept apart from the data"
    );
    // It was away for less than three pings, so that main notices nothing before the next commit.
    network.run(Duration::from_secs(10));
    assert_eq!(network.status("b", "a"), "ready");
    assert_eq!(network.count("a"), 0);
    let text = network.refused("b", "CREATE (:T)");
    assert!(text.contains("RPC communication error"), "{text}");
    network.until_status("b", "a", "ready");
    assert_eq!(network.count("a"), 2, "main fills it again");
}

#[test]
fn an_instance_that_keeps_no_replication_state_is_a_main_after_each_start() {
    let mut network = Network::new(Version::default(), &["b"]);
    network.add(
        "a",
        Config {
            restore_replication: false,
            ..Config::default()
        },
    );
    network.attach("a", "b", "SYNC");
    network.must("a", "CREATE (:T)");
    network.restart("a");
    assert!(network.must("a", "SHOW REPLICAS").is_empty());
    network.must("a", DEMOTE);
    network.restart("a");
    assert_eq!(network.role("a"), "main");
    assert_eq!(network.count("a"), 1);
}

#[test]
fn a_role_that_cannot_be_read_stops_the_start() {
    let mut network = Network::new(Version::default(), &["a"]);
    network.must("a", DEMOTE);
    network.kill("a");
    write(&mut network, "a", "replication/state.json", b"rubbish".to_vec());
    assert_eq!(
        fails_to_start(&mut network, "a"),
        "Cannot parse previously saved configuration of replication role."
    );
}
