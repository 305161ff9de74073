//! Who waits for whom: the replication lock, the engine lock, access to the storage, the one thread of a replica.

use std::time::Duration;

use bolt_server::{Request, Response, Version};
use memgraph_sim::config::Config;

use crate::clients::prepare;
use crate::network::{Client, Network};
use crate::releases::{each_release, modes};

const DEMOTE: &str = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";
const PROMOTE: &str = "SET REPLICATION ROLE TO MAIN";
const BUSY: &str = "Couldn't set replication role to main!";

/// Begins a query without waiting for it; the next request to the client is PULL.
fn start(network: &mut Network, member: &str, query: &str) -> Client {
    let client = network.client(member);
    let response = network.prepare(&client, query);
    assert!(matches!(response, Response::Prepared(_)), "{response:?}");
    network.send_request(&client, Request::Execute { take: None });
    client
}

fn failure(response: Response) -> String {
    match response {
        Response::Failed(failure) => failure.message,
        other => panic!("{other:?}"),
    }
}

/// Clients that write one node after the other.
struct Writers(Vec<(Client, bool)>);

impl Writers {
    fn new(network: &mut Network, count: usize) -> Self {
        Self((0..count).map(|_| (network.client("a"), true)).collect())
    }

    /// Lets time pass; whoever has an answer asks again.
    fn go_on(&mut self, network: &mut Network, duration: Duration) {
        let until = network.now + duration;
        while network.now < until {
            for (client, idle) in &mut self.0 {
                match network.response(client) {
                    Some(Response::Prepared(_)) => {
                        network.send_request(client, Request::Execute { take: None });
                    }
                    Some(Response::Executed(_)) => network.send_request(client, prepare("CREATE (:T)")),
                    None if *idle => network.send_request(client, prepare("CREATE (:T)")),
                    None => {}
                    Some(other) => panic!("{other:?}"),
                }
                *idle = false;
            }
            network.run(Duration::from_micros(50));
        }
    }
}

#[test]
fn admin_commands_starve_while_clients_write() {
    for mode in ["SYNC", "STRICT_SYNC"] {
        let mut network = Network::new(Version::default(), &["a", "b", "c"]);
        network.attach("a", "b", mode);
        network.must("c", DEMOTE);
        let mut writers = Writers::new(&mut network, 3);
        writers.go_on(&mut network, Duration::from_millis(10));
        for _ in 0..20 {
            // The lock is only tried, and some commit always holds it.
            assert_eq!(network.refused("a", DEMOTE), "Couldn't set role to replica!");
            writers.go_on(&mut network, Duration::from_micros(900));
            let text = network.refused("a", "REGISTER REPLICA c ASYNC TO 'c:10000'");
            assert_eq!(text, "Couldn't register replica c. Error: 6");
            writers.go_on(&mut network, Duration::from_micros(700));
            let text = network.refused("a", "DROP REPLICA b");
            assert!(text.contains("due to lack of unique access"), "{text}");
            writers.go_on(&mut network, Duration::from_millis(1));
        }
        assert!(network.count("a") > 20);
        network.run(Duration::from_secs(1));
        network.must("a", "REGISTER REPLICA c ASYNC TO 'c:10000'");
        network.must("a", "DROP REPLICA b");
        network.must("a", DEMOTE);
    }
}

#[test]
fn the_state_of_a_replica_is_unknown_while_a_commit_connects() {
    let mut network = Network::pair(Version::default(), "STRICT_SYNC");
    // A ping that gets no answer holds the connection for five seconds, and a commit waits for that.
    network.black_hole("b");
    network.run(Duration::from_millis(1100));
    let writer = start(&mut network, "a", "CREATE (:T)");
    network.run(Duration::from_millis(100));
    let started = network.now;
    let reader = start(&mut network, "a", "SHOW REPLICAS");
    let Response::Executed(executed) = network.wait(&reader) else {
        panic!()
    };
    let waited = network.now - started;
    assert!(
        waited > Duration::from_secs(3) && waited < Duration::from_secs(12),
        "{waited:?}"
    );
    assert_eq!(executed.rows.len(), 1);
    let text = failure(network.wait(&writer));
    assert!(
        text.contains("Transaction was aborted on all instances."),
        "{text}"
    );
}

#[test]
fn a_pending_unique_access_keeps_new_readers_out() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a"]);
        let reader = network.client("a");
        network.begin(&reader);
        network.run_on(&reader, "MATCH (n) RETURN n").unwrap();
        // It waits for as long as it takes.
        let unique = start(&mut network, "a", "STORAGE MODE IN_MEMORY_ANALYTICAL");
        network.run(Duration::from_secs(20));
        assert!(network.response(&unique).is_none());
        let started = network.now;
        let text = network.refused("a", "MATCH (n) RETURN n");
        assert!(
            text.starts_with("Cannot get shared access to the storage."),
            "{text}"
        );
        assert_eq!((network.now - started).as_secs(), 1);
        // Who is in may go on, and who needs no storage does not wait.
        network.run_on(&reader, "MATCH (n) RETURN n").unwrap();
        assert_eq!(network.role("a"), "main");
        assert_eq!(network.request(&reader, Request::Rollback), Response::Done);
        assert!(matches!(network.wait(&unique), Response::Executed(_)));
        network.must("a", "MATCH (n) RETURN n");
    }
}

#[test]
fn a_running_snapshot_keeps_unique_access_waiting_and_that_keeps_readers_waiting() {
    let mut network = Network::new(Version::default(), &["a"]);
    network.must("a", "CREATE (:T)");
    network.disk("a").slow_snapshots = Duration::from_secs(8);
    let snapshot = start(&mut network, "a", "CREATE SNAPSHOT");
    network.run(Duration::from_secs(1));
    network.must("a", "CREATE (:T)");
    assert_eq!(
        network.refused("a", "CREATE SNAPSHOT"),
        "Another snapshot creation is already in progress"
    );
    let text = network.refused("a", "CREATE ENUM E VALUES { x }");
    assert!(
        text.starts_with("Cannot get unique access to the storage."),
        "{text}"
    );
    let unique = start(&mut network, "a", "STORAGE MODE IN_MEMORY_ANALYTICAL");
    network.run(Duration::from_millis(10));
    let text = network.refused("a", "MATCH (n) RETURN n");
    assert!(
        text.starts_with("Cannot get shared access to the storage."),
        "{text}"
    );
    assert!(matches!(network.wait(&snapshot), Response::Executed(_)));
    assert!(matches!(network.wait(&unique), Response::Executed(_)));
    network.must("a", "MATCH (n) RETURN n");
}

#[test]
fn a_replica_waits_for_its_readers_without_a_limit() {
    let mut network = Network::pair(Version::default(), "ASYNC");
    let reader = network.client("b");
    network.begin(&reader);
    network.run_on(&reader, "MATCH (n) RETURN n").unwrap();
    network.must("a", "CREATE ENUM E VALUES { x }");
    network.run(Duration::from_secs(20));
    // The change of the enum waits, and new readers wait behind it.
    let text = network.refused("b", "MATCH (n) RETURN n");
    assert!(
        text.starts_with("Cannot get shared access to the storage."),
        "{text}"
    );
    assert_eq!(network.request(&reader, Request::Rollback), Response::Done);
    network.run(Duration::from_secs(1));
    assert_eq!(network.must("b", "SHOW ENUMS").len(), 1);
}

#[test]
fn one_thread_serves_all_mains() {
    let mut network = Network::new(Version::default(), &["a", "b", "c"]);
    network.attach("a", "b", "ASYNC");
    let reader = network.client("b");
    network.begin(&reader);
    network.run_on(&reader, "MATCH (n) RETURN n").unwrap();
    network.must("a", "CREATE ENUM E VALUES { x }");
    network.run(Duration::from_millis(100));
    // The thread of b waits for the reader, and so does whoever else wants something of it.
    let started = network.now;
    let text = network.refused("c", "REGISTER REPLICA b ASYNC TO 'b:10000'");
    assert_eq!(text, "Couldn't register replica b. Error: 5");
    assert_eq!(
        (network.now - started).as_secs(),
        10,
        "the time-out of SwapMainUUID"
    );
    // What has been asked for is still done when its turn comes, although nobody waits for it any more.
    assert_eq!(network.request(&reader, Request::Rollback), Response::Done);
    network.run(Duration::from_secs(1));
    network.must("c", "DROP REPLICA b");
    network.must("a", "CREATE (:T)");
    network.run(Duration::from_secs(40));
    assert_eq!(network.count("b"), 0, "b obeys c now");
    assert!(network.logged("b", "Received PrepareCommitReq with main_id: "));
}

#[test]
fn a_promotion_and_a_registration_wait_for_each_other_for_ever() {
    let mut network = Network::new(Version::default(), &["b", "c"]);
    network.must("b", DEMOTE);
    let promotion = start(&mut network, "b", PROMOTE);
    let text = network.refused("c", "REGISTER REPLICA b SYNC TO 'b:10000'");
    assert_eq!(text, "Couldn't register replica b. Error: 5");
    assert!(
        matches!(network.wait(&promotion), Response::Executed(_)),
        "new connections are refused at once"
    );
    for version in [Version::V3_5, Version::V3_12, Version::Head] {
        let mut network = Network::new(version, &["b", "c"]);
        network.must("b", DEMOTE);
        // The request of c is under way when the promotion begins.
        let registration = start(&mut network, "c", "REGISTER REPLICA b SYNC TO 'b:10000'");
        network.run(Duration::from_micros(450));
        let promotion = start(&mut network, "b", PROMOTE);
        let text = failure(network.wait(&registration));
        assert!(text.starts_with("Couldn't register replica b."), "{text}");
        network.run(Duration::from_secs(120));
        assert!(
            network.response(&promotion).is_none(),
            "it holds the lock for ever"
        );
        let role = start(&mut network, "b", "SHOW REPLICATION ROLE");
        network.run(Duration::from_secs(120));
        assert!(
            network.response(&role).is_none(),
            "and everybody waits for the lock"
        );
        // The role was not written yet.
        network.restart("b");
        assert_eq!(network.role("b"), "replica");
        network.must("b", PROMOTE);
    }
}

#[test]
fn a_promotion_waits_for_what_main_has_begun_or_is_refused_since_3_10() {
    for version in Version::ALL {
        let mut network = Network::pair(version, "ASYNC");
        let reader = network.client("b");
        network.begin(&reader);
        network.run_on(&reader, "MATCH (n) RETURN n").unwrap();
        network.must("a", "CREATE ENUM E VALUES { x }");
        network.run(Duration::from_millis(100));
        if version >= Version::V3_10 {
            assert_eq!(network.refused("b", PROMOTE), BUSY);
            assert_eq!(network.request(&reader, Request::Rollback), Response::Done);
            network.run(Duration::from_secs(1));
            network.must("b", PROMOTE);
        } else {
            let promotion = start(&mut network, "b", PROMOTE);
            network.run(Duration::from_secs(20));
            assert!(network.response(&promotion).is_none());
            assert_eq!(network.request(&reader, Request::Rollback), Response::Done);
            assert!(matches!(network.wait(&promotion), Response::Executed(_)));
        }
        assert_eq!(
            network.must("b", "SHOW ENUMS").len(),
            1,
            "{version:?}: it was applied before"
        );
    }
}

#[test]
fn a_decision_that_arrives_during_the_promotion_counts() {
    let mut network = Network::pair(Version::default(), "STRICT_SYNC");
    network.must("a", "CREATE (:T)");
    network.decide(|_, _, message| match message.name() {
        "FinalizeCommitReq" => crate::network::Fate::Delayed(Duration::from_millis(20)),
        _ => crate::network::Fate::Delivered,
    });
    let writer = start(&mut network, "a", "CREATE (:T)");
    network.run(Duration::from_millis(10));
    assert_eq!(network.count("b"), 1);
    let promotion = start(&mut network, "b", PROMOTE);
    assert!(matches!(network.wait(&promotion), Response::Executed(_)));
    assert!(matches!(network.wait(&writer), Response::Executed(_)));
    assert_eq!(network.count("b"), 2);
}

#[test]
fn system_queries_wait_a_tenth_of_a_second_for_each_other() {
    let mut network = Network::new(Version::default(), &["a", "b"]);
    network.must("b", DEMOTE);
    network.black_hole("b");
    let registration = start(&mut network, "a", "REGISTER REPLICA b SYNC TO 'b:10000'");
    network.run(Duration::from_millis(10));
    for query in [
        PROMOTE,
        DEMOTE,
        "DROP REPLICA b",
        "CREATE USER u IDENTIFIED BY 'p'",
    ] {
        let started = network.now;
        let client = network.client("a");
        let Response::Failed(failure) = network.prepare(&client, query) else {
            panic!("{query}")
        };
        assert_eq!(
            failure.message, "Multiple concurrent system queries are not supported.",
            "{query}"
        );
        assert_eq!(network.now - started, Duration::from_millis(100), "{query}");
    }
    let text = failure(network.wait(&registration));
    assert_eq!(text, "Couldn't register replica b. Error: 5");
    network.must("a", "DROP REPLICA b");
}

#[test]
fn everybody_queues_behind_a_hung_replica() {
    each_release(|version| {
        for mode in modes(version).iter().filter(|mode| **mode != "ASYNC") {
            let mut network = Network::pair(version, mode);
            network.lose(|_, _, message| message.name() == "PrepareCommitReq");
            let reader = network.client("a");
            network.begin(&reader);
            let writers: Vec<_> = (0..3).map(|_| network.client("a")).collect();
            for writer in &writers {
                network.prepare(writer, "CREATE (:T)");
            }
            for writer in &writers {
                network.send_request(writer, Request::Execute { take: None });
            }
            network.run(Duration::from_secs(10));
            // A transaction that is open can read; one that begins waits, as the commit holds the lock of the clock.
            network.run_on(&reader, "MATCH (n) RETURN n").unwrap();
            assert_eq!(network.request(&reader, Request::Rollback), Response::Done);
            network.send_request(&reader, prepare("MATCH (n) RETURN n"));
            network.run(Duration::from_secs(15));
            assert_eq!(network.response(&reader), None);
            assert_eq!(network.role("a"), "main", "what needs no storage is answered");
            assert_eq!(network.must("a", "SHOW REPLICAS").len(), 1);
            let mut ended = Vec::new();
            for writer in &writers {
                match network.wait(writer) {
                    Response::Failed(failure) => {
                        assert!(failure.message.starts_with("Replication Exception: "))
                    }
                    Response::Executed(_) => assert_eq!((version, *mode), (Version::Head, "SYNC")),
                    other => panic!("{other:?}"),
                }
                ended.push(network.now.as_secs());
            }
            // The first waits for its time-out; the others find the replica out of sync.
            assert!(ended[1] - ended[0] <= 6 && ended[2] - ended[1] <= 6, "{ended:?}");
            assert!(matches!(network.wait(&reader), Response::Prepared(_)));
            assert_eq!(network.count("a"), if *mode == "SYNC" { 3 } else { 0 });
        }
    });
}

#[test]
fn a_read_only_transaction_leaves_room_for_the_creation_of_an_index() {
    let mut network = Network::new(Version::default(), &[]);
    network.add("a", Config::default());
    let reader = network.client("a");
    let options = bolt_server::TransactionOptions {
        read_only: true,
        ..bolt_server::TransactionOptions::default()
    };
    assert_eq!(network.request(&reader, Request::Begin(options)), Response::Done);
    network.must("a", "CREATE INDEX ON :T");
    assert_eq!(network.request(&reader, Request::Rollback), Response::Done);
    network.begin(&reader);
    let text = network.refused("a", "CREATE INDEX ON :U");
    assert!(
        text.starts_with("Cannot get read-only access to the storage."),
        "{text}"
    );
}

#[test]
fn everybody_waits_while_the_log_file_is_being_sent_to_whoever() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.attach("a", "c", "SYNC");
        network.attach("a", "b", "ASYNC");
        network.kill("b");
        network.run(Duration::from_secs(5));
        network.must("a", "CREATE (:T)");
        // The replica vanishes while it is brought up to date.
        network.lose(|_, _, message| message.name() == "CurrentWalReq");
        network.start("b");
        network.until_ready("b");
        network.until_status("a", "b", "recovery");
        network.run(Duration::from_millis(100));
        assert_eq!(network.count("a"), 1, "readers do not wait for the file");
        let writer = start(&mut network, "a", "CREATE (:T)");
        network.run(Duration::from_secs(1));
        let started = network.now;
        let reader = network.client("a");
        network.send_request(&reader, prepare("MATCH (n) RETURN n"));
        network.run(Duration::from_secs(20));
        assert_eq!(network.response(&reader), None, "but for the writer");
        assert!(
            network
                .refused("a", "DROP REPLICA b")
                .contains("lack of unique access"),
            "and it cannot be dropped"
        );
        assert!(matches!(network.wait(&writer), Response::Executed(_)));
        let waited = (network.now - started).as_secs();
        assert!((25..30).contains(&waited), "{version:?}: {waited}");
        assert!(matches!(network.wait(&reader), Response::Prepared(_)));
        network.heal();
        network.until_status("a", "b", "ready");
        assert_eq!(
            (network.count("a"), network.count("b"), network.count("c")),
            (2, 2, 2)
        );
    }
}
