//! Instances are fenced, and few others are left.

use super::{
    super::{
        Plan, Situation,
        observation::Observation,
        plan,
        report::{GatewayState, report},
        switchover::LAST_CALL,
    },
    decisions::{modes, running},
    world::World,
};
use crate::api::{
    RegistrationMode::{Async, StrictSync, Sync},
    ReplicationMode, SwitchoverState,
    conditions::{ConditionType, Reason, Truth},
};

/// So many instances serve, of which two may be MAIN or in sync.
fn pair(instances: i32) -> World {
    let mut world = World::new(instances);
    world.settings.electable = 2;
    world.settle();
    world.client_write();
    world
}

fn fence(world: &mut World, indices: &[usize]) {
    world.settings.fenced = indices.iter().copied().map(World::name).collect();
}

fn term(world: &World) -> i64 {
    world.ledger.as_ref().unwrap().term
}

/// What a human is told to do about a fence.
fn told(plan: &Plan) -> &str {
    match &plan.situation {
        Situation::Stalled(Reason::FencedInstance, text) => text,
        other => panic!("{other:?}"),
    }
}

fn condition(seen: &Observation, condition: ConditionType) -> (Truth, Reason, String) {
    let gateway = GatewayState {
        enabled: true,
        ready: 1,
        ..GatewayState::default()
    };
    let told = report(seen, seen.ledger.as_ref(), &plan(seen).situation, gateway);
    let verdict = told
        .verdicts
        .into_iter()
        .find(|verdict| verdict.condition == condition);
    let verdict = verdict.unwrap();
    (verdict.status, verdict.reason, verdict.message)
}

/// A client writes, and is told that it is safe.
fn writes(world: &mut World) -> bool {
    let before = world.acknowledged.len();
    world.client_write();
    world.check();
    world.acknowledged.len() > before
}

#[test]
fn main_goes_on_where_the_route_could_not_be_opened_to_anybody_else() {
    for (instances, fenced) in [(2, &[0][..]), (4, &[0]), (3, &[0, 2])] {
        let mut world = World::new(instances);
        if instances == 4 {
            world.settings.electable = 2;
        }
        world.settle();
        let before = term(&world);
        fence(&mut world, fenced);
        let plan = world.settle();
        let text = told(&plan);
        assert!(
            text.contains("goes on as MAIN: nobody may be in sync beside demo-1"),
            "{text}"
        );
        assert!(text.contains("fencedInstances names demo-0"), "{text}");
        assert_eq!(
            (world.main(), term(&world)),
            (Some(0), before),
            "clients notice nothing"
        );
        assert!(writes(&mut world));
        // Neither does it move because somebody asks for it.
        for target in [None, Some(1)] {
            world.ask_for_switchover(target);
            world.settle();
            let record = world.ledger.as_ref().unwrap().switchover.as_ref().unwrap();
            assert_eq!(record.state, SwitchoverState::Refused);
            assert!(record.message.contains("fencedInstances"), "{}", record.message);
            assert_eq!((world.main(), term(&world)), (Some(0), before));
        }
        let mut alone = world.clone();
        alone.settings.unprotected = true;
        alone.settle();
        assert_eq!(alone.main(), Some(1), "who may be alone needs nobody");
        if instances == 4 {
            world.settings.electable = 3;
            world.settle();
            assert_eq!(world.main(), Some(1));
            assert!(writes(&mut world));
        }
    }
}

#[test]
fn a_change_of_main_is_given_up_when_its_target_is_left_alone_meanwhile() {
    let mut world = pair(2);
    world.ask_for_switchover(None);
    world.step(3);
    assert!(!world.is_open());
    fence(&mut world, &[0]);
    world.settle();
    assert_eq!(world.main(), Some(0));
    assert!(writes(&mut world));
}

#[test]
fn a_fenced_main_that_ends_in_any_case_is_left_before() {
    let mut world = pair(2);
    fence(&mut world, &[0]);
    world.servers[0].ending = true;
    world.settle();
    assert_eq!(world.main(), Some(0));
    world.servers[0].ending_for = LAST_CALL;
    let plan = world.settle();
    assert!(!world.is_open());
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-1");
    told(&plan);
}

/// MAIN restarts while its only partner is fenced, or is fenced itself when it is lost.
#[test]
fn a_route_that_stays_closed_for_a_fence_says_so() {
    for (instances, fenced, lost) in [(2, &[1][..], 0), (4, &[1], 0), (3, &[1, 2], 0), (2, &[0], 0)] {
        let mut world = World::new(instances);
        if instances == 4 {
            world.settings.electable = 2;
        }
        world.settle();
        world.client_write();
        fence(&mut world, fenced);
        world.settle();
        let (status, _, message) = condition(&world.observe(), ConditionType::Durable);
        let warns = message.contains("once MAIN has restarted, nobody is led to it");
        assert_eq!((status, warns), (Truth::True, fenced[0] == 1), "{message}");
        world.servers[lost].up = false;
        world.settle();
        world.restart(lost, true);
        let plan = world.settle();
        assert!(
            !world.is_open(),
            "nothing is acknowledged that one copy alone has"
        );
        let text = told(&plan);
        assert!(text.contains("take one out of it"), "{text}");
        let (status, reason, _) = condition(&world.observe(), ConditionType::Stalled);
        assert_eq!((status, reason), (Truth::True, Reason::FencedInstance));
        world.settings.fenced.clear();
        world.settle();
        assert!(writes(&mut world), "{}", world.tell());
    }
}

/// MAIN waits for it in its next life as in the one before.
#[test]
fn a_fenced_member_that_restarts_holds_every_acknowledged_write_still() {
    let mut world = pair(2);
    let before = term(&world);
    fence(&mut world, &[1]);
    world.settle();
    world.restart(1, true);
    world.settle();
    assert!(writes(&mut world));
    let (status, _, message) = condition(&world.observe(), ConditionType::Durable);
    assert_eq!(status, Truth::True, "{message}");
    assert_eq!((world.main(), term(&world)), (Some(0), before));

    // It is not promoted for that, before the fence is taken away.
    world.servers[0].up = false;
    let plan = world.settle();
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-0");
    assert!(
        told(&plan).contains("demo-1 could be promoted, but is fenced"),
        "{}",
        told(&plan)
    );
    world.settings.fenced.clear();
    world.settings.unprotected = true;
    world.settle();
    assert_eq!(world.main(), Some(1));
    world.check();
}

/// Another instance takes its place as ever, and it does not come back into the set.
#[test]
fn a_fenced_member_that_restarts_is_replaced_where_another_one_may_be_in_sync() {
    let mut world = running();
    fence(&mut world, &[1]);
    world.restart(1, true);
    world.settle();
    let members: Vec<_> = world
        .ledger
        .as_ref()
        .unwrap()
        .in_sync
        .iter()
        .map(|m| m.instance.as_str())
        .collect();
    assert_eq!(members, ["demo-2"]);
    assert!(writes(&mut world));
}

/// Another one may come back by itself, or the fence may be taken away.
#[test]
fn who_is_waited_for_is_named_beside_who_is_fenced() {
    let mut world = running();
    fence(&mut world, &[1]);
    world.settle();
    world.servers[2].up = false;
    world.restart(0, true);
    let plan = world.settle();
    let Situation::Working(_, text) = &plan.situation else {
        panic!("{plan:?}");
    };
    assert!(
        text.contains("waiting for a replica") && text.contains("(demo-1)"),
        "{text}"
    );
    world.restart(2, true);
    world.settle();
    assert!(writes(&mut world));
}

#[test]
fn a_change_of_mode_waits_for_a_fence_that_would_keep_the_route_closed() {
    let mut world = pair(3);
    let before = term(&world);
    fence(&mut world, &[1]);
    world.settings.mode = ReplicationMode::Sync;
    let plan = world.settle();
    let text = told(&plan);
    assert!(text.contains("must be made anew"), "{text}");
    assert_eq!((world.main(), term(&world)), (Some(0), before));
    assert_eq!(modes(&world, 0), [(1, StrictSync), (2, Async)]);
    assert!(writes(&mut world));
    world.settings.fenced.clear();
    world.settle();
    assert_eq!(modes(&world, 0), [(1, Sync), (2, Async)]);
    assert!(writes(&mut world));
}

#[test]
fn a_registration_that_is_gone_closes_the_route_whoever_is_fenced() {
    let mut world = pair(2);
    fence(&mut world, &[1]);
    world.settle();
    world.servers[0].replicas.clear();
    let plan = world.settle();
    assert!(!world.is_open(), "MAIN would acknowledge writes alone");
    told(&plan);
    world.settings.fenced.clear();
    world.settle();
    assert!(writes(&mut world));
}

/// It follows another MAIN's word, or its pod has moved: MAIN's writes wait for it.
#[test]
fn a_fenced_replica_that_keeps_main_from_writing_is_told_of() {
    for moves in [false, true] {
        let mut world = pair(2);
        let before = term(&world);
        fence(&mut world, &[1]);
        world.settle();
        if moves {
            world.move_pod(1, 0, true);
        } else {
            world.servers[1].reign = 0;
        }
        let plan = world.settle();
        told(&plan);
        assert_eq!((world.main(), term(&world)), (Some(0), before), "readers stay");
        assert!(!writes(&mut world));
        world.settings.fenced.clear();
        world.settle();
        assert!(writes(&mut world), "{}", world.tell());
    }
}

#[test]
fn an_update_that_waits_for_a_fence_says_so() {
    let mut three = World::new(3);
    three.settings.sync_replicas = 2;
    for (mut world, live) in [(pair(2), "0 of 1"), (pair(4), "0 of 1"), (three, "1 of 2")] {
        world.settle();
        fence(&mut world, &[1]);
        world.settle();
        world.configuration += 1;
        world.settle();
        assert!(world.servers.iter().all(|server| server.configuration == 0));
        let (status, reason, message) = condition(&world.observe(), ConditionType::UpToDate);
        assert_eq!((status, reason), (Truth::False, Reason::Updating));
        assert!(
            message.contains(live) && message.ends_with("while fencedInstances names demo-1"),
            "{message}"
        );
        world.settings.fenced.clear();
        world.settle();
        assert!(world.is_up_to_date());
    }
}

#[test]
fn nobody_is_told_to_delete_the_pod_of_a_main_that_nobody_could_follow() {
    let mut world = pair(2);
    fence(&mut world, &[0]);
    world.configuration += 1;
    world.settle();
    assert_eq!((world.main(), world.servers[0].configuration), (Some(0), 0));
    let (_, reason, message) = condition(&world.observe(), ConditionType::UpToDate);
    assert_eq!(reason, Reason::Updating);
    assert!(
        message.contains("only MAIN is left: nobody may be in sync beside demo-1")
            && !message.contains("delete"),
        "{message}"
    );
}

#[test]
fn a_main_that_may_not_be_main_any_more_is_told_of_while_it_goes_on() {
    let mut world = running();
    world.ask_for_switchover(Some(2));
    world.settle();
    assert_eq!(world.main(), Some(2));
    world.settings.electable = 2;
    let mut waits = world.clone();
    waits.servers[0].up = false;
    waits.servers[1].up = false;
    let mut shut_out = world.clone();
    fence(&mut shut_out, &[1]);
    for (mut world, why) in [
        (waits, "a sync replica is away"),
        (shut_out, "fencedInstances names demo-1"),
    ] {
        world.settle();
        assert_eq!(world.main(), Some(2));
        let (status, reason, message) = condition(&world.observe(), ConditionType::Reconciling);
        assert_eq!(
            (status, reason),
            (Truth::True, Reason::SwitchingOver),
            "{message}"
        );
        let begin = "demo-2 may not be MAIN any more, and goes on as such: ";
        assert!(message.starts_with(begin) && message.contains(why), "{message}");
    }
    world.settle();
    assert_ne!(world.main(), Some(2));
    assert_eq!(
        condition(&world.observe(), ConditionType::Reconciling).0,
        Truth::False
    );
}
