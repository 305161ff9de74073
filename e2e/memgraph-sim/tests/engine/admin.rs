//! Statements about the instance: the lock on the data directory, storage modes, isolation levels, running
//! transactions, and what SHOW STORAGE INFO tells.

use std::time::Duration;

use bolt_server::{FailureCode, Request, Response, Value, Version};
use memgraph_sim::config::{Config, Isolation};

use crate::clients::text;
use crate::network::Network;

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";

fn status(network: &mut Network, query: &str) -> String {
    text(&network.must("a", query)[0][0])
}

/// A value of SHOW STORAGE INFO.
fn info(network: &mut Network, client: &crate::network::Client, query: &str, name: &str) -> Value {
    let rows = network.run_on(client, query).unwrap();
    let row = rows.iter().find(|row| row[0].as_str() == Some(name));
    row.unwrap_or_else(|| panic!("no row {name} in {rows:?}"))[1].clone()
}

#[test]
fn a_locked_data_directory_keeps_its_files() {
    let mut network = Network::new(Version::default(), &[]);
    network.add(
        "a",
        Config {
            wal_file_kib: 0,
            snapshot_retention: 1,
            ..Config::default()
        },
    );
    network.must("a", "CREATE (:T)");
    network.must("a", "CREATE SNAPSHOT");
    assert_eq!(
        status(&mut network, "DATA DIRECTORY LOCK STATUS"),
        "Data directory is unlocked."
    );
    assert_eq!(
        status(&mut network, "LOCK DATA DIRECTORY"),
        "Data directory is now locked."
    );
    assert_eq!(
        status(&mut network, "LOCK DATA DIRECTORY"),
        "Data directory is already locked."
    );
    assert_eq!(
        status(&mut network, "DATA DIRECTORY LOCK STATUS"),
        "Data directory is locked."
    );
    let snapshots = network.disk("a").list("snapshots");
    let logs = network.disk("a").list("wal");
    for _ in 0..3 {
        network.must("a", "CREATE (:T)");
        network.must("a", "CREATE SNAPSHOT");
    }
    let kept = network.disk("a").list("snapshots");
    assert_eq!(kept.len(), 4);
    assert!(snapshots.iter().all(|name| kept.contains(name)));
    let kept = network.disk("a").list("wal");
    assert!(logs.iter().all(|name| kept.contains(name)), "{kept:?}");
    // A finished log file is a copy: its old name stays, too.
    assert!(kept.iter().any(|name| name.ends_with("_current")), "{kept:?}");
    // A crash forgets the lock; what is there twice does no harm.
    network.restart("a");
    assert_eq!(network.count("a"), 4);
    assert_eq!(
        status(&mut network, "UNLOCK DATA DIRECTORY"),
        "Data directory is already unlocked."
    );
    network.must("a", "LOCK DATA DIRECTORY");
    network.must("a", "CREATE (:T)");
    network.must("a", "CREATE SNAPSHOT");
    assert!(network.disk("a").list("snapshots").len() > 1);
    assert_eq!(
        status(&mut network, "UNLOCK DATA DIRECTORY"),
        "Data directory is now unlocked."
    );
    assert_eq!(network.disk("a").list("snapshots").len(), 1, "now they go");
    network.restart("a");
    assert_eq!(network.count("a"), 5);
}

#[test]
fn what_is_done_in_analytical_mode_is_in_no_log() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a"]);
        network.must("a", "CREATE (:T)");
        network.must("a", "STORAGE MODE IN_MEMORY_ANALYTICAL");
        network.must("a", "CREATE (:T)");
        // There is no way back, and others see everything at once.
        let client = network.client("a");
        network.begin(&client);
        network.run_on(&client, "CREATE (:T)").unwrap();
        assert_eq!(network.count("a"), 3);
        assert_eq!(network.request(&client, Request::Rollback), Response::Done);
        assert_eq!(network.count("a"), 3);
        assert_eq!(
            network.refused("a", DEMOTE),
            "Replication query requires IN_MEMORY_TRANSACTIONAL mode."
        );
        assert_eq!(
            network.refused("a", "SET GLOBAL TRANSACTION ISOLATION LEVEL READ COMMITTED"),
            "Isolation level cannot be modified when storage mode is set to IN_MEMORY_ANALYTICAL.IN_MEMORY_ANALYTICAL \
             mode doesn't provide any isolation guarantees, you can think about it as an equivalent to READ_UNCOMMITED."
        );
        network.must("a", "STORAGE MODE IN_MEMORY_TRANSACTIONAL");
        // Since 3.8 the way back makes a snapshot.
        let snapshots = network.disk("a").list("snapshots").len();
        assert_eq!(snapshots, usize::from(version >= Version::V3_8), "{version:?}");
        network.must("a", "CREATE (:T)");
        network.restart("a");
        assert_eq!(
            network.count("a"),
            if version >= Version::V3_8 { 4 } else { 2 },
            "{version:?}"
        );
    }
}

#[test]
fn replicas_miss_what_is_done_in_analytical_mode_until_main_restarts() {
    for version in Version::ALL {
        let mut network = Network::pair(version, "SYNC");
        network.must("a", "CREATE (:T)");
        if version >= Version::Head {
            let failure = network
                .query("a", "STORAGE MODE IN_MEMORY_ANALYTICAL")
                .unwrap_err();
            assert_eq!(failure.code, FailureCode::Transient);
            assert_eq!(
                failure.message,
                "Cannot switch to IN_MEMORY_ANALYTICAL while 1 replica(s) replicate from this database. Analytical \
                 writes are not replicated; unregister every replica first."
            );
            continue;
        }
        network.must("a", "STORAGE MODE IN_MEMORY_ANALYTICAL");
        network.must("a", "CREATE (:T)");
        network.must("a", "STORAGE MODE IN_MEMORY_TRANSACTIONAL");
        network.run(Duration::from_secs(5));
        let (_, behind, status) = network.replica("a", "b").unwrap();
        assert_eq!((behind, status.as_str()), (0, "ready"), "nothing tells");
        assert_eq!((network.count("a"), network.count("b")), (2, 1));
        network.restart("a");
        network.until_status("a", "b", "ready");
        // Only a snapshot that counts as newer than all transactions gets to the replica.
        let expected = if version >= Version::V3_10 { 2 } else { 1 };
        assert_eq!(network.count("b"), expected, "{version:?}");
    }
}

#[test]
fn a_replica_that_was_away_misses_what_was_done_in_analytical_mode_up_to_3_12() {
    for version in Version::ALL
        .into_iter()
        .filter(|version| *version >= Version::V3_10)
    {
        let mut network = Network::pair(version, "ASYNC");
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        network.must("a", "DROP REPLICA b");
        network.must("a", "STORAGE MODE IN_MEMORY_ANALYTICAL");
        network.must("a", "CREATE (:T)");
        network.must("a", "STORAGE MODE IN_MEMORY_TRANSACTIONAL");
        // This closes the log file from before; the next one follows it without a gap in the numbers.
        network.restart("a");
        network.must("a", "CREATE (:T)");
        network.restart("a");
        network.must("a", "REGISTER REPLICA b ASYNC TO 'b:10000'");
        network.until_status("a", "b", "ready");
        let expected = if version >= Version::Head { 3 } else { 2 };
        assert_eq!(
            (network.count("a"), network.count("b")),
            (3, expected),
            "{version}"
        );
    }
}

#[test]
fn constraints_forbid_analytical_mode_since_3_8() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a"]);
        network.must("a", "CREATE CONSTRAINT ON (n:T) ASSERT n.i IS UNIQUE");
        if version >= Version::V3_8 {
            let text = network.refused("a", "STORAGE MODE IN_MEMORY_ANALYTICAL");
            assert!(
                text.starts_with("Constraints are not supported in analytical storage mode."),
                "{text}"
            );
        } else {
            network.must("a", "STORAGE MODE IN_MEMORY_ANALYTICAL");
        }
    }
    let mut network = Network::new(Version::default(), &["a"]);
    let text = network.refused("a", "STORAGE MODE ON_DISK_TRANSACTIONAL");
    assert_eq!(text, "not supported by the simulator: storage on disk");
    let text = network.refused("a", "CREATE TRIGGER t ON CREATE AFTER COMMIT EXECUTE CREATE (:X)");
    assert_eq!(text, "not supported by the simulator: triggers");
}

#[test]
fn registrations_and_analytical_mode_exclude_each_other() {
    let mut network = Network::new(Version::Head, &["a", "b"]);
    network.must("b", DEMOTE);
    network.must("a", "STORAGE MODE IN_MEMORY_ANALYTICAL");
    for query in ["REGISTER REPLICA b SYNC TO 'b:10000'", "DROP REPLICA b"] {
        assert_eq!(
            network.refused("a", query),
            "Replication query requires IN_MEMORY_TRANSACTIONAL mode."
        );
    }
}

#[test]
fn isolation_levels_tell_what_a_transaction_sees() {
    for (level, seen) in [
        ("SNAPSHOT ISOLATION", (0, 0)),
        ("READ COMMITTED", (0, 1)),
        ("READ UNCOMMITTED", (1, 1)),
    ] {
        let mut network = Network::new(Version::default(), &["a"]);
        let (reader, writer) = (network.client("a"), network.client("a"));
        let count = |network: &mut Network| {
            network.run_on(&reader, "MATCH (n) RETURN count(n)").unwrap()[0][0]
                .as_integer()
                .unwrap()
        };
        network
            .run_on(&reader, &format!("SET NEXT TRANSACTION ISOLATION LEVEL {level}"))
            .unwrap();
        network.begin(&reader);
        assert_eq!(count(&mut network), 0);
        network.begin(&writer);
        network.run_on(&writer, "CREATE (:T)").unwrap();
        let uncommitted = count(&mut network);
        assert!(matches!(
            network.request(&writer, Request::Commit),
            Response::Committed { .. }
        ));
        assert_eq!((uncommitted, count(&mut network)), seen, "{level}");
        assert_eq!(network.request(&reader, Request::Rollback), Response::Done);
        // It was for one transaction.
        network.begin(&reader);
        assert_eq!(count(&mut network), 1);
        network.must("a", "CREATE (:T)");
        assert_eq!(count(&mut network), 1, "{level}");
    }
}

#[test]
fn isolation_levels_have_scopes() {
    for version in Version::ALL {
        let mut network = Network::new(version, &[]);
        network.add(
            "a",
            Config {
                version,
                isolation: Isolation::ReadCommitted,
                ..Config::default()
            },
        );
        let (client, other) = (network.client("a"), network.client("a"));
        let show = "SHOW STORAGE INFO";
        let level = |network: &mut Network, client, name| text(&info(network, client, show, name));
        assert_eq!(
            level(&mut network, &client, "global_isolation_level"),
            "READ_COMMITTED"
        );
        network
            .run_on(
                &client,
                "SET GLOBAL TRANSACTION ISOLATION LEVEL SNAPSHOT ISOLATION",
            )
            .unwrap();
        network
            .run_on(
                &client,
                "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
            )
            .unwrap();
        network
            .run_on(&client, "SET NEXT TRANSACTION ISOLATION LEVEL READ COMMITTED")
            .unwrap();
        assert_eq!(
            level(&mut network, &client, "session_isolation_level"),
            "READ_UNCOMMITTED"
        );
        assert_eq!(
            level(&mut network, &client, "next_session_isolation_level"),
            "READ_COMMITTED"
        );
        assert_eq!(level(&mut network, &other, "session_isolation_level"), "");
        // Since 3.11 the instance's level is that of the flag, and the database has one of its own.
        let global = level(&mut network, &other, "global_isolation_level");
        if version >= Version::V3_11 {
            assert_eq!(global, "READ_COMMITTED");
            let show = "SHOW STORAGE INFO ON CURRENT DATABASE";
            let stored = info(&mut network, &other, show, "storage_isolation_level");
            assert_eq!(text(&stored), "SNAPSHOT_ISOLATION");
        } else {
            assert_eq!(global, "SNAPSHOT_ISOLATION");
        }
        network.run_on(&client, "MATCH (n) RETURN n").unwrap();
        assert_eq!(level(&mut network, &client, "next_session_isolation_level"), "");
        network.begin(&client);
        let refusal = network
            .run_on(&client, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            .unwrap_err();
        assert!(
            refusal
                .message
                .starts_with("Modifying isolation levels is not allowed in multicommand transactions."),
            "{refusal:?}"
        );
        network.restart("a");
        let client = network.client("a");
        assert_eq!(
            level(&mut network, &client, "global_isolation_level"),
            "READ_COMMITTED"
        );
    }
}

#[test]
fn storage_info_has_the_rows_of_the_release() {
    let instance = "vm_max_map_count memory_res peak_memory_res disk_usage memory_tracked memory_limit \
                    license_memory_limit query+graph_memory_tracked vector_index_memory_tracked global_isolation_level \
                    session_isolation_level next_session_isolation_level global_storage_mode";
    let both = |uuid: &str, middle: &str| {
        format!(
            "name{uuid} vertex_count edge_count average_degree vm_max_map_count memory_res peak_memory_res \
             unreleased_delta_objects {middle} global_isolation_level session_isolation_level \
             next_session_isolation_level storage_mode"
        )
    };
    let old = "disk_usage memory_tracked allocation_limit";
    let renamed = "global_disk_usage global_memory_tracked global_runtime_allocation_limit \
                   global_license_allocation_limit db_memory_tracked db_storage_memory_tracked \
                   db_embedding_memory_tracked db_query_memory_tracked";
    for version in Version::ALL {
        let mut network = Network::new(version, &["a"]);
        network.must("a", "CREATE (:T)-[:R]->(:T)");
        let rows = network.must("a", "SHOW STORAGE INFO");
        let names: Vec<_> = rows.iter().map(|row| text(&row[0])).collect();
        let expected = match version {
            Version::V3_4 => both("", old),
            version if version < Version::V3_10 => both(" database_uuid", old),
            Version::V3_10 => both(" database_uuid", renamed),
            _ => instance.to_owned(),
        };
        assert_eq!(names.join(" "), expected, "{version:?}");
        if version < Version::V3_11 {
            continue;
        }
        let rows = network.must("a", "SHOW STORAGE INFO ON CURRENT DATABASE");
        let value = |name: &str| &rows.iter().find(|row| row[0].as_str() == Some(name)).unwrap()[1];
        assert_eq!(value("vertex_count"), &Value::Integer(2));
        assert_eq!(value("edge_count"), &Value::Integer(1));
        assert_eq!(value("average_degree"), &Value::Float(1.0));
        assert_eq!(
            rows.iter().any(|row| row[0].as_str() == Some("state")),
            version >= Version::V3_12
        );
        // What lies on disk is counted.
        let before = text(value("disk_usage"));
        assert_ne!(before, "0B");
        network.must("a", "UNWIND range(1, 1000) AS i CREATE (:T {i: i})");
        network.must("a", "CREATE SNAPSHOT");
        let rows = network.must("a", "SHOW STORAGE INFO ON CURRENT DATABASE");
        let row = rows
            .iter()
            .find(|row| row[0].as_str() == Some("disk_usage"))
            .unwrap();
        assert!(text(&row[1]).ends_with("KiB"), "{row:?}");
        let snapshots = network.must("a", "SHOW SNAPSHOTS");
        assert!(text(&snapshots[0][3]).ends_with("KiB"), "{snapshots:?}");
    }
}

#[test]
fn storage_info_tells_the_limit_of_the_command_line() {
    for version in Version::ALL {
        let mut network = Network::new(version, &[]);
        let config = Config {
            version,
            memory_limit: Some(921 << 20),
            ..Config::default()
        };
        network.add("a", config);
        let name = match version {
            version if version < Version::V3_10 => "allocation_limit",
            Version::V3_10 => "global_runtime_allocation_limit",
            _ => "memory_limit",
        };
        let client = network.client("a");
        let limit = info(&mut network, &client, "SHOW STORAGE INFO", name);
        assert_eq!(text(&limit), "921.00MiB", "{version:?}");
    }
}

#[test]
fn a_commit_that_waits_for_a_replica_shows_and_cannot_be_terminated() {
    for version in Version::ALL
        .into_iter()
        .filter(|version| *version >= Version::V3_10)
    {
        let mut network = Network::pair(version, "SYNC");
        network.lose(|_, _, message| message.name() == "PrepareCommitReq");
        let writer = network.client("a");
        network.prepare(&writer, "CREATE (:T)");
        network.send_request(&writer, Request::Execute { take: None });
        network.run(Duration::from_secs(1));
        let rows = network.must("a", "SHOW TRANSACTIONS");
        let row = rows
            .iter()
            .find(|row| row[2] == Value::List(vec!["CREATE (:T)".into()]))
            .unwrap_or_else(|| panic!("{rows:?}"));
        assert_eq!(text(&row[3]), "committing");
        let id = text(&row[1]);
        network.must("a", &format!("TERMINATE TRANSACTIONS '{id}'"));
        match network.wait(&writer) {
            Response::Executed(_) => assert!(version >= Version::Head),
            Response::Failed(failure) => assert!(
                failure
                    .message
                    .contains("Transaction is still committed on the main instance"),
                "{failure:?}"
            ),
            other => panic!("{other:?}"),
        }
        assert_eq!(network.count("a"), 1);
    }
}

#[test]
fn snapshots_are_only_made_of_something_new_in_3_4() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a"]);
        network.must("a", "CREATE (:T)");
        network.must("a", "CREATE SNAPSHOT");
        network.run(Duration::from_secs(1));
        let again = network.query("a", "CREATE SNAPSHOT");
        if version < Version::V3_5 {
            assert_eq!(
                again.unwrap_err().message,
                "Nothing has been written since the last snapshot."
            );
        } else {
            again.unwrap();
        }
    }
}
