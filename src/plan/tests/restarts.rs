//! Copies that have restarted, and promotions that do not come about.

use std::time::Duration;

use super::{
    super::{
        Action, Situation, Step,
        observation::{Container, Contents, Observation, Role, Sight},
        plan,
    },
    decisions::running,
    world::World,
};
use crate::api::{
    ReplicationMode,
    conditions::Reason,
    ledger::{Member, Operation, OperationKind, Route},
};

/// Everything has lost power; MAIN does not come back.
fn power_loss() -> World {
    let mut world = running();
    for index in 0..3 {
        world.servers[index].boot += 1;
        world.restart(index, true);
    }
    world.servers[0].up = false;
    world
}

#[test]
fn after_a_loss_of_power_main_itself_comes_back() {
    let mut world = power_loss();
    world.restart(0, true);
    world.settle();
    assert_eq!(world.main(), Some(0));
    world.check();
}

#[test]
fn a_member_that_has_restarted_follows_a_main_that_does_not_come_back() {
    let mut world = power_loss();
    let mut seen = world.observe();
    seen.instances[0].away_for = Duration::from_secs(59);
    assert!(plan(&seen).steps.is_empty());
    world.settle();
    assert_eq!(world.main(), Some(1));
    world.check();
}

#[test]
fn it_follows_at_once_a_main_whose_volume_is_lost() {
    let mut world = power_loss();
    world.restart(0, false);
    world.settle();
    assert_eq!(world.main(), Some(1));
    world.check();
}

/// Its volume is the one it had, and what was on it is not there any more.
fn forget_data(world: &mut World, index: usize) {
    world.servers[index].marker = None;
    world.servers[index].data.clear();
}

#[test]
fn it_follows_at_once_a_main_that_is_back_without_its_data() {
    let mut world = power_loss();
    world.restart(0, true);
    forget_data(&mut world, 0);
    let mut unread = world.observe();
    if let Sight::Serving(view) = &mut unread.instances[0].sight {
        view.contents = None;
    }
    assert!(plan(&unread).steps.is_empty());
    world.settle();
    assert_eq!(world.main(), Some(1));
    world.check();
}

/// In `Sync` MAIN does not wait for a replica that restarts.
#[test]
fn where_waiting_ends_nothing_a_human_is_told_what_to_do() {
    let mut world = running();
    world.settings.mode = ReplicationMode::Sync;
    world.settle();
    world.restart(1, true);
    world.restart(0, false);
    let remedy = |world: &World| match plan(&world.observe()).situation {
        Situation::Stalled(Reason::NoCandidate, text) => text,
        other => panic!("{other:?}"),
    };
    assert!(remedy(&world).contains("MostRecent"), "{}", remedy(&world));
    let mut recent = world.clone();
    recent.settings.most_recent = true;
    assert!(!plan(&recent.observe()).steps.is_empty());
    forget_data(&mut world, 1);
    forget_data(&mut world, 2);
    assert!(remedy(&world).contains("make it again"), "{}", remedy(&world));
    world.servers[1].up = false;
    assert!(matches!(
        plan(&world.observe()).situation,
        Situation::MainLost(Reason::NoCandidate, _)
    ));
}

#[test]
fn a_former_main_that_goes_on_as_one_leads_again_where_its_successor_is_lost() {
    let mut world = running();
    world.servers[0].up = false;
    world.step(1);
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-1");
    world.servers[0].up = true;
    world.restart(1, true);
    forget_data(&mut world, 1);
    let mut fenced = world.clone();
    fenced.settings.fenced = vec!["demo-0".to_owned()];
    assert!(plan(&fenced.observe()).steps.is_empty());
    let steps = plan(&world.observe()).steps;
    assert!(
        matches!(&steps[..], [Step::Do(Action::Fence { .. }), Step::Do(Action::Demote { instance })] if instance == "demo-0"),
        "{steps:?}"
    );
    world.settle();
    assert_eq!(world.main(), Some(0));
    world.check();
}

#[test]
fn a_member_that_may_have_lost_what_it_had_is_not_promoted() {
    type Change = fn(&mut World);
    let in_its_former_life: Change = |world| {
        let ledger = world.ledger.as_mut().unwrap();
        ledger.in_sync[0].incarnation.flushes_all = false;
    };
    let cases: [(Change, &str); 4] = [
        (|world| world.servers[1].flushes_all = false, "flush"),
        (in_its_former_life, "flush"),
        (|world| world.servers[1].marker = None, "mark"),
        (|world| world.restart(1, false), "another volume"),
    ];
    for (change, word) in cases {
        let mut world = power_loss();
        change(&mut world);
        let plan = world.settle();
        assert!(
            matches!(&plan.situation, Situation::MainLost(Reason::NoCandidate, text) if text.contains(word)),
            "{plan:?}"
        );
    }
    // Its node went on.
    let mut world = running();
    world.servers[1].flushes_all = false;
    world.restart(1, true);
    world.servers[0].up = false;
    world.settle();
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-1");
}

#[test]
fn a_main_whose_node_has_restarted_leads_again_only_if_it_has_flushed_all() {
    let mut world = power_loss();
    world.servers[1].up = false;
    world.restart(0, true);
    world.servers[0].flushes_all = false;
    let mut asynchronous = world.clone();
    assert!(world.settle().steps.is_empty() && world.ledger.as_ref().unwrap().term == 1);
    asynchronous.settings.mode = ReplicationMode::Async;
    asynchronous.settings.sync_replicas = 0;
    asynchronous.settle();
    assert_eq!(asynchronous.main(), Some(0));
}

#[test]
fn an_instance_that_does_not_become_main_is_followed_by_another_candidate() {
    let mut world = running();
    world.settings.sync_replicas = 2;
    world.settle();
    world.servers[1].stubborn = true;
    world.servers[0].up = false;
    world.step(usize::MAX);
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-1");
    world.closed_for = Duration::from_secs(11);
    world.step(usize::MAX);
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-2");
}

#[test]
fn the_only_one_that_can_be_main_gets_a_new_pod() {
    let mut world = running();
    world.servers[1].stubborn = true;
    world.servers[0].up = false;
    world.step(usize::MAX);
    world.closed_for = Duration::from_secs(31);
    let mut seen = world.observe();
    let deleted =
        |step: &Step| matches!(step, Step::Do(Action::DeletePod { instance, .. }) if instance == "demo-1");
    assert!(plan(&seen).steps.iter().any(deleted));
    seen.instances[1].container = Container::Waiting;
    assert!(!plan(&seen).steps.iter().any(deleted));
    world.servers[1].stubborn = false;
    world.step(usize::MAX);
    world.closed_for = Duration::ZERO;
    world.restart(0, true);
    world.settle();
    assert!(world.is_open());
    world.check();
}

#[test]
fn a_main_whose_mark_was_undone_starts_anew() {
    let mut world = World::new(3);
    let opens = |step: &Step| matches!(step, Step::Write(ledger) if ledger.route == Route::Open);
    while !plan(&world.observe()).steps.iter().any(opens) {
        world.step(usize::MAX);
    }
    // MAIN alone shows the mark, in its memory.
    let seen = |world: &World| {
        let mut seen = world.observe();
        for replica in &mut seen.instances[1..] {
            let Sight::Serving(view) = &mut replica.sight else {
                panic!("{replica:?}")
            };
            view.contents = Some(Contents { marker: None });
        }
        seen
    };
    assert!(plan(&seen(&world)).steps.is_empty());
    world.closed_for = Duration::from_secs(41);
    let deleted =
        |step: &Step| matches!(step, Step::Do(Action::DeletePod { instance, .. }) if instance == "demo-0");
    let mut overdue = seen(&world);
    assert!(plan(&overdue).steps.iter().any(deleted));
    overdue.instances[0].terminating = true;
    assert!(plan(&overdue).steps.is_empty(), "once is enough");
    world.replace_pod(0, true);
    world.servers[0].marker = None;
    for replica in &mut world.servers[1..] {
        (replica.marker, replica.reign) = (None, 0);
    }
    world.closed_for = Duration::ZERO;
    world.settle();
    assert!(world.is_open());
    assert!(world.servers.iter().all(|server| server.marker.is_some()));
    world.check();
}

/// The second phase of a commit did not arrive at the replica, and MAIN makes no further commit that would find that out.
#[test]
fn a_replica_that_missed_something_at_rest_is_found_by_a_commit() {
    let mut world = running();
    world.servers[0].up = false;
    world.step(usize::MAX);
    world.step(usize::MAX);
    let mut seen = world.observe();
    let Sight::Serving(view) = &mut seen.instances[1].sight else {
        panic!("MAIN does not serve")
    };
    assert_eq!(view.registrations.len(), 1, "registered, and not let in yet");
    view.registrations[0].behind = -1;
    let steps = plan(&seen).steps;
    let probes = |step: &Step| matches!(step, Step::Do(Action::ProbeCommit { .. }));
    assert!(steps.iter().any(probes), "{steps:?}");
    assert!(
        !steps.iter().any(|step| matches!(step, Step::Write(_))),
        "{steps:?}"
    );
}

/// Both copies of a cluster of two have restarted, and MAIN's volume is as it was some time ago.
#[test]
fn a_restarted_copy_that_holds_more_than_the_restarted_main_is_left_to_a_human() {
    let mut world = World::new(2);
    world.settle();
    let older = world.servers[0].data.clone();
    world.client_write();
    for index in 0..2 {
        world.restart(index, true);
    }
    world.servers[0].data = older;
    let plan = (0..200)
        .map(|_| world.step(usize::MAX))
        .find(|plan| plan.steps.is_empty());
    let plan = plan.unwrap();
    assert!(
        matches!(&plan.situation, Situation::Stalled(Reason::DivergedInstance, text) if text.contains("demo-1")),
        "{plan:?}"
    );
    world.servers[1].reset_asked = true;
    world.step(usize::MAX);
    let ledger = world.ledger.clone().unwrap();
    assert_eq!((ledger.route, &ledger.candidates[..]), (Route::Closed, &[][..]));
}

/// A third copy must not lead around that question: neither one that holds as much as the older MAIN, nor one that has branched
/// off from it and could be filled anew.
#[test]
fn no_third_copy_lets_an_older_main_go_on_without_what_a_member_holds() {
    for third_is_older in [true, false] {
        let mut world = running();
        let older = world.servers[0].data.clone();
        world.client_write();
        world.restart(0, true);
        world.restart(1, true);
        if third_is_older {
            world.servers[2].data.clone_from(&older);
        }
        world.servers[0].data = older;
        let plan = (0..200)
            .map(|_| world.step(usize::MAX))
            .find(|plan| plan.steps.is_empty());
        let plan = plan.unwrap();
        assert!(
            matches!(&plan.situation, Situation::Stalled(Reason::DivergedInstance, text) if text.contains("demo-1")),
            "{plan:?}"
        );
        let ledger = world.ledger.as_ref().unwrap();
        assert_eq!(ledger.route, Route::Closed);
        assert!(ledger.resets.is_empty());
    }
}

/// The member is away: what it holds may show that the restarted MAIN is the older one.
#[test]
fn nothing_is_set_aside_for_a_restarted_main_while_a_member_may_still_refute_it() {
    let mut world = running();
    let older = world.servers[0].data.clone();
    world.client_write();
    world.restart(0, true);
    world.servers[0].data = older;
    world.restart(1, true);
    world.servers[1].up = false;
    world.step(1);
    let ledger = world.ledger.as_ref().unwrap();
    assert_eq!((ledger.route, &*ledger.main.instance), (Route::Closed, "demo-0"));
    world.servers[0].role = Role::Main;
    world.servers[0].replicas.clear();
    let mut seen = world.observe();
    seen.instances[2].refused = true;
    for (away, sets_aside) in [(59, false), (60, true)] {
        seen.instances[1].away_for = Duration::from_secs(away);
        let ordered = plan(&seen).steps.iter().any(
            |step| matches!(step, Step::Write(next) if next.resets.iter().any(|order| order.instance == "demo-2")),
        );
        assert_eq!(ordered, sets_aside, "away for {away} s");
    }
}

/// Nobody else is left: what is no candidate any more must not be kept from being filled anew because the set of the last
/// term names it.
#[test]
fn who_is_struck_off_as_a_candidate_is_relied_on_no_more() {
    let mut world = running();
    let mut ledger = world.ledger.clone().unwrap();
    ledger.term += 1;
    ledger.route = Route::Closed;
    ledger.candidates = ledger.in_sync.clone();
    // MAIN was in sync in this life, too.
    ledger.in_sync.push(Member {
        instance: ledger.main.instance.clone(),
        incarnation: ledger.main.incarnation.clone(),
        ..ledger.in_sync[0].clone()
    });
    ledger.operation = Some(Operation {
        kind: OperationKind::Failover,
        target: "demo-0".into(),
        from: Some("demo-1".into()),
        started_at: String::new(),
        cause: String::new(),
        lossy: false,
        reversed: true,
        election: None,
        proven: false,
    });
    world.ledger = Some(ledger);
    world.servers[0].replicas.clear();
    let mut seen = world.observe();
    for replica in &mut seen.instances[1..] {
        replica.refused = true;
    }
    let steps = plan(&seen).steps;
    let [Step::Write(next)] = &steps[..] else {
        panic!("{steps:?}")
    };
    assert!(
        next.route == Route::Closed && !next.relies_on("demo-1"),
        "{next:?}"
    );
}

/// MAIN is lost, and the process of the one that is announced in its place has shown that it has ended.
fn announced_and_unclear() -> World {
    let mut world = running();
    world.servers[0].up = false;
    world.step(1);
    assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-1");
    world.servers[1].unclear = true;
    world
}

#[test]
fn who_may_have_restarted_unseen_is_not_promoted_and_lets_nobody_in() {
    let mut world = announced_and_unclear();
    for role in [Role::Replica, Role::Main] {
        world.servers[1].role = role;
        let plan = plan(&world.observe());
        assert!(plan.steps.is_empty(), "{plan:?}");
        assert!(matches!(&plan.situation, Situation::Working(_, text) if text.contains("demo-1")));
    }
    world.servers[1].role = Role::Replica;
    world.servers[1].unclear = false;
    world.settle();
    assert_eq!(world.main(), Some(1));
    world.check();
}

#[test]
fn once_kubernetes_has_told_it_is_a_copy_that_has_restarted() {
    let mut world = announced_and_unclear();
    world.restart(1, true);
    world.servers[1].unclear = false;
    world.restart(0, true);
    world.settle();
    let ledger = world.ledger.as_ref().unwrap();
    assert_eq!(ledger.route, Route::Open);
    assert_eq!(
        ledger.main.incarnation,
        world.incarnation(usize::from(ledger.main.instance == "demo-1"))
    );
    world.check();
}

/// Between the change of the spec and that of the registrations MAIN still commits without a replica that restarts.
#[test]
fn what_the_spec_says_of_the_mode_counts_once_replicas_are_registered_so() {
    let lost = |mode| {
        let mut world = World::new(2);
        world.settings.mode = mode;
        world.settle();
        world.client_write();
        world.settings.mode = ReplicationMode::StrictSync;
        world.restart(1, true);
        world.servers[0].up = false;
        plan(&world.observe())
    };
    assert!(!lost(ReplicationMode::StrictSync).steps.is_empty());
    let left_alone = lost(ReplicationMode::Sync);
    assert!(left_alone.steps.is_empty(), "{:?}", left_alone.steps);
    let Situation::MainLost(Reason::NoCandidate, _) = left_alone.situation else {
        panic!("{:?}", left_alone.situation);
    };
}

#[test]
fn candidates_that_do_not_become_main_are_not_tried_in_turn_for_ever() {
    let mut world = running();
    world.settings.sync_replicas = 2;
    world.settle();
    (world.servers[1].stubborn, world.servers[2].stubborn) = (true, true);
    world.servers[0].up = false;
    world.step(usize::MAX);
    let term = world.ledger.as_ref().unwrap().term;
    world.closed_for = Duration::from_secs(11);
    world.step(usize::MAX);
    world.step(usize::MAX);
    assert_eq!(world.ledger.as_ref().unwrap().term, term + 2);
    // By now each of them was asked.
    world.shut_for = Duration::from_secs(46);
    world.closed_for = Duration::from_secs(31);
    let planned = plan(&world.observe());
    let deleted =
        |step: &Step| matches!(step, Step::Do(Action::DeletePod { instance, .. }) if instance == "demo-1");
    assert!(
        !planned.writes() && planned.steps.iter().any(deleted),
        "{planned:?}"
    );
    // A pod that does not end, or that is not replaced, holds up nobody who could lead.
    let turns = |change: &dyn Fn(&mut Observation)| {
        let mut seen = world.observe();
        change(&mut seen);
        plan(&seen).writes()
    };
    assert!(turns(&|seen| seen.instances[1].terminating = true));
    assert!(turns(&|seen| seen.settings.data_in_pods = true));
    // A new process may be promoted, or another one instead.
    world.replace_pod(1, true);
    (world.servers[1].stubborn, world.servers[2].stubborn) = (false, false);
    (world.closed_for, world.shut_for) = (Duration::ZERO, Duration::from_secs(60));
    world.settle();
    assert!(world.is_open(), "{}", world.tell());
    world.check();
}
