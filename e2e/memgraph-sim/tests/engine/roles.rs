//! Roles, their changes, and what survives a restart.

use std::time::Duration;

use bolt_server::{Failure, Request, Response, TransactionOptions, Value, Version};
use memgraph_sim::{
    config::Config,
    engine::{ExitReason, PeerMessage},
};

use crate::clients::{Stage, prepare};
use crate::network::Network;
use crate::releases::{each_mode, each_release};

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";
const PROMOTE: &str = "SET REPLICATION ROLE TO MAIN";

#[test]
fn j01_a_fresh_instance_is_a_writable_main() {
    each_release(|version| {
        let mut network = Network::new(version, &["a", "b"]);
        assert_eq!(network.role("a"), "main");
        assert_eq!(network.durable("a"), 0);
        assert!(network.must("a", "SHOW REPLICAS").is_empty());
        assert_ne!(network.database_uuid("a"), network.database_uuid("b"));
        assert_ne!(network.own_uuid("a"), network.own_uuid("b"));
        network.must("a", "CREATE (:T)");
        assert_eq!(network.count("a"), 1);
        assert!(network.durable("a") > 0);
    });
}

#[test]
fn j07_replication_queries_are_refused_in_explicit_transactions() {
    each_release(|version| {
        // The space went away when the spelling was corrected.
        let slip = if version < Version::V3_8 {
            "knwon as an auto committing transaction, in order to execute this particular query"
        } else {
            "known as an auto committing transaction, in order to execute this particularquery"
        };
        let text = format!(
            "Managing replication is not allowed in multicommand transactions. A multicommand transaction, also known \
             as an explicit transaction, groups multiple commands into a single atomic operation. Instead, please use \
             an implicit transaction, also {slip}. For more details, visit https://memgraph.com/docs"
        );
        let mut network = Network::pair(version, "ASYNC");
        for query in [
            "SHOW REPLICATION ROLE",
            "SHOW REPLICAS",
            DEMOTE,
            PROMOTE,
            "REGISTER REPLICA x ASYNC TO 'x:10000'",
            "DROP REPLICA b",
        ] {
            let client = network.client("a");
            network.begin(&client);
            assert_eq!(
                network.answer_on(&client, query),
                Err((Stage::Run, Failure::client(text.clone()))),
                "{query}"
            );
            network.close(&client);
        }
        assert_eq!(network.role("a"), "main");
        assert_eq!(network.must("a", "SHOW REPLICAS").len(), 1);
    });
}

#[test]
fn j08_a_role_cannot_be_set_twice() {
    each_release(|version| {
        let mut network = Network::new(version, &["a"]);
        assert_eq!(
            network.failure("a", PROMOTE),
            (
                Stage::Pull,
                Failure::client("Couldn't set replication role to main!")
            )
        );
        assert_eq!(network.role("a"), "main");
        network.must("a", DEMOTE);
        for port in [10_000, 10_001] {
            let again = format!("SET REPLICATION ROLE TO REPLICA WITH PORT {port}");
            assert_eq!(
                network.failure("a", &again),
                (Stage::Pull, Failure::client("Couldn't set role to replica!"))
            );
        }
        assert_eq!(network.role("a"), "replica");
        assert!(network.is_listening("a"));
    });
}

#[test]
fn j09_a_demoted_main_forgets_its_replicas_and_keeps_its_data() {
    each_release(|version| {
        for restarted in [false, true] {
            let mut network = Network::pair(version, "ASYNC");
            network.must("a", "CREATE (:T)");
            let before = network.main_uuid("a");
            assert!(!network.is_listening("a"));
            network.must("a", DEMOTE);
            assert!(network.is_listening("a"));
            assert_ne!(
                network.main_uuid("a"),
                before,
                "it obeys a random main: that is, nobody"
            );
            if restarted {
                network.restart("a");
                assert!(network.is_listening("a"));
                assert_eq!(network.role("a"), "replica");
            }
            assert_eq!(network.count("a"), 1);
            network.must("a", PROMOTE);
            assert!(network.must("a", "SHOW REPLICAS").is_empty());
            network.must("a", "CREATE (:T)");
            network.run(Duration::from_secs(5));
            assert_eq!(network.count("b"), 1, "nothing goes to b any more");
            network.restart("a");
            assert!(network.must("a", "SHOW REPLICAS").is_empty());
            assert_eq!(network.role("a"), "main");
        }
    });
}

#[test]
fn j26_an_old_main_restarts_as_a_writable_main() {
    each_mode(|version, mode| {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.attach("a", "b", "ASYNC");
        network.attach("a", "c", mode);
        network.must("a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        network.kill("a");
        network.must("b", PROMOTE);
        network.must("b", "REGISTER REPLICA c ASYNC TO 'c:10000'");
        network.start("a");
        network.until_ready("a");
        assert_eq!(network.role("a"), "main");
        assert_eq!(network.must("a", "SHOW REPLICAS").len(), 2);
        let late = network.query("a", "CREATE (:Late)");
        let writable = mode != "STRICT_SYNC";
        assert_eq!(network.count("a"), if writable { 2 } else { 1 }, "{late:?}");
        network.run(Duration::from_secs(10));
        assert_eq!(network.status("a", "c"), "invalid");
        assert_eq!(
            network.status("a", "b"),
            "invalid",
            "its replication port is closed"
        );
        assert_eq!(network.status("b", "c"), "ready");
        assert_eq!(network.count("c"), 1);
    });
}

#[test]
fn j27_an_old_main_feeds_replicas_that_nobody_else_has_taken() {
    each_mode(|version, mode| {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.attach("a", "b", "ASYNC");
        network.attach("a", "c", mode);
        network.kill("a");
        network.must("b", PROMOTE);
        network.start("a");
        network.until_ready("a");
        network.must("a", "CREATE (:Late)");
        network.run(Duration::from_secs(5));
        assert_eq!(network.status("a", "c"), "ready");
        assert_eq!(network.count("c"), 1, "c still obeys a");
    });
}

#[test]
fn j28_a_replica_refuses_writes() {
    let text = "Write queries are forbidden on the replica instance. Replica instances accept only read queries, while \
                the main instance accepts read and write queries. Please retry your query on the main instance.";
    let refusal = Err((Stage::Run, Failure::client(text)));
    each_release(|version| {
        let mut network = Network::new(version, &["a"]);
        network.must("a", "CREATE (:T)");
        network.must("a", "CREATE INDEX ON :Old");
        network.must("a", "CREATE ENUM Old VALUES { A }");
        network.must("a", DEMOTE);
        for query in [
            "CREATE (:T)",
            "MATCH (n) SET n.x = 1",
            "MATCH (n) REMOVE n:T",
            "MATCH (n) DELETE n",
            "MERGE (:T)",
            "CREATE INDEX ON :T",
            "CREATE INDEX ON :T(id)",
            "DROP INDEX ON :Old",
            "CREATE ENUM E VALUES { A }",
            "ALTER ENUM Old ADD VALUE B",
            "ALTER ENUM Old UPDATE VALUE A TO B",
        ] {
            assert_eq!(network.answer("a", query).map(|_| ()), refusal, "{query}");
        }
        assert_eq!(network.must("a", "SHOW INDEX INFO").len(), 1);
        // A constraint is no write in the eyes of the planner: it is refused when it is committed, if at all.
        let constraint = "CREATE CONSTRAINT ON (n:T) ASSERT n.id IS UNIQUE";
        if version >= Version::V3_5 {
            assert_eq!(
                network.failure("a", constraint),
                (
                    Stage::Pull,
                    Failure::client("Queries on replica shouldn't write.")
                )
            );
        } else {
            network.must("a", constraint);
        }
        // Before 3.10 it is in memory all the same, although in 3.8 nobody sees it.
        let seen = usize::from(version < Version::V3_8);
        assert_eq!(network.must("a", "SHOW CONSTRAINT INFO").len(), seen);
        network.restart("a");
        assert!(network.must("a", "SHOW CONSTRAINT INFO").is_empty());
        let client = network.client("a");
        network.begin(&client);
        network.run_on(&client, "MATCH (n) RETURN n").unwrap();
        assert_eq!(network.answer_on(&client, "CREATE (:T)").map(|_| ()), refusal);
        network.close(&client);
        assert_eq!(
            network.failure("a", "SHOW REPLICAS"),
            (
                Stage::Pull,
                Failure::client("Show replicas query should only be run on the main instance.")
            )
        );
        assert_eq!(network.count("a"), 1);
    });
}

#[test]
fn j29_a_transaction_that_was_open_at_the_demotion_cannot_commit() {
    each_release(|version| {
        let mut network = Network::new(version, &["a"]);
        let client = network.client("a");
        network.begin(&client);
        network.run_on(&client, "CREATE (:T)").unwrap();
        let reader = network.client("a");
        network.begin(&reader);
        network.run_on(&reader, "MATCH (n) RETURN n").unwrap();
        network.must("a", DEMOTE);
        assert_eq!(
            network.request(&client, Request::Commit),
            Response::Failed(Failure::client(
                "Cannot commit because instance is not main anymore."
            ))
        );
        assert!(matches!(
            network.request(&reader, Request::Commit),
            Response::Committed { .. }
        ));
        assert_eq!(network.count("a"), 0);
    });
}

#[test]
fn j35_a_restarted_main_keeps_its_uuid_and_waits_for_its_replicas() {
    each_release(|version| {
        let mut network = Network::new(version, &["a", "b", "c", "d"]);
        network.attach("a", "d", "ASYNC");
        network.attach("a", "b", "SYNC");
        network.attach("a", "c", "ASYNC");
        let uuid = network.main_uuid("a");
        let mut listed = network.must("a", "SHOW REPLICAS");
        listed.sort_by_key(|row| row[0].as_str().map(str::to_owned));
        network.kill("a");
        network.black_hole("c");
        network.black_hole("d");
        // A main that restarts does not tell its UUID again.
        network.lose(|_, _, message: &PeerMessage| {
            assert_ne!(message.name(), "SwapMainUUIDReq");
            false
        });
        network.start("a");
        let before = network.now;
        network.until_ready("a");
        assert!(
            network.now - before >= Duration::from_secs(10),
            "five seconds for a connection to c, and as many for d"
        );
        assert_eq!(network.main_uuid("a"), uuid);
        let names = network.must("a", "SHOW REPLICAS");
        let without_data = |rows: &[Vec<Value>]| rows.iter().map(|row| row[..3].to_vec()).collect::<Vec<_>>();
        assert_eq!(without_data(&names), without_data(&listed), "in order of names");
        assert_eq!(network.status("a", "b"), "ready");
        assert_eq!(network.status("a", "c"), "invalid");
        assert_eq!(network.status("a", "d"), "invalid");
        network.heal();
        network.until_status("a", "c", "ready");
        network.until_status("a", "d", "ready");
    });
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
    assert_eq!(reason, ExitReason::Fatal("Replica recovery failure!".into()));
}

#[test]
fn the_init_file_runs_before_bolt_opens_and_its_errors_are_ignored() {
    let mut network = Network::new(Version::default(), &[]);
    let config = Config {
        init_statements: Some(format!("NONSENSE;\n\n{DEMOTE};\n{DEMOTE};\n")),
        ..Config::default()
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
