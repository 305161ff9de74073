//! Strikes at each step of a commit, and the traces that they leave.

use std::time::Duration;

use memgraph_operator::api::RegistrationMode;
use tokio::time::sleep;

use super::{Cluster, SECOND, run, setup};
use crate::memgraph::{Blow, Deed, Doing, Fate, Holding, Memgraphs, Outcome, Process, Step, WriteId};

/// A cluster with a write behind it, and the deed that awaits the first step that fits.
async fn struck(
    seed: u64,
    at: impl Fn(&Step) -> bool + 'static,
    deed: impl FnOnce(Process, Process) -> Deed,
) -> Cluster {
    let mut cluster = Cluster::bootstrapped(seed, 2).await;
    cluster.write().await;
    let mut deed = Some(deed(cluster.process(0), cluster.process(1)));
    cluster.world.on_step(move |step| {
        let hit = at(step).then(|| deed.take());
        hit.flatten().unwrap_or_default()
    });
    cluster
}

fn is_prepare(step: &Step) -> bool {
    matches!(step.doing, Doing::Prepare { .. })
}

fn is_vote(step: &Step) -> bool {
    matches!(step.doing, Doing::Vote { .. })
}

fn is_finalize(step: &Step) -> bool {
    matches!(step.doing, Doing::Finalize { .. })
}

fn is_finalized(step: &Step) -> bool {
    matches!(step.doing, Doing::Finalized)
}

fn is_answer(step: &Step) -> bool {
    matches!(step.doing, Doing::Acknowledge { .. })
}

fn kill_main(main: Process, _: Process) -> Deed {
    Deed::blow(Blow::Kill(main))
}

fn kill_replica(_: Process, replica: Process) -> Deed {
    Deed::blow(Blow::Kill(replica))
}

fn reset(_: Process, _: Process) -> Deed {
    Deed::fate(Fate::Reset)
}

/// What MAIN and its replica have of a write after a strike, and what the client knows.
async fn after(cluster: &mut Cluster) -> (WriteId, Outcome, Holding, Holding) {
    let (write, outcome) = cluster.try_write().await;
    let holding = |ordinal| cluster.world.holds(cluster.process(ordinal), write);
    (write, outcome, holding(0), holding(1))
}

#[test]
fn main_dies_while_its_transaction_is_under_way() {
    run(async {
        let mut cluster = struck(1, is_prepare, kill_main).await;
        let (write, outcome, _, replica) = after(&mut cluster).await;
        // The packet was sent before the blow.
        assert_eq!((outcome, replica), (Outcome::Unknown, Holding::Prepared));
        assert_eq!(cluster.world.prepared(cluster.process(1)), [write]);
        cluster.promote(1).await;
        assert_eq!(cluster.world.prepared(cluster.process(1)), []);
        assert!(!cluster.world.committed(cluster.process(1)).contains(&write));
    });
}

#[test]
fn main_dies_after_its_commit_and_before_it_tells() {
    run(async {
        let mut cluster = struck(2, is_finalize, |main, _| Deed {
            fate: Fate::Reset,
            blows: vec![Blow::Kill(main)],
        })
        .await;
        let (write, outcome, _, _) = after(&mut cluster).await;
        assert_eq!(outcome, Outcome::Unknown);
        assert_eq!(cluster.world.prepared(cluster.process(1)), [write]);
        assert!(
            cluster
                .world
                .on_disk(cluster.members[0].volume, &setup())
                .contains(&write)
        );
    });
}

#[test]
fn the_replica_dies_before_it_votes() {
    run(async {
        let mut cluster = struck(3, is_vote, |_, replica| Deed {
            fate: Fate::Reset,
            blows: vec![Blow::Kill(replica)],
        })
        .await;
        let (_, outcome, main, _) = after(&mut cluster).await;
        assert!(matches!(outcome, Outcome::Failed(_)));
        assert_eq!(main, Holding::Missing);
    });
}

/// The second phase is swallowed: MAIN says success, and the replica has thrown the transaction away. This is Memgraph's
/// way, and the one loss that an operator can only make rare; the trace proves it.
#[test]
fn a_swallowed_second_phase_is_in_the_trace() {
    for deed in [reset, kill_replica] {
        run(async {
            let mut cluster = struck(4, is_finalize, deed).await;
            let (write, outcome, main, _) = after(&mut cluster).await;
            assert_eq!((outcome, main), (Outcome::Acknowledged, Holding::Committed));
            let transaction = cluster.world.transaction(write).unwrap();
            let swallowed: Vec<_> = transaction.swallowed().collect();
            assert_eq!(swallowed, [cluster.process(1)]);
            assert_eq!(transaction.held().count(), 0);
            let part = &transaction.replicas[&cluster.process(1)];
            assert_eq!(
                (part.vote, part.decision, part.applied),
                (Some(true), Some(true), None)
            );
            // The first write was not.
            let first = cluster.world.transaction(WriteId(1)).unwrap();
            assert_eq!((first.swallowed().count(), first.held().count()), (0, 1));
        });
    }
}

#[test]
fn a_lost_confirmation_loses_nothing() {
    run(async {
        let mut cluster = struck(5, is_finalized, reset).await;
        let (write, outcome, main, replica) = after(&mut cluster).await;
        assert_eq!(outcome, Outcome::Acknowledged);
        assert_eq!((main, replica), (Holding::Committed, Holding::Committed));
        let transaction = cluster.world.transaction(write).unwrap();
        let part = &transaction.replicas[&cluster.process(1)];
        assert_eq!((part.applied, part.confirmed), (Some(true), None));
        assert_eq!(transaction.swallowed().count(), 0);
    });
}

#[test]
fn a_lost_acknowledgement_leaves_the_client_in_doubt() {
    run(async {
        let mut cluster = struck(6, is_answer, reset).await;
        let (_, outcome, main, replica) = after(&mut cluster).await;
        assert_eq!(outcome, Outcome::Unknown);
        assert_eq!((main, replica), (Holding::Committed, Holding::Committed));
    });
}

#[test]
fn the_last_message_arrives_before_the_reset() {
    run(async {
        let last = |_: Process, _: Process| Deed::fate(Fate::LastOne);
        let mut cluster = struck(7, is_finalize, last).await;
        let (_, outcome, _, _) = after(&mut cluster).await;
        assert_eq!(outcome, Outcome::Acknowledged);
        sleep(SECOND).await;
        assert_eq!(cluster.world.committed(cluster.process(1)).len(), 2);
    });
}

#[test]
fn a_late_vote_is_waited_for() {
    run(async {
        let late = |_: Process, _: Process| Deed::fate(Fate::Late(5 * SECOND));
        let mut cluster = struck(8, is_vote, late).await;
        let before = cluster.world.now();
        let (_, outcome, _, _) = after(&mut cluster).await;
        assert_eq!(outcome, Outcome::Acknowledged);
        assert!(cluster.world.now() - before > 5 * SECOND);
    });
}

/// The power goes while MAIN syncs its decision, the replica has the transaction prepared; both start again.
#[test]
fn the_power_goes_in_the_middle_of_a_sync() {
    for seed in 0..10 {
        run(async move {
            let mut cluster = Cluster::bootstrapped(seed, 2).await;
            let first = cluster.write().await;
            let (main, pod) = (cluster.process(0), cluster.members[0].pod);
            cluster.world.on_step(move |step| match step.doing {
                Doing::Sync if step.process == main => Deed::blow(Blow::PowerOff(pod)),
                _ => Deed::default(),
            });
            let second = cluster.next_write();
            assert_eq!(cluster.client.write(second, SECOND).await, Outcome::Unknown);
            assert_eq!(cluster.world.prepared(cluster.process(1)), [second]);
            cluster.world.off_step();
            cluster.replace_pod(0).await;
            let left = cluster.world.committed(cluster.process(0));
            assert!(left == [first] || left == [first, second], "{left:?}");
        });
    }
}

/// A replica is killed while it syncs what MAIN has decided, and the next process in its pod has it. The power may take it all the same,
/// in the middle of the log: the disk tells of that very transaction then.
#[test]
fn the_disk_tells_what_a_killed_process_had_left_to_the_kernel() {
    run(async {
        let mut taken = 0;
        for seed in 0..10 {
            let mut cluster = Cluster::bootstrapped(seed, 2).await;
            let (replica, volume) = (cluster.process(1), cluster.members[1].volume);
            let first = cluster.write().await;
            let mut decided = false;
            cluster.world.on_step(move |step| match step.doing {
                Doing::Finalize { commit } => {
                    decided = commit;
                    Deed::default()
                }
                Doing::Sync if decided && step.process == replica => Deed::blow(Blow::Kill(replica)),
                _ => Deed::default(),
            });
            let second = cluster.write().await;
            cluster.world.off_step();
            cluster.restart(1).await;
            let third = cluster.write_until_acknowledged().await;
            assert_eq!(
                cluster.world.committed(cluster.process(1)),
                [first, second, third]
            );

            cluster.world.power_off(cluster.members[1].pod);
            let lost = |world: &Memgraphs, write| {
                let transaction = world.transaction(write).unwrap();
                world.has_lost_unconfirmed(volume, &transaction)
            };
            let is_there = cluster.world.on_disk(volume, &setup()).contains(&second);
            assert_eq!(lost(&cluster.world, second), !is_there);
            assert!(!lost(&cluster.world, first) && !lost(&cluster.world, third));
            taken += usize::from(!is_there);
        }
        assert!((1..10).contains(&taken), "{taken}");
    });
}

#[test]
fn a_restarted_replica_throws_the_prepared_transaction_away() {
    run(async {
        let mut cluster = struck(9, is_finalize, kill_replica).await;
        let (write, ..) = after(&mut cluster).await;
        cluster.restart(1).await;
        assert_eq!(cluster.world.prepared(cluster.process(1)), []);
        assert_eq!(cluster.world.holds(cluster.process(1), write), Holding::Missing);
        assert!(
            !cluster
                .world
                .on_disk(cluster.members[1].volume, &setup())
                .contains(&write)
        );
        // The next commit finds out, and recovery brings it.
        cluster.write_until_acknowledged().await;
        sleep(Duration::from_millis(100)).await;
        assert_eq!(cluster.world.holds(cluster.process(1), write), Holding::Committed);
    });
}

#[test]
fn a_commit_without_replicas_leaves_no_trace() {
    run(async {
        let mut cluster = Cluster::new(10, 1).await;
        cluster.promote(0).await;
        cluster.reconnect(0).await;
        let write = cluster.write().await;
        assert_eq!(cluster.world.transaction(write), None);
        assert!(cluster.world.write(write).unwrap().node.is_some());
        let refused = cluster.try_register(0, 0, RegistrationMode::Async).await;
        assert!(refused.is_err());
    });
}
