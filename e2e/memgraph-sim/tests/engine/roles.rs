//! Roles, their changes, and what survives a restart.

use std::time::Duration;

use bolt_server::{Request, Response, TransactionOptions, Value, Version};

use crate::clients::prepare;
use crate::network::Network;

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";
const PROMOTE: &str = "SET REPLICATION ROLE TO MAIN";

#[test]
fn j01_a_fresh_instance_is_a_writable_main() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a"]);
        assert_eq!(network.role("a"), "main");
        assert!(network.must("a", "SHOW REPLICAS").is_empty());
        network.must("a", "CREATE (:T)");
        assert_eq!(network.count("a"), 1);
    }
}

#[test]
fn j06_admin_queries_answer_in_the_form_of_queries() {
    let mut network = Network::new(Version::default(), &["a"]);
    let client = network.client("a");
    let Response::Prepared(prepared) = network.prepare(&client, "SHOW REPLICATION ROLE") else {
        panic!()
    };
    assert_eq!(prepared.fields, ["replication role"]);
    assert_eq!(prepared.query_id, None);
    let Response::Executed(executed) = network.request(&client, Request::Execute { take: None }) else {
        panic!()
    };
    assert_eq!(executed.rows, [[Value::from("main")]]);
    let summary = executed.summary.unwrap();
    assert_eq!(summary.kind, Some(bolt_server::QueryKind::ReadWrite));
    assert_eq!(summary.database.as_deref(), Some("memgraph"));
    assert_eq!(summary.cost_estimate, Some(0.0));
    assert!(summary.notifications.is_empty());
    let Response::Prepared(prepared) = network.prepare(&client, DEMOTE) else {
        panic!()
    };
    assert!(prepared.fields.is_empty());
    let Response::Executed(executed) = network.request(&client, Request::Execute { take: None }) else {
        panic!()
    };
    let notifications = executed.summary.unwrap().notifications;
    assert_eq!(
        notifications,
        [bolt_server::Notification::info(
            "SetReplica",
            "Replica role set to REPLICA."
        )]
    );
}

#[test]
fn j07_replication_queries_are_refused_in_explicit_transactions() {
    let mut network = Network::new(Version::default(), &["a"]);
    for query in [
        "SHOW REPLICATION ROLE",
        "SHOW REPLICAS",
        DEMOTE,
        PROMOTE,
        "DROP REPLICA x",
    ] {
        let client = network.client("a");
        network.begin(&client);
        let Response::Failed(failure) = network.prepare(&client, query) else {
            panic!("{query} is let through")
        };
        assert!(
            failure
                .message
                .starts_with("Managing replication is not allowed in multicommand transactions. A"),
            "{failure:?}"
        );
        network.close(&client);
    }
    assert_eq!(network.role("a"), "main");
}

#[test]
fn j08_a_role_cannot_be_set_twice() {
    let mut network = Network::new(Version::default(), &["a"]);
    assert_eq!(
        network.refused("a", PROMOTE),
        "Couldn't set replication role to main!"
    );
    network.must("a", DEMOTE);
    assert_eq!(network.refused("a", DEMOTE), "Couldn't set role to replica!");
    let other_port = "SET REPLICATION ROLE TO REPLICA WITH PORT 10001";
    assert_eq!(network.refused("a", other_port), "Couldn't set role to replica!");
    assert_eq!(network.role("a"), "replica");
}

#[test]
fn j09_a_demoted_main_forgets_its_replicas_and_keeps_its_data() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.attach("a", "b", "ASYNC");
    network.must("a", "CREATE (:T)");
    network.must("a", DEMOTE);
    assert!(network.is_listening("a"));
    assert_eq!(network.count("a"), 1);
    network.must("a", PROMOTE);
    assert!(network.must("a", "SHOW REPLICAS").is_empty());
    network.restart("a");
    assert!(network.must("a", "SHOW REPLICAS").is_empty());
    assert_eq!(network.role("a"), "main");
}

#[test]
fn j10_a_promoted_replica_is_writable_and_stops_listening() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.attach("a", "b", "SYNC");
    network.must("a", "CREATE (:T)");
    network.must("b", PROMOTE);
    assert!(!network.is_listening("b"));
    network.must("b", "CREATE (:T)");
    assert_eq!(network.count("b"), 2);
    assert_eq!(network.count("a"), 1);
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

#[test]
fn j11_a_promotion_without_a_commit_does_no_harm_since_3_5() {
    for version in Version::ALL {
        let mut network = after_promotion(version);
        network.must("b", DEMOTE);
        network.must("a", "DROP REPLICA b");
        let register = "REGISTER REPLICA b SYNC TO 'b:10000'";
        if version >= Version::V3_5 {
            network.must("a", register);
            assert_eq!(network.status("a", "b"), "ready");
        } else {
            assert_eq!(network.refused("a", register), "Couldn't register replica b.");
            assert_eq!(network.status("a", "b"), "ghost");
        }
    }
}

#[test]
fn j12_a_promotion_with_a_commit_makes_data_diverge() {
    for version in Version::ALL {
        let mut network = after_promotion(version);
        network.must("b", "CREATE (:Own)");
        network.must("b", DEMOTE);
        network.must("a", "DROP REPLICA b");
        let text = network.refused("a", "REGISTER REPLICA b SYNC TO 'b:10000'");
        if version >= Version::V3_5 {
            assert_eq!(text, "Couldn't register replica b. Error: 3");
        } else {
            assert_eq!(text, "Couldn't register replica b.");
        }
        assert!(network.logged(
            "a",
            "You cannot register Replica b to this Main because at one point Replica b acted as the Main instance."
        ));
    }
}

#[test]
fn j13_a_diverged_registration_leaves_a_ghost_up_to_3_12() {
    for version in Version::ALL {
        let mut network = after_promotion(version);
        network.must("b", "CREATE (:Own)");
        network.must("b", DEMOTE);
        network.must("a", "DROP REPLICA b");
        let register = "REGISTER REPLICA b SYNC TO 'b:10000'";
        network.refused("a", register);
        if version >= Version::Head {
            assert_eq!(network.must("a", "SHOW REPLICAS").len(), 1, "only c");
            continue;
        }
        assert_eq!(network.replica("a", "b"), None);
        let again = network.refused("a", register);
        if version >= Version::V3_5 {
            assert_eq!(again, "Couldn't register replica b. Error: 1");
        }
        network.must("a", "DROP REPLICA b");
        assert_eq!(network.must("a", "SHOW REPLICAS").len(), 1, "only c");
    }
}

#[test]
fn j26_an_old_main_restarts_as_a_writable_main() {
    let mut network = Network::new(Version::default(), &["a", "b", "c"]);
    network.attach("a", "b", "ASYNC");
    network.attach("a", "c", "ASYNC");
    network.must("a", "CREATE (:T)");
    network.run(Duration::from_secs(1));
    network.kill("a");
    network.must("b", PROMOTE);
    network.must("b", "REGISTER REPLICA c ASYNC TO 'c:10000'");
    network.start("a");
    network.until_ready("a");
    assert_eq!(network.role("a"), "main");
    network.must("a", "CREATE (:Late)");
    network.run(Duration::from_secs(10));
    assert_eq!(network.status("a", "c"), "invalid");
    assert_eq!(
        network.status("a", "b"),
        "invalid",
        "its replication port is closed"
    );
    assert_eq!(network.status("b", "c"), "ready");
    assert_eq!(network.count("c"), 1);
}

#[test]
fn j27_an_old_main_feeds_replicas_that_nobody_else_has_taken() {
    let mut network = Network::new(Version::default(), &["a", "b", "c"]);
    network.attach("a", "b", "ASYNC");
    network.attach("a", "c", "ASYNC");
    network.kill("a");
    network.must("b", PROMOTE);
    network.start("a");
    network.until_ready("a");
    network.must("a", "CREATE (:Late)");
    network.run(Duration::from_secs(5));
    assert_eq!(network.status("a", "c"), "ready");
    assert_eq!(network.count("c"), 1, "c still obeys a");
}

#[test]
fn j28_a_replica_refuses_writes() {
    let mut network = Network::new(Version::default(), &["a"]);
    network.must("a", "CREATE (:T)");
    network.must("a", DEMOTE);
    let text = "Write queries are forbidden on the replica instance. Replica instances accept only read queries, while \
                the main instance accepts read and write queries. Please retry your query on the main instance.";
    let writes = [
        "CREATE (:T)",
        "MATCH (n) SET n.x = 1",
        "MATCH (n) DELETE n",
        "MERGE (:T)",
        "CREATE INDEX ON :T",
        "CREATE ENUM E VALUES { A }",
    ];
    for query in writes {
        let client = network.client("a");
        let Response::Failed(failure) = network.prepare(&client, query) else {
            panic!("{query} is let through")
        };
        assert_eq!(failure.message, text, "{query}");
        network.close(&client);
    }
    let constraint = network.refused("a", "CREATE CONSTRAINT ON (n:T) ASSERT n.id IS UNIQUE");
    assert_eq!(constraint, "Queries on replica shouldn't write.");
    assert!(network.must("a", "SHOW CONSTRAINT INFO").is_empty());
    let client = network.client("a");
    network.begin(&client);
    let Response::Failed(failure) = network.prepare(&client, "CREATE (:T)") else {
        panic!()
    };
    assert_eq!(failure.message, text);
    network.close(&client);
    let client = network.client("a");
    assert!(matches!(
        network.prepare(&client, "SHOW REPLICAS"),
        Response::Prepared(_)
    ));
    let Response::Failed(failure) = network.request(&client, Request::Execute { take: None }) else {
        panic!()
    };
    assert_eq!(
        failure.message,
        "Show replicas query should only be run on the main instance."
    );
    assert_eq!(network.count("a"), 1);
}

#[test]
fn j29_a_transaction_that_was_open_at_the_demotion_cannot_commit() {
    let mut network = Network::new(Version::default(), &["a"]);
    let client = network.client("a");
    network.begin(&client);
    network.run_on(&client, "CREATE (:T)").unwrap();
    network.must("a", DEMOTE);
    let Response::Failed(failure) = network.request(&client, Request::Commit) else {
        panic!()
    };
    assert_eq!(
        failure.message,
        "Cannot commit because instance is not main anymore."
    );
    assert_eq!(network.count("a"), 0);
}

#[test]
fn j35_a_restarted_main_keeps_its_uuid_and_waits_for_its_replicas() {
    let mut network = Network::new(Version::default(), &["a", "b", "c"]);
    network.attach("a", "b", "ASYNC");
    network.attach("a", "c", "ASYNC");
    network.kill("a");
    network.black_hole("c");
    network.start("a");
    let before = network.now;
    network.until_ready("a");
    assert!(
        network.now - before >= Duration::from_secs(5),
        "it waits for a connection to c"
    );
    assert_eq!(
        network.status("a", "b"),
        "ready",
        "b was not asked to accept a main again"
    );
    assert_eq!(network.status("a", "c"), "invalid");
    network.heal();
    network.until_status("a", "c", "ready");
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

#[test]
fn a_port_that_cannot_be_opened_leaves_a_replica_that_cannot_restart() {
    let mut network = Network::new(Version::default(), &["a"]);
    network.block_port("a");
    assert_eq!(network.refused("a", DEMOTE), "Couldn't set role to replica!");
    assert_eq!(network.role("a"), "replica", "the role is changed all the same");
    network.kill("a");
    network.block_port("a");
    network.start("a");
    network.run(Duration::from_secs(1));
    let reason = network.has_exited("a").unwrap();
    assert_eq!(
        reason,
        memgraph_sim::engine::ExitReason::Fatal("Replica recovery failure!".into())
    );
}

#[test]
fn the_init_file_runs_before_bolt_opens_and_its_errors_are_ignored() {
    let mut network = Network::new(Version::default(), &[]);
    let config = memgraph_sim::config::Config {
        init_statements: Some(format!("NONSENSE;\n\n{DEMOTE};\n{DEMOTE};\n")),
        ..memgraph_sim::config::Config::default()
    };
    network.add("a", config);
    assert_eq!(network.role("a"), "replica");
    assert!(network.is_listening("a"));
    network.restart("a");
    assert_eq!(network.role("a"), "replica");
}

#[test]
fn a_failed_query_of_a_session_does_not_disturb_the_next_one() {
    let mut network = Network::new(Version::default(), &["a"]);
    let client = network.client("a");
    network.send_request(&client, prepare("NONSENSE"));
    assert!(matches!(network.wait(&client), Response::Failed(_)));
    assert_eq!(network.request(&client, Request::Abort), Response::Done);
    assert!(network.run_on(&client, "CREATE (:T)").is_ok());
    let options = TransactionOptions {
        database: Some("neo4j".into()),
        ..TransactionOptions::default()
    };
    let Response::Failed(failure) = network.request(&client, Request::Begin(options)) else {
        panic!()
    };
    assert_eq!(
        failure.message,
        "Tried to retrieve an unknown database \"neo4j\"."
    );
}
