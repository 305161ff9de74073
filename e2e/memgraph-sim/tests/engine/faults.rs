//! Commits while replicas are away, two mains, and lost messages.

use std::time::Duration;

use bolt_server::{Failure, FailureCode, Notification, Request, Response, Version};
use memgraph_sim::engine::PeerMessage;

use crate::clients::{Answer, Stage};
use crate::network::Network;
use crate::releases::{each_mode, each_release, each_release_since, modes};

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";
const PROMOTE: &str = "SET REPLICATION ROLE TO MAIN";
const CHECK: &str = "Check the status of the replicas using 'SHOW REPLICAS' query.";

/// What an auto-committed query was answered with.
type Outcome = Result<Answer, (Stage, Failure)>;

/// The code of a replication failure of an auto-committed query. Explicit transactions always get
/// [`FailureCode::Client`].
fn autocommit_code(version: Version) -> FailureCode {
    if version < Version::V3_8 {
        FailureCode::Transient
    } else {
        FailureCode::Client
    }
}

/// What is said of the SYNC replica `b` that has missed a commit.
fn sync_text(version: Version, reason: &str) -> String {
    if version < Version::V3_10 {
        format!("At least one SYNC replica has not confirmed committing last transaction. {CHECK}")
    } else {
        format!(
            "Failed to replicate to SYNC replica 'b': {reason}. Replica will be recovered automatically. Transaction is \
             still committed on the main instance and other alive replicas. {CHECK}"
        )
    }
}

/// What a client hears when the SYNC replica `b` has missed a commit.
fn assert_sync_failure(version: Version, outcome: Outcome, reason: &str) {
    let text = sync_text(version, reason);
    if version >= Version::Head {
        assert_eq!(
            outcome.unwrap().summary.notifications,
            [Notification::warning("SyncReplicationFailure", text)]
        );
        return;
    }
    let (stage, failure) = outcome.unwrap_err();
    assert_eq!(stage, Stage::Pull);
    assert_eq!(failure.code, autocommit_code(version));
    assert_eq!(failure.message, format!("Replication Exception: {text}"));
}

fn strict_text(version: Version, reason: &str) -> String {
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
    format!("Replication Exception: {text} {CHECK}")
}

/// What a client hears when the STRICT_SYNC replica `b` has prevented a commit.
fn assert_abort(version: Version, outcome: Outcome, reason: &str) {
    let (stage, failure) = outcome.unwrap_err();
    assert_eq!(stage, Stage::Pull);
    assert_eq!(failure.code, autocommit_code(version));
    assert_eq!(failure.message, strict_text(version, reason));
}

const AWAY: &str = "replica is not reachable or not in sync with the main";

#[test]
fn j22_main_commits_without_its_sync_replica() {
    each_release(|version| {
        let mut network = Network::pair(version, "SYNC");
        network.must("a", "CREATE (:T)");
        assert_eq!(network.count("b"), 1);
        network.kill("b");
        // A ping has found the connection broken.
        network.run(Duration::from_millis(1500));
        assert_sync_failure(version, network.answer("a", "CREATE (:T)"), AWAY);
        assert_eq!(network.count("a"), 2);
        let (_, behind, status) = network.replica("a", "b").unwrap();
        assert!(behind < 0);
        assert_eq!(status, "invalid");
        // With an explicit transaction the code is another one before 3.8.
        let client = network.client("a");
        network.begin(&client);
        network.run_on(&client, "CREATE (:T)").unwrap();
        let text = sync_text(version, AWAY);
        let expected = if version >= Version::Head {
            let warning = Notification::warning("SyncReplicationFailure", text);
            Response::Committed {
                notifications: vec![warning],
            }
        } else {
            Response::Failed(Failure::client(format!("Replication Exception: {text}")))
        };
        assert_eq!(network.request(&client, Request::Commit), expected);
        assert_eq!(network.count("a"), 3);
        let further = network.replica("a", "b").unwrap().1;
        assert!(further < behind);
    });
}

#[test]
fn j23_main_does_not_commit_without_its_strict_replica() {
    each_release_since(Version::V3_5, |version| {
        let mut network = Network::pair(version, "STRICT_SYNC");
        network.must("a", "CREATE (:T)");
        network.kill("b");
        network.run(Duration::from_millis(1500));
        let before = network.replica("a", "b").unwrap();
        let durable = network.durable("a");
        assert_abort(version, network.answer("a", "CREATE (:T)"), AWAY);
        assert_eq!(network.count("a"), 1);
        assert_eq!(network.durable("a"), durable);
        let after = network.replica("a", "b").unwrap();
        assert_eq!((after.0, after.1), (before.0, before.1));
        assert_abort(version, network.answer("a", "CREATE INDEX ON :T"), AWAY);
        assert!(network.must("a", "SHOW INDEX INFO").is_empty());
        let client = network.client("a");
        network.begin(&client);
        network.run_on(&client, "CREATE (:T)").unwrap();
        assert_eq!(
            network.request(&client, Request::Commit),
            Response::Failed(Failure::client(strict_text(version, AWAY)))
        );
        assert_eq!(network.count("a"), 1);
        network.must("a", "DROP REPLICA b");
        network.must("a", "CREATE (:T)");
        assert_eq!(network.count("a"), 2);
    });
}

#[test]
fn j23_a_prevented_commit_moves_the_counter_but_not_the_durable_timestamp() {
    each_release_since(Version::V3_5, |version| {
        let after = |prevented: u32| {
            let mut network = Network::pair(version, "STRICT_SYNC");
            network.kill("b");
            network.run(Duration::from_millis(1500));
            for _ in 0..prevented {
                network.refused("a", "CREATE (:T)");
            }
            network.must("a", "DROP REPLICA b");
            network.must("a", "CREATE (:T)");
            network.durable("a")
        };
        // One value at the start of a transaction, one at its commit.
        assert_eq!(after(3), after(0) + 6);
    });
}

#[test]
fn enums_are_not_taken_back_when_their_commit_is_aborted() {
    let mut network = Network::pair(Version::default(), "STRICT_SYNC");
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
    each_release(|version| {
        // Whether the broken connection has been noticed before does not matter.
        for noticed in [false, true] {
            let mut network = Network::pair(version, "ASYNC");
            network.must("a", "CREATE (:T)");
            network.run(Duration::from_secs(1));
            network.kill("b");
            if noticed {
                network.run(Duration::from_millis(1500));
            }
            assert_eq!(network.notifications("a", "CREATE (:T)"), []);
            let client = network.client("a");
            network.begin(&client);
            network.run_on(&client, "CREATE (:T)").unwrap();
            assert_eq!(
                network.request(&client, Request::Commit),
                Response::Committed {
                    notifications: Vec::new()
                }
            );
            network.run(Duration::from_secs(1));
            assert_eq!(network.status("a", "b"), "invalid");
            assert!(network.replica("a", "b").unwrap().1 < 0);
            assert_eq!(network.count("a"), 3);
        }
    });
}

#[test]
fn j25_the_replicas_of_an_old_main_belong_to_the_new_one() {
    each_mode(|version, mode| {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.attach("a", "b", mode);
        network.attach("a", "c", "ASYNC");
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        network.must("c", PROMOTE);
        network.must("c", &format!("REGISTER REPLICA b {mode} TO 'b:10000'"));
        let outcome = network.answer("a", "CREATE (:Late)");
        match mode {
            "SYNC" => assert_sync_failure(version, outcome, "RPC communication error"),
            "STRICT_SYNC" => assert_abort(version, outcome, "RPC communication error"),
            _ => assert_eq!(outcome.unwrap().summary.notifications, []),
        }
        network.run(Duration::from_secs(1));
        let expected = if mode == "STRICT_SYNC" { 1 } else { 2 };
        assert_eq!(network.count("a"), expected);
        assert_eq!(network.count("b"), 1, "b took nothing from the old main");
        let rpc = if version < Version::V3_5 {
            "AppendDeltasReq"
        } else {
            "PrepareCommitReq"
        };
        let (old, new) = (network.main_uuid("a"), network.main_uuid("c"));
        let unquoted = |uuid: &str| uuid.trim_matches('"').to_owned();
        assert!(network.logged(
            "b",
            &format!(
                "Received {rpc} with main_id: {} != current_main_uuid: {}",
                unquoted(&old),
                unquoted(&new)
            )
        ));
        assert_eq!(network.status("a", "b"), "invalid");
        assert_eq!(network.status("c", "b"), "ready");
        network.must("c", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        assert_eq!(network.count("b"), 2);
    });
}

#[test]
fn j30_a_blocked_commit_keeps_admin_queries_out() {
    each_release(|version| {
        for mode in modes(version).iter().filter(|mode| **mode != "ASYNC") {
            let mut network = Network::new(version, &["a", "b", "c"]);
            network.attach("a", "b", mode);
            network.must("c", DEMOTE);
            network.black_hole("b");
            let (writer, second) = (network.client("a"), network.client("a"));
            network.prepare(&writer, "CREATE (:T)");
            network.prepare(&second, "CREATE (:T)");
            let sent = network.now;
            network.send_request(&writer, Request::Execute { take: None });
            network.run(Duration::from_secs(1));
            let started = network.now;
            let busy = if version >= Version::V3_5 {
                "Couldn't register replica c. Error: 6"
            } else {
                "Couldn't register replica c."
            };
            let no_access = "Failed to unregister replica due to lack of unique access over the cluster state. Please \
                             try again later on.";
            for (query, text) in [
                (DEMOTE, "Couldn't set role to replica!"),
                (PROMOTE, "Couldn't set replication role to main!"),
                ("REGISTER REPLICA c ASYNC TO 'c:10000'", busy),
                ("DROP REPLICA b", no_access),
            ] {
                assert_eq!(
                    network.failure("a", query),
                    (Stage::Pull, Failure::client(text)),
                    "{query}"
                );
            }
            let took = network.now - started;
            assert!(took < Duration::from_millis(50), "they do not wait");
            assert_eq!(network.role("a"), "main", "and those that only look get through");
            assert_eq!(network.must("a", "SHOW REPLICAS").len(), 1, "none is left behind");
            // Other writers queue behind the engine lock.
            network.send_request(&second, Request::Execute { take: None });
            network.run(Duration::from_secs(20));
            assert_eq!(network.response(&second), None);
            let late = "Main reached an RPC timeout while replicating to [b].";
            match network.wait(&writer) {
                Response::Failed(failure) => {
                    assert!(*mode == "STRICT_SYNC" || version < Version::Head);
                    assert_eq!(
                        failure.message.contains(late),
                        version >= Version::V3_10,
                        "{failure:?}"
                    );
                }
                Response::Executed(executed) => {
                    assert!(*mode == "SYNC" && version >= Version::Head);
                    let [notification] = executed.summary.unwrap().notifications.try_into().unwrap();
                    assert!(notification.title.contains(late), "{notification:?}");
                }
                other => panic!("{other:?}"),
            }
            assert_eq!((network.now - sent).as_secs(), 30);
            network.wait(&second);
            let expected = if *mode == "SYNC" { 2 } else { 0 };
            assert_eq!(network.count("a"), expected);
        }
    });
}

fn is(message: &PeerMessage, name: &str) -> bool {
    message.name() == name
}

#[test]
fn a_swallowed_second_phase_shows_at_the_next_commit() {
    each_release_since(Version::V3_5, |version| {
        let mut network = Network::pair(version, "STRICT_SYNC");
        network.must("a", "CREATE (:T)");
        network.lose(|_, _, message| is(message, "FinalizeCommitReq"));
        network.must("a", "CREATE (:T)");
        network.heal();
        let (_, behind, status) = network.replica("a", "b").unwrap();
        // Up to 3.9 it is listed as having what it has voted for.
        let shows = version >= Version::V3_10;
        assert_eq!((behind < 0, status.as_str()), (shows, "ready"), "{behind}");
        assert_eq!(network.count("b"), 1);
        assert_abort(
            version,
            network.answer("a", "CREATE (:T)"),
            "RPC communication error",
        );
        network.until_status("a", "b", "ready");
        assert_eq!(network.count("b"), 2);
        network.must("a", "CREATE (:T)");
        assert_eq!(network.count("b"), 3);
    });
}

/// `FinalizePrepareCommitPhase` in `src/storage/v2/replication/replication_client.cpp`, 3.5 to 3.9.
#[test]
fn a_replica_that_has_voted_for_what_is_aborted_is_listed_as_ahead_up_to_3_9() {
    each_release_since(Version::V3_5, |version| {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.attach("a", "b", "STRICT_SYNC");
        network.attach("a", "c", "STRICT_SYNC");
        network.must("a", "CREATE (:T)");
        network.kill("c");
        for _ in 0..2 {
            let Err(_) = network.answer("a", "CREATE (:T)") else {
                panic!("it was committed");
            };
            let (_, behind, status) = network.replica("a", "b").unwrap();
            let ahead = version < Version::V3_10;
            assert_eq!((behind > 0, status.as_str()), (ahead, "ready"), "{behind}");
        }
        network.must("a", "DROP REPLICA c");
        network.must("a", "CREATE (:T)");
        let (_, behind, status) = network.replica("a", "b").unwrap();
        assert_eq!((behind, status.as_str()), (0, "ready"));
    });
}

#[test]
fn a_promotion_discards_what_was_prepared() {
    each_release_since(Version::V3_5, |version| {
        let mut network = Network::pair(version, "STRICT_SYNC");
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
    });
}

/// `server->Shutdown()` comes first in `ReplicationHandler::DoToMainPromotion` (`src/replication_handler/replication_handler.cpp`,
/// 3.5 to 3.12), `DestroyReplAccessor()` after it (since 3.8): whoever can still connect to the port knows that what this replica
/// has voted for is still there.
#[test]
fn a_promotion_closes_the_port_before_it_discards_what_was_prepared() {
    each_release_since(Version::V3_8, |version| {
        let mut network = Network::pair(version, "STRICT_SYNC");
        network.must("a", "CREATE (:T)");
        network.lose(|_, _, message| is(message, "FinalizeCommitReq"));
        let writer = network.client("a");
        network.prepare(&writer, "CREATE (:Lost)");
        network.send_request(&writer, Request::Execute { take: None });
        network.run(Duration::from_millis(10));
        assert!(network.is_prepared("b") && network.is_listening("b"));
        let human = network.client("b");
        network.prepare(&human, PROMOTE);
        network.send_request(&human, Request::Execute { take: None });
        let limit = network.now + Duration::from_secs(60);
        while network.is_prepared("b") {
            assert!(network.step(limit), "it is not discarded");
            assert!(network.is_prepared("b") || !network.is_listening("b"));
        }
        assert!(matches!(network.wait(&human), Response::Executed(_)));
        assert!(!network.is_listening("b"));
        assert_eq!((network.role("b").as_str(), network.count("b")), ("main", 1));
    });
}

/// Before 3.8 a promotion discards nothing: what was prepared stays open on the new MAIN, and in everybody's way.
#[test]
fn a_promotion_keeps_what_was_prepared_before_release_3_8() {
    for version in [Version::V3_5, Version::V3_6] {
        let mut network = Network::pair(version, "STRICT_SYNC");
        network.must("a", "CREATE (:T)");
        network.lose(|_, _, message| is(message, "FinalizeCommitReq"));
        let writer = network.client("a");
        network.prepare(&writer, "MATCH (n:T) SET n.lost = true");
        network.send_request(&writer, Request::Execute { take: None });
        network.run(Duration::from_millis(10));
        assert!(network.is_prepared("b"));
        network.kill("a");
        network.must("b", PROMOTE);
        assert!(network.is_prepared("b") && !network.is_listening("b"));
        assert_eq!(network.count("b"), 1);
        network.must("b", "CREATE (:Other)");
        let text = network.refused("b", "MATCH (n:T) SET n.mine = true");
        assert!(
            text.starts_with("Cannot resolve conflicting transactions"),
            "{text}"
        );
        network.restart("b");
        network.must("b", "MATCH (n:T) SET n.mine = true");
        assert_eq!(network.count("b"), 2);
    }
}

#[test]
fn a_prepared_transaction_does_not_survive_a_restart_of_the_replica() {
    let mut network = Network::pair(Version::default(), "STRICT_SYNC");
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
    let mut network = Network::pair(Version::default(), "STRICT_SYNC");
    network.restart("b");
    assert_abort(
        Version::default(),
        network.answer("a", "CREATE (:T)"),
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
fn a_long_read_on_a_replica_stalls_a_change_of_an_enum() {
    each_release_since(Version::V3_5, |version| {
        let mut network = Network::pair(version, "STRICT_SYNC");
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
    });
}
