//! What people read while MAIN is lost: conditions that agree with each other, and what keeps pods from running.

use super::{
    super::{
        observation::{Observation, Sight},
        plan,
        report::{GatewayState, Report, report},
    },
    decisions::running,
    world::World,
};
use crate::api::{
    InstanceRole, InstanceStatus,
    conditions::{ConditionType, Reason, Truth, Verdict},
    ledger::Route,
};

fn reported(seen: &Observation) -> Report {
    let gateway = GatewayState {
        enabled: true,
        ready: 1,
        ..GatewayState::default()
    };
    report(seen, seen.ledger.as_ref(), &plan(seen).situation, gateway)
}

fn verdict(seen: &Observation, condition: ConditionType) -> Verdict {
    let mut verdicts = reported(seen).verdicts.into_iter();
    verdicts.find(|verdict| verdict.condition == condition).unwrap()
}

fn instance(seen: &Observation, index: usize) -> InstanceStatus {
    reported(seen).instances.swap_remove(index)
}

fn told(seen: &Observation, condition: ConditionType) -> (Truth, Reason, String) {
    let verdict = verdict(seen, condition);
    (verdict.status, verdict.reason, verdict.message)
}

#[test]
fn a_manual_failover_names_who_holds_every_write_and_waits_for_a_human() {
    let mut world = running();
    world.settings.automatic_failover = false;
    world.servers[0].up = false;
    let seen = world.observe();
    let (status, reason, message) = told(&seen, ConditionType::Stalled);
    assert_eq!((status, reason), (Truth::True, Reason::ManualFailover));
    assert!(message.ends_with("to have demo-1 promoted"), "{message}");
    let waits = (Truth::False, Reason::ManualFailover, message);
    assert_eq!(told(&seen, ConditionType::Reconciling), waits);
    assert_eq!(told(&seen, ConditionType::Ready), waits);
    let held = "demo-1 held every acknowledged write when MAIN was lost".to_owned();
    let durable = (Truth::Unknown, Reason::MainUnreachable, held);
    assert_eq!(told(&seen, ConditionType::Durable), durable);

    // Where nobody could be promoted, that is not what is waited for.
    world.servers[1].up = false;
    let (_, reason, message) = told(&world.observe(), ConditionType::Ready);
    assert_eq!(reason, Reason::NoCandidate);
    assert!(!message.contains("Automatic"), "{message}");
}

/// MAIN is back without its data; or it has been let in again and was lost before the route was open.
#[test]
fn a_manual_failover_is_told_of_whatever_has_become_of_main() {
    let mut emptied = running();
    emptied.settings.automatic_failover = false;
    emptied.restart(0, false);
    let mut again = running();
    again.settings.automatic_failover = false;
    again.restart(0, true);
    again.step(usize::MAX);
    again.servers[0].up = false;
    assert_eq!(again.ledger.as_ref().unwrap().route, Route::Closed);
    for world in [emptied, again] {
        let (status, reason, message) = told(&world.observe(), ConditionType::Stalled);
        assert_eq!(
            (status, reason),
            (Truth::True, Reason::ManualFailover),
            "{message}"
        );
        assert!(message.ends_with("to have demo-1 promoted"), "{message}");
    }
}

#[test]
fn a_main_that_is_lost_in_a_pause_waits_for_a_human() {
    let mut world = running();
    world.settings.paused = true;
    world.servers[0].up = false;
    let seen = world.observe();
    for (condition, status) in [
        (ConditionType::Stalled, Truth::True),
        (ConditionType::Reconciling, Truth::False),
        (ConditionType::Ready, Truth::False),
    ] {
        let told = verdict(&seen, condition);
        assert_eq!((told.status, told.reason), (status, Reason::Paused), "{told:?}");
    }
}

#[test]
fn how_durable_it_is_is_told_in_every_state() {
    let durable = |seen: &Observation| told(seen, ConditionType::Durable);
    let fresh = durable(&World::new(3).observe());
    assert_eq!(
        (fresh.0, fresh.2.as_str()),
        (Truth::Unknown, "no MAIN is set up yet")
    );
    let mut world = running();
    assert_eq!(durable(&world.observe()).0, Truth::True);

    let mut unheard = world.observe();
    unheard.instances[0].sight = Sight::Silent;
    let unsure = durable(&unheard);
    let held = "demo-1 held every acknowledged write when MAIN told of it last";
    assert_eq!((unsure.0, unsure.2.as_str()), (Truth::Unknown, held));

    world.servers[0].up = false;
    while world.ledger.as_ref().unwrap().route == Route::Open {
        world.step(1);
    }
    let closing = durable(&world.observe());
    assert_eq!((closing.0, closing.1), (Truth::Unknown, Reason::FailingOver));
    assert!(closing.2.starts_with("the route is closed"), "{}", closing.2);

    let mut alone = World::new(1);
    alone.settle();
    assert_eq!(durable(&alone.observe()).1, Reason::NotRequired);
}

/// What takes the node takes every copy. It is said where that is so, and only there.
#[test]
fn main_and_all_in_sync_replicas_on_one_node_are_told_of() {
    let durable = |seen: &Observation| told(seen, ConditionType::Durable);
    let mut seen = running().observe();
    let warns = "on the node of MAIN (shared)";
    let apart = durable(&seen);
    assert!(!apart.2.contains("node"), "{apart:?}");

    for instance in [0, 1] {
        seen.instances[instance].node = Some("shared".to_owned());
    }
    let together = durable(&seen);
    assert_eq!((together.0, together.1), (Truth::True, Reason::AsExpected));
    assert!(together.2.contains(warns), "{}", together.2);

    // Of nodes that Kubernetes has not told yet nothing is said.
    seen.instances
        .iter_mut()
        .for_each(|instance| instance.node = None);
    assert!(!durable(&seen).2.contains("node"));

    // One of two copies elsewhere is enough.
    let mut world = World::new(3);
    world.settings.sync_replicas = 2;
    world.settle();
    let mut seen = world.observe();
    for instance in &mut seen.instances {
        instance.node = Some("shared".to_owned());
    }
    let all = durable(&seen).2;
    assert!(all.starts_with("2 in-sync") && all.contains(warns), "{all}");
    seen.instances[2].node = Some("other".to_owned());
    assert!(!durable(&seen).2.contains("node"));
}

#[test]
fn what_keeps_pods_from_running_is_told_once_for_all_of_them() {
    let mut world = World::new(3);
    world.servers.iter_mut().for_each(|server| server.up = false);
    let mut seen = world.observe();
    for instance in &mut seen.instances {
        instance.obstacle = Some("its image i cannot be pulled: not found".to_owned());
    }
    let (_, reason, message) = told(&seen, ConditionType::Ready);
    assert_eq!(reason, Reason::WaitingForInstances);
    let end = "; demo-0, demo-1, demo-2: its image i cannot be pulled: not found";
    assert!(message.ends_with(end), "{message}");
}

/// MAIN has answered its registration with a refusal, and keeps nothing of it.
#[test]
fn a_replica_that_main_refuses_is_told_of_as_diverged() {
    let mut seen = running().observe();
    let Sight::Serving(main) = &mut seen.instances[0].sight else {
        panic!("{seen:?}")
    };
    main.registrations.pop().unwrap();
    assert_eq!(instance(&seen, 2).data_status, None);
    seen.instances[2].refused = true;
    assert_eq!(instance(&seen, 2).data_status.as_deref(), Some("diverged"));
    assert_eq!(instance(&seen, 1).data_status.as_deref(), Some("ready"));
}

#[test]
fn without_a_ledger_nobody_is_main_against_its_word() {
    let mut world = running();
    world.settings.paused = true;
    world.ledger = None;
    assert_eq!(instance(&world.observe(), 0).role, InstanceRole::Main);
    let mut world = running();
    world.ledger.as_mut().unwrap().main.instance = "demo-2".to_owned();
    assert_eq!(instance(&world.observe(), 0).role, InstanceRole::Deposed);
}

#[test]
fn one_that_has_restarted_is_in_sync_only_once_it_is_known_to_be_again() {
    let mut world = running();
    let seen = world.observe();
    let in_sync = |seen: &Observation| [0, 1, 2].map(|index| instance(seen, index).in_sync);
    assert_eq!(in_sync(&seen), [false, true, false]);
    world.restart(1, true);
    assert_eq!(in_sync(&world.observe()), [false; 3]);
}
