//! How a replica is brought up to date, what RECOVER SNAPSHOT does, and which files there are afterwards.

use std::time::Duration;

use bolt_server::{Request, Response, Version};
use memgraph_sim::config::Config;

use crate::files::{files, read, snapshot, write};
use crate::network::Network;
use crate::releases::each_mode;

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";

#[test]
fn superseded_files_go_to_a_folder_per_time_before_3_8() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a"]);
        for count in 1..=3 {
            network.must("a", "CREATE (:T)");
            let path = snapshot(&mut network, "a");
            network.run(Duration::from_secs(1));
            network.must("a", "CREATE (:T)");
            network.must("a", &format!("RECOVER SNAPSHOT '{path}' FORCE"));
            assert_eq!(network.count("a"), count);
            network.run(Duration::from_secs(1));
        }
        let old = network.disk("a").folders("wal");
        if version < Version::V3_8 {
            assert_eq!(old.len(), 3, "{old:?}");
            for name in &old {
                let nanoseconds = name.strip_prefix(".old_").unwrap();
                assert_eq!(nanoseconds.len(), 19, "{name}");
            }
        } else {
            assert_eq!(old, [".old"]);
        }
        assert_eq!(files(&mut network, "a", "snapshots").len(), 1);
        network.restart("a");
        assert_eq!(network.count("a"), 3);
    }
}

#[test]
fn nothing_is_kept_without_the_backup_folder() {
    let mut network = Network::new(Version::default(), &[]);
    network.add(
        "a",
        Config {
            backup_directory: false,
            ..Config::default()
        },
    );
    network.must("a", "CREATE (:T)");
    let path = snapshot(&mut network, "a");
    network.must("a", "CREATE (:T)");
    network.must("a", &format!("RECOVER SNAPSHOT '{path}' FORCE"));
    assert!(network.disk("a").folders("wal").is_empty());
    assert!(network.disk("a").folders("snapshots").is_empty());
    assert!(files(&mut network, "a", "wal").is_empty());
    network.restart("a");
    assert_eq!(network.count("a"), 1);
}

#[test]
fn a_snapshot_from_elsewhere_is_copied_and_gets_the_uuid_of_the_database() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.must("b", "CREATE (:Foreign)");
        let path = snapshot(&mut network, "b");
        let content = read(
            &mut network,
            "b",
            path.strip_prefix("/var/lib/memgraph/").unwrap(),
        );
        write(
            &mut network,
            "a",
            "/backup/20200101000000000000_timestamp_2",
            content,
        );
        network.attach("a", "c", "ASYNC");
        let statement = "RECOVER SNAPSHOT '/backup/20200101000000000000_timestamp_2'";
        network.must("a", statement);
        assert_eq!(network.must("a", "MATCH (n:Foreign) RETURN n").len(), 1);
        let names = files(&mut network, "a", "snapshots");
        assert_eq!(names.len(), 1);
        // Since 3.8 it gets a name of its own.
        assert_eq!(
            names[0] == "20200101000000000000_timestamp_2",
            version < Version::V3_8,
            "{names:?}"
        );
        // Replicas stay what they are: it is still the same database.
        network.until_status("a", "c", "ready");
        assert_eq!(network.count("c"), 1);
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        assert_eq!(network.count("c"), 2);
        network.restart("a");
        assert_eq!(network.count("a"), 2);
        network.until_status("a", "c", "ready");
        assert_eq!(
            network.refused("a", statement),
            if version < Version::V3_8 {
                // A file with this name is there already.
                "Failed to copy snapshot over to local snapshots directory."
            } else {
                "Failed to recover a snapshot. Storage is not clean. Try using FORCE."
            }
        );
        let names = files(&mut network, "a", "snapshots");
        assert_eq!(names.len(), 1, "the copy is gone: {names:?}");
    }
}

#[test]
fn snapshots_that_cannot_be_taken_are_refused() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    for path in [
        "/nowhere/x",
        "relative",
        "/var/lib/memgraph/snapshots/none",
        "snapshots/none",
    ] {
        assert_eq!(
            network.refused("a", &format!("RECOVER SNAPSHOT '{path}'")),
            "Failed to find the defined snapshot file."
        );
    }
    network.must("b", DEMOTE);
    assert_eq!(
        network.refused("b", "RECOVER SNAPSHOT '/nowhere/x'"),
        "Failed to recover a snapshot. Replica instances are not allowed to create them."
    );
    assert!(
        network
            .refused(
                "a",
                "RECOVER SNAPSHOT 's3://bucket/x' WITH CONFIG {'aws_region': 'x'}"
            )
            .starts_with("not supported by the simulator")
    );
    // What was there is gone when the snapshot turns out to be none.
    network.must("a", "CREATE (:T)");
    write(&mut network, "a", "/backup/x", b"rubbish".to_vec());
    let text = network.refused("a", "RECOVER SNAPSHOT '/backup/x' FORCE");
    assert!(
        text.starts_with("Couldn't recover from the snapshot because of: "),
        "{text}"
    );
    assert_eq!(network.count("a"), 0);
    assert!(files(&mut network, "a", "snapshots").is_empty());
}

#[test]
fn a_replica_stops_its_own_snapshot_when_it_gets_one() {
    for version in Version::ALL
        .into_iter()
        .filter(|version| *version >= Version::V3_8)
    {
        let mut network = Network::pair(version, "ASYNC");
        network.must("a", "CREATE (:T)");
        let path = snapshot(&mut network, "a");
        network.run(Duration::from_secs(1));
        network.disk("b").slow_snapshots = Duration::from_secs(60);
        let client = network.client("b");
        network.prepare(&client, "CREATE SNAPSHOT");
        network.send_request(&client, Request::Execute { take: None });
        network.run(Duration::from_secs(1));
        network.disk("b").slow_snapshots = Duration::ZERO;
        network.must("a", &format!("RECOVER SNAPSHOT '{path}' FORCE"));
        let started = network.now;
        let Response::Failed(failure) = network.wait(&client) else {
            panic!()
        };
        assert_eq!(
            failure.message,
            "Failed to create snapshot. The current snapshot needs to be aborted."
        );
        assert!(network.now - started < Duration::from_secs(1));
        network.until_status("a", "b", "ready");
        assert_eq!(network.count("b"), 1);
    }
}

#[test]
fn only_mains_make_snapshots_by_themselves_before_3_8() {
    for version in Version::ALL {
        let mut network = Network::new(version, &[]);
        for name in ["a", "b"] {
            network.add(
                name,
                Config {
                    version,
                    snapshot_interval: Some(Duration::from_secs(10)),
                    snapshot_on_exit: true,
                    ..Config::default()
                },
            );
        }
        network.attach("a", "b", "SYNC");
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(25));
        // Nothing has changed since the first one.
        assert_eq!(files(&mut network, "a", "snapshots").len(), 1);
        let of_replica = files(&mut network, "b", "snapshots").len();
        assert_eq!(of_replica, usize::from(version >= Version::V3_8), "{version:?}");
        network.must("a", "CREATE (:T)");
        network.stop("b");
        network.stop("a");
        assert_eq!(files(&mut network, "a", "snapshots").len(), 2);
        assert_eq!(files(&mut network, "b", "snapshots").len(), 2 * of_replica);
        network.start("a");
        network.until_ready("a");
        assert_eq!(network.count("a"), 2);
    }
}

#[test]
fn files_that_a_replica_is_being_sent_stay() {
    let mut network = Network::new(Version::default(), &["b"]);
    network.add(
        "a",
        Config {
            wal_file_kib: 0,
            snapshot_retention: 1,
            ..Config::default()
        },
    );
    network.must("b", DEMOTE);
    for _ in 0..3 {
        network.must("a", "CREATE (:T)");
    }
    let logs = files(&mut network, "a", "wal");
    network.lose(|_, _, message| message.name() == "WalFilesReq");
    network.must("a", "REGISTER REPLICA b ASYNC TO 'b:10000'");
    network.run(Duration::from_secs(1));
    network.must("a", "CREATE SNAPSHOT");
    network.must("a", "CREATE (:T)");
    network.must("a", "CREATE SNAPSHOT");
    let kept = files(&mut network, "a", "wal");
    assert!(logs.iter().all(|name| kept.contains(name)), "{kept:?}");
    network.heal();
    network.until_status("a", "b", "ready");
    assert_eq!(network.count("b"), 4);
    let kept = files(&mut network, "a", "wal");
    assert!(!kept.contains(&logs[0]), "they have gone afterwards: {kept:?}");
}

#[test]
fn a_prepared_transaction_that_main_gave_up_is_skipped_when_it_comes_late() {
    let mut network = Network::pair(Version::default(), "STRICT_SYNC");
    network.must("a", "CREATE (:T)");
    let mut done = false;
    network.decide(move |_, _, message| {
        if !done && message.name() == "PrepareCommitReq" {
            done = true;
            return crate::network::Fate::Delayed(Duration::from_secs(60));
        }
        crate::network::Fate::Delivered
    });
    network.refused("a", "CREATE (:GivenUp)");
    network.until_status("a", "b", "ready");
    network.must("a", "CREATE (:T)");
    assert_eq!(network.count("b"), 2);
    // Now it arrives; it is older than what is there.
    network.run(Duration::from_secs(60));
    network.must("a", "CREATE (:T)");
    assert_eq!((network.count("a"), network.count("b")), (3, 3));
    assert!(network.must("b", "MATCH (n:GivenUp) RETURN n").is_empty());
}

/// Writes one node after the other for a while.
fn write_for(network: &mut Network, duration: Duration, pause: Duration) {
    let until = network.now + duration;
    while network.now < until {
        // Most of these fail while a SYNC or STRICT_SYNC replica catches up.
        let _ = network.query("a", "CREATE (:T)");
        network.run(pause);
    }
}

#[test]
fn a_replica_catches_up_only_when_writers_pause_for_as_long_as_its_log_takes() {
    each_mode(|version, mode| {
        let mut network = Network::pair(version, mode);
        network.kill("b");
        network.run(Duration::from_secs(5));
        let _ = network.query("a", "CREATE (:T)");
        network.start("b");
        network.until_ready("b");
        write_for(
            &mut network,
            Duration::from_millis(150),
            Duration::from_micros(200),
        );
        if mode == "STRICT_SYNC" {
            // What is refused does not move main on.
            assert_eq!(network.status("a", "b"), "ready");
            return;
        }
        let (_, behind, status) = network.replica("a", "b").unwrap();
        assert!(status == "invalid" || status == "recovery", "{mode}: {status}");
        // It follows all the same.
        assert!(
            behind < 0 && network.count("a") - network.count("b") < 50,
            "{mode}: {behind}"
        );
        write_for(&mut network, Duration::from_millis(300), Duration::from_millis(5));
        assert_eq!(network.status("a", "b"), "ready");
        network.run(Duration::from_secs(1));
        assert_eq!(network.count("a"), network.count("b"));
    });
}
