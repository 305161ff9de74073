//! Single situations.

use std::time::Duration;

use super::{
    super::{
        Action, Situation, Step,
        observation::{Container, Marker, Role, Sight},
        plan,
    },
    world::{Server, World},
};
use crate::api::{
    RegistrationMode,
    conditions::Reason,
    ledger::{OperationKind, Route},
};

pub(super) fn running() -> World {
    let mut world = World::new(3);
    world.settle();
    for _ in 0..3 {
        world.client_write();
    }
    world
}

pub(super) fn modes(world: &World, main: usize) -> Vec<(usize, RegistrationMode)> {
    let mut modes: Vec<_> = world.servers[main]
        .replicas
        .iter()
        .map(|(_, address, mode)| {
            let has_it = |server: &Server| server.address == *address;
            let replica = world.servers.iter().position(has_it);
            // One that leads nowhere comes last.
            (replica.unwrap_or(usize::MAX), *mode)
        })
        .collect();
    modes.sort_by_key(|(replica, _)| *replica);
    modes
}

#[test]
fn a_new_cluster_gets_a_main_one_strict_replica_and_the_rest_async() {
    let world = running();
    assert_eq!(world.main(), Some(0));
    assert_eq!(
        modes(&world, 0),
        [(1, RegistrationMode::StrictSync), (2, RegistrationMode::Async)]
    );
    assert_eq!(world.acknowledged.len(), 3);
}

#[test]
fn a_healthy_cluster_is_left_alone() {
    let mut world = running();
    let plan = world.step(0);
    assert_eq!((plan.steps, plan.situation), (Vec::new(), Situation::Serving));
}

#[test]
fn the_ledger_is_written_before_anything_is_done() {
    let mut world = World::new(3);
    let plan = world.step(usize::MAX);
    assert!(
        matches!(&plan.steps[..], [Step::Write(ledger)] if ledger.term == 1 && ledger.route == Route::Closed)
    );
}

#[test]
fn a_single_instance_needs_nobody() {
    let mut world = World::new(1);
    world.settle();
    world.client_write();
    assert_eq!((world.main(), world.acknowledged.len()), (Some(0), 1));
}

#[test]
fn bootstrap_waits_for_every_instance() {
    let mut world = World::new(3);
    world.servers[2].up = false;
    let plan = world.step(usize::MAX);
    assert!(plan.steps.is_empty());
    assert!(
        matches!(plan.situation, Situation::Waiting(Reason::WaitingForInstances, m) if m.contains("demo-2"))
    );
}

#[test]
fn two_mains_with_data_and_no_ledger_are_left_to_a_human() {
    let mut world = running();
    world.ledger = None;
    world.servers[2].role = Role::Main;
    assert!(matches!(
        world.step(usize::MAX).situation,
        Situation::Stalled(Reason::AmbiguousState, _)
    ));
}

#[test]
fn a_volume_beyond_the_declared_instances_is_not_ignored_at_bootstrap() {
    let mut seen = World::new(3).observe();
    seen.stray_volumes = vec!["data-demo-3".into()];
    let plan = plan(&seen);
    assert!(plan.steps.is_empty());
    assert!(matches!(plan.situation, Situation::Stalled(_, message) if message.contains("data-demo-3")));
}

#[test]
fn a_running_cluster_whose_ledger_is_lost_is_adopted_as_it_is_under_a_higher_term() {
    let mut world = running();
    world.ledger = None;
    world.numbers = Default::default();
    world.settle();
    assert_eq!(world.main(), Some(0));
    let ledger = world.ledger.clone().unwrap();
    assert_eq!((ledger.term, ledger.lineage.as_str()), (2, "l1"));
    world.check();
}

#[test]
fn a_dead_main_is_followed_by_the_strict_replica_in_a_new_term() {
    let mut world = running();
    world.servers[0].up = false;
    let plan = world.step(usize::MAX);
    let [Step::Write(ledger), Step::Do(fence), Step::Do(promote)] = &plan.steps[..] else {
        panic!("{plan:?}")
    };
    assert_eq!(
        (ledger.term, ledger.main.instance.as_str(), ledger.route),
        (2, "demo-1", Route::Closed)
    );
    assert_eq!(*fence, Action::Fence { term: 2 });
    assert!(matches!(promote, Action::Promote { instance, .. } if instance == "demo-1"));
    world.settle();
    assert_eq!(world.main(), Some(1));
    assert_eq!(modes(&world, 1), [(2, RegistrationMode::StrictSync)]);
}

#[test]
fn the_old_main_comes_back_as_a_replica() {
    let mut world = running();
    world.servers[0].up = false;
    world.settle();
    world.client_write();
    world.restart(0, true);
    world.settle();
    assert_eq!(world.servers[0].role, Role::Replica);
    assert_eq!(world.servers[0].data, world.servers[1].data);
    assert_eq!(
        modes(&world, 1),
        [(0, RegistrationMode::Async), (2, RegistrationMode::StrictSync)]
    );
}

#[test]
fn an_async_replica_is_never_promoted() {
    let mut world = running();
    (world.servers[0].up, world.servers[1].up) = (false, false);
    let plan = world.step(usize::MAX);
    assert!(plan.steps.is_empty());
    assert!(matches!(
        plan.situation,
        Situation::MainLost(Reason::NoCandidate, _)
    ));
}

#[test]
fn a_strict_replica_that_has_lost_its_volume_is_not_promoted() {
    let mut world = running();
    world.restart(1, false);
    world.servers[0].up = false;
    let plan = world.step(usize::MAX);
    assert!(plan.steps.is_empty(), "{plan:?}");
}

#[test]
fn a_restarted_main_without_candidate_is_promoted_again_in_a_new_term() {
    let mut world = running();
    world.servers[1].up = false;
    world.restart(0, true);
    let plan = world.step(usize::MAX);
    assert!(matches!(
        plan.situation,
        Situation::Working(OperationKind::Restart, _)
    ));
    world.settle();
    assert_eq!((world.main(), world.ledger.as_ref().unwrap().term), (Some(0), 2));
}

#[test]
fn the_operators_own_blindness_is_no_death() {
    let world = running();
    for (sight, ready) in [
        (Sight::Silent, true),
        (Sight::Handshake, false),
        (Sight::Unseen, true),
    ] {
        let mut seen = world.observe();
        seen.instances[0].sight = sight.clone();
        seen.instances[0].ready = ready;
        seen.instances[0].away_for = match sight {
            Sight::Handshake => Duration::from_secs(59),
            _ => Duration::from_secs(3600),
        };
        if sight == Sight::Silent {
            seen.instances[0].silent_for = Duration::from_secs(3600);
        }
        let plan = plan(&seen);
        assert!(plan.steps.is_empty());
        assert!(matches!(
            plan.situation,
            Situation::MainLost(Reason::MainUnreachable, _)
        ));
    }
}

#[test]
fn a_second_main_is_demoted_and_leaves_the_set_first() {
    let mut world = running();
    world.servers[1].role = Role::Main;
    let plan = world.step(usize::MAX);
    let [Step::Write(ledger), Step::Do(demote)] = &plan.steps[..] else {
        panic!("{plan:?}")
    };
    assert!(ledger.in_sync.is_empty());
    assert_eq!(
        *demote,
        Action::Demote {
            instance: "demo-1".into()
        }
    );
}

#[test]
fn a_lost_strict_replica_is_replaced_while_it_stays_registered() {
    let mut world = running();
    world.servers[1].up = false;
    world.settle();
    let ledger = world.ledger.clone().unwrap();
    assert_eq!(ledger.in_sync.len(), 1);
    assert_eq!(ledger.in_sync[0].instance, "demo-2");
    assert_eq!(ledger.route, Route::Open);
    world.client_write();
    assert_eq!(world.acknowledged.len(), 4);
}

/// The one command that would end it does not get its lock while clients try again and again.
#[test]
fn a_lost_strict_replica_is_replaced_behind_a_closed_route_where_failing_clients_leave_no_moment() {
    let mut world = running();
    world.servers[1].up = false;
    world.busy = true;
    world.settle();
    assert_eq!(world.ledger.as_ref().unwrap().in_sync[0].instance, "demo-2");
    world.client_write();
    assert_eq!(world.acknowledged.len(), 4);
    world.check();
}

#[test]
fn two_pod_authority_elects_nobody_else() {
    let mut world = World::new(3);
    world.settings.electable = 2;
    world.settle();
    world.servers[0].up = false;
    world.settle();
    assert!(
        !world.is_open(),
        "demo-1 must wait for demo-0, the only other one that may be in sync"
    );
    world.restart(0, true);
    world.settle();
    assert_eq!(world.main(), Some(1));
    assert_eq!(
        modes(&world, 1),
        [(0, RegistrationMode::StrictSync), (2, RegistrationMode::Async)]
    );
}

#[test]
fn a_registration_that_a_human_dropped_is_made_anew_behind_a_closed_route() {
    let mut world = running();
    world.servers[0].replicas.retain(|(_, replica, _)| *replica != 1);
    let plan = world.step(usize::MAX);
    assert!(
        matches!(&plan.steps[..], [Step::Write(ledger), Step::Do(Action::Fence { .. })]
        if ledger.route == Route::Closed && ledger.main.instance == "demo-0")
    );
    world.settle();
    assert_eq!(world.main(), Some(0));
    assert!(modes(&world, 0).contains(&(1, RegistrationMode::StrictSync)));
}

#[test]
fn a_copy_with_the_mark_of_another_history_is_not_promoted() {
    let mut world = running();
    world.servers[1].marker = Some(Marker {
        lineage: "lother".into(),
    });
    world.servers[0].up = false;
    assert!(world.step(usize::MAX).steps.is_empty());
}

#[test]
fn scaling_up_registers_the_new_instances_as_async() {
    let mut world = running();
    let bigger = World::new(5);
    world.servers.extend(bigger.servers[3..].iter().cloned());
    world.settings = bigger.settings;
    world.settle();
    assert_eq!(
        modes(&world, 0)[1..].iter().map(|(_, m)| *m).collect::<Vec<_>>(),
        [RegistrationMode::Async; 3]
    );
}

#[test]
fn scaling_to_one_shrinks_the_set_before_it_drops_the_registrations() {
    let mut world = running();
    world.settings = World::new(1).settings;
    let plan = world.step(usize::MAX);
    assert!(
        matches!(&plan.steps[..], [Step::Write(ledger)] if ledger.in_sync.is_empty()),
        "{plan:?}"
    );
    world.settle();
    assert!(world.servers[0].replicas.is_empty());
    world.client_write();
    assert_eq!(world.acknowledged.len(), 4);
}

#[test]
fn a_missing_pod_is_a_dead_main() {
    let mut seen = running().observe();
    seen.instances[0].container = Container::Absent;
    seen.instances[0].sight = Sight::Unseen;
    seen.instances[0].incarnation = None;
    assert!(!plan(&seen).steps.is_empty());
}

/// What MAIN feeds is reliable, however long this operator cannot see it: otherwise one rule registers a second
/// strict replica and another removes it, for ever.
#[test]
fn a_replica_that_only_the_operator_cannot_reach_is_not_replaced() {
    let mut world = running();
    for _ in 0..5 {
        let mut seen = world.observe();
        seen.instances[1].sight = Sight::Handshake;
        seen.instances[1].away_for = Duration::from_secs(12);
        let plan = plan(&seen);
        assert_eq!(plan.steps, [], "{plan:?}");
        world.carry_out(&plan, usize::MAX);
    }
}

/// The demoted impostor's registration is the last strict one: it blocks writes until it is made anew while closed.
#[test]
fn no_write_is_on_main_alone_after_a_second_main_was_demoted() {
    let mut world = running();
    world.servers[1].role = Role::Main;
    for _ in 0..8 {
        world.step(usize::MAX);
        world.check();
        world.client_write();
        let strict = modes(&world, 0)
            .iter()
            .any(|(_, mode)| *mode == RegistrationMode::StrictSync);
        assert!(strict || !world.is_open(), "{}", world.tell());
    }
    assert!(world.is_open());
}

#[test]
fn a_member_that_is_no_longer_electable_is_replaced() {
    let mut world = running();
    world.servers[1].up = false;
    world.settle();
    world.restart(1, true);
    world.settle();
    assert_eq!(world.ledger.as_ref().unwrap().in_sync[0].instance, "demo-2");
    world.settings.electable = 2;
    world.settle();
    assert_eq!(world.ledger.as_ref().unwrap().in_sync[0].instance, "demo-1");
}

/// MAIN has acknowledged a write without the replica whose registration a human dropped: that one must not follow.
#[test]
fn a_replica_that_main_did_not_wait_for_is_no_candidate() {
    let mut world = running();
    world.servers[0].replicas.retain(|(_, replica, _)| *replica != 1);
    world.client_write();
    world.step(1);
    assert!(world.ledger.as_ref().unwrap().candidates.is_empty());
    world.servers[0].up = false;
    world.settle();
    assert!(!world.is_open());
    world.restart(0, true);
    world.settle();
    world.check();
    assert_eq!(world.main(), Some(0));
}

#[test]
fn an_instance_that_main_cannot_register_is_passed_over() {
    let mut world = running();
    world.restart(0, true);
    world.step(usize::MAX);
    let mut seen = world.observe();
    seen.instances[0].unregistrable = true;
    let plan = plan(&seen);
    let registered =
        |step: &Step| matches!(step, Step::Do(Action::Register { instance, .. }) if instance == "demo-2");
    assert!(plan.steps.iter().any(registered), "{plan:?}");
}

/// MAIN was lost between its own commit and the second phase, and no third instance can take the place.
#[test]
fn a_former_main_that_is_ahead_leads_again() {
    let mut world = World::new(2);
    world.settle();
    world.client_write();
    world.servers[0].up = false;
    let reign = world.servers[0].reign;
    world.servers[0].data.push((reign, 99));
    world.step(usize::MAX);
    world.restart(0, true);
    for _ in 0..6 {
        let mut seen = world.observe();
        let ledger = world.ledger.clone().unwrap();
        // MAIN refuses it, because it holds a write that MAIN does not.
        seen.instances[0].refused = ledger.main.instance == "demo-1";
        let plan = plan(&seen);
        world.carry_out(&plan, usize::MAX);
        world.check();
    }
    assert!(world.is_open(), "{}", world.tell());
    assert_eq!(world.main(), Some(0));
}

/// Its start gate failed: it runs as MAIN, but in a life that nobody promoted.
#[test]
fn a_main_without_our_word_is_demoted_behind_a_closed_route_and_promoted_anew() {
    let mut world = World::new(1);
    world.settle();
    world.client_write();
    world.servers[0].life += 1;
    let plan = world.step(usize::MAX);
    assert!(
        matches!(&plan.steps[..], [Step::Write(ledger), Step::Do(Action::Fence { .. }), Step::Do(Action::Demote { .. })]
        if ledger.route == Route::Closed && ledger.term == 2),
        "{plan:?}"
    );
    world.settle();
    assert_eq!(world.main(), Some(0));
    world.client_write();
    assert_eq!(world.acknowledged.len(), 2);
}

#[test]
fn a_volume_that_the_cache_does_not_know_is_no_restart() {
    let mut seen = running().observe();
    seen.instances[0].incarnation = None;
    let plan = plan(&seen);
    assert!(plan.steps.is_empty());
    assert!(matches!(
        plan.situation,
        Situation::MainLost(Reason::MainUnreachable, _)
    ));
}
