//! MAIN is moved because somebody has asked for it, and what may happen meanwhile.

use std::time::Duration;

use super::{
    super::{
        Action, Plan, Step,
        observation::{DataStatus, Observation, Registration, Role, Sight},
        plan,
        switchover::{self, LAST_CALL},
    },
    decisions::{modes, running},
    world::World,
};
use crate::api::{
    ReplicationMode, SwitchoverState,
    ledger::{Change, OperationKind, Route, SwitchoverRecord},
};

/// What has become of the newest request.
fn outcome(world: &World) -> Option<SwitchoverState> {
    let record = world.ledger.as_ref()?.switchover.as_ref()?;
    let asked = world.settings.switchover.as_ref()?;
    (record.request_id == asked.id).then_some(record.state)
}

#[test]
fn main_moves_where_it_was_asked_to_once() {
    let mut world = running();
    let term = world.ledger.as_ref().unwrap().term;
    world.ask_for_switchover(None);
    world.settle();
    assert_eq!(world.main(), Some(1), "the in-sync replica is the best choice");
    assert_eq!(outcome(&world), Some(SwitchoverState::Succeeded));
    assert_eq!(
        world.ledger.as_ref().unwrap().term,
        term + 2,
        "closing, and the change"
    );
    world.client_write();
    assert_eq!(world.acknowledged.len(), 4);
    // The request is still there.
    world.settle();
    assert_eq!(world.main(), Some(1));
}

#[test]
fn main_moves_to_an_asynchronous_replica_that_was_asked_for() {
    let mut world = running();
    world.ask_for_switchover(Some(2));
    world.settle();
    assert_eq!(
        (world.main(), outcome(&world)),
        (Some(2), Some(SwitchoverState::Succeeded))
    );
    world.client_write();
    assert_eq!(world.acknowledged.len(), 4);
    assert_eq!(modes(&world, 2).len(), 2);
}

#[test]
fn a_target_that_cannot_be_main_is_refused_and_one_that_is_main_is_done() {
    let mut world = running();
    for (target, state) in [(7, SwitchoverState::Refused), (0, SwitchoverState::Succeeded)] {
        world.ask_for_switchover(Some(target));
        let term = world.ledger.as_ref().unwrap().term;
        world.settle();
        assert_eq!(outcome(&world), Some(state));
        assert_eq!(
            world.ledger.as_ref().unwrap().term,
            term,
            "clients notice nothing"
        );
    }
}

#[test]
fn a_request_waits_for_its_target() {
    let mut world = running();
    world.servers[2].up = false;
    world.ask_for_switchover(Some(2));
    world.settle();
    assert_eq!((world.main(), outcome(&world)), (Some(0), None));
    world.restart(2, true);
    world.settle();
    assert_eq!(
        (world.main(), outcome(&world)),
        (Some(2), Some(SwitchoverState::Succeeded))
    );
}

/// What is planned where MAIN is of this release, and its asynchronous replica has this status.
fn plan_beside(world: &World, version: &str, status: DataStatus, closed_for: Duration) -> Plan {
    let mut seen = world.observe();
    let Sight::Serving(view) = &mut seen.instances[0].sight else {
        panic!("MAIN serves");
    };
    version.clone_into(&mut view.version);
    let other = view.registrations.iter_mut().find(|r| !r.is_sync()).unwrap();
    other.status = Some(status);
    seen.closed_for = closed_for;
    plan(&seen)
}

/// Before 3.12 stepping down waits for what is being sent, and comes about when nobody waits for it any more.
#[test]
fn a_main_that_cannot_break_off_what_it_sends_is_not_told_to_step_down() {
    let mut world = running();
    world.ask_for_switchover(Some(1));
    let moves = |version: &str, status| {
        let planned = plan_beside(&world, version, status, Duration::ZERO);
        announces(&planned) == Some(OperationKind::Switchover)
    };
    assert!(moves("3.12.0", DataStatus::Recovery));
    assert!(!moves("3.11.2", DataStatus::Recovery));
    assert!(moves("3.11.2", DataStatus::Ready));

    // It begins to once the route is closed.
    world.step(2);
    assert!(!world.is_open());
    let after =
        |seconds, version: &str, status| plan_beside(&world, version, status, Duration::from_secs(seconds));
    let steps_down = |plan: &Plan| {
        let is_demotion = |step: &Step| matches!(step, Step::Do(Action::StepDown { .. }));
        plan.steps.iter().any(is_demotion)
    };
    assert!(steps_down(&after(1, "3.12.0", DataStatus::Recovery)));
    assert!(steps_down(&after(1, "3.11.2", DataStatus::Ready)));
    let waits = after(1, "3.11.2", DataStatus::Recovery);
    assert!(waits.steps.is_empty(), "{waits:?}");
    let gives_up = after(6, "3.11.2", DataStatus::Recovery);
    assert_eq!(announces(&gives_up), Some(OperationKind::Repair), "MAIN goes on");
}

#[test]
fn main_goes_on_when_its_successor_is_lost_before_it_has_stepped_down() {
    let mut world = running();
    world.ask_for_switchover(Some(1));
    world.step(2);
    assert!(!world.is_open());
    world.servers[1].up = false;
    world.step(usize::MAX);
    assert!(!world.is_open(), "it may come back");
    world.closed_for = Duration::from_secs(60);
    world.settle();
    assert_eq!(
        (world.main(), outcome(&world)),
        (Some(0), Some(SwitchoverState::Failed))
    );
    world.client_write();
    assert_eq!(world.acknowledged.len(), 4);
}

#[test]
fn main_is_promoted_again_when_its_successor_is_lost_after_it_has_stepped_down() {
    let mut world = running();
    world.ask_for_switchover(Some(1));
    world.step(2);
    // As far as the step down; but not the write that follows.
    world.step(5);
    assert_eq!(world.servers[0].role, Role::Replica);
    world.servers[1].up = false;
    world.closed_for = Duration::from_secs(60);
    world.settle();
    assert_eq!(
        (world.main(), outcome(&world)),
        (Some(0), Some(SwitchoverState::Failed))
    );
}

#[test]
fn a_main_that_dies_in_the_middle_is_followed_by_whom_it_was_to_be() {
    for steps in 0..7 {
        let mut world = running();
        world.ask_for_switchover(Some(1));
        world.step(2);
        world.step(steps);
        world.servers[0].up = false;
        world.settle();
        assert_eq!(world.main(), Some(1), "after {steps} steps");
    }
}

#[test]
fn a_request_that_is_older_than_the_cluster_is_not_carried_out() {
    let mut world = World::new(3);
    world.ask_for_switchover(Some(1));
    world.settle();
    assert_eq!(
        (world.main(), outcome(&world)),
        (Some(0), Some(SwitchoverState::Refused))
    );
}

/// MAIN has stepped down for instance 1, which is announced in a term of its own but not promoted.
fn announced(world: &mut World) {
    world.ask_for_switchover(Some(1));
    world.step(3);
    world.step(usize::MAX);
    world.step(1);
    let ledger = world.ledger.as_ref().unwrap();
    assert_eq!(
        (ledger.main.instance.as_str(), ledger.route),
        ("demo-1", Route::Closed)
    );
    assert_eq!(world.servers[1].role, Role::Replica);
}

#[test]
fn a_former_main_that_is_ahead_leads_again_also_after_a_planned_change() {
    let mut world = World::new(2);
    world.settle();
    world.client_write();
    world.ask_for_switchover(None);
    world.step(3);
    assert!(!world.is_open());
    world.commit_alone(0);
    world.servers[0].up = false;
    world.settle();
    assert!(!world.is_open(), "no replica holds what MAIN does");
    // Nobody waits for the outcome any more, so that it is not tried again.
    world.settings.switchover = None;
    world.restart(0, true);
    world.settle();
    assert_eq!(world.main(), Some(0), "{}", world.tell());
}

#[test]
fn the_old_main_leads_again_when_its_successor_is_lost_without_asking_a_human_twice() {
    for mode in [
        ReplicationMode::StrictSync,
        ReplicationMode::Sync,
        ReplicationMode::Async,
    ] {
        let mut world = World::new(2);
        world.settings.automatic_failover = false;
        world.settings.mode = mode;
        world.settings.sync_replicas = usize::from(mode != ReplicationMode::Async);
        world.settle();
        world.client_write();
        announced(&mut world);
        world.restart(1, false);
        world.settle();
        assert_eq!(
            (world.main(), outcome(&world)),
            (Some(0), Some(SwitchoverState::Failed))
        );
    }
}

#[test]
fn a_target_that_restarts_while_it_is_promoted_is_main_in_the_end() {
    let mut world = running();
    announced(&mut world);
    world.restart(1, true);
    world.settle();
    let main = world.main();
    assert!(world.is_open());
    let state = if main == Some(1) {
        SwitchoverState::Succeeded
    } else {
        SwitchoverState::Failed
    };
    assert_eq!(outcome(&world), Some(state), "MAIN is {main:?}");
}

#[test]
fn a_target_that_does_not_become_main_is_given_up() {
    let mut world = running();
    announced(&mut world);
    world.servers[1].stubborn = true;
    world.step(usize::MAX);
    assert!(!world.is_open(), "it may take a moment");
    world.closed_for = Duration::from_secs(60);
    world.step(1);
    world.closed_for = Duration::ZERO;
    world.settle();
    assert_ne!(world.main(), Some(1));
    assert_eq!(outcome(&world), Some(SwitchoverState::Failed));
}

#[test]
fn a_replica_of_which_nothing_is_proven_is_not_promoted() {
    for mode in [ReplicationMode::Sync, ReplicationMode::Async] {
        let mut world = running();
        world.settings.mode = mode;
        world.settings.sync_replicas = usize::from(mode == ReplicationMode::Sync);
        world.settle();
        world.ask_for_switchover(Some(1));
        world.step(3);
        assert!(!world.is_open());
        // A human is faster.
        world.servers[0].role = Role::Replica;
        world.servers[0].replicas.clear();
        world.settle();
        assert_eq!(world.main(), Some(0), "{mode:?}");
    }
}

#[test]
fn a_silent_gateway_does_not_keep_main_from_going_on() {
    let mut world = running();
    world.ask_for_switchover(Some(1));
    world.step(2);
    world.servers[1].up = false;
    world.closed_for = Duration::from_secs(60);
    world.step(usize::MAX);
    world.restart(1, true);
    loop {
        let plan = world.step(usize::MAX);
        let fenced = plan
            .steps
            .iter()
            .any(|step| matches!(step, Step::Do(Action::Fence { .. })));
        assert!(!fenced, "{:?}", plan.steps);
        if world.is_open() {
            break;
        }
    }
    assert_eq!(world.main(), Some(0));
}

/// The strict replicas that the ledger names.
fn in_sync(world: &World) -> Vec<String> {
    let members = &world.ledger.as_ref().unwrap().in_sync;
    members.iter().map(|member| member.instance.clone()).collect()
}

#[test]
fn main_moves_before_its_pod_ends_and_does_not_wait_for_it_afterwards() {
    let mut world = running();
    world.servers[0].ending = true;
    world.settle();
    assert_eq!((world.main(), in_sync(&world)), (Some(1), vec![World::name(2)]));
    world.client_write();
    // The pod ends, and another one takes its place.
    world.servers[0].up = false;
    world.settle();
    world.client_write();
    world.servers[0].ending = false;
    world.restart(0, true);
    world.settle();
    assert_eq!(world.main(), Some(1));
    assert_eq!(world.acknowledged.len(), 5);
}

#[test]
fn a_strict_replica_is_replaced_before_its_pod_ends() {
    let mut world = running();
    let term = world.ledger.as_ref().unwrap().term;
    world.servers[1].ending = true;
    world.settle();
    assert_eq!((world.main(), in_sync(&world)), (Some(0), vec![World::name(2)]));
    assert_eq!(
        world.ledger.as_ref().unwrap().term,
        term,
        "clients notice nothing"
    );
    world.client_write();
}

#[test]
fn main_stays_for_as_long_as_it_can_where_nobody_else_would_be_left_in_sync() {
    let mut world = World::new(2);
    world.settle();
    world.client_write();
    let term = world.ledger.as_ref().unwrap().term;
    world.servers[0].ending = true;
    world.settle();
    assert_eq!(
        (world.main(), world.ledger.as_ref().unwrap().term),
        (Some(0), term)
    );
    // In the end it is replaced as one that is lost, and the new MAIN waits for a second copy.
    let mut unnoticed = world.clone();
    unnoticed.servers[0].up = false;
    unnoticed.settle();
    assert!(!unnoticed.is_open());
    comes_back_as_a_replica(unnoticed);
    // Where the operator had the time, clients have left it before: it must not be told to end while it answers them.
    world.servers[0].ending_for = LAST_CALL;
    world.settle();
    assert_eq!(world.main(), Some(1));
    world.servers[0].up = false;
    world.settle();
    comes_back_as_a_replica(world);
}

/// What holds back changes that come too often cannot hold back the end of a process.
#[test]
fn main_moves_before_its_pod_ends_however_often_it_has_moved_lately() {
    let mut world = running();
    world.servers[0].ending = true;
    let mut seen = world.observe();
    let ledger = seen.ledger.as_mut().unwrap();
    let change = |term| Change {
        term,
        ..Change::default()
    };
    ledger.changes = (1..=8).map(change).collect();
    seen.change_ages = vec![Duration::from_secs(20); 8];
    let begins = |seen: &Observation| announces(&plan(seen));
    assert_eq!(begins(&seen), Some(OperationKind::Switchover));
    seen.instances[0].terminating_for = Duration::from_secs(10);
    assert_eq!(begins(&seen), None, "nobody ends it: its node is cut off");
    seen.instances[0].terminating_for = Duration::ZERO;
    // One that is not to be elected any more can wait for it.
    seen.instances[0].terminating = false;
    seen.settings.fenced = vec![World::name(0)];
    assert_eq!(begins(&seen), None);
}

#[test]
fn main_moves_before_its_pod_ends_though_its_writers_are_faster_than_another_replica() {
    let mut world = running();
    world.servers[0].ending = true;
    // The route is closed without a question to the gateways: it is closed to those that answer in any case.
    let moves_where_the_other = |change: fn(&mut Registration)| {
        let mut seen = world.observe();
        let Sight::Serving(view) = &mut seen.instances[0].sight else {
            panic!("MAIN serves");
        };
        let other = view.registrations.iter_mut().find(|r| !r.is_sync());
        change(other.unwrap());
        let planned = super::super::plan(&seen);
        assert!(!planned.steps.contains(&Step::Do(Action::ReachGateways)));
        announces(&planned) == Some(OperationKind::Switchover)
    };
    assert!(moves_where_the_other(|r| {
        (r.status, r.has_followed) = (Some(DataStatus::Recovery), true);
    }));
    assert!(!moves_where_the_other(|r| r.status = Some(DataStatus::Invalid)));
}

fn comes_back_as_a_replica(mut world: World) {
    world.servers[0].ending = false;
    world.restart(0, true);
    world.settle();
    assert_eq!((world.main(), world.is_open()), (Some(1), true));
    world.client_write();
}

#[test]
fn nobody_is_asked_to_lead_whose_pod_is_about_to_end() {
    let mut world = running();
    world.servers[2].ending = true;
    world.ask_for_switchover(Some(2));
    world.settle();
    assert_eq!((world.main(), outcome(&world)), (Some(0), None));
    world.servers[2].ending = false;
    world.settle();
    assert_eq!(
        (world.main(), outcome(&world)),
        (Some(2), Some(SwitchoverState::Succeeded))
    );
}

/// The operation that a plan begins with.
fn announces(plan: &Plan) -> Option<OperationKind> {
    let kind = |step: &Step| match step {
        Step::Write(ledger) => ledger.operation.as_ref().map(|operation| operation.kind),
        Step::Do(_) => None,
    };
    plan.steps.iter().find_map(kind)
}

/// What was to be done first would otherwise keep everything else from being done, for as long as the gateway is named.
#[test]
fn while_a_gateway_says_nothing_main_stays_and_everything_else_goes_on() {
    let mut world = running();
    world.ask_for_switchover(None);
    let first = |world: &World| plan(&world.observe()).steps.first().cloned();
    assert_eq!(first(&world), Some(Step::Do(Action::ReachGateways)));
    world.misses_a_gateway = true;
    let before = world.ledger.as_ref().unwrap().clone();
    world.restart(1, true);
    world.settle();
    let ledger = world.ledger.as_ref().unwrap();
    assert_eq!((ledger.term, world.main()), (before.term, Some(0)));
    assert_ne!(ledger.in_sync, before.in_sync, "its new life is known");
    assert!(ledger.switchover.is_none(), "it is not over");
    // The end of MAIN does not wait for it.
    world.servers[0].ending = true;
    world.settle();
    assert_eq!(world.main(), Some(1));
    world.misses_a_gateway = false;
}

/// A cluster whose second instance, once it has been promoted, takes all others for branched off: so many times.
struct Refusing {
    world: World,
    left: usize,
}

impl Refusing {
    fn settle(&mut self) {
        for _ in 0..200 {
            let mut seen = self.world.observe();
            let ledger = self.world.ledger.as_ref().unwrap();
            let reversed = ledger.operation.as_ref().is_some_and(|o| o.reversed);
            let promoted = ledger.route == Route::Closed && ledger.main.instance == "demo-1";
            if self.left > 0 && promoted && !reversed {
                seen.instances[0].refused = true;
                seen.instances[2].refused = true;
            }
            let plan = plan(&seen);
            self.world.carry_out(&plan, usize::MAX);
            self.world.check();
            let ledger = self.world.ledger.as_ref().unwrap();
            if !reversed && ledger.operation.as_ref().is_some_and(|o| o.reversed) {
                self.left -= 1;
            }
            if plan.steps.is_empty() {
                return;
            }
        }
        panic!("no end of planning: {}", self.world.tell());
    }
}

fn refusing(times: usize) -> Refusing {
    let mut world = running();
    world.ask_for_switchover(Some(1));
    Refusing { world, left: times }
}

#[test]
fn a_request_is_carried_out_once_more_where_its_target_has_refused_the_old_main() {
    let mut refusing = refusing(1);
    let term = refusing.world.ledger.as_ref().unwrap().term;
    refusing.settle();
    let world = &refusing.world;
    assert_eq!(refusing.left, 0);
    assert_eq!(
        (world.main(), outcome(world)),
        (Some(1), Some(SwitchoverState::Succeeded))
    );
    let ledger = world.ledger.as_ref().unwrap();
    assert!(ledger.term > term + 3, "twice");
    assert!(ledger.switchover.as_ref().unwrap().handed_back_to.is_none());
}

#[test]
fn a_request_that_comes_to_nothing_twice_is_not_carried_out_again() {
    let mut refusing = refusing(9);
    refusing.settle();
    assert_eq!(refusing.left, 7);
    let world = &refusing.world;
    assert_eq!(
        (world.main(), outcome(world)),
        (Some(0), Some(SwitchoverState::Failed))
    );
    let record = world.ledger.as_ref().unwrap().switchover.as_ref();
    assert!(record.unwrap().handed_back_to.is_none());
}

/// Whoever asked to leave a MAIN has what they wanted once another one leads.
#[test]
fn a_request_is_not_tried_again_once_another_instance_has_led() {
    let record = SwitchoverRecord {
        request_id: "7".to_owned(),
        target: Some("demo-1".to_owned()),
        state: SwitchoverState::Failed,
        message: String::new(),
        handed_back_to: Some("demo-0".to_owned()),
        finished_at: String::new(),
    };
    for (main, tried_again) in [("demo-0", true), ("demo-2", false)] {
        let mut ledger = running().ledger.unwrap();
        ledger.main.instance = main.to_owned();
        ledger.switchover = Some(record.clone());
        let record = switchover::concluded(&ledger).unwrap();
        assert_eq!(switchover::is_tried_again(&record), tried_again, "{main}");
    }
}
