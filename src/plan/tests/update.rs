//! Instances get a changed configuration.

use std::time::Duration;

use super::{
    super::{
        Action, Situation, Step,
        observation::{Configuration, Container, DataStatus, Observation, Registration, Sight},
        plan, report,
    },
    decisions::running,
    world::World,
};
use crate::api::{
    MainUpdate, Phase, RegistrationMode,
    conditions::{ConditionType, Reason, Truth},
    ledger::{Change, OperationKind},
};

/// A cluster whose spec has changed since its instances were started.
fn changed() -> World {
    let mut world = running();
    world.configuration += 1;
    world
}

/// The pods that the next plan replaces.
fn replaced(world: &World) -> Vec<String> {
    replaced_as(&world.observe())
}

fn replaced_as(seen: &Observation) -> Vec<String> {
    let steps = plan(seen).steps.into_iter();
    steps
        .filter_map(|step| match step {
            Step::Do(Action::DeletePod { instance, .. }) => Some(instance),
            _ => None,
        })
        .collect()
}

/// What the status says of the update.
fn told(world: &World) -> (Phase, Truth, Reason, String) {
    let gateway = report::GatewayState {
        enabled: true,
        ready: 1,
        ..Default::default()
    };
    let seen = world.observe();
    let report = report::report(&seen, seen.ledger.as_ref(), &Situation::Serving, gateway);
    let of = |verdict: &&crate::api::conditions::Verdict| verdict.condition == ConditionType::UpToDate;
    let verdict = report.verdicts.iter().find(of).unwrap();
    (
        report.phase,
        verdict.status,
        verdict.reason,
        verdict.message.clone(),
    )
}

#[test]
fn one_after_the_other_is_replaced_and_main_last() {
    let mut world = changed();
    let mut order = Vec::new();
    while !world.is_up_to_date() {
        order.extend(replaced(&world));
        world.step(usize::MAX);
        world.client_write();
        world.check();
    }
    assert_eq!(order, ["demo-2", "demo-1", "demo-0"]);
    assert_ne!(
        world.main(),
        Some(0),
        "MAIN has moved to an instance that is updated"
    );
    world.settle();
    let count = world.acknowledged.len();
    world.client_write();
    assert_eq!(world.acknowledged.len(), count + 1);
    assert_eq!(told(&world).1, Truth::True);
}

#[test]
fn nothing_is_replaced_while_another_one_is_away() {
    let mut world = changed();
    world.replace_pod(2, true);
    world.servers[2].up = false;
    world.settle();
    assert_eq!(world.servers.iter().filter(|s| s.configuration == 1).count(), 1);
    let (_, status, reason, message) = told(&world);
    assert_eq!((status, reason), (Truth::False, Reason::Updating));
    assert!(message.ends_with("waiting for demo-2"), "{message}");
    world.restart(2, true);
    world.settle();
    assert!(world.is_up_to_date());
}

#[test]
fn what_does_not_run_is_replaced_at_once() {
    let world = changed();
    let mut seen = world.observe();
    for index in [1, 2] {
        seen.instances[index].container = Container::Waiting;
    }
    let plan = plan(&seen);
    let deletes =
        |step: &Step| matches!(step, Step::Do(Action::DeletePod { instance, .. }) if instance == "demo-1");
    assert!(plan.steps.iter().any(deletes), "{:?}", plan.steps);
}

#[test]
fn main_stays_until_somebody_moves_it_where_the_spec_says_so() {
    let mut world = changed();
    world.settings.main_update = MainUpdate::Supervised;
    world.settle();
    assert_eq!(world.main(), Some(0));
    assert_eq!(world.servers[0].configuration, 0);
    let (phase, _, reason, message) = told(&world);
    assert_eq!((phase, reason), (Phase::Updating, Reason::WaitingForSwitchover));
    assert!(message.contains("demo-0"), "{message}");
    world.ask_for_switchover(None);
    world.settle();
    assert!(world.is_up_to_date());
}

/// It goes to and fro between `recovery` and `ready`, and is seen to be ready once in a while.
#[test]
fn an_update_goes_on_although_writers_are_faster_than_an_asynchronous_replica() {
    let mut world = changed();
    world.settings.main_update = MainUpdate::Supervised;
    world.settle();
    world.settings.main_update = MainUpdate::Automatic;
    let moves_where_it = |change: fn(&mut Registration)| {
        let mut seen = world.observe();
        let Sight::Serving(view) = &mut seen.instances[0].sight else {
            panic!("MAIN serves");
        };
        let other = view.registrations.iter_mut().find(|r| !r.is_sync());
        change(other.unwrap());
        matches!(
            plan(&seen).situation,
            Situation::Working(OperationKind::Switchover, _)
        )
    };
    assert!(moves_where_it(|_| ()));
    assert!(moves_where_it(|r| {
        (r.status, r.has_followed) = (Some(DataStatus::Recovery), true);
    }));
    assert!(!moves_where_it(|r| {
        (r.status, r.has_followed) = (Some(DataStatus::Recovery), false);
    }));
    assert!(!moves_where_it(|r| r.status = Some(DataStatus::Invalid)));
}

/// MAIN's word for the asynchronous replica, where clients write faster than it follows.
fn outpaced(seen: &mut Observation) {
    let Sight::Serving(view) = &mut seen.instances[0].sight else {
        panic!("MAIN serves");
    };
    let mut others = view.registrations.iter_mut();
    let other = others.find(|r| r.mode == RegistrationMode::Async).unwrap();
    other.status = Some(DataStatus::Recovery);
    other.behind = -40;
    other.unwell_for = Duration::from_secs(60);
    other.advanced_ago = Some(Duration::from_secs(1));
}

/// It is never seen to be ready.
#[test]
fn an_update_goes_on_although_an_asynchronous_replica_never_catches_up() {
    let mut world = changed();
    world.servers[2].configuration = 1;
    let mut seen = world.observe();
    outpaced(&mut seen);
    assert_eq!(replaced_as(&seen), ["demo-1"]);
    let strict = |seen: &mut Observation, change: fn(&mut Registration)| {
        outpaced(seen);
        let Sight::Serving(view) = &mut seen.instances[0].sight else {
            panic!("MAIN serves");
        };
        view.registrations.iter_mut().for_each(change);
    };
    for change in [
        |r: &mut Registration| r.advanced_ago = None,
        |r: &mut Registration| r.behind = -1_001,
        |r: &mut Registration| r.unwell_for = Duration::from_secs(5),
    ] {
        let mut seen = world.observe();
        strict(&mut seen, change);
        assert_eq!(replaced_as(&seen), [""; 0]);
    }
}

/// Clients are held for the moment in which it catches up.
#[test]
fn a_replica_that_never_catches_up_takes_the_place_of_one_that_ends_behind_a_closed_route() {
    let mut world = running();
    world.servers[1].ending = true;
    let closes = |world: &World| {
        let mut seen = world.observe();
        outpaced(&mut seen);
        let plan = plan(&seen);
        assert!(replaced_as(&seen).is_empty());
        matches!(plan.situation, Situation::Working(OperationKind::Repair, _))
    };
    // Of one that has just begun to end this is known a moment later. That it was outpaced for long is known already.
    assert!(closes(&world));
    world.misses_a_gateway = true;
    assert!(
        !closes(&world),
        "clients would be held for as long as a grant lasts"
    );
    world.misses_a_gateway = false;
    let plan = plan(&{
        let mut seen = world.observe();
        outpaced(&mut seen);
        seen
    });
    world.carry_out(&plan, usize::MAX);
    world.settle();
    let ledger = world.ledger.as_ref().unwrap();
    assert_eq!(world.main(), Some(0));
    assert_eq!(ledger.in_sync[0].instance, "demo-2");
}

#[test]
fn the_only_instance_is_replaced_where_it_is() {
    let mut world = World::new(1);
    world.settle();
    world.client_write();
    world.configuration += 1;
    world.settle();
    assert!(world.is_up_to_date());
    world.client_write();
    world.check();
    assert_eq!(world.acknowledged.len(), 2);
}

#[test]
fn a_change_that_is_taken_back_in_the_middle_heals() {
    let mut world = changed();
    world.step(usize::MAX);
    world.configuration = 0;
    world.settle();
    assert!(world.is_up_to_date());
    assert_eq!(world.main(), Some(0));
}

#[test]
fn an_older_release_replaces_nothing() {
    let mut world = changed();
    world.settings.image = "memgraph/memgraph:3.5.0".into();
    world.settle();
    assert!(world.servers.iter().all(|server| server.configuration == 0));
    let (_, status, reason, message) = told(&world);
    assert_eq!((status, reason), (Truth::False, Reason::Downgrade));
    assert!(message.contains("Set image to"), "{message}");
}

/// A corrected spec reaches what the earlier one has broken, whoever waits for it.
#[test]
fn what_cannot_start_is_replaced_also_while_all_wait_for_it() {
    for (instances, stopped) in [(2, 1), (1, 0)] {
        let mut world = World::new(instances);
        world.settle();
        world.configuration += 1;
        world.servers[stopped].up = false;
        let mut seen = world.observe();
        seen.instances[stopped].container = Container::Waiting;
        let name = World::name(stopped);
        let deletes =
            |step: &Step| matches!(step, Step::Do(Action::DeletePod { instance, .. }) if *instance == name);
        assert!(plan(&seen).steps.iter().any(deletes), "{name}");
    }
}

/// The update may be what it needs.
#[test]
fn what_runs_and_does_not_follow_is_replaced_if_nobody_relies_on_it() {
    let world = changed();
    let mut seen = world.observe();
    seen.instances[2].sight = Sight::Silent;
    let deletes =
        |step: &Step| matches!(step, Step::Do(Action::DeletePod { instance, .. }) if instance == "demo-2");
    assert!(plan(&seen).steps.iter().any(deletes));
    let mut seen = world.observe();
    seen.instances[1].sight = Sight::Silent;
    let any = |step: &Step| matches!(step, Step::Do(Action::DeletePod { .. }));
    assert!(!plan(&seen).steps.iter().any(any), "demo-1 is in sync");
}

#[test]
fn main_is_not_moved_again_and_again() {
    let mut world = changed();
    for replica in [1, 2] {
        world.replace_pod(replica, true);
    }
    world.settings.main_update = MainUpdate::Supervised;
    world.settle();
    world.settings.main_update = MainUpdate::Automatic;
    let mut seen = world.observe();
    let change = |term| Change {
        term,
        at: String::new(),
        suspected: false,
    };
    seen.ledger.as_mut().unwrap().changes = vec![change(1), change(2)];
    seen.change_ages = vec![Duration::from_secs(60); 2];
    assert_eq!(plan(&seen).steps, []);
    seen.change_ages = vec![Duration::from_secs(601), Duration::from_secs(60)];
    assert!(plan(&seen).writes());
}

/// Of a sidecar whose image is not there, for example.
#[test]
fn a_change_that_takes_a_container_beside_memgraph_from_its_pod_goes_no_further() {
    let mut seen = changed().observe();
    seen.instances[2].configuration = Configuration::Current;
    assert_eq!(replaced_as(&seen), ["demo-1"]);
    seen.instances[2].incomplete = true;
    assert_eq!(replaced_as(&seen), [""; 0]);
    // It has another reason: one that does not have the change lacks a container, too.
    seen.instances[0].incomplete = true;
    assert_eq!(replaced_as(&seen), ["demo-1"]);
    // The spec is corrected, or set back.
    seen.instances[0].incomplete = false;
    seen.instances[2].configuration = Configuration::Outdated;
    assert_eq!(replaced_as(&seen), ["demo-2"]);
}

#[test]
fn main_stays_where_it_is_while_others_lack_a_container_by_the_change() {
    let mut seen = changed().observe();
    for replica in [1, 2] {
        seen.instances[replica].configuration = Configuration::Current;
    }
    assert!(plan(&seen).writes(), "it moves");
    seen.instances[1].incomplete = true;
    assert_eq!(plan(&seen).steps, []);
}

/// An annotation of its pod: in the order and with the care of an update.
#[test]
fn an_instance_gets_another_pod_where_somebody_asks_for_it() {
    let mut world = running();
    world.servers[0].restart_asked = true;
    world.servers[1].restart_asked = true;
    let (phase, truth, reason, text) = told(&world);
    assert_eq!(
        (phase, truth, reason),
        (Phase::Updating, Truth::False, Reason::Updating)
    );
    assert!(
        text.contains("another pod, as its annotation asks: demo-0, demo-1"),
        "{text}"
    );
    assert_eq!(replaced(&world), ["demo-1"]);
    world.settle();
    assert_eq!(world.servers.iter().map(|s| s.pod).collect::<Vec<_>>(), [2, 2, 1]);
    assert_ne!(
        world.main(),
        Some(0),
        "MAIN has moved before its pod was replaced"
    );
    assert_eq!(told(&world).1, Truth::True);
    world.check();
}

/// Another pod may be what mends a container beside Memgraph, or has nothing to do with it.
#[test]
fn a_restart_that_somebody_asks_for_waits_for_no_container_beside_memgraph() {
    for asked in [1, 2] {
        let mut world = running();
        world.servers[asked].restart_asked = true;
        let mut seen = world.observe();
        seen.instances[1].incomplete = true;
        assert_eq!(replaced_as(&seen), [format!("demo-{asked}")]);
    }
}
