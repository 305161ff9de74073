//! Failovers on which a human decides.

use super::{
    super::{
        Situation, Step,
        observation::{Observation, Sight, StorageMode, SwitchoverRequest},
        plan,
    },
    decisions::running,
    limits::written,
    world::World,
};
use crate::api::{ReplicationMode, SwitchoverState, conditions::Reason, ledger::OperationKind};

/// MAIN is gone, and nobody is replaced without asking.
fn lost() -> World {
    let mut world = running();
    world.settings.automatic_failover = false;
    world.servers[0].up = false;
    world
}

fn told(world: &World) -> Option<(Reason, String)> {
    match plan(&world.observe()).situation {
        Situation::MainLost(reason, text) | Situation::Stalled(reason, text) => Some((reason, text)),
        _ => None,
    }
}

#[test]
fn it_is_only_told_of_until_somebody_asks() {
    let mut world = lost();
    let plan = world.step(usize::MAX);
    assert!(plan.steps.is_empty());
    assert!(matches!(
        plan.situation,
        Situation::MainLost(Reason::ManualFailover, _)
    ));
}

#[test]
fn a_request_to_move_main_is_the_go_ahead_for_one_failover() {
    for target in [None, Some(1)] {
        let mut world = lost();
        let term = world.ledger.as_ref().unwrap().term;
        world.ask_for_switchover(target);
        world.settle();
        assert_eq!(world.main(), Some(1));
        let ledger = world.ledger.clone().unwrap();
        assert_eq!(ledger.term, term + 1);
        let record = ledger.switchover.unwrap();
        assert_eq!(
            (record.state, record.target.as_deref()),
            (SwitchoverState::Succeeded, Some("demo-1"))
        );
        // The next one needs a word of its own.
        world.restart(0, true);
        world.settle();
        world.servers[1].up = false;
        assert_eq!(told(&world).unwrap().0, Reason::ManualFailover);
    }
}

/// Nobody has only suspected something: it uses none up of those that are allowed in an hour.
#[test]
fn it_is_no_failover_on_suspicion() {
    let mut world = running();
    world.settings.automatic_failover = false;
    world.settings.max_per_hour = 0;
    world.ask_for_switchover(Some(1));
    let mut seen = world.observe();
    let silent = std::time::Duration::from_secs(3600);
    let main = &mut seen.instances[0];
    (main.sight, main.ready, main.silent_for, main.away_for) = (Sight::Silent, false, silent, silent);
    let plan = plan(&seen);
    let Some(Step::Write(next)) = plan.steps.first() else {
        panic!("{plan:?}");
    };
    assert_eq!(next.operation.as_ref().unwrap().kind, OperationKind::Failover);
    let suspected: Vec<_> = next.changes.iter().map(|change| change.suspected).collect();
    assert_eq!(suspected, [false], "it is remembered all the same");
}

#[test]
fn whoever_is_named_and_may_lack_writes_is_not_promoted_and_neither_is_another_one() {
    let mut world = lost();
    world.ask_for_switchover(Some(2));
    assert!(plan(&world.observe()).steps.is_empty());
    let (reason, text) = told(&world).unwrap();
    assert_eq!(reason, Reason::ManualFailover);
    assert!(
        text.contains("demo-2, which spec.switchover names, is not known"),
        "{text}"
    );
    // A fenced one is not either.
    let mut world = lost();
    world.settings.fenced = vec!["demo-1".into()];
    world.ask_for_switchover(Some(1));
    assert!(plan(&world.observe()).steps.is_empty());
    assert_eq!(told(&world).unwrap().0, Reason::FencedInstance);
}

#[test]
fn a_request_is_for_a_main_that_is_lost_and_not_for_one_that_only_this_operator_cannot_reach() {
    let mut world = running();
    world.settings.automatic_failover = false;
    world.ask_for_switchover(Some(1));
    let mut seen = world.observe();
    seen.instances[0].sight = Sight::Silent;
    assert!(plan(&seen).steps.is_empty());
}

/// A request may have waited for the end of the import when MAIN fell silent.
#[test]
fn a_request_gives_no_import_up() {
    let mut world = running();
    world.settings.automatic_failover = false;
    world.ask_for_switchover(Some(1));
    let mut seen = world.observe();
    let silent = std::time::Duration::from_secs(3600);
    let main = &mut seen.instances[0];
    (main.sight, main.ready, main.silent_for, main.away_for) = (Sight::Silent, false, silent, silent);
    assert!(!plan(&seen).steps.is_empty());
    seen.instances[0].last_mode = Some(StorageMode::Analytical);
    let planned = plan(&seen);
    assert!(planned.steps.is_empty());
    assert!(
        matches!(planned.situation, Situation::Stalled(Reason::UnreplicatedMode, _)),
        "{:?}",
        planned.situation
    );
}

#[test]
fn what_was_begun_needs_no_second_word() {
    let mut world = lost();
    world.ask_for_switchover(Some(1));
    world.step(1);
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-1");
    // It is lost before it has become MAIN; the former one is back, and holds as much.
    world.restart(0, true);
    world.servers[1].up = false;
    world.settle();
    assert_eq!(world.main(), Some(0));
    let record = world.ledger.clone().unwrap().switchover.unwrap();
    assert_eq!(record.state, SwitchoverState::Failed);
}

/// In `Async` nobody is known to hold everything: the human has the last word on what may be lost, and on who leads then.
#[test]
fn a_human_may_go_on_without_what_the_replicas_lack() {
    let mut world = World::new(3);
    (world.settings.mode, world.settings.sync_replicas) = (ReplicationMode::Async, 0);
    world.settings.automatic_failover = false;
    world.settle();
    world.client_write();
    let mut seen = world.observe();
    (seen.instances[1].last_behind, seen.instances[2].last_behind) = (Some(-4), Some(-1));
    let main = seen.instances.remove(0);
    let told = |seen: &Observation| {
        let planned = plan(seen);
        assert!(planned.steps.is_empty(), "{:?}", planned.steps);
        match planned.situation {
            Situation::MainLost(reason, text) | Situation::Stalled(reason, text) => (reason, text),
            other => panic!("{other:?}"),
        }
    };
    let chosen = |seen: &Observation| {
        let next = written(&plan(seen)).unwrap().clone();
        (next.main.instance, next.operation.unwrap().lossy)
    };
    let ask = |seen: &mut Observation, target: Option<&str>| {
        seen.settings.switchover = Some(SwitchoverRequest {
            id: "go".into(),
            target: target.map(str::to_owned),
        });
    };

    let (reason, text) = told(&seen);
    assert_eq!(reason, Reason::NoCandidate);
    assert!(
        text.contains("MostRecent") && text.contains("spec.switchover"),
        "{text}"
    );
    // A request alone gives nothing up.
    ask(&mut seen, Some("demo-2"));
    assert_eq!(told(&seen).0, Reason::NoCandidate);
    seen.settings.switchover = None;
    seen.settings.most_recent = true;
    let (reason, text) = told(&seen);
    assert_eq!(reason, Reason::ManualFailover);
    assert!(text.contains("what demo-2, the least behind"), "{text}");
    ask(&mut seen, None);
    assert_eq!(chosen(&seen), ("demo-2".to_owned(), true));
    ask(&mut seen, Some("demo-1"));
    assert_eq!(chosen(&seen), ("demo-1".to_owned(), true));
    ask(&mut seen, Some("demo-7"));
    assert!(told(&seen).1.contains("demo-7, which spec.switchover names"));
    // Nothing is lost while MAIN may only be out of reach.
    ask(&mut seen, None);
    seen.instances.insert(0, main);
    seen.instances[0].sight = Sight::Silent;
    assert!(plan(&seen).steps.is_empty());
}

/// One that is known to hold everything is never passed over for one that a human names.
#[test]
fn nobody_who_may_lack_writes_is_promoted_while_somebody_else_holds_them_all() {
    let mut world = lost();
    world.settings.most_recent = true;
    world.ask_for_switchover(Some(2));
    assert!(plan(&world.observe()).steps.is_empty());
    assert!(
        told(&world)
            .unwrap()
            .1
            .contains("demo-2, which spec.switchover names, is not known")
    );
}

/// Whoever was to follow by a human's word is lost before it leads. The next word is about another one.
#[test]
fn another_request_has_another_one_promoted_where_the_first_one_came_to_nothing() {
    let mut world = lost();
    world.settings.most_recent = true;
    world.ask_for_switchover(Some(1));
    world.step(1);
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-1");
    world.servers[1].up = false;
    assert!(!plan(&world.observe()).writes(), "one request is one word");
    assert_eq!(told(&world).unwrap().0, Reason::ManualFailover);
    world.ask_for_switchover(Some(2));
    world.step(1);
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-2");
}
