//! Clusters whose clients reach instances past the gateway.

use super::{
    super::{Situation, plan},
    decisions::running,
    world::World,
};
use crate::api::{ReplicationMode, conditions::Reason, ledger::OperationKind};

/// Three instances that serve without gateways.
fn serving(mode: ReplicationMode) -> World {
    let mut world = World::new(3);
    (world.settings.direct, world.settings.mode) = (true, mode);
    world.settle();
    assert_eq!(world.main(), Some(0));
    assert!(world.ledger.as_ref().unwrap().direct);
    world
}

/// Nobody is promoted, and the reason is told.
fn expect_waiting(world: &World) {
    let planned = plan(&world.observe());
    assert!(planned.steps.is_empty(), "{:?}", planned.steps);
    let Situation::MainLost(Reason::ManualFailover, text) = planned.situation else {
        panic!("{:?}", planned.situation);
    };
    assert!(
        text.contains("bring it back. demo-1 is not promoted") && !text.contains("Automatic"),
        "{text}"
    );
}

#[test]
fn a_strict_replica_is_promoted_because_main_cannot_acknowledge_without_it() {
    let mut world = serving(ReplicationMode::StrictSync);
    world.servers[0].up = false;
    world.settle();
    assert_eq!(world.main(), Some(1));
    // The former one, which is back as a replica, holds as much as long as the route is closed.
    world.restart(0, true);
    world.settle();
    assert!(world.ledger.as_ref().unwrap().direct);
}

#[test]
fn nobody_is_promoted_where_nothing_keeps_the_old_main_from_acknowledging() {
    for automatic in [true, false] {
        let mut world = serving(ReplicationMode::Sync);
        world.settings.automatic_failover = automatic;
        world.servers[0].up = false;
        world.ask_for_switchover(Some(1));
        expect_waiting(&world);
        world.settings.switchover = None;
        // It leads again when it is back.
        world.restart(0, true);
        world.settle();
        assert_eq!(world.main(), Some(0));
    }
}

#[test]
fn a_change_of_the_spec_reaches_no_main_that_is_lost() {
    let mut world = serving(ReplicationMode::Sync);
    world.servers[0].up = false;
    world.settings.mode = ReplicationMode::StrictSync;
    expect_waiting(&world);
    world.settings.direct = false;
    expect_waiting(&world);
    world.restart(0, true);
    world.settle();
    assert!(
        !world.ledger.as_ref().unwrap().direct,
        "its process is another one"
    );
    world.servers[0].up = false;
    world.settle();
    assert_eq!(world.main(), Some(1));
}

#[test]
fn gateways_that_are_switched_off_while_main_is_lost_fence_nobody() {
    let mut world = running();
    world.settings.mode = ReplicationMode::Sync;
    world.settle();
    world.settings.direct = true;
    world.servers[0].up = false;
    expect_waiting(&world);
}

/// Where MAIN may go on alone, the copy that was the least behind has no vote that MAIN waits for.
#[test]
fn a_replica_that_main_does_not_wait_for_is_not_promoted_for_being_the_least_behind() {
    let mut world = serving(ReplicationMode::StrictSync);
    world.settings.unprotected = true;
    world.settings.most_recent = true;
    let mut seen = world.observe();
    for instance in &mut seen.instances[1..] {
        instance.last_behind = Some(0);
    }
    seen.instances.remove(0);
    let mut ledger = seen.ledger.clone().unwrap();
    ledger.in_sync.retain(|member| member.instance == "demo-0");
    seen.ledger = Some(ledger.clone());
    let planned = plan(&seen);
    assert!(planned.steps.is_empty(), "{:?}", planned.steps);
    assert!(
        matches!(planned.situation, Situation::MainLost(Reason::ManualFailover, _)),
        "{:?}",
        planned.situation
    );
    // Behind gateways it is.
    seen.settings.direct = false;
    ledger.direct = false;
    seen.ledger = Some(ledger);
    assert!(!plan(&seen).steps.is_empty());
}

/// Those that are led past the gateways already stay with that process.
#[test]
fn the_first_gateways_keep_nobody_from_a_main_that_serves() {
    let mut world = serving(ReplicationMode::Sync);
    let behind = |world: &World| !world.ledger.as_ref().unwrap().direct;
    world.settings.direct = false;
    world.settle();
    assert!(!behind(&world));
    // A repair leaves MAIN where it is.
    world.settings.mode = ReplicationMode::StrictSync;
    world.settle();
    world.settings.mode = ReplicationMode::Sync;
    world.settle();
    assert!(!behind(&world));
    world.servers[0].up = false;
    expect_waiting(&world);
    world.restart(0, true);
    world.settle();
    assert!(behind(&world));
}

/// Clients that no gateway holds go on writing, and MAIN waits for nobody at times.
#[test]
fn nobody_is_promoted_while_registrations_are_made_anew() {
    let mut world = serving(ReplicationMode::StrictSync);
    world.settings.mode = ReplicationMode::Sync;
    world.settings.automatic_failover = false;
    let closed = |world: &World| {
        let ledger = world.ledger.as_ref().unwrap();
        ledger
            .operation
            .as_ref()
            .is_some_and(|o| o.kind == OperationKind::Repair)
    };
    while !closed(&world) {
        world.step(1);
    }
    world.ask_for_switchover(Some(1));
    world.servers[0].up = false;
    expect_waiting(&world);
    world.settings.mode = ReplicationMode::StrictSync;
    expect_waiting(&world);
}
