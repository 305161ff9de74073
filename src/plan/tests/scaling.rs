//! The spec asks for something else while clients write.

use std::time::Duration;

use super::{
    super::{
        Action, Step,
        observation::{Contents, DataStatus, Sight},
        plan,
    },
    decisions::{modes, running},
    world::World,
};
use crate::{
    api::{
        RegistrationMode::{Async, StrictSync, Sync},
        ReplicationMode,
        ledger::{Operation, OperationKind, Route},
    },
    plan::instances_to_keep,
};

fn in_sync(world: &World) -> Vec<String> {
    let ledger = world.ledger.as_ref().unwrap();
    ledger.in_sync.iter().map(|m| m.instance.clone()).collect()
}

/// Settles with a write after each step, and tells whether the route was closed meanwhile.
fn settle_under_load(world: &mut World) -> bool {
    let mut closed = false;
    for _ in 0..40 {
        world.step(usize::MAX);
        world.check();
        closed |= world.ledger.as_ref().unwrap().route == Route::Closed;
        world.client_write();
        world.check();
    }
    assert!(world.step(0).steps.is_empty(), "{}", world.tell());
    closed
}

#[test]
fn main_leaves_an_instance_that_is_to_be_removed_before_that_is() {
    let mut world = running();
    world.ask_for_switchover(Some(2));
    world.settle();
    assert_eq!(world.main(), Some(2));
    world.settings.replicas = 1;
    (world.settings.sync_replicas, world.settings.electable) = (0, 1);
    assert_eq!(instances_to_keep("demo", 1, world.ledger.as_ref(), &[], true), 3);
    settle_under_load(&mut world);
    assert_eq!(world.main(), Some(0));
    assert_eq!(instances_to_keep("demo", 1, world.ledger.as_ref(), &[], true), 1);
    world.servers.truncate(1);
    world.settle();
    assert_eq!(modes(&world, 0), []);
}

#[test]
fn no_copy_goes_that_may_be_the_newest() {
    let mut world = running();
    let holders: Vec<_> = (0..3).map(|ordinal| format!("demo-{ordinal}")).collect();
    let keep = |world: &World, main_serves| {
        instances_to_keep("demo", 1, world.ledger.as_ref(), &holders, main_serves)
    };
    assert_eq!(keep(&world, false), 2, "who is in sync is known");
    let ledger = world.ledger.as_mut().unwrap();
    ledger.candidates = std::mem::take(&mut ledger.in_sync);
    assert_eq!((keep(&world, true), keep(&world, false)), (2, 3));
    world.ledger.as_mut().unwrap().candidates.clear();
    assert_eq!((keep(&world, true), keep(&world, false)), (1, 3));
    world.ledger = None;
    assert_eq!(keep(&world, false), 3);
}

#[test]
fn a_single_instance_becomes_three_without_a_pause() {
    let mut world = World::new(1);
    world.settle();
    world.client_write();
    let bigger = World::new(3);
    world.servers.extend(bigger.servers[1..].iter().cloned());
    world.settings = bigger.settings;
    assert!(!settle_under_load(&mut world));
    assert_eq!(modes(&world, 0), [(1, StrictSync), (2, Async)]);
    assert_eq!(in_sync(&world), ["demo-1"]);
    assert_eq!(world.acknowledged.len(), 41);
}

#[test]
fn main_moves_below_the_electable_instances() {
    let mut world = running();
    world.ask_for_switchover(Some(2));
    world.settle();
    world.settings.electable = 2;
    settle_under_load(&mut world);
    assert!(world.main().unwrap() < 2);
    assert!(!in_sync(&world).contains(&"demo-2".to_owned()));
}

#[test]
fn more_and_fewer_in_sync_replicas_need_no_pause() {
    let mut world = running();
    world.settings.sync_replicas = 2;
    assert!(!settle_under_load(&mut world));
    assert_eq!(in_sync(&world), ["demo-1", "demo-2"]);
    world.settings.sync_replicas = 1;
    assert!(!settle_under_load(&mut world));
    assert_eq!(modes(&world, 0), [(1, StrictSync), (2, Async)]);
}

#[test]
fn with_two_in_sync_replicas_either_may_follow() {
    let mut world = running();
    world.settings.sync_replicas = 2;
    world.settle();
    world.client_write();
    (world.servers[0].up, world.servers[1].up) = (false, false);
    world.step(usize::MAX);
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-2");
    world.restart(1, true);
    world.restart(0, true);
    world.settle();
    assert_eq!(world.main(), Some(2));
}

#[test]
fn the_preferred_instance_is_taken_among_equals() {
    let mut world = running();
    world.settings.sync_replicas = 2;
    world.settings.preferred_main = Some("demo-2".to_owned());
    world.settle();
    assert_eq!(world.main(), Some(0), "it is no reason to move MAIN");
    world.client_write();
    world.servers[0].up = false;
    world.step(usize::MAX);
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-2");

    world.restart(0, true);
    world.settle();
    world.settings.preferred_main = Some("demo-1".to_owned());
    world.ask_for_switchover(None);
    world.settle();
    assert_eq!(world.main(), Some(1));
}

#[test]
fn who_is_not_in_sync_is_not_taken_although_preferred() {
    let mut world = running();
    world.settings.preferred_main = Some("demo-2".to_owned());
    world.settle();
    world.client_write();
    world.servers[0].up = false;
    world.step(usize::MAX);
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-1");
}

#[test]
fn the_mode_is_changed_while_clients_write() {
    use ReplicationMode as Mode;
    let steps = [
        (Mode::Sync, 1, vec![(1, Sync), (2, Async)]),
        (Mode::StrictSync, 1, vec![(1, StrictSync), (2, Async)]),
        (Mode::Async, 0, vec![(1, Async), (2, Async)]),
        (Mode::Sync, 1, vec![(1, Sync), (2, Async)]),
        (Mode::Async, 0, vec![(1, Async), (2, Async)]),
        (Mode::StrictSync, 1, vec![(1, StrictSync), (2, Async)]),
    ];
    let mut world = running();
    for (mode, sync, expected) in steps {
        (world.settings.mode, world.settings.sync_replicas) = (mode, sync);
        settle_under_load(&mut world);
        assert_eq!((world.main(), modes(&world, 0)), (Some(0), expected), "{mode:?}");
        assert_eq!(in_sync(&world).len(), sync);
    }
}

/// Somebody has emptied it, and MAIN has not noticed yet.
#[test]
fn nobody_is_left_out_for_a_copy_that_does_not_show_the_mark() {
    let mut world = running();
    world.settings.sync_replicas = 2;
    world.settle();
    let leaves_out = |marked: bool| {
        let mut seen = world.observe();
        seen.closed_for = Duration::from_secs(60);
        let ledger = seen.ledger.as_mut().unwrap();
        ledger.route = Route::Closed;
        ledger.candidates = ledger.in_sync.clone();
        ledger.operation = Some(Operation {
            kind: OperationKind::Repair,
            target: "demo-0".into(),
            from: Some("demo-0".into()),
            started_at: String::new(),
            cause: String::new(),
            lossy: false,
            reversed: false,
            election: None,
            proven: false,
        });
        let Sight::Serving(main) = &mut seen.instances[0].sight else {
            panic!("it serves")
        };
        let slow = &mut main.registrations[1];
        (slow.status, slow.behind) = (Some(DataStatus::Recovery), -5);
        let slow = slow.name.clone();
        if !marked {
            let Sight::Serving(emptied) = &mut seen.instances[1].sight else {
                panic!("it serves")
            };
            emptied.contents = Some(Contents { marker: None });
        }
        let steps = plan(&seen).steps;
        steps
            .iter()
            .any(|step| matches!(step, Step::Do(Action::Drop { name, .. }) if *name == slow))
    };
    assert!(leaves_out(true));
    assert!(!leaves_out(false));
}
