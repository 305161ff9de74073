//! Changes of indexes and constraints that a STRICT_SYNC replica prevents: what is left of them until a restart. Before
//! 3.10 it is all of them, on MAIN and on replicas that had prepared the change.

use std::time::Duration;

use bolt_server::Version;
use memgraph_sim::engine::ExitReason;

use crate::network::Network;
use crate::releases::each_release_since;

const UNIQUE: &str = "CREATE CONSTRAINT ON (n:T) ASSERT n.i IS UNIQUE";
const DROP_UNIQUE: &str = "DROP CONSTRAINT ON (n:T) ASSERT n.i IS UNIQUE";
const EXISTS: &str = "CREATE CONSTRAINT ON (n:T) ASSERT EXISTS (n.i)";

/// MAIN `a` with `b`, which will take part in a commit, and `c`, which will not. Both are STRICT_SYNC.
fn cluster(version: Version, before: &[&str]) -> Network {
    let mut network = Network::new(version, &["a", "b", "c"]);
    for name in ["b", "c"] {
        network.attach("a", name, "STRICT_SYNC");
    }
    for statement in before {
        network.must("a", statement);
    }
    network.kill("c");
    network
}

/// Runs a statement that `c` prevents.
fn prevent(network: &mut Network, statement: &str) {
    let text = network.refused("a", statement);
    assert!(text.starts_with("Replication Exception: "), "{text}");
}

/// Does without `c`, and waits for `b`.
fn go_on(network: &mut Network) {
    network.must("a", "DROP REPLICA c");
    network.until_status("a", "b", "ready");
}

fn restart(network: &mut Network, name: &str) {
    network.restart(name);
    network.run(Duration::from_secs(5));
}

fn indexes(network: &mut Network, name: &str) -> usize {
    network.must(name, "SHOW INDEX INFO").len()
}

fn constraints(network: &mut Network, name: &str) -> usize {
    network.must(name, "SHOW CONSTRAINT INFO").len()
}

/// The code of the only notification.
fn told(network: &mut Network, statement: &str) -> String {
    let [notification] = network.notifications("a", statement).try_into().unwrap();
    notification.code.to_string()
}

fn undoes(version: Version) -> bool {
    version >= Version::V3_10
}

#[test]
fn a_prevented_index_is_in_the_way_of_the_next_attempt() {
    each_release_since(Version::V3_5, |version| {
        for index in ["INDEX ON :T", "INDEX ON :T(i)"] {
            let mut network = cluster(version, &[]);
            prevent(&mut network, &format!("CREATE {index}"));
            go_on(&mut network);
            for name in ["a", "b"] {
                assert_eq!(indexes(&mut network, name), 0, "nobody sees it");
            }
            let code = told(&mut network, &format!("CREATE {index}"));
            if undoes(version) {
                assert_eq!(code, "CreateIndex");
            } else {
                assert_eq!(code, "IndexAlreadyExists");
                // It is in both memories, as b had prepared it, and can be dropped there.
                assert_eq!(told(&mut network, &format!("DROP {index}")), "DropIndex");
                assert_eq!(told(&mut network, &format!("CREATE {index}")), "CreateIndex");
            }
            for name in ["a", "b"] {
                assert_eq!(indexes(&mut network, name), 1);
            }
        }
    });
}

#[test]
fn a_replica_that_had_prepared_an_index_refuses_it_until_its_restart() {
    each_release_since(Version::V3_5, |version| {
        let mut network = cluster(version, &[]);
        prevent(&mut network, "CREATE INDEX ON :T");
        go_on(&mut network);
        // MAIN forgets it, b does not.
        restart(&mut network, "a");
        network.until_status("a", "b", "ready");
        if !undoes(version) {
            for _ in 0..2 {
                prevent(&mut network, "CREATE INDEX ON :T");
                network.until_status("a", "b", "ready");
                restart(&mut network, "a");
                network.until_status("a", "b", "ready");
            }
            restart(&mut network, "b");
            network.until_status("a", "b", "ready");
        }
        assert_eq!(told(&mut network, "CREATE INDEX ON :T"), "CreateIndex");
        assert_eq!(indexes(&mut network, "b"), 1);
    });
}

#[test]
fn what_could_not_be_dropped_is_gone_until_a_restart() {
    each_release_since(Version::V3_5, |version| {
        let mut network = cluster(version, &["CREATE INDEX ON :T", UNIQUE]);
        prevent(&mut network, "DROP INDEX ON :T");
        prevent(&mut network, DROP_UNIQUE);
        go_on(&mut network);
        let left = usize::from(undoes(version));
        for name in ["a", "b"] {
            assert_eq!(
                (indexes(&mut network, name), constraints(&mut network, name)),
                (left, left)
            );
        }
        for name in ["a", "b"] {
            restart(&mut network, name);
            assert_eq!(
                (indexes(&mut network, name), constraints(&mut network, name)),
                (1, 1)
            );
        }
    });
}

#[test]
fn an_index_that_is_created_again_after_that_keeps_main_from_starting() {
    each_release_since(Version::V3_5, |version| {
        let mut network = cluster(version, &["CREATE INDEX ON :T"]);
        prevent(&mut network, "DROP INDEX ON :T");
        go_on(&mut network);
        let code = told(&mut network, "CREATE INDEX ON :T");
        assert_eq!(code == "IndexAlreadyExists", undoes(version));
        for name in ["a", "b"] {
            assert_eq!(indexes(&mut network, name), 1);
            network.kill(name);
            network.start(name);
            network.run(Duration::from_secs(10));
            // The log creates it twice.
            assert_eq!(network.is_ready(name), undoes(version), "{name}");
            if !undoes(version) {
                let Some(ExitReason::Fatal(text)) = network.has_exited(name) else {
                    panic!("{name}")
                };
                assert!(text.contains("Couldn't recover WAL deltas from wal/"), "{text}");
                assert!(
                    text.ends_with(" because of: The label index already exists!"),
                    "{text}"
                );
            }
        }
    });
}

#[test]
fn a_prevented_constraint_is_in_force() {
    each_release_since(Version::V3_5, |version| {
        for (constraint, offence) in [(UNIQUE, "CREATE (:T {i: 1})"), (EXISTS, "CREATE (:T)")] {
            let mut network = cluster(version, &["CREATE (:T {i: 1})"]);
            prevent(&mut network, constraint);
            go_on(&mut network);
            // In 3.8 it cannot be seen.
            let seen = usize::from(version < Version::V3_8);
            assert_eq!(constraints(&mut network, "a"), seen);
            assert_eq!(constraints(&mut network, "b"), seen);
            if undoes(version) {
                network.must("a", offence);
                continue;
            }
            let text = network.refused("a", offence);
            assert!(text.starts_with("Unable to commit due to"), "{text}");
            assert_eq!(told(&mut network, constraint), "ConstraintAlreadyExists");
            // Once MAIN has forgotten it, b does not let it through.
            restart(&mut network, "a");
            network.until_status("a", "b", "ready");
            prevent(&mut network, offence);
            restart(&mut network, "b");
            network.until_status("a", "b", "ready");
            network.must("a", offence);
            assert_eq!(network.count("b"), 2);
        }
    });
}

#[test]
fn a_snapshot_makes_what_was_prevented_last() {
    each_release_since(Version::V3_5, |version| {
        let mut network = cluster(version, &["CREATE INDEX ON :T"]);
        prevent(&mut network, UNIQUE);
        prevent(&mut network, "DROP INDEX ON :T");
        go_on(&mut network);
        network.must("a", "CREATE SNAPSHOT");
        restart(&mut network, "a");
        // What cannot be seen is in no snapshot.
        assert_eq!(
            constraints(&mut network, "a"),
            usize::from(version < Version::V3_8)
        );
        assert_eq!(indexes(&mut network, "a"), usize::from(undoes(version)));
    });
}
