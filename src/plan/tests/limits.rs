//! What the spec says about when MAIN may be replaced, and by whom.

use std::time::Duration;

use super::{
    super::{
        Action, Plan, Situation, Step,
        observation::{Observation, Role, Sight},
        plan,
    },
    decisions::{modes, running},
    world::{LONG_AGO, World},
};
use crate::api::{
    RegistrationMode, ReplicationMode,
    conditions::Reason,
    ledger::{Change, Ledger, OperationKind, Route},
};

pub(super) fn written(plan: &Plan) -> Option<&Ledger> {
    plan.steps.iter().find_map(|step| match step {
        Step::Write(ledger) => Some(&**ledger),
        Step::Do(_) => None,
    })
}

fn reason(plan: &Plan) -> Option<Reason> {
    match &plan.situation {
        Situation::Waiting(reason, _) | Situation::Stalled(reason, _) | Situation::MainLost(reason, _) => {
            Some(*reason)
        }
        Situation::Working(..) | Situation::Serving => None,
    }
}

/// MAIN is silent for everybody.
fn silent(world: &World) -> Observation {
    let mut seen = world.observe();
    seen.instances[0].sight = Sight::Silent;
    seen.instances[0].ready = false;
    seen.instances[0].away_for = Duration::from_secs(5);
    seen.instances[0].silent_for = Duration::from_secs(5);
    seen
}

fn with_changes(world: &mut World, number: usize, suspected: bool) {
    let ledger = world.ledger.as_mut().unwrap();
    ledger.changes = (0..number)
        .map(|n| Change {
            term: i64::try_from(n).unwrap(),
            at: String::new(),
            suspected,
        })
        .collect();
}

#[test]
fn a_main_that_answers_no_query_for_very_long_is_replaced() {
    let world = running();
    let mut seen = world.observe();
    seen.instances[0].sight = Sight::Handshake;
    seen.instances[0].away_for = Duration::from_secs(59);
    assert_eq!(reason(&plan(&seen)), Some(Reason::MainUnreachable));
    seen.instances[0].away_for = Duration::from_secs(60);
    let plan = plan(&seen);
    let next = written(&plan).unwrap();
    assert_eq!(next.main.instance, "demo-1");
    assert!(next.changes[0].suspected);
}

#[test]
fn a_lost_main_is_waited_for_as_long_as_the_spec_asks_and_leads_again_when_it_returns() {
    let mut world = running();
    world.settings.failover_delay = Duration::from_secs(120);
    world.servers[0].up = false;
    assert_eq!(reason(&world.step(usize::MAX)), Some(Reason::FailoverDelayed));
    let mut seen = world.observe();
    seen.instances[0].away_for = Duration::from_secs(120);
    assert_eq!(written(&plan(&seen)).unwrap().main.instance, "demo-1");
    world.restart(0, true);
    world.settle();
    assert_eq!(world.main(), Some(0));
}

#[test]
fn a_main_that_returns_empty_within_the_delay_is_replaced() {
    let mut world = running();
    world.settings.failover_delay = Duration::from_secs(120);
    world.restart(0, false);
    world.settle();
    assert_eq!(world.main(), Some(1));
}

#[test]
fn suspicion_is_acted_on_only_so_often_but_certainty_always() {
    let mut world = running();
    with_changes(&mut world, 6, true);
    world.change_age = LONG_AGO - Duration::from_secs(1);
    assert_eq!(reason(&plan(&silent(&world))), Some(Reason::TooManyFailovers));
    world.change_age = LONG_AGO;
    assert!(written(&plan(&silent(&world))).is_some());
    world.change_age = LONG_AGO - Duration::from_secs(1);
    world.servers[0].up = false;
    assert!(written(&world.step(usize::MAX)).is_some());
}

#[test]
fn changes_of_certainty_do_not_count_as_suspicion() {
    let mut world = running();
    with_changes(&mut world, 6, false);
    world.change_age = LONG_AGO - Duration::from_secs(1);
    assert!(written(&plan(&silent(&world))).is_some());
}

#[test]
fn the_fourth_change_in_ten_minutes_waits_and_each_further_one_twice_as_long() {
    for (changes, waits) in [(2, 0), (3, 1), (4, 2), (5, 4), (9, 60), (40, 60)] {
        let mut world = running();
        with_changes(&mut world, changes, false);
        world.servers[0].up = false;
        if waits > 0 {
            world.change_age = Duration::from_secs(waits) - Duration::from_millis(1);
            let plan = plan(&world.observe());
            assert_eq!(reason(&plan), Some(Reason::CrashLooping), "{changes}");
        }
        world.change_age = Duration::from_secs(waits);
        assert!(written(&plan(&world.observe())).is_some(), "{changes}");
    }
}

#[test]
fn changes_are_remembered_for_an_hour() {
    let mut world = running();
    with_changes(&mut world, 3, false);
    world.servers[0].up = false;
    let plan = world.step(0);
    assert_eq!(written(&plan).unwrap().changes.len(), 1);
    world.change_age = LONG_AGO - Duration::from_secs(1);
    let plan = world.step(0);
    assert_eq!(written(&plan).unwrap().changes.len(), 4);
}

#[test]
fn main_goes_on_alone_where_that_is_preferred_and_grows_again() {
    let mut world = World::new(2);
    world.settings.unprotected = true;
    world.settle();
    world.client_write();
    world.servers[1].up = false;
    world.client_write();
    assert_eq!(world.acknowledged.len(), 1, "a strict replica is away");
    let first = world.step(usize::MAX);
    assert!(
        matches!(&first.steps[..], [Step::Write(ledger)] if ledger.in_sync.is_empty()),
        "the ledger first: {first:?}"
    );
    world.settle();
    world.client_write();
    assert_eq!((world.acknowledged.len(), modes(&world, 0)), (2, Vec::new()));
    // What it does not hold it cannot be MAIN of.
    world.restart(1, true);
    let mut other = world.clone();
    other.servers[0].up = false;
    other.settle();
    assert_eq!(other.ledger.as_ref().unwrap().main.instance, "demo-0");
    world.settle();
    assert_eq!(modes(&world, 0), [(1, RegistrationMode::StrictSync)]);
    assert_eq!(world.ledger.as_ref().unwrap().in_sync.len(), 1);
}

#[test]
fn a_new_main_does_not_wait_for_a_replica_where_that_is_preferred() {
    let mut world = World::new(2);
    world.settings.unprotected = true;
    world.settle();
    world.client_write();
    world.servers[0].up = false;
    world.settle();
    assert_eq!(world.main(), Some(1));
    world.client_write();
    assert_eq!(world.acknowledged.len(), 2);
}

#[test]
fn a_replica_that_does_not_catch_up_in_time_is_not_waited_for_where_that_is_preferred() {
    let mut world = World::new(2);
    world.settings.unprotected = true;
    world.settle();
    world.restart(0, true);
    world.step(usize::MAX);
    world.servers[1].up = true;
    world.step(usize::MAX);
    world.closed_for = Duration::from_secs(60);
    world.servers[0].up = false;
    world.settle();
    assert!(world.is_open(), "{}", world.tell());
}

#[test]
fn without_an_in_sync_copy_the_least_behind_replica_follows_only_where_that_is_allowed() {
    let mut world = World::new(3);
    (world.settings.mode, world.settings.sync_replicas) = (ReplicationMode::Async, 0);
    world.settle();
    world.servers[0].up = false;
    assert_eq!(reason(&world.step(0)), Some(Reason::NoCandidate));
    world.settings.most_recent = true;
    let mut seen = world.observe();
    (seen.instances[1].last_behind, seen.instances[2].last_behind) = (Some(-4), Some(-1));
    let plan = plan(&seen);
    let next = written(&plan).unwrap();
    let operation = next.operation.as_ref().unwrap();
    assert_eq!((next.main.instance.as_str(), operation.lossy), ("demo-2", true));
    world.carry_out(&plan, usize::MAX);
    world.settle();
    assert_eq!(world.main(), Some(2));
}

#[test]
fn an_in_sync_copy_is_preferred_to_a_recent_one() {
    let mut world = running();
    world.settings.most_recent = true;
    world.servers[0].up = false;
    let plan = world.step(0);
    let operation = written(&plan).unwrap().operation.clone().unwrap();
    assert_eq!((operation.target.as_str(), operation.lossy), ("demo-1", false));
}

#[test]
fn a_main_that_was_promoted_for_want_of_a_better_one_is_no_copy_that_holds_everything() {
    let mut world = World::new(3);
    (world.settings.mode, world.settings.sync_replicas) = (ReplicationMode::Async, 0);
    world.settings.most_recent = true;
    world.settle();
    world.servers[0].up = false;
    world.step(1);
    let chosen = world.ledger.as_ref().unwrap().main.instance.clone();
    assert_eq!(chosen, "demo-1");
    // It is lost before it was promoted; the former MAIN is back.
    world.servers[1].up = false;
    world.restart(0, true);
    world.settle();
    assert_eq!(world.main(), Some(0));
    assert!(
        !world
            .ledger
            .as_ref()
            .unwrap()
            .candidates
            .iter()
            .any(|m| m.instance == "demo-1")
    );
}

#[test]
fn main_leaves_a_fenced_instance_and_nobody_fenced_is_promoted() {
    let mut world = running();
    world.settings.fenced = vec!["demo-0".into()];
    world.settle();
    assert_eq!(world.main(), Some(1));
    assert!(
        world.ledger.as_ref().unwrap().switchover.is_none(),
        "nobody asked for it"
    );
    world.client_write();
    world.servers[1].up = false;
    world.settle();
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-2");
    world.restart(1, true);
    world.settle();
    assert_eq!(world.main(), Some(2));
}

#[test]
fn a_fenced_member_is_replaced() {
    let mut world = running();
    world.settings.fenced = vec!["demo-1".into()];
    world.settle();
    assert_eq!(world.ledger.as_ref().unwrap().in_sync[0].instance, "demo-2");
    assert!(modes(&world, 0).contains(&(1, RegistrationMode::Async)));
}

#[test]
fn a_fenced_main_that_nobody_can_follow_goes_on_and_says_so() {
    let mut world = World::new(1);
    world.settings.fenced = vec!["demo-0".into()];
    let plan = world.settle();
    assert_eq!(reason(&plan), Some(Reason::FencedInstance), "{plan:?}");
    world.settings.fenced.clear();
    world.settle();
    world.settings.fenced = vec!["demo-0".into()];
    let plan = world.settle();
    assert_eq!(reason(&plan), Some(Reason::FencedInstance));
    world.client_write();
    assert_eq!(world.acknowledged.len(), 1);
    // Once it restarts it is not promoted again.
    world.restart(0, true);
    let plan = world.settle();
    assert!(
        matches!(&plan.situation, Situation::Stalled(Reason::FencedInstance, text) if text.contains("fencedInstances")),
        "{plan:?}"
    );
    world.settings.fenced.clear();
    world.settle();
    assert_eq!(world.main(), Some(0));
}

#[test]
fn a_target_that_is_fenced_before_its_promotion_is_not_promoted() {
    let mut world = running();
    world.servers[0].up = false;
    world.step(1);
    world.settings.fenced = vec!["demo-1".into()];
    world.restart(0, true);
    world.settle();
    assert_eq!(world.main(), Some(0));
}

#[test]
fn a_fenced_instance_does_not_lead_again_because_it_is_ahead() {
    let mut world = World::new(2);
    world.settle();
    world.client_write();
    world.commit_and_stop();
    world.step(usize::MAX);
    world.restart(0, true);
    // MAIN refuses it.
    world.step(usize::MAX);
    world.settings.fenced = vec!["demo-0".into()];
    world.settle();
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-1");
    world.settings.fenced.clear();
    world.settle();
    assert_eq!(world.main(), Some(1));
    world.check();
}

#[test]
fn an_operation_says_what_it_was_begun_for() {
    let mut world = running();
    world.servers[0].up = false;
    let plan = world.step(0);
    let operation = written(&plan).unwrap().operation.clone().unwrap();
    assert_eq!(operation.kind, OperationKind::Failover);
    assert!(operation.cause.contains("demo-0"), "{operation:?}");
    assert_eq!(written(&plan).unwrap().route, Route::Closed);
    assert!(matches!(plan.steps[2], Step::Do(Action::Promote { .. })));
}

/// Its start gate has failed: it has ended, and is not waited for any more.
#[test]
fn a_main_that_returns_as_main_without_our_word_ends_the_delay() {
    let mut world = running();
    world.settings.failover_delay = Duration::from_secs(120);
    world.restart(0, true);
    world.servers[0].role = Role::Main;
    let begun = world.step(usize::MAX);
    assert_eq!(written(&begun).unwrap().main.instance, "demo-1");
    world.settle();
    assert_eq!(world.main(), Some(1));
}
