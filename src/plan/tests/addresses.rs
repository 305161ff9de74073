//! Where MAIN finds its replicas, and who may be there.

use std::time::Duration;

use super::{
    super::{
        Action, Step,
        observation::{Observation, Sight},
        parse_registration_name, plan,
    },
    decisions::{modes, running},
    world::World,
};
use crate::api::{
    RegistrationMode,
    ledger::{Ledger, OperationKind, Route},
};

fn ledger(world: &World) -> &Ledger {
    world.ledger.as_ref().unwrap()
}

/// Three instances, of which the last one is never in sync.
fn two_electable() -> World {
    let mut world = World::new(3);
    world.settings.electable = 2;
    world.settle();
    world.client_write();
    world
}

#[test]
fn an_address_is_in_the_ledger_before_a_replica_is_registered_there() {
    let mut world = running();
    world.move_pod(2, 0, true);
    world.step(usize::MAX);
    let plan = world.step(usize::MAX);
    let [
        Step::Write(next),
        Step::Do(Action::Register {
            instance,
            address,
            name,
            ..
        }),
    ] = &plan.steps[..]
    else {
        panic!("{plan:?}");
    };
    let noted = next
        .addresses
        .iter()
        .find(|noted| noted.instance == *instance)
        .unwrap();
    assert_eq!((instance.as_str(), &noted.address), ("demo-2", address));
    assert!(parse_registration_name(name).unwrap().1 > noted.since);
    world.settle();
    assert!(world.servers.iter().all(|server| server.data.len() == 3));
}

/// In the middle of it MAIN may not be left alone, which the world checks after each plan.
#[test]
fn the_only_in_sync_replica_that_comes_back_elsewhere_gets_a_second_registration_before_the_first_goes() {
    let mut world = two_electable();
    let before = ledger(&world).clone();
    world.move_pod(1, 0, true);
    let acknowledged = world.acknowledged.len();
    world.client_write();
    assert_eq!(world.acknowledged.len(), acknowledged, "nobody votes");
    world.step(usize::MAX);
    let all = modes(&world, 0);
    let strict = all
        .iter()
        .filter(|(_, mode)| *mode == RegistrationMode::StrictSync);
    assert_eq!(strict.count(), 2, "{all:?}");
    world.settle();
    let after = ledger(&world);
    assert_eq!((after.route, after.term), (Route::Open, before.term));
    assert_ne!(after.in_sync[0].address, before.in_sync[0].address);
    assert_eq!(modes(&world, 0).len(), 2);
    world.client_write();
    assert_eq!(world.acknowledged.len(), acknowledged + 1);
}

#[test]
fn it_does_so_behind_a_closed_route_where_clients_leave_no_moment() {
    let mut world = two_electable();
    world.move_pod(1, 0, true);
    world.busy = true;
    world.settle();
    let after = ledger(&world);
    assert_eq!(
        (after.route, after.main.instance.as_str()),
        (Route::Open, "demo-0")
    );
    world.client_write();
    assert_eq!(world.acknowledged.len(), 2);
}

#[test]
fn an_instance_that_gets_the_address_of_an_in_sync_replica_is_moved_on() {
    let mut world = two_electable();
    let former = world.servers[1].address;
    // It has lost its address and has not come back.
    (world.servers[1].up, world.servers[1].address) = (false, 50);
    world.servers[2].address = former;
    world.replace_pod(2, true);
    assert!(world.servers[2].waits);
    let acknowledged = world.acknowledged.len();
    world.client_write();
    assert_eq!(
        world.acknowledged.len(),
        acknowledged,
        "nobody votes in its place"
    );
    world.settle();
    assert!(world.servers[2].up && world.servers[2].address != former);
    world.client_write();
    assert_eq!(
        world.acknowledged.len(),
        acknowledged,
        "it is not in sync now either"
    );
    world.restart(1, true);
    world.settle();
    world.client_write();
    assert_eq!(world.acknowledged.len(), acknowledged + 1);
}

/// A registration is older than the note: somebody else may have had the address when it was made.
#[test]
fn a_registration_that_was_made_before_its_address_was_noted_is_made_anew() {
    let mut world = running();
    let mut later = ledger(&world).clone();
    let name = world.servers[0].replicas[0].0.clone();
    let noted = later
        .addresses
        .iter_mut()
        .find(|noted| noted.instance == "demo-1")
        .unwrap();
    noted.since = later.generation;
    later.generation += 1;
    world.numbers = Default::default();
    world.ledger = Some(later);
    world.settle();
    assert!(world.is_open());
    assert!(
        world.servers[0]
            .replicas
            .iter()
            .all(|(other, _, _)| *other != name)
    );
    assert_eq!(world.servers[0].replicas.len(), 2);
}

/// Whoever has set it up by hand may have registered its replicas by name.
#[test]
fn a_main_whose_replicas_are_registered_by_name_is_adopted() {
    let mut world = running();
    world.ledger = None;
    world.numbers = Default::default();
    let mut seen = world.observe();
    let names: Vec<_> = seen
        .instances
        .iter()
        .map(|i| i.replication_name.clone())
        .collect();
    if let Sight::Serving(view) = &mut seen.instances[0].sight {
        for (registration, index) in view.registrations.iter_mut().zip([1, 2]) {
            registration.name = format!("replica{index}");
            registration.address.clone_from(&names[index]);
        }
    }
    let begun = plan(&seen);
    let [Step::Write(next)] = &begun.steps[..] else {
        panic!("{begun:?}");
    };
    assert_eq!(
        (next.main.instance.as_str(), next.route),
        ("demo-0", Route::Closed)
    );
    seen.ledger = Some(Ledger::clone(next));
    for instance in &mut seen.instances {
        let claim = instance.claim.as_mut().unwrap();
        claim.note.as_mut().unwrap().begun = next.term;
    }
    let next = plan(&seen);
    let dropped = next
        .steps
        .iter()
        .filter(|step| matches!(step, Step::Do(Action::Drop { .. })));
    assert_eq!(dropped.count(), 2, "{next:?}");
}

/// MAIN is to forget where the asynchronous one was, and finds no moment for it: clients' commits fail, and they try again.
#[test]
fn what_main_is_to_forget_holds_nobody_up_whom_it_waits_for() {
    let mut world = World::new(3);
    world.settle();
    world.move_pod(1, 0, true);
    world.move_pod(2, 1, true);
    world.servers[1].up = false;
    world.busy = true;
    world.settle();
    assert!(world.is_open(), "{}", world.tell());
    assert_eq!(ledger(&world).in_sync[0].instance, "demo-2");
    world.client_write();
    world.check();
}

/// The asynchronous one has another address, and clients whose writes succeed leave no moment in which that could be told to MAIN: they are
/// held for one, once they have been for a while.
#[test]
fn clients_that_write_without_a_pause_are_held_for_a_registration() {
    let mut world = World::new(3);
    world.settle();
    world.move_pod(2, 1, true);
    world.busy = true;
    let term = ledger(&world).term;
    let closes = |world: &World, change: fn(&mut Observation)| {
        let mut seen = world.observe();
        change(&mut seen);
        let repairs = |step: &Step| {
            matches!(step, Step::Write(ledger)
                if ledger.operation.as_ref().is_some_and(|o| o.kind == OperationKind::Repair))
        };
        plan(&seen).steps.iter().any(repairs)
    };
    assert!(closes(&world, |_| ()));
    assert!(!closes(&world, |seen| seen.busy_for = Duration::from_secs(19)));
    assert!(!closes(&world, |seen| seen.commits_slowly = true));
    assert!(!closes(&world, |seen| seen.misses_a_gateway = true));
    assert!(!closes(&world, |seen| seen.settings.direct = true));
    world.settle();
    assert!(world.is_open(), "{}", world.tell());
    assert_eq!(ledger(&world).term, term + 1, "once");
    assert_eq!(modes(&world, 0).len(), 2);
    world.client_write();
    world.check();
}
