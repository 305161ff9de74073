//! The data of each instance lies in its pod, and is gone with it.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::{Action, Situation, Step, plan},
    decisions::running,
    world::{LONG_AGO, World},
};
use crate::api::{
    conditions::Reason,
    ledger::{Ledger, Route},
};

/// Three instances that serve, and hold a write.
fn serving() -> World {
    let mut world = World::new(3);
    world.settings.data_in_pods = true;
    world.settle();
    world.client_write();
    world
}

fn ledger(world: &World) -> &Ledger {
    world.ledger.as_ref().unwrap()
}

fn stalled(situation: &Situation) -> (Reason, &str) {
    match situation {
        Situation::Stalled(reason, text) => (*reason, text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_pods_made_anew_is_said_and_nobody_is_promoted() {
    let mut world = serving();
    for index in 0..3 {
        world.replace_pod(index, true);
    }
    let told = world.settle();
    let (reason, text) = stalled(&told.situation);
    assert_eq!(reason, Reason::NoCandidate);
    assert!(
        text.contains("delete the MemgraphCluster, and its data with it"),
        "{text}"
    );
    assert!(world.servers.iter().all(|server| server.reign == 0));
}

#[test]
fn an_update_fills_each_instance_before_the_next_pod_goes() {
    let mut world = serving();
    world.configuration += 1;
    let mut order = Vec::new();
    while !world.is_up_to_date() {
        let plan = world.step(usize::MAX);
        order.extend(plan.steps.into_iter().filter_map(|step| match step {
            Step::Do(Action::DeletePod { instance, .. }) => Some(instance),
            _ => None,
        }));
        world.client_write();
        world.check();
    }
    world.settle();
    assert_eq!(order, ["demo-2", "demo-1", "demo-0"]);
    assert!(world.is_open() && world.main() != Some(0));
    assert!(
        world
            .servers
            .iter()
            .all(|server| server.data.len() == world.servers[1].data.len())
    );
}

/// With volume claims their pods would be replaced at once.
#[test]
fn what_does_not_start_keeps_its_pod_while_it_may_hold_the_only_copy() {
    let mut world = serving();
    world.configuration += 1;
    for server in &mut world.servers {
        server.up = false;
    }
    let deleted = |world: &World| {
        let steps = plan(&world.observe()).steps.into_iter();
        let mut deletions = steps.filter_map(|step| match step {
            Step::Do(Action::DeletePod { instance, .. }) => Some(instance),
            _ => None,
        });
        deletions.next()
    };
    assert_eq!(deleted(&world), None, "the two others may never come back");
    // They go once MAIN serves, and they have had the time to say that they hold more.
    world.restart(0, true);
    world.settle();
    assert!(!world.is_open() && deleted(&world).is_none());
    world.closed_for = world.settings.hang_timeout;
    while !world.is_open() {
        world.step(usize::MAX);
        world.check();
    }
    world.closed_for = Duration::ZERO;
    world.settle();
    assert!(world.is_open() && world.servers[0].data.len() == 1);
}

/// MAIN serves on until its process is told to end, and its data is gone then.
#[test]
fn no_copy_goes_while_the_pod_of_main_ends() {
    let mut world = serving();
    world.configuration += 1;
    (world.servers[1].up, world.servers[2].up) = (false, false);
    let deletes = |world: &World| {
        let is_deletion = |step: &Step| matches!(step, Step::Do(Action::DeletePod { .. }));
        plan(&world.observe()).steps.iter().any(is_deletion)
    };
    assert!(deletes(&world), "they are to be made anew");
    world.servers[0].ending = true;
    assert!(!deletes(&world));
}

#[test]
fn a_copy_at_a_former_address_of_somebody_else_starts_there_once_that_one_is_noted_elsewhere() {
    let mut world = serving();
    // The node of all of them starts again: MAIN gets the address that demo-2 had.
    let freed = world.servers[2].address;
    world.reboot(2, 40);
    world.reboot(0, freed);
    world.reboot(1, 41);
    world.admit_all();
    assert!(world.servers[0].waits, "demo-2 is noted there");
    world.settle();
    assert!(!world.servers[0].waits);
    assert_eq!(world.servers[0].pod, 1, "its pod is the same one");
    assert!(world.is_open());
    world.client_write();
    world.check();
    assert_eq!(world.acknowledged.len(), 2);
}

/// MAIN serves and holds everything: with volume claims its pod would be replaced.
#[test]
fn a_member_at_a_former_address_of_somebody_else_keeps_its_copy() {
    let mut world = serving();
    let freed = world.servers[2].address;
    world.reboot(2, 40);
    world.reboot(1, freed);
    world.admit_all();
    assert!(world.servers[1].waits, "demo-2 is noted there");
    world.settle();
    assert_eq!((world.servers[1].pod, world.servers[1].waits), (1, false));
    assert!(world.is_open() && world.main() == Some(0));
}

#[test]
fn a_copy_at_the_address_of_a_member_that_is_gone_waits_for_a_human() {
    let mut world = serving();
    let member = ledger(&world).in_sync[0].instance.clone();
    assert_eq!(member, "demo-1");
    let freed = world.servers[1].address;
    world.reboot(1, 41);
    world.reboot(0, freed);
    world.reboot(2, 42);
    world.admit_all();
    // Its pod is deleted as well: only MAIN's holds the write.
    world.replace_pod(1, true);
    let told = world.settle();
    assert!(matches!(told.situation, Situation::MainLost(..)), "{told:?}");
    world.away_for = Duration::from_secs(120);
    let told = world.settle();
    let (reason, text) = stalled(&told.situation);
    assert_eq!(reason, Reason::InstanceFailing);
    assert!(text.starts_with("demo-0 does not start at"), "{text}");
    assert_eq!((world.servers[0].pod, world.servers[0].waits), (1, true));
    assert_eq!(ledger(&world).main.instance, "demo-0");
}

#[test]
fn a_promotion_that_hangs_keeps_its_pod_and_is_said() {
    let mut world = serving();
    let route = |world: &World| ledger(world).route;
    world.servers[1].stubborn = true;
    world.servers[0].up = false;
    world.servers[2].up = false;
    world.step(usize::MAX);
    assert_eq!(
        (route(&world), ledger(&world).main.instance.as_str()),
        (Route::Closed, "demo-1")
    );
    world.closed_for = Duration::from_secs(60);
    let told = plan(&world.observe());
    assert_eq!(stalled(&told.situation).0, Reason::InstanceFailing);
    let deletes = |step: &Step| matches!(step, Step::Do(Action::DeletePod { .. }));
    assert!(!told.steps.iter().any(deletes), "{told:?}");
}

#[test]
fn without_a_ledger_pods_that_end_are_waited_for() {
    let mut world = serving();
    world.ledger = None;
    world.servers[1].ending = true;
    let told = plan(&world.observe());
    assert!(
        matches!(told.situation, Situation::Waiting(Reason::WaitingForInstances, _)),
        "{told:?}"
    );
    assert_eq!(told.steps, []);
}

/// Kubernetes deletes the cluster's StatefulSet first, and the pods after it.
#[test]
fn the_pods_of_a_former_cluster_are_waited_for_before_anything_marks_them() {
    let mut world = serving();
    world.ledger = None;
    for data_in_pods in [true, false] {
        world.settings.data_in_pods = data_in_pods;
        world.servers[1].passing = true;
        let told = plan(&world.observe());
        assert!(
            matches!(told.situation, Situation::Waiting(Reason::WaitingForInstances, _)),
            "{told:?}"
        );
        assert_eq!(told.steps, []);
        world.servers[1].passing = false;
        assert_ne!(plan(&world.observe()).steps, []);
    }
}

/// The notes are on the pods that are left.
#[test]
fn without_a_ledger_a_replica_that_was_not_in_sync_does_not_lead_in_the_place_of_pods_that_are_gone() {
    let mut world = serving();
    world.settle();
    world.ledger = None;
    world.replace_pod(0, true);
    world.replace_pod(1, true);
    let told = world.settle();
    assert_eq!(stalled(&told.situation).0, Reason::AmbiguousState);
    assert!(world.ledger.is_none());
}

#[test]
fn without_a_ledger_pods_that_are_all_new_are_a_new_cluster() {
    let mut world = serving();
    world.ledger = None;
    world.acknowledged.clear();
    for index in 0..3 {
        world.replace_pod(index, true);
    }
    world.settle();
    assert!(world.is_open());
}

#[test]
fn with_volume_claims_a_pod_is_replaced_as_ever() {
    let mut world = running();
    world.configuration += 1;
    for server in &mut world.servers {
        server.up = false;
    }
    let steps = plan(&world.observe()).steps;
    assert!(
        matches!(&steps[..], [Step::Do(Action::DeletePod { .. })]),
        "{steps:?}"
    );
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Plan(usize),
    ClientWrites,
    Stop(usize),
    Restart(usize),
    Reboot(usize, usize),
    NewLeader,
    AskForSwitchover,
    Wait(bool),
    CommitAndStop,
    AskForReset(usize),
    Configure,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..6_usize).prop_map(Event::Plan),
        6 => Just(Event::ClientWrites),
        1 => (0..3_usize).prop_map(Event::Stop),
        2 => (0..3_usize).prop_map(Event::Restart),
        2 => (0..3_usize, 0..6_usize).prop_map(|(index, address)| Event::Reboot(index, address)),
        1 => Just(Event::NewLeader),
        1 => Just(Event::AskForSwitchover),
        1 => any::<bool>().prop_map(Event::Wait),
        1 => Just(Event::CommitAndStop),
        1 => (0..3_usize).prop_map(Event::AskForReset),
        1 => Just(Event::Configure),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Nobody deletes a pod but the operator. Processes and nodes stop and start at any moment, and the operator is cut off after
    /// any step: it never deletes the last copy of an acknowledged write, which the world checks at each deletion, and in the end
    /// clients can write again, or it is said what a human must do.
    #[test]
    fn the_operator_deletes_no_last_copy(events in proptest::collection::vec(event(), 0..120)) {
        let mut world = serving();
        for event in events {
            match event {
                Event::Plan(steps) => drop(world.step(steps)),
                Event::ClientWrites => world.client_write(),
                Event::Stop(index) => world.servers[index].up = false,
                Event::Restart(index) => world.restart(index, true),
                Event::Reboot(index, address) => world.reboot(index, address),
                Event::NewLeader => world.numbers = Default::default(),
                Event::AskForSwitchover => world.ask_for_switchover(None),
                Event::Wait(long) => {
                    world.closed_for = Duration::from_secs(if long { 60 } else { 0 });
                    world.change_age = if long { LONG_AGO } else { Duration::ZERO };
                }
                Event::CommitAndStop => world.commit_and_stop(),
                Event::AskForReset(index) => world.servers[index].reset_asked = true,
                Event::Configure => world.configuration += 1,
            }
            world.check();
        }
        world.change_age = LONG_AGO;
        world.closed_for = Duration::ZERO;
        world.away_for = Duration::from_secs(120);
        world.admit_all();
        for index in 0..3 {
            if !world.servers[index].up {
                world.restart(index, true);
            }
        }
        let told = world.settle();
        let stalled = matches!(told.situation, Situation::Stalled(..));
        prop_assert!(world.is_open() || stalled, "{told:?} {}", world.tell());
    }
}
