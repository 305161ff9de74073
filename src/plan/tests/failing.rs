//! Replicas that hang, and instances whose process ends again and again.

use std::time::Duration;

use super::{
    super::{
        Action, Situation, Step,
        observation::{CrashLoop, DataStatus, Observation, Sight},
        plan, report,
    },
    decisions::running,
    world::World,
};
use crate::api::{
    Phase, ReplicationMode,
    conditions::{ConditionType, Reason},
};

/// What is seen while this instance hangs.
fn hanging(world: &World, index: usize) -> Observation {
    let mut seen = world.observe();
    let instance = &mut seen.instances[index];
    instance.sight = Sight::Silent;
    instance.stuck_for = Duration::from_secs(61);
    instance.away_for = Duration::from_secs(61);
    seen
}

fn deletes(seen: &Observation, name: &str) -> bool {
    let deleted =
        |step: &Step| matches!(step, Step::Do(Action::DeletePod { instance, .. }) if instance == name);
    plan(seen).steps.iter().any(deleted)
}

fn complaint(seen: &Observation) -> String {
    match plan(seen).situation {
        Situation::Stalled(Reason::InstanceFailing, text) => text,
        other => panic!("{other:?}"),
    }
}

/// It hangs, and MAIN has nothing of it either.
fn with_a_hanging_replica() -> World {
    let mut world = running();
    world.servers[2].reign = 0;
    world
}

#[test]
fn a_replica_that_hangs_gets_a_new_pod() {
    let world = with_a_hanging_replica();
    let seen = hanging(&world, 2);
    assert!(deletes(&seen, "demo-2"));
    let mut other = seen.clone();
    other.instances[2].stuck_for = Duration::from_secs(59);
    assert!(!deletes(&other, "demo-2"));
    other = seen.clone();
    other.instances[2].terminating = true;
    assert!(!deletes(&other, "demo-2"), "once is enough");
    other = seen;
    other.instances[2].sight = Sight::Refused;
    assert!(!deletes(&other, "demo-2"), "it may be reading its data");
}

#[test]
fn one_that_main_feeds_is_only_out_of_reach() {
    let world = running();
    assert!(!deletes(&hanging(&world, 2), "demo-2"));
    let mut filled = hanging(&with_a_hanging_replica(), 2);
    let Sight::Serving(main) = &mut filled.instances[0].sight else {
        panic!("{filled:?}")
    };
    for registration in &mut main.registrations {
        if registration.status == Some(DataStatus::Invalid) {
            registration.status = Some(DataStatus::Recovery);
        }
    }
    assert!(!deletes(&filled, "demo-2"));
}

#[test]
fn one_that_has_never_answered_in_this_life_is_given_more_time() {
    let world = with_a_hanging_replica();
    let mut seen = hanging(&world, 2);
    seen.instances[2].has_answered = false;
    assert!(!deletes(&seen, "demo-2"));
    seen.instances[2].stuck_for = Duration::from_secs(601);
    assert!(deletes(&seen, "demo-2"));
}

#[test]
fn a_member_that_can_be_promoted_only_in_this_life_is_left_to_a_human() {
    let hangs_in = |mode| {
        let mut world = running();
        world.settings.mode = mode;
        world.settle();
        // Nobody can take its place.
        world.servers[2].up = false;
        world.servers[1].reign = 0;
        hanging(&world, 1)
    };
    assert!(deletes(&hangs_in(ReplicationMode::StrictSync), "demo-1"));
    let seen = hangs_in(ReplicationMode::Sync);
    assert!(!deletes(&seen, "demo-1"));
    assert!(complaint(&seen).contains("delete its pod"));
}

#[test]
fn one_that_is_waited_for_while_the_route_is_closed_gets_a_new_pod_too() {
    let mut world = running();
    world.restart(0, true);
    world.servers[1].up = false;
    world.step(usize::MAX);
    world.servers[2].up = false;
    world.settle();
    assert!(!world.is_open());
    world.servers[2].up = true;
    world.servers[2].reign = 0;
    assert!(deletes(&hanging(&world, 2), "demo-2"));
}

/// MAIN has restarted, nobody is in sync with it, and a copy that has branched off may not be set aside unasked.
fn alone_with_a_branched_copy() -> World {
    let mut world = running();
    world.settings.reset_diverged = false;
    world.restart(0, true);
    world.servers[1].up = false;
    world.servers[2].up = false;
    world.settle();
    assert!(!world.is_open());
    world.servers[2].up = true;
    world.servers[2].data.push((99, 99));
    world.settle();
    world
}

#[test]
fn one_that_hangs_gets_a_new_pod_before_anybody_is_asked_to_give_a_copy_up() {
    let mut world = alone_with_a_branched_copy();
    world.closed_for = Duration::from_secs(61);
    world.servers[1].up = true;
    world.servers[1].reign = 0;
    assert!(deletes(&hanging(&world, 1), "demo-1"));
}

#[test]
fn nobody_is_asked_to_give_a_copy_up_while_another_one_may_come_back() {
    let mut world = alone_with_a_branched_copy();
    world.closed_for = Duration::from_secs(61);
    let asked = |world: &World, away: u64| {
        let mut seen = world.observe();
        seen.instances[1].away_for = Duration::from_secs(away);
        matches!(plan(&seen).situation, Situation::Stalled(Reason::DivergedInstance, text) if text.contains("nobody can follow"))
    };
    assert!(!asked(&world, 15));
    assert!(asked(&world, 61));
}

/// It cannot read its data.
fn break_data(world: &mut World, index: usize) {
    world.servers[index].unreadable = true;
    world.restart(index, true);
}

#[test]
fn what_cannot_be_read_is_set_aside_and_filled_anew() {
    let mut world = running();
    break_data(&mut world, 2);
    let plan = world.step(usize::MAX);
    assert!(
        matches!(&plan.steps[..], [Step::Write(ledger)] if ledger.resets[0].preserve),
        "{plan:?}"
    );
    world.settle();
    assert_eq!(world.servers[2].obeyed.len(), 1);
    assert_eq!(world.servers[2].data, world.servers[0].data);
    world.check();
}

#[test]
fn a_member_that_cannot_read_its_data_is_replaced_first() {
    let mut world = running();
    break_data(&mut world, 1);
    world.settle();
    world.client_write();
    assert_eq!(world.acknowledged.len(), 4);
    assert_eq!(world.servers[1].data, world.servers[0].data);
    world.check();
}

#[test]
fn it_is_left_to_a_human_where_the_spec_says_so() {
    let mut world = running();
    world.settings.reset_diverged = false;
    break_data(&mut world, 2);
    world.settle();
    assert!(complaint(&world.observe()).contains("memgraph.dev/reset=yes"));
    world.servers[2].reset_asked = true;
    world.settle();
    assert_eq!(world.servers[2].data, world.servers[0].data);
}

#[test]
fn another_reason_than_the_data_is_told_and_nothing_is_set_aside() {
    let mut world = running();
    break_data(&mut world, 2);
    let mut seen = world.observe();
    seen.instances[2].crash_loop = Some(CrashLoop {
        exit_code: Some(137),
        waits: true,
    });
    assert!(plan(&seen).steps.is_empty());
    assert!(complaint(&seen).contains("exit code 137"));
    // The same again after it was set aside.
    world.settle();
    break_data(&mut world, 2);
    let seen = world.observe();
    assert!(plan(&seen).steps.is_empty());
    assert!(complaint(&seen).contains("set aside already"));
}

/// Kubernetes starts it again after each pause.
#[test]
fn what_is_said_of_it_is_the_same_while_it_is_started_again_and_only_in_a_pause_anything_is_done() {
    let mut world = running();
    break_data(&mut world, 2);
    let mut seen = world.observe();
    assert!(!plan(&seen).steps.is_empty());
    seen.instances[2].crash_loop.as_mut().unwrap().waits = false;
    assert!(plan(&seen).steps.is_empty());
    assert_eq!(
        plan(&seen).situation,
        Situation::Serving,
        "it is filled anew by itself"
    );

    world.settings.reset_diverged = false;
    let mut seen = world.observe();
    let told = complaint(&seen);
    seen.instances[2].crash_loop.as_mut().unwrap().waits = false;
    assert_eq!(complaint(&seen), told);
    let unwell = |seen: &Observation| {
        let told = report::report(
            seen,
            seen.ledger.as_ref(),
            &plan(seen).situation,
            Default::default(),
        );
        let mut verdicts = told.verdicts.into_iter();
        let kind = ConditionType::ReplicationHealthy;
        verdicts
            .find(|verdict| verdict.condition == kind)
            .unwrap()
            .message
    };
    assert!(
        unwell(&seen).contains("its process ends again and again"),
        "{}",
        unwell(&seen)
    );
    seen.instances[2].crash_loop = None;
    assert_eq!(plan(&seen).situation, Situation::Serving);
}

#[test]
fn the_only_member_leaves_only_where_main_may_go_on_alone() {
    let mut world = World::new(2);
    world.settle();
    world.client_write();
    break_data(&mut world, 1);
    world.settle();
    assert_eq!(world.servers[1].obeyed.len(), 0);
    let seen = world.observe();
    assert!(complaint(&seen).contains("dataDurability"));
    let gateway = report::GatewayState {
        enabled: true,
        ready: 1,
        ..Default::default()
    };
    let report = report::report(&seen, seen.ledger.as_ref(), &plan(&seen).situation, gateway);
    assert_eq!(report.phase, Phase::WritesBlocked);
    world.settings.unprotected = true;
    world.settle();
    assert_eq!(world.servers[1].data, world.servers[0].data);
    assert_eq!(world.ledger.as_ref().unwrap().in_sync.len(), 1);
    world.check();
}

#[test]
fn a_cluster_of_two_whose_main_has_restarted_fills_the_other_one_anew() {
    let mut world = World::new(2);
    world.settle();
    world.client_write();
    break_data(&mut world, 1);
    world.restart(0, true);
    world.settle();
    assert_eq!(world.main(), Some(0));
    assert_eq!(world.servers[1].data, world.servers[0].data);
    world.check();
}
