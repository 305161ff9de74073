//! Commits of which one message is lost, late, or has its connection cut: every point of every mode, over the
//! releases. What the client hears and when, who has the transaction, what SHOW REPLICAS tells, and how the
//! next commit fares (semantics E.1 to E.4).

use std::time::Duration;

use bolt_server::{Request, Response, Version};

use crate::clients::Rows;
use crate::network::{Client, Fate, Network};

const PREPARE: &str = "PrepareCommitReq";
const FINALIZE: &str = "FinalizeCommitReq";
const BROKEN: &str = "RPC communication error";
const LATE: &str = "RPC timeout while replicating";
const AWAY: &str = "replica is not reachable or not in sync with the main";

/// A message of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leg {
    Request(&'static str),
    Reply(&'static str),
}

/// Does something to the first message of a kind; there is only one pair of instances.
fn meddle(network: &mut Network, leg: Leg, fate: Fate) {
    let mut asked = "";
    let mut done = false;
    network.decide(move |_, _, message| {
        let this = match message.name() {
            "Reply" => Leg::Reply(asked),
            name => {
                asked = name;
                Leg::Request(name)
            }
        };
        if done || this != leg {
            return Fate::Delivered;
        }
        done = true;
        fate
    });
}

/// What became of a commit.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// `ok`, or the reason of the failure (before 3.10 just `failed`).
    answer: &'static str,
    /// How long the client waited, in seconds.
    seconds: u64,
    /// Whether main and the replica have it, right after the answer.
    kept: (bool, bool),
    /// The status of the replica then, and whether it counts as behind.
    shown: (&'static str, bool),
}

const REASONS: [&str; 3] = [BROKEN, LATE, AWAY];
const STATES: [&str; 5] = ["ready", "replicating", "recovery", "invalid", "diverged"];

fn answer(version: Version, mode: &str, result: Result<Rows, bolt_server::Failure>) -> &'static str {
    let Err(failure) = result else { return "ok" };
    assert!(
        failure.message.starts_with("Replication Exception: "),
        "{failure:?}"
    );
    let committed = failure
        .message
        .contains("Transaction is still committed on the main");
    let aborted = failure
        .message
        .contains("Transaction was aborted on all instances");
    if version < Version::V3_10 {
        assert!(
            failure.message.contains(&format!("At least one {mode} replica")),
            "{failure:?}"
        );
        return "failed";
    }
    assert_eq!(
        (committed, aborted),
        (mode == "SYNC", mode == "STRICT_SYNC"),
        "{failure:?}"
    );
    REASONS
        .into_iter()
        .find(|reason| failure.message.contains(reason))
        .unwrap_or_else(|| panic!("{failure:?}"))
}

fn wait_for(network: &mut Network, client: &Client) -> Result<Rows, bolt_server::Failure> {
    match network.wait(client) {
        Response::Executed(executed) => Ok(executed.rows),
        Response::Failed(failure) => Err(failure),
        other => panic!("{other:?}"),
    }
}

/// A main with one replica that holds one node, and a message that something will happen to.
fn prepared(version: Version, mode: &str, leg: Leg, fate: Fate) -> Network {
    let mut network = Network::pair(version, mode);
    network.must("a", "CREATE (:T)");
    network.run(Duration::from_millis(100));
    meddle(&mut network, leg, fate);
    network
}

/// Commits a second node.
fn commit(network: &mut Network, version: Version, mode: &str) -> Outcome {
    let client = network.client("a");
    network.prepare(&client, "CREATE (:T)");
    let started = network.now;
    network.send_request(&client, Request::Execute { take: None });
    let result = wait_for(network, &client);
    let seconds = (network.now - started).as_secs();
    let answer = answer(version, mode, result);
    let (_, behind, status) = network.replica("a", "b").unwrap();
    let status = STATES.into_iter().find(|it| **it == status).unwrap();
    Outcome {
        answer,
        seconds,
        kept: (network.count("a") == 2, network.count("b") == 2),
        shown: (status, behind < 0),
    }
}

/// What a release makes of an expectation: 3.13 does not call a missed SYNC replica a failure, and before 3.10
/// there is no reason.
fn worded(version: Version, mode: &str, reason: &'static str) -> &'static str {
    match reason {
        "ok" => "ok",
        _ if mode == "SYNC" && version >= Version::Head => "ok",
        _ if version < Version::V3_10 => "failed",
        reason => reason,
    }
}

fn versions(mode: &str) -> impl Iterator<Item = Version> {
    let first = if mode == "STRICT_SYNC" {
        Version::V3_5
    } else {
        Version::V3_4
    };
    Version::ALL.into_iter().filter(move |version| *version >= first)
}

const SHORT: Fate = Fate::Delayed(Duration::from_secs(4));
const LONG: Fate = Fate::Delayed(Duration::from_secs(45));

/// Runs a table of faults: what happens to which message, the outcome, and how the next commit ends that is
/// made at once.
fn check(mode: &str, table: &[(Leg, Fate, Outcome, &'static str)]) {
    for version in versions(mode) {
        for (leg, fate, expected, next) in table {
            let mut network = prepared(version, mode, *leg, *fate);
            let mut outcome = commit(&mut network, version, mode);
            let at = format!("{version:?} {mode} {leg:?} {fate:?}");
            let mut expected = Outcome {
                answer: worded(version, mode, expected.answer),
                ..*expected
            };
            // Up to 3.9 the vote moves what main takes for the replica's position.
            if mode == "STRICT_SYNC" && version < Version::V3_10 && expected.shown.0 == "ready" {
                expected.shown.1 = false;
            }
            if outcome.shown.0 == "invalid" && expected.shown.0 == "invalid" {
                outcome.shown.1 = expected.shown.1;
            }
            assert_eq!(outcome, expected, "{at}");
            let result = network.query("a", "CREATE (:T)");
            assert_eq!(
                answer(version, mode, result),
                worded(version, mode, next),
                "{at}, the next commit"
            );
            // Peace: in the end both have the same, and commits work.
            network.run(Duration::from_secs(60));
            network.until_status("a", "b", "ready");
            network.must("a", "CREATE (:T)");
            network.run(Duration::from_secs(1));
            assert_eq!(network.count("a"), network.count("b"), "{at}");
            assert_eq!(network.replica("a", "b").unwrap().1, 0, "{at}");
        }
    }
}

fn outcome(answer: &'static str, seconds: u64, kept: (bool, bool), shown: (&'static str, bool)) -> Outcome {
    Outcome {
        answer,
        seconds,
        kept,
        shown,
    }
}

#[test]
fn a_sync_commit_stays_on_main_whatever_becomes_of_its_messages() {
    let asked = Leg::Request(PREPARE);
    let told = Leg::Reply(PREPARE);
    check(
        "SYNC",
        &[
            (
                asked,
                Fate::Lost,
                outcome(LATE, 30, (true, false), ("invalid", true)),
                AWAY,
            ),
            (
                asked,
                Fate::Cut,
                outcome(BROKEN, 0, (true, false), ("invalid", true)),
                AWAY,
            ),
            (
                asked,
                Fate::LastOne,
                outcome(BROKEN, 0, (true, true), ("invalid", true)),
                AWAY,
            ),
            (
                asked,
                SHORT,
                outcome("ok", 4, (true, true), ("ready", false)),
                "ok",
            ),
            (
                asked,
                LONG,
                outcome(LATE, 30, (true, false), ("invalid", true)),
                AWAY,
            ),
            (
                told,
                Fate::Lost,
                outcome(LATE, 30, (true, true), ("invalid", true)),
                AWAY,
            ),
            (
                told,
                Fate::Cut,
                outcome(BROKEN, 0, (true, true), ("invalid", true)),
                AWAY,
            ),
            (
                told,
                Fate::LastOne,
                outcome("ok", 0, (true, true), ("ready", false)),
                BROKEN,
            ),
            (
                told,
                SHORT,
                outcome("ok", 4, (true, true), ("ready", false)),
                "ok",
            ),
            (
                told,
                LONG,
                outcome(LATE, 30, (true, true), ("invalid", true)),
                AWAY,
            ),
        ],
    );
}

#[test]
fn an_async_commit_never_waits_or_fails() {
    let asked = Leg::Request(PREPARE);
    let told = Leg::Reply(PREPARE);
    for fate in [Fate::Lost, Fate::Cut, Fate::LastOne, SHORT, LONG] {
        for leg in [asked, told] {
            check(
                "ASYNC",
                &[(
                    leg,
                    fate,
                    // Nothing was sent yet when the client is answered.
                    outcome("ok", 0, (true, false), ("replicating", true)),
                    "ok",
                )],
            );
        }
    }
}

#[test]
fn a_strict_commit_is_kept_once_the_replica_has_voted() {
    let prepare = Leg::Request(PREPARE);
    let vote = Leg::Reply(PREPARE);
    let finalize = Leg::Request(FINALIZE);
    let done = Leg::Reply(FINALIZE);
    let aborted = (false, false);
    check(
        "STRICT_SYNC",
        &[
            // Main decides to abort. What the replica has prepared is discarded by the next prepare.
            (
                prepare,
                Fate::Lost,
                outcome(LATE, 30, aborted, ("invalid", false)),
                AWAY,
            ),
            (
                prepare,
                Fate::Cut,
                outcome(BROKEN, 0, aborted, ("invalid", false)),
                AWAY,
            ),
            (
                prepare,
                Fate::LastOne,
                outcome(BROKEN, 0, aborted, ("invalid", false)),
                AWAY,
            ),
            (
                prepare,
                SHORT,
                outcome("ok", 4, (true, true), ("ready", false)),
                "ok",
            ),
            (
                prepare,
                LONG,
                outcome(LATE, 30, aborted, ("invalid", false)),
                AWAY,
            ),
            (
                vote,
                Fate::Lost,
                outcome(LATE, 30, aborted, ("invalid", false)),
                AWAY,
            ),
            (
                vote,
                Fate::Cut,
                outcome(BROKEN, 0, aborted, ("invalid", false)),
                AWAY,
            ),
            (
                vote,
                SHORT,
                outcome("ok", 4, (true, true), ("ready", false)),
                "ok",
            ),
            (vote, LONG, outcome(LATE, 30, aborted, ("invalid", false)), AWAY),
            // Main has committed. The failure is swallowed; the client waits for it all the same.
            (
                vote,
                Fate::LastOne,
                outcome("ok", 0, (true, false), ("ready", true)),
                BROKEN,
            ),
            (
                finalize,
                Fate::Lost,
                outcome("ok", 10, (true, false), ("ready", true)),
                BROKEN,
            ),
            (
                finalize,
                Fate::Cut,
                outcome("ok", 0, (true, false), ("ready", true)),
                BROKEN,
            ),
            (
                finalize,
                LONG,
                outcome("ok", 10, (true, false), ("ready", true)),
                BROKEN,
            ),
            (
                finalize,
                SHORT,
                outcome("ok", 4, (true, true), ("ready", false)),
                "ok",
            ),
            // The replica has it, but main does not know: the next commit tells.
            (
                finalize,
                Fate::LastOne,
                outcome("ok", 0, (true, true), ("ready", true)),
                "ok",
            ),
            (
                done,
                Fate::Lost,
                outcome("ok", 10, (true, true), ("ready", true)),
                "ok",
            ),
            (
                done,
                Fate::Cut,
                outcome("ok", 0, (true, true), ("ready", true)),
                "ok",
            ),
            (done, LONG, outcome("ok", 10, (true, true), ("ready", true)), "ok"),
            (
                done,
                SHORT,
                outcome("ok", 4, (true, true), ("ready", false)),
                "ok",
            ),
            // The connection is found broken by whoever uses it next.
            (
                done,
                Fate::LastOne,
                outcome("ok", 0, (true, true), ("ready", false)),
                BROKEN,
            ),
        ],
    );
}

/// Lets a commit come as far as `leg` and takes main away then.
fn main_dies(leg: Leg, fate: Fate) -> Network {
    let mut network = prepared(Version::default(), "STRICT_SYNC", leg, fate);
    let client = network.client("a");
    network.prepare(&client, "CREATE (:T)");
    network.send_request(&client, Request::Execute { take: None });
    network.run(Duration::from_millis(100));
    assert!(network.response(&client).is_none(), "nobody has heard of it");
    network.kill("a");
    network.heal();
    network
}

#[test]
fn a_main_that_dies_before_its_decision_has_not_committed() {
    let mut network = main_dies(Leg::Reply(PREPARE), Fate::Lost);
    network.start("a");
    network.until_ready("a");
    assert_eq!((network.count("a"), network.count("b")), (1, 1));
    network.until_status("a", "b", "ready");
    network.must("a", "CREATE (:T)");
    assert_eq!((network.count("a"), network.count("b")), (2, 2));
    network.restart("b");
    assert_eq!(network.count("b"), 2);
}

#[test]
fn a_main_that_dies_after_its_decision_has_committed() {
    let mut network = main_dies(Leg::Request(FINALIZE), Fate::Lost);
    assert_eq!(network.count("b"), 1);
    network.start("a");
    network.until_ready("a");
    assert_eq!(network.count("a"), 2);
    network.until_status("a", "b", "ready");
    assert_eq!(network.count("b"), 2, "the recovery brings it");
}

#[test]
fn a_replica_that_dies_with_a_prepared_transaction_has_nothing_of_it() {
    for leg in [Leg::Reply(PREPARE), Leg::Request(FINALIZE)] {
        let mut network = prepared(Version::default(), "STRICT_SYNC", leg, Fate::Lost);
        let client = network.client("a");
        network.prepare(&client, "CREATE (:T)");
        network.send_request(&client, Request::Execute { take: None });
        network.run(Duration::from_millis(100));
        network.power_off("b");
        network.start("b");
        network.until_ready("b");
        network.run(Duration::from_secs(60));
        let decided = leg == Leg::Request(FINALIZE);
        assert_eq!(network.count("a"), 1 + i64::from(decided), "{leg:?}");
        let _ = network.query("a", "CREATE (:Probe)");
        network.until_status("a", "b", "ready");
        network.must("a", "CREATE (:T)");
        assert_eq!(network.count("a"), network.count("b"), "{leg:?}");
    }
}

#[test]
fn a_prepared_change_of_an_enum_locks_a_replica_until_somebody_decides() {
    // Readers of b wait until the next transaction, a promotion or a restart discards it.
    for heal_by_promotion in [false, true] {
        let mut network = prepared(Version::default(), "STRICT_SYNC", Leg::Reply(PREPARE), Fate::Lost);
        let text = network.refused("a", "CREATE ENUM E VALUES { x }");
        assert!(text.contains(LATE), "{text}");
        network.until_status("a", "b", "ready");
        network.run(Duration::from_secs(60));
        let text = network.refused("b", "MATCH (n) RETURN n");
        assert!(
            text.starts_with("Cannot get shared access to the storage."),
            "{text}"
        );
        if heal_by_promotion {
            network.must("b", "SET REPLICATION ROLE TO MAIN");
        } else {
            network.must("a", "CREATE (:T)");
        }
        network.must("b", "MATCH (n) RETURN n");
    }
}

#[test]
fn an_index_is_shown_once_it_is_decided_upon() {
    for version in versions("STRICT_SYNC") {
        let mut network = Network::pair(version, "STRICT_SYNC");
        network.lose(|_, _, message| message.name() == "FinalizeCommitReq");
        let client = network.client("a");
        network.prepare(&client, "CREATE INDEX ON :T");
        network.send_request(&client, Request::Execute { take: None });
        network.run(Duration::from_secs(1));
        assert_eq!(
            network.must("a", "SHOW INDEX INFO").len(),
            1,
            "{version}: it has decided"
        );
        assert!(network.must("b", "SHOW INDEX INFO").is_empty(), "{version}");
        let dump = network.must("b", "DUMP DATABASE");
        assert!(
            dump.iter().all(|line| line[0] != "CREATE INDEX ON :`T`;".into()),
            "{version}: {dump:?}"
        );
        // Nor is it in a snapshot, from which the replica starts anew.
        if version >= Version::V3_8 {
            network.must("b", "CREATE SNAPSHOT");
            network.restart("b");
            assert!(network.must("b", "SHOW INDEX INFO").is_empty(), "{version}");
        }
        network.lose(|_, _, _| false);
        network.run(Duration::from_secs(15));
        // The next commit finds out that the replica lacks one, and fails.
        network.query("a", "CREATE (:T)").unwrap_err();
        if version < Version::V3_8 {
            // It gave up what it had prepared, and that index is now in the way of the one that the log brings.
            network.run(Duration::from_secs(60));
            assert_ne!(network.status("a", "b"), "ready", "{version}");
            network.restart("b");
        }
        network.until_status("a", "b", "ready");
        assert_eq!(network.must("b", "SHOW INDEX INFO").len(), 1, "{version}");
    }
}

#[test]
fn a_stop_fails_the_commits_that_wait_for_replicas() {
    for (mode, kept) in [("SYNC", 2), ("STRICT_SYNC", 1)] {
        let mut network = prepared(Version::default(), mode, Leg::Request(PREPARE), Fate::Lost);
        let client = network.client("a");
        network.prepare(&client, "CREATE (:T)");
        network.send_request(&client, Request::Execute { take: None });
        network.run(Duration::from_secs(1));
        let started = network.now;
        network.stop("a");
        assert!(
            network.now - started < Duration::from_secs(1),
            "replication is cut"
        );
        network.start("a");
        network.until_ready("a");
        assert_eq!(network.count("a"), kept, "{mode}");
        network.until_status("a", "b", "ready");
        assert_eq!(network.count("b"), kept, "{mode}");
    }
}

#[test]
fn mixed_with_strict_replicas_a_sync_one_is_passed_over_and_blocks_the_next_commit() {
    for version in versions("STRICT_SYNC") {
        let mut network = Network::new(version, &["a", "b", "c"]);
        network.attach("a", "b", "STRICT_SYNC");
        network.attach("a", "c", "SYNC");
        for round in 1..=3 {
            network.must("a", "CREATE (:T)");
            assert_eq!((network.count("b"), network.count("c")), (round, round - 1));
            // Main believes that c has it.
            let (_, behind, status) = network.replica("a", "c").unwrap();
            assert_eq!((behind, status.as_str()), (0, "replicating"), "{version:?}");
            let text = network.refused("a", "CREATE (:T)");
            if version >= Version::V3_10 {
                assert_eq!(
                    text,
                    format!(
                        "Replication Exception: Failed to replicate to SYNC replica 'c': {AWAY}. Replica will be \
                         recovered automatically. Transaction was aborted on all instances. Check the status of the \
                         replicas using 'SHOW REPLICAS' query."
                    )
                );
            }
            // Only now it is looked at, and gets what it lacks.
            network.until_status("a", "c", "ready");
            assert_eq!(network.count("c"), round, "{version:?}");
            network.until_status("a", "b", "ready");
        }
    }
}
