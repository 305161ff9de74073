//! Commits while replicas are away, two mains, and lost messages.

use std::time::Duration;

use bolt_server::{Failure, FailureCode, Request, Response, Severity, Version};
use memgraph_sim::{config::Config, engine::PeerMessage};

use crate::clients::Rows;
use crate::network::Network;

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";
const PROMOTE: &str = "SET REPLICATION ROLE TO MAIN";
const CHECK: &str = "Check the status of the replicas using 'SHOW REPLICAS' query.";

/// What a client hears when the SYNC replica `b` has missed a commit.
fn assert_sync_failure(version: Version, result: Result<Rows, Failure>, reason: &str) {
    if version >= Version::Head {
        assert_eq!(result, Ok(Vec::new()));
        return;
    }
    let failure = result.unwrap_err();
    let code = if version < Version::V3_8 {
        FailureCode::Transient
    } else {
        FailureCode::Client
    };
    assert_eq!(failure.code, code);
    let text = if version < Version::V3_10 {
        "At least one SYNC replica has not confirmed committing last transaction.".to_owned()
    } else {
        format!(
            "Failed to replicate to SYNC replica 'b': {reason}. Replica will be recovered automatically. Transaction is \
             still committed on the main instance and other alive replicas."
        )
    };
    assert_eq!(failure.message, format!("Replication Exception: {text} {CHECK}"));
}

/// What a client hears when the STRICT_SYNC replica `b` has prevented a commit.
fn assert_abort(version: Version, result: Result<Rows, Failure>, reason: &str) {
    let failure = result.unwrap_err();
    let code = if version < Version::V3_8 {
        FailureCode::Transient
    } else {
        FailureCode::Client
    };
    assert_eq!(failure.code, code);
    let text = if version < Version::V3_10 {
        "At least one STRICT_SYNC replica has not confirmed committing last transaction. Transaction will be aborted on \
         all instances."
            .to_owned()
    } else {
        format!(
            "Failed to replicate to STRICT_SYNC replica 'b': {reason}. Replica will be recovered automatically. \
             Transaction was aborted on all instances."
        )
    };
    assert_eq!(failure.message, format!("Replication Exception: {text} {CHECK}"));
}

const AWAY: &str = "replica is not reachable or not in sync with the main";

fn strict_versions() -> impl Iterator<Item = Version> {
    Version::ALL
        .into_iter()
        .filter(|version| *version >= Version::V3_5)
}

#[test]
fn j22_main_commits_without_its_sync_replica() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a", "b"]);
        network.attach("a", "b", "SYNC");
        network.must("a", "CREATE (:T)");
        assert_eq!(network.count("b"), 1);
        network.kill("b");
        // A ping has found the connection broken.
        network.run(Duration::from_millis(1500));
        assert_sync_failure(version, network.query("a", "CREATE (:T)"), AWAY);
        assert_eq!(network.count("a"), 2);
        let (_, behind, status) = network.replica("a", "b").unwrap();
        assert!(behind < 0);
        assert_eq!(status, "invalid");
        // With an explicit transaction the code is different before 3.8.
        let client = network.client("a");
        network.begin(&client);
        network.run_on(&client, "CREATE (:T)").unwrap();
        match network.request(&client, Request::Commit) {
            Response::Failed(failure) => assert_eq!(failure.code, FailureCode::Client),
            Response::Committed { notifications } => {
                assert!(version >= Version::Head);
                let [notification] = notifications.as_slice() else {
                    panic!("{notifications:?}")
                };
                assert_eq!(notification.severity, Severity::Warning);
                assert_eq!(notification.code, "SyncReplicationFailure");
                assert!(
                    notification
                        .title
                        .starts_with("Failed to replicate to SYNC replica 'b': ")
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(network.count("a"), 3);
    }
}

#[test]
fn j23_main_does_not_commit_without_its_strict_replica() {
    for version in strict_versions() {
        let mut network = Network::new(version, &["a", "b"]);
        network.attach("a", "b", "STRICT_SYNC");
        network.must("a", "CREATE (:T)");
        network.kill("b");
        network.run(Duration::from_millis(1500));
        let before = network.replica("a", "b").unwrap();
        assert_abort(version, network.query("a", "CREATE (:T)"), AWAY);
        assert_eq!(network.count("a"), 1);
        let after = network.replica("a", "b").unwrap();
        assert_eq!(
            (after.0, after.1),
            (before.0, before.1),
            "the last durable timestamp has not moved"
        );
        assert_abort(version, network.query("a", "CREATE INDEX ON :T"), AWAY);
        assert!(network.must("a", "SHOW INDEX INFO").is_empty());
        network.must("a", "DROP REPLICA b");
        network.must("a", "CREATE (:T)");
        assert_eq!(network.count("a"), 2);
    }
}

#[test]
fn enums_are_not_taken_back_when_their_commit_is_aborted() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.attach("a", "b", "STRICT_SYNC");
    network.must("a", "CREATE ENUM E VALUES { x }");
    network.kill("b");
    network.refused("a", "ALTER ENUM E UPDATE VALUE x TO y");
    let shown = network.must("a", "SHOW ENUMS");
    assert_eq!(shown[0][1], bolt_server::Value::List(vec!["y".into()]));
    network.kill("a");
    network.start("a");
    network.until_ready("a");
    let shown = network.must("a", "SHOW ENUMS");
    assert_eq!(
        shown[0][1],
        bolt_server::Value::List(vec!["x".into()]),
        "it never reached the log"
    );
}

#[test]
fn j24_main_does_not_care_for_its_async_replica() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a", "b"]);
        network.attach("a", "b", "ASYNC");
        network.kill("b");
        network.run(Duration::from_millis(1500));
        network.must("a", "CREATE (:T)");
        assert_eq!(network.status("a", "b"), "invalid");
    }
}

#[test]
fn j25_the_replicas_of_an_old_main_belong_to_the_new_one() {
    for version in Version::ALL {
        for mode in ["SYNC", "STRICT_SYNC", "ASYNC"] {
            if mode == "STRICT_SYNC" && version < Version::V3_5 {
                continue;
            }
            let mut network = Network::new(version, &["a", "b", "c"]);
            network.attach("a", "b", mode);
            network.attach("a", "c", "ASYNC");
            network.must("a", "CREATE (:T)");
            network.run(Duration::from_secs(1));
            network.must("c", PROMOTE);
            if version < Version::V3_5 {
                // Histories are compared more strictly there; the theft works all the same.
                let _ = network.query("c", &format!("REGISTER REPLICA b {mode} TO 'b:10000'"));
            } else {
                network.must("c", &format!("REGISTER REPLICA b {mode} TO 'b:10000'"));
            }
            let result = network.query("a", "CREATE (:Late)");
            match mode {
                "SYNC" => assert_sync_failure(version, result, "RPC communication error"),
                "STRICT_SYNC" => assert_abort(version, result, "RPC communication error"),
                _ => assert_eq!(result, Ok(Vec::new())),
            }
            network.run(Duration::from_secs(1));
            assert_eq!(network.count("a"), if mode == "STRICT_SYNC" { 1 } else { 2 });
            assert_eq!(network.count("b"), 1, "b took nothing from the old main");
            assert!(network.logged("b", "Received PrepareCommitReq with main_id: "));
        }
    }
}

#[test]
fn j30_a_blocked_commit_keeps_admin_queries_out() {
    for mode in ["SYNC", "STRICT_SYNC"] {
        let mut network = Network::new(Version::default(), &["a", "b", "c"]);
        network.attach("a", "b", mode);
        network.must("c", DEMOTE);
        network.black_hole("b");
        let writer = network.client("a");
        network.prepare(&writer, "CREATE (:T)");
        network.send_request(&writer, Request::Execute { take: None });
        network.run(Duration::from_secs(1));
        let started = network.now;
        assert_eq!(network.refused("a", DEMOTE), "Couldn't set role to replica!");
        let text = network.refused("a", "REGISTER REPLICA c ASYNC TO 'c:10000'");
        assert_eq!(text, "Couldn't register replica c. Error: 6");
        assert_eq!(
            network.refused("a", "DROP REPLICA b"),
            "Failed to unregister replica due to lack of unique access over the cluster state. Please try again later on."
        );
        assert!(
            network.now - started < Duration::from_millis(50),
            "they do not wait"
        );
        assert_eq!(network.role("a"), "main", "while readers get through");
        assert_eq!(network.count("a"), 0);
        // Other writers queue behind the engine lock.
        let second = network.client("a");
        network.prepare(&second, "CREATE (:T)");
        network.send_request(&second, Request::Execute { take: None });
        let Response::Failed(failure) = network.wait(&writer) else {
            panic!()
        };
        assert!(
            failure.message.contains("RPC timeout while replicating"),
            "{failure:?}"
        );
        let waited = network.now - started;
        assert!(
            waited > Duration::from_secs(25) && waited < Duration::from_secs(60),
            "{waited:?}"
        );
        assert!(matches!(network.wait(&second), Response::Failed(_)));
    }
}

fn is(message: &PeerMessage, name: &str) -> bool {
    message.name() == name
}

#[test]
fn a_swallowed_second_phase_shows_at_the_next_commit() {
    for version in strict_versions() {
        let mut network = Network::new(version, &["a", "b"]);
        network.attach("a", "b", "STRICT_SYNC");
        network.must("a", "CREATE (:T)");
        network.lose(|_, _, message| is(message, "FinalizeCommitReq"));
        network.must("a", "CREATE (:T)");
        network.heal();
        let (_, behind, status) = network.replica("a", "b").unwrap();
        assert!(behind < 0 && status == "ready", "{behind} {status}");
        assert_eq!(network.count("b"), 1);
        assert_abort(
            version,
            network.query("a", "CREATE (:T)"),
            "RPC communication error",
        );
        network.until_status("a", "b", "ready");
        assert_eq!(network.count("b"), 2);
        network.must("a", "CREATE (:T)");
        assert_eq!(network.count("b"), 3);
    }
}

#[test]
fn a_promotion_discards_what_was_prepared() {
    for version in strict_versions() {
        let mut network = Network::new(version, &["a", "b"]);
        network.attach("a", "b", "STRICT_SYNC");
        network.must("a", "CREATE (:T)");
        network.lose(|_, _, message| is(message, "FinalizeCommitReq"));
        network.must("a", "CREATE (:Lost)");
        network.heal();
        network.kill("a");
        network.must("b", PROMOTE);
        assert_eq!(network.count("b"), 1);
        // The old main holds a transaction that nobody else has.
        network.must("b", "CREATE (:New)");
        network.start("a");
        network.until_ready("a");
        network.must("a", DEMOTE);
        assert_eq!(
            network.refused("b", "REGISTER REPLICA a STRICT_SYNC TO 'a:10000'"),
            "Couldn't register replica a. Error: 3"
        );
    }
}

#[test]
fn a_prepared_transaction_does_not_survive_a_restart_of_the_replica() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.attach("a", "b", "STRICT_SYNC");
    network.lose(|_, _, message| is(message, "FinalizeCommitReq"));
    network.must("a", "CREATE (:T)");
    network.heal();
    network.restart("b");
    assert_eq!(network.count("b"), 0);
    network.run(Duration::from_secs(10));
    assert_eq!(network.status("a", "b"), "ready", "nobody looks");
    network.refused("a", "CREATE (:T)");
    network.until_status("a", "b", "ready");
    assert_eq!(network.count("b"), 1);
}

#[test]
fn the_first_commit_after_a_quick_restart_of_a_replica_meets_a_broken_connection() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.attach("a", "b", "STRICT_SYNC");
    network.restart("b");
    assert_abort(
        Version::default(),
        network.query("a", "CREATE (:T)"),
        "RPC communication error",
    );
    network.until_status("a", "b", "ready");
    network.must("a", "CREATE (:T)");
}

#[test]
fn async_replicas_get_a_transaction_after_the_decision() {
    let mut network = Network::new(Version::default(), &["a", "b", "c"]);
    network.attach("a", "b", "STRICT_SYNC");
    network.attach("a", "c", "ASYNC");
    network.must("a", "CREATE (:T)");
    network.run(Duration::from_millis(10));
    assert_eq!((network.count("b"), network.count("c")), (1, 1));
    assert_eq!(network.status("a", "c"), "ready");
    network.kill("b");
    network.refused("a", "CREATE (:T)");
    network.run(Duration::from_secs(5));
    assert_eq!(network.count("c"), 1);
    assert_eq!(
        network.status("a", "c"),
        "replicating",
        "nobody has told it of the abort"
    );
    network.refused("a", "CREATE (:T)");
    network.until_status("a", "c", "ready");
    assert_eq!(network.count("c"), 1);
}

#[test]
fn mixing_sync_and_strict_sync_is_broken() {
    let mut network = Network::new(Version::default(), &["a", "b", "c"]);
    network.attach("a", "b", "STRICT_SYNC");
    network.attach("a", "c", "SYNC");
    network.must("a", "CREATE (:T)");
    assert_eq!(
        (network.count("b"), network.count("c")),
        (1, 0),
        "the SYNC replica is passed over"
    );
    network.refused("a", "CREATE (:T)");
    assert_eq!(network.count("a"), 1);
}

#[test]
fn j33_a_replica_that_is_ahead_in_the_same_epoch_looks_ready() {
    let mut network = Network::new(Version::default(), &["b"]);
    network.add(
        "a",
        Config {
            wal_flush_every: 10,
            ..Config::default()
        },
    );
    network.attach("a", "b", "SYNC");
    for i in 0..15 {
        network.must("a", &format!("CREATE (:T {{i: {i}}})"));
    }
    // The last five transactions of main were in its page cache only.
    network.power_off("a");
    network.start("a");
    network.until_ready("a");
    network.until_status("a", "b", "ready");
    assert!(network.replica("a", "b").unwrap().1 > 0, "it is ahead");
    network.must("a", "CREATE (:Skipped)");
    assert_eq!(network.status("a", "b"), "ready");
    assert!(network.must("b", "MATCH (n:Skipped) RETURN n").is_empty());
    assert_eq!((network.count("a"), network.count("b")), (11, 15));
}

#[test]
fn j34_a_diverged_replica_shows_after_a_restart_of_main() {
    let mut network = Network::new(Version::V3_12, &["a", "b"]);
    network.attach("a", "b", "ASYNC");
    network.must("a", "CREATE (:T)");
    network.run(Duration::from_secs(1));
    network.must("b", PROMOTE);
    network.must("b", "CREATE (:Own)");
    network.must("b", DEMOTE);
    network.must("a", "DROP REPLICA b");
    network.refused("a", "REGISTER REPLICA b ASYNC TO 'b:10000'");
    network.restart("a");
    assert_eq!(network.status("a", "b"), "diverged");
    network.run(Duration::from_secs(10));
    assert_eq!(network.status("a", "b"), "diverged", "pings do not look again");
    network.kill("b");
    network.run(Duration::from_secs(5));
    assert_eq!(network.status("a", "b"), "invalid");
    network.start("b");
    network.until_status("a", "b", "diverged");
}

#[test]
fn j36_without_a_log_nothing_is_replicated() {
    let mut network = Network::new(Version::default(), &["b"]);
    let config = Config {
        wal_enabled: false,
        ..Config::default()
    };
    network.add("a", config);
    network.attach("a", "b", "STRICT_SYNC");
    network.must("a", "CREATE (:T)");
    assert_eq!(network.count("a"), 1);
    assert_eq!(network.count("b"), 0);
    assert_eq!(network.status("a", "b"), "ready");
}

#[test]
fn a_long_read_on_a_replica_stalls_a_change_of_an_enum() {
    for version in strict_versions() {
        let mut network = Network::new(version, &["a", "b"]);
        network.attach("a", "b", "STRICT_SYNC");
        network.must("a", "CREATE ENUM E VALUES { x }");
        let reader = network.client("b");
        network.begin(&reader);
        network.run_on(&reader, "MATCH (n) RETURN n").unwrap();
        let started = network.now;
        let text = network.refused("a", "ALTER ENUM E UPDATE VALUE x TO y");
        if version >= Version::V3_10 {
            assert!(
                text.contains(
                    "Failed to replicate to STRICT_SYNC replica 'b': RPC timeout while replicating."
                ),
                "{text}"
            );
            assert!(
                text.contains("Main reached an RPC timeout while replicating to [b]."),
                "{text}"
            );
        }
        // 3.13 reports progress once, after 25 s.
        let limit = if version >= Version::Head { 55 } else { 30 };
        assert_eq!((network.now - started).as_secs(), limit);
    }
}
