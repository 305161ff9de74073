//! A cluster that a human has paused.

use super::{
    super::{
        Situation, plan,
        report::{GatewayState, Report, report},
    },
    decisions::running,
    world::{World, settings},
};
use crate::api::{
    Phase,
    conditions::{ConditionType, Reason, Truth},
    ledger::Route,
};

fn reported(world: &World) -> Report {
    let seen = world.observe();
    let gateway = GatewayState {
        enabled: true,
        ready: 1,
        ..Default::default()
    };
    report(&seen, seen.ledger.as_ref(), &plan(&seen).situation, gateway)
}

/// The phase, and what the condition Paused says.
fn told(world: &World) -> (Phase, Truth, Reason) {
    let report = reported(world);
    let verdict = report
        .verdicts
        .iter()
        .find(|verdict| verdict.condition == ConditionType::Paused)
        .unwrap();
    (report.phase, verdict.status, verdict.reason)
}

#[test]
fn a_lost_main_is_replaced_only_after_the_pause() {
    let mut world = running();
    world.settings.paused = true;
    world.servers[0].up = false;
    let before = world.ledger.clone();
    world.settle();
    assert_eq!(world.ledger, before);
    let lost = plan(&world.observe()).situation;
    assert!(matches!(lost, Situation::MainLost(Reason::Paused, _)), "{lost:?}");
    assert_eq!(told(&world), (Phase::Unavailable, Truth::True, Reason::Paused));
    world.settings.paused = false;
    world.settle();
    assert_eq!(world.main(), Some(1));
    world.check();
}

#[test]
fn nobody_is_moved_registered_or_set_up_in_a_pause() {
    let mut world = running();
    world.settings.paused = true;
    world.ask_for_switchover(Some(2));
    world.servers[1].up = false;
    let before = world.ledger.clone();
    world.settle();
    assert_eq!((&world.ledger, world.main()), (&before, Some(0)));
    let asked = reported(&world).switchover.unwrap();
    assert!(asked.message.contains("spec.paused"), "{asked:?}");

    let mut new = World::new(3);
    new.settings.paused = true;
    new.settle();
    assert_eq!(new.ledger, None);
    assert!(matches!(
        plan(&new.observe()).situation,
        Situation::Waiting(Reason::Paused, _)
    ));
}

#[test]
fn what_has_begun_is_brought_to_its_end() {
    let mut world = running();
    world.servers[0].up = false;
    while world.ledger.as_ref().unwrap().route == Route::Open {
        world.step(1);
    }
    world.settings.paused = true;
    assert_eq!(
        told(&world),
        (Phase::FailingOver, Truth::False, Reason::FailingOver)
    );
    world.settle();
    assert_eq!(world.main(), Some(1));
    assert_eq!(told(&world), (Phase::Paused, Truth::True, Reason::Paused));
    world.check();
}

#[test]
fn a_cluster_that_is_not_paused_says_so() {
    assert!(!settings(3).paused);
    assert_eq!(
        told(&running()),
        (Phase::Operational, Truth::False, Reason::AsExpected)
    );
}
