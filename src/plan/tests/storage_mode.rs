//! MAIN is in a storage mode in which nothing is replicated.

use super::{
    super::{Situation, plan, report},
    decisions::running,
    world::World,
};
use crate::api::{
    MainUpdate, SwitchoverState,
    conditions::{ConditionType, Reason, Truth},
    ledger::{Route, SwitchoverRecord},
};

/// Has a client change MAIN's mode; `noticed`: MAIN was looked at since.
fn analytical(world: &mut World, noticed: bool) {
    let main = world.main().unwrap();
    (
        world.servers[main].analytical,
        world.servers[main].told_analytical,
    ) = (true, noticed);
}

fn transactional(world: &mut World) {
    let main = world.main().unwrap();
    (
        world.servers[main].analytical,
        world.servers[main].told_analytical,
    ) = (false, false);
}

/// What the status says with the cluster as it is.
fn told(world: &World) -> report::Report {
    let seen = world.observe();
    let situation = plan(&seen).situation;
    let gateway = report::GatewayState {
        enabled: true,
        ready: 1,
        ..Default::default()
    };
    report::report(&seen, seen.ledger.as_ref(), &situation, gateway)
}

fn verdict(world: &World, condition: ConditionType) -> (Truth, Reason, String) {
    let verdicts = told(world).verdicts.into_iter();
    let mut verdicts = verdicts.filter(|verdict| verdict.condition == condition);
    let found = verdicts.next().unwrap();
    (found.status, found.reason, found.message)
}

fn request(world: &World) -> SwitchoverRecord {
    told(world).switchover.unwrap()
}

/// Settles, in which MAIN is not moved and clients are not cut off.
fn stays(world: &mut World) {
    let term = world.ledger.as_ref().unwrap().term;
    world.settle();
    let ledger = world.ledger.as_ref().unwrap();
    assert_eq!(
        (world.main(), ledger.term, ledger.route),
        (Some(0), term, Route::Open)
    );
}

#[test]
fn no_copy_counts_while_main_replicates_nothing_and_clients_are_served() {
    let mut world = running();
    assert_eq!(verdict(&world, ConditionType::Durable).0, Truth::True);
    analytical(&mut world, true);
    let (truth, reason, message) = verdict(&world, ConditionType::Durable);
    assert_eq!((truth, reason), (Truth::False, Reason::UnreplicatedMode));
    for part in [
        "demo-0",
        "IN_MEMORY_ANALYTICAL",
        "STORAGE MODE IN_MEMORY_TRANSACTIONAL",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(verdict(&world, ConditionType::Ready).0, Truth::True);
    assert_eq!(
        verdict(&world, ConditionType::ReplicationHealthy).1,
        Reason::UnreplicatedMode
    );
    let before = world.servers[0].replicas.clone();
    stays(&mut world);
    assert_eq!(
        world.servers[0].replicas, before,
        "registrations are as they were"
    );
    transactional(&mut world);
    assert_eq!(verdict(&world, ConditionType::Durable).0, Truth::True);
}

#[test]
fn a_switchover_waits_until_main_replicates_again() {
    let mut world = running();
    analytical(&mut world, true);
    world.ask_for_switchover(Some(1));
    stays(&mut world);
    let waiting = request(&world);
    assert_eq!(waiting.state, SwitchoverState::Pending);
    assert!(
        waiting.message.contains("IN_MEMORY_ANALYTICAL"),
        "{}",
        waiting.message
    );
    transactional(&mut world);
    world.settle();
    assert_eq!(world.main(), Some(1));
    assert_eq!(request(&world).state, SwitchoverState::Succeeded);
}

#[test]
fn a_change_of_mode_that_was_not_noticed_has_the_switchover_undone() {
    let mut world = running();
    analytical(&mut world, false);
    world.ask_for_switchover(Some(1));
    world.settle();
    assert_eq!((world.main(), world.is_open()), (Some(0), true));
    let failed = request(&world);
    assert_eq!(failed.state, SwitchoverState::Failed);
    assert!(
        failed.message.contains("IN_MEMORY_ANALYTICAL"),
        "{}",
        failed.message
    );
}

#[test]
fn main_that_is_fenced_or_to_be_removed_or_whose_pod_ends_waits_for_it() {
    let mut fenced = running();
    analytical(&mut fenced, true);
    fenced.settings.fenced = vec!["demo-0".into()];
    stays(&mut fenced);
    let Situation::Stalled(reason, why) = plan(&fenced.observe()).situation else {
        panic!("nobody is told");
    };
    assert_eq!(reason, Reason::FencedInstance);
    assert!(why.contains("IN_MEMORY_ANALYTICAL"), "{why}");

    let mut removed = running();
    analytical(&mut removed, true);
    removed.settings.electable = 0;
    stays(&mut removed);

    let mut ending = running();
    analytical(&mut ending, true);
    ending.servers[0].ending = true;
    stays(&mut ending);
}

#[test]
fn the_pod_of_main_is_not_updated_meanwhile() {
    for update in [MainUpdate::Automatic, MainUpdate::Supervised] {
        let mut world = running();
        analytical(&mut world, true);
        world.settings.main_update = update;
        world.configuration += 1;
        stays(&mut world);
        assert_eq!(world.servers[0].configuration, 0);
        assert_eq!(
            (world.servers[1].configuration, world.servers[2].configuration),
            (0, 0),
            "nobody can tell that one follows before the next one goes"
        );
        let (_, reason, why) = verdict(&world, ConditionType::UpToDate);
        assert_eq!(reason, Reason::Updating);
        assert!(why.contains("IN_MEMORY_ANALYTICAL"), "{why}");
    }
    let mut single = World::new(1);
    single.settle();
    analytical(&mut single, true);
    single.configuration += 1;
    stays(&mut single);
    assert_eq!(single.servers[0].configuration, 0);
    transactional(&mut single);
    single.settle();
    assert!(single.is_up_to_date());
}

#[test]
fn a_main_that_is_lost_is_followed_all_the_same() {
    let mut world = running();
    analytical(&mut world, true);
    world.servers[0].up = false;
    world.settle();
    assert_eq!(world.main(), Some(1));
}
