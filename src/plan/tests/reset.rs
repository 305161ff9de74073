//! The data of an instance that has branched off is set aside.

use super::{
    super::{
        Action, Situation, Step,
        observation::{Role, Sight},
        plan,
    },
    decisions::{modes, running},
    world::World,
};
use crate::api::{
    RegistrationMode, ResetNote, ResetOutcome,
    conditions::Reason,
    ledger::{Ledger, ResetOrder},
};

/// MAIN was lost with a write that nobody else has, another one leads, and the old one is back.
fn branched_off(replicas: i32) -> World {
    let mut world = World::new(replicas);
    world.settle();
    world.client_write();
    world.commit_and_stop();
    world.settings.reset_diverged = false;
    world.settle();
    world.client_write();
    world.restart(0, true);
    world.settle();
    world
}

fn orders(world: &World) -> Vec<ResetOrder> {
    world.ledger.as_ref().unwrap().resets.clone()
}

#[test]
fn what_has_branched_off_is_set_aside_and_filled_anew() {
    let mut world = branched_off(3);
    assert_eq!(world.main(), Some(1));
    assert_ne!(world.servers[0].data, world.servers[1].data);
    world.settings.reset_diverged = true;
    let plan = world.step(usize::MAX);
    let [Step::Write(ledger)] = &plan.steps[..] else {
        panic!("the order first: {plan:?}")
    };
    let [order] = &ledger.resets[..] else {
        panic!("{ledger:?}")
    };
    assert_eq!(
        (order.instance.as_str(), order.term, order.preserve),
        ("demo-0", ledger.term, true)
    );
    let plan = world.step(usize::MAX);
    assert!(
        matches!(&plan.steps[..], [Step::Do(Action::DeletePod { pod_uid, .. })] if *pod_uid == order.pod_uid),
        "{plan:?}"
    );
    world.settle();
    assert_eq!(world.servers[0].data, world.servers[1].data);
    assert_eq!(orders(&world), []);
    assert_eq!(modes(&world, 1)[0], (0, RegistrationMode::Async));
}

#[test]
fn a_pod_that_is_being_deleted_is_waited_for() {
    let mut world = branched_off(3);
    world.settings.reset_diverged = true;
    world.step(usize::MAX);
    let mut seen = world.observe();
    seen.instances[0].terminating = true;
    assert_eq!(plan(&seen).steps, []);
}

#[test]
fn nothing_is_set_aside_for_a_main_whose_own_data_is_about_to_go() {
    let mut world = branched_off(3);
    world.settings.reset_diverged = true;
    let asks = |world: &World, terminating, passing, in_pods| {
        let mut seen = world.observe();
        let main = &mut seen.instances[1];
        (main.terminating, main.passing) = (terminating, passing);
        seen.settings.data_in_pods = in_pods;
        let sets_aside = |step: &Step| match step {
            Step::Write(ledger) => !ledger.resets.is_empty(),
            Step::Do(action) => matches!(action, Action::DeletePod { instance, .. } if instance == "demo-0"),
        };
        plan(&seen).steps.iter().any(sets_aside)
    };
    let all = |world: &World| {
        let [claim, pod] = [(false, true, false), (true, true, false)].map(|(t, p, d)| asks(world, t, p, d));
        (claim, pod, asks(world, true, false, true))
    };
    assert_eq!(
        all(&world),
        (true, false, false),
        "a claim stays for as long as its pod does"
    );
    // The order is given, and taken back: whoever starts later must not find it.
    world.step(usize::MAX);
    assert_eq!(all(&world), (true, false, false));
    world.step(usize::MAX);
    let mut seen = world.observe();
    (seen.instances[1].terminating, seen.instances[1].passing) = (true, true);
    assert!(
        matches!(&plan(&seen).steps[..], [Step::Write(ledger)] if ledger.resets.is_empty()),
        "{seen:?}"
    );
    world.settle();
    assert_eq!(world.servers[0].data, world.servers[1].data);
}

#[test]
fn it_is_left_to_a_human_where_the_spec_says_so() {
    let mut world = branched_off(3);
    let data = world.servers[0].data.clone();
    let plan = world.settle();
    assert!(
        matches!(&plan.situation, Situation::Stalled(Reason::DivergedInstance, text) if text.contains("demo-0")),
        "{plan:?}"
    );
    assert_eq!(world.servers[0].data, data);
    world.servers[0].reset_asked = true;
    world.settle();
    assert_eq!(world.servers[0].data, world.servers[1].data);
}

#[test]
fn main_and_members_are_not_set_aside_whoever_asks() {
    let mut world = running();
    world.servers[0].reset_asked = true;
    world.servers[1].reset_asked = true;
    let plan = world.settle();
    assert_eq!((plan.steps, orders(&world)), (Vec::new(), Vec::new()));
}

#[test]
fn any_other_instance_is_set_aside_once_when_somebody_asks() {
    let mut world = running();
    world.servers[2].reset_asked = true;
    world.settle();
    assert_eq!((world.servers[2].pod, world.servers[2].obeyed.len()), (2, 1));
    assert_eq!(world.servers[2].data, world.servers[0].data);
    assert!(modes(&world, 0).contains(&(2, RegistrationMode::Async)));
}

#[test]
fn a_pod_that_waited_for_the_api_server_obeys_then() {
    let mut world = branched_off(3);
    world.settings.reset_diverged = true;
    world.step(usize::MAX);
    world.replace_pod(0, false);
    assert!(!world.servers[0].up);
    world.settle();
    assert_eq!(world.servers[0].obeyed.len(), 1);
    assert_eq!(world.servers[0].pod, 2);
}

#[test]
fn an_init_container_that_refuses_is_not_started_again_and_again() {
    let mut world = branched_off(3);
    world.settings.reset_diverged = true;
    world.step(usize::MAX);
    let order = orders(&world).remove(0);
    world.servers[0].pod += 1;
    world.servers[0].note = Some(ResetNote {
        token: order.token,
        outcome: ResetOutcome::Refused,
        detail: "no space".into(),
    });
    let plan = world.settle();
    assert_eq!(plan.steps, []);
    assert_eq!(world.servers[0].pod, 2);
}

/// A cluster of two whose second copy cannot follow would stay closed for ever.
#[test]
fn the_only_other_copy_is_set_aside_behind_a_closed_route_once_the_new_term_is_durable() {
    let mut world = World::new(2);
    world.settle();
    world.client_write();
    // It was made MAIN by hand, and took a write of its own.
    (world.servers[1].role, world.servers[1].reign) = (Role::Main, 99);
    world.servers[1].data.push((99, 99));
    world.settle();
    assert!(world.is_open(), "{}", world.tell());
    assert_eq!(world.servers[1].obeyed.len(), 1);
    assert_eq!(world.servers[1].data, world.servers[0].data);
    assert_eq!(world.main(), Some(0));
    world.client_write();
    assert_eq!(world.acknowledged.len(), 2);
}

#[test]
fn an_order_is_void_in_another_term_and_for_whoever_is_relied_on() {
    let world = running();
    let ledger = world.ledger.unwrap();
    let order = |instance: &str, term| ResetOrder {
        instance: instance.into(),
        term,
        ..ResetOrder::default()
    };
    let with = |order| Ledger {
        resets: vec![order],
        ..ledger.clone()
    };
    for (order, stands) in [
        (order("demo-2", ledger.term), true),
        (order("demo-2", ledger.term - 1), false),
        (order("demo-0", ledger.term), false),
        (order("demo-1", ledger.term), false),
    ] {
        assert_eq!(
            with(order).without_void_orders().resets.len(),
            usize::from(stands)
        );
    }
}

/// A full volume, or a pod that finds no node, keeps no other instance from being filled.
#[test]
fn an_order_that_cannot_be_obeyed_holds_no_other_one_up() {
    let mut world = branched_off(4);
    (world.servers[3].role, world.servers[3].reign) = (Role::Main, 99);
    world.servers[3].data.push((99, 99));
    world.settle();
    world.settings.reset_diverged = true;
    world.step(usize::MAX);
    let order = orders(&world).remove(0);
    assert_eq!(order.instance, "demo-0");
    world.servers[0].pod += 1;
    let pending = {
        let mut seen = world.observe();
        let instance = &mut seen.instances[0];
        (instance.sight, instance.away_for) = (Sight::Silent, seen.settings.hang_timeout);
        plan(&seen)
    };
    assert!(
        matches!(&pending.steps[..], [Step::Write(next)] if next.resets.len() == 2),
        "{pending:?}"
    );
    world.servers[0].note = Some(ResetNote {
        token: order.token,
        outcome: ResetOutcome::Refused,
        detail: "no space".into(),
    });
    world.settle();
    assert_eq!(world.servers[3].obeyed.len(), 1, "{}", world.tell());
    assert_eq!(world.servers[3].data, world.servers[1].data);
}
