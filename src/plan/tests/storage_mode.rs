//! MAIN is in a storage mode in which nothing is replicated.

use std::time::Duration;

use super::{
    super::{
        Action, Plan, Situation, Step,
        observation::{Contents, Observation, Sight, StorageMode},
        plan, report,
    },
    decisions::running,
    world::World,
};
use crate::api::{
    MainUpdate, Phase, ReplicationMode, SwitchoverState,
    conditions::{ConditionType, Reason, Truth},
    ledger::{Route, SwitchoverRecord},
};

/// Has a client change MAIN's mode; `noticed`: MAIN was looked at since.
fn analytical(world: &mut World, noticed: bool) {
    let main = world.main().unwrap();
    (
        world.servers[main].analytical,
        world.servers[main].told_analytical,
    ) = (true, noticed);
}

fn transactional(world: &mut World) {
    let main = world.main().unwrap();
    (
        world.servers[main].analytical,
        world.servers[main].told_analytical,
    ) = (false, false);
}

/// What the status says with the cluster as it is.
fn told(world: &World) -> report::Report {
    let seen = world.observe();
    let situation = plan(&seen).situation;
    report::report(&seen, seen.ledger.as_ref(), &situation, gateway())
}

fn gateway() -> report::GatewayState {
    report::GatewayState {
        enabled: true,
        ready: 1,
        ..Default::default()
    }
}

fn verdict(world: &World, condition: ConditionType) -> (Truth, Reason, String) {
    let verdicts = told(world).verdicts.into_iter();
    let mut verdicts = verdicts.filter(|verdict| verdict.condition == condition);
    let found = verdicts.next().unwrap();
    (found.status, found.reason, found.message)
}

fn request(world: &World) -> SwitchoverRecord {
    told(world).switchover.unwrap()
}

/// Settles, in which MAIN is not moved and clients are not cut off.
fn stays(world: &mut World) {
    let term = world.ledger.as_ref().unwrap().term;
    world.settle();
    let ledger = world.ledger.as_ref().unwrap();
    assert_eq!(
        (world.main(), ledger.term, ledger.route),
        (Some(0), term, Route::Open)
    );
}

#[test]
fn no_copy_counts_while_main_replicates_nothing_and_clients_are_served() {
    let mut world = running();
    assert_eq!(verdict(&world, ConditionType::Durable).0, Truth::True);
    analytical(&mut world, true);
    let (truth, reason, message) = verdict(&world, ConditionType::Durable);
    assert_eq!((truth, reason), (Truth::False, Reason::UnreplicatedMode));
    for part in [
        "demo-0",
        "IN_MEMORY_ANALYTICAL",
        "STORAGE MODE IN_MEMORY_TRANSACTIONAL",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(verdict(&world, ConditionType::Ready).0, Truth::True);
    assert_eq!(
        verdict(&world, ConditionType::ReplicationHealthy).1,
        Reason::UnreplicatedMode
    );
    let before = world.servers[0].replicas.clone();
    stays(&mut world);
    assert_eq!(
        world.servers[0].replicas, before,
        "registrations are as they were"
    );
    transactional(&mut world);
    assert_eq!(verdict(&world, ConditionType::Durable).0, Truth::True);
}

#[test]
fn a_switchover_waits_until_main_replicates_again() {
    let mut world = running();
    analytical(&mut world, true);
    world.ask_for_switchover(Some(1));
    stays(&mut world);
    let waiting = request(&world);
    assert_eq!(waiting.state, SwitchoverState::Pending);
    assert!(
        waiting.message.contains("IN_MEMORY_ANALYTICAL"),
        "{}",
        waiting.message
    );
    transactional(&mut world);
    world.settle();
    assert_eq!(world.main(), Some(1));
    assert_eq!(request(&world).state, SwitchoverState::Succeeded);
}

#[test]
fn a_change_of_mode_that_was_not_noticed_has_the_switchover_undone() {
    let mut world = running();
    analytical(&mut world, false);
    world.ask_for_switchover(Some(1));
    world.settle();
    assert_eq!((world.main(), world.is_open()), (Some(0), true));
    let failed = request(&world);
    assert_eq!(failed.state, SwitchoverState::Failed);
    assert!(
        failed.message.contains("IN_MEMORY_ANALYTICAL"),
        "{}",
        failed.message
    );
}

#[test]
fn main_that_is_fenced_or_to_be_removed_or_whose_pod_ends_waits_for_it() {
    let mut fenced = running();
    analytical(&mut fenced, true);
    fenced.settings.fenced = vec!["demo-0".into()];
    stays(&mut fenced);
    let Situation::Stalled(reason, why) = plan(&fenced.observe()).situation else {
        panic!("nobody is told");
    };
    assert_eq!(reason, Reason::FencedInstance);
    assert!(why.contains("IN_MEMORY_ANALYTICAL"), "{why}");

    let mut removed = running();
    analytical(&mut removed, true);
    removed.settings.electable = 0;
    stays(&mut removed);

    let mut ending = running();
    analytical(&mut ending, true);
    ending.servers[0].ending = true;
    stays(&mut ending);
}

#[test]
fn the_pod_of_main_is_not_updated_meanwhile() {
    for update in [MainUpdate::Automatic, MainUpdate::Supervised] {
        let mut world = running();
        analytical(&mut world, true);
        world.settings.main_update = update;
        world.configuration += 1;
        stays(&mut world);
        assert_eq!(world.servers[0].configuration, 0);
        assert_eq!(
            (world.servers[1].configuration, world.servers[2].configuration),
            (0, 0),
            "nobody can tell that one follows before the next one goes"
        );
        let (_, reason, why) = verdict(&world, ConditionType::UpToDate);
        assert_eq!(reason, Reason::Updating);
        assert!(why.contains("IN_MEMORY_ANALYTICAL"), "{why}");
    }
    let mut single = World::new(1);
    single.settle();
    analytical(&mut single, true);
    single.configuration += 1;
    stays(&mut single);
    assert_eq!(single.servers[0].configuration, 0);
    transactional(&mut single);
    single.settle();
    assert!(single.is_up_to_date());
}

#[test]
fn a_main_whose_process_has_ended_is_followed_all_the_same() {
    let mut world = running();
    analytical(&mut world, true);
    world.servers[0].up = false;
    world.settle();
    assert_eq!(world.main(), Some(1));
}

fn moves_main(plan: &Plan) -> bool {
    plan.steps
        .iter()
        .any(|step| matches!(step, Step::Write(ledger) if ledger.main.instance != "demo-0"))
}

/// The commit that it is tried with waits behind the import, which keeps all its workers.
#[test]
fn a_main_that_ends_no_commit_is_not_replaced_while_it_replicates_nothing() {
    let mut world = running();
    world.commit_for = Duration::from_secs(3600);
    assert!(moves_main(&plan(&world.observe())));
    analytical(&mut world, true);
    stays(&mut world);
}

/// The ledger's MAIN has fallen silent for everybody, and was in this mode when it answered last.
fn silent(world: &World, mode: Option<StorageMode>) -> Observation {
    let mut seen = world.observe();
    let main = &mut seen.instances[0];
    (main.sight, main.ready, main.last_mode) = (Sight::Silent, false, mode);
    (main.silent_for, main.away_for) = (Duration::from_secs(600), Duration::from_secs(600));
    seen
}

#[test]
fn a_main_that_is_silent_and_alone_holds_what_was_written_is_waited_for() {
    let world = running();
    for mode in [None, Some(StorageMode::Transactional)] {
        assert!(moves_main(&plan(&silent(&world, mode))), "{mode:?}");
    }
    let seen = silent(&world, Some(StorageMode::Analytical));
    let waiting = plan(&seen);
    assert!(waiting.steps.is_empty(), "{waiting:?}");
    let Situation::Stalled(reason, why) = &waiting.situation else {
        panic!("nobody is told: {waiting:?}");
    };
    assert_eq!(*reason, Reason::UnreplicatedMode);
    for part in ["demo-0", "IN_MEMORY_ANALYTICAL", "delete the pod of demo-0"] {
        assert!(why.contains(part), "{why}");
    }
    let verdicts = report::report(&seen, seen.ledger.as_ref(), &waiting.situation, gateway()).verdicts;
    let durable = verdicts
        .iter()
        .find(|v| v.condition == ConditionType::Durable)
        .unwrap();
    assert_eq!(
        (durable.status, durable.reason),
        (Truth::False, Reason::UnreplicatedMode)
    );

    let mut given_up = seen.clone();
    given_up.instances[0].terminating = true;
    assert!(moves_main(&plan(&given_up)), "its pod is to go");
    let mut lossy = seen;
    lossy.settings.most_recent = true;
    assert!(moves_main(&plan(&lossy)), "the spec allows to lose something");
}

#[test]
fn replicas_are_what_main_said_of_them_last() {
    let mut world = running();
    let data = |world: &World| -> Vec<_> {
        let instances = told(world).instances.into_iter();
        instances.map(|i| (i.mode.is_some(), i.data_status)).collect()
    };
    let ready = || (true, Some("ready".to_owned()));
    assert_eq!(data(&world), [(false, None), ready(), ready()]);
    analytical(&mut world, true);
    let report = told(&world);
    assert_eq!((report.ready_replicas, report.phase), (3, Phase::Degraded));
    assert_eq!(verdict(&world, ConditionType::Reconciling).0, Truth::False);
    // The status goes on saying what it said.
    assert_eq!(data(&world), [(false, None), (true, None), (true, None)]);
    let with_contents = |contents| {
        let mut seen = world.observe();
        let Sight::Serving(view) = &mut seen.instances[2].sight else {
            panic!("it serves")
        };
        view.contents = contents;
        let report = report::report(&seen, seen.ledger.as_ref(), &Situation::Serving, gateway());
        (report.instances[2].data_status.clone(), report.ready_replicas)
    };
    assert_eq!(with_contents(None), (None, 3), "it could not be read now");
    let emptied = with_contents(Some(Contents { marker: None }));
    assert_eq!(emptied, (Some("ghost".to_owned()), 2));
}

fn registers_or_drops(plan: &Plan) -> bool {
    let touches = |step: &Step| matches!(step, Step::Do(Action::Register { .. } | Action::Drop { .. }));
    plan.steps.iter().any(touches)
}

/// A reader may send the change of mode to a replica. It refuses all that MAIN sends then.
#[test]
fn a_replica_that_takes_nothing_is_not_registered_anew_and_another_one_takes_its_place() {
    let mut world = running();
    world.servers[1].analytical = true;
    world.settle();
    let ledger = world.ledger.clone().unwrap();
    let members: Vec<_> = ledger.in_sync.iter().map(|m| m.instance.as_str()).collect();
    assert_eq!(
        (members, ledger.route, ledger.term),
        (vec!["demo-2"], Route::Open, 1)
    );
    let registered = world.servers[0].replicas.clone();
    assert_eq!(registered.len(), 2);
    let (truth, _, why) = verdict(&world, ConditionType::ReplicationHealthy);
    assert_eq!(truth, Truth::False);
    for part in [
        "demo-1",
        "IN_MEMORY_ANALYTICAL",
        "STORAGE MODE IN_MEMORY_TRANSACTIONAL",
    ] {
        assert!(why.contains(part), "{why}");
    }
    world.settle();
    assert_eq!(world.servers[0].replicas, registered);
    world.client_write();
    world.servers[1].analytical = false;
    world.settle();
    assert_eq!(verdict(&world, ConditionType::ReplicationHealthy).0, Truth::True);
    world.check();
}

/// Before it is known whether it takes anything, it is asked.
#[test]
fn a_replica_that_main_does_not_get_through_to_is_asked_before_it_is_registered_anew() {
    let mut world = running();
    world.servers[2].analytical = true;
    let with_mode = |mode| {
        let mut seen = world.observe();
        let Sight::Serving(view) = &mut seen.instances[2].sight else {
            panic!("it serves")
        };
        view.storage_mode = mode;
        registers_or_drops(&plan(&seen))
    };
    assert!(!with_mode(None));
    assert!(!with_mode(Some(StorageMode::Analytical)) && !with_mode(Some(StorageMode::OnDisk)));
    assert!(with_mode(Some(StorageMode::Transactional)) && with_mode(Some(StorageMode::Untold)));
}

/// What MAIN lacks, if it was put back to an older state, that copy alone can show.
#[test]
fn a_route_that_waits_for_one_that_takes_nothing_says_so() {
    for replicas in [2, 3] {
        let mut world = World::new(replicas);
        world.settle();
        world.client_write();
        world.servers[1].analytical = true;
        // The replica cannot become MAIN either.
        world.restart(0, true);
        world.step(usize::MAX);
        world.closed_for = Duration::from_secs(11);
        world.step(usize::MAX);
        assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-0");
        world.closed_for = Duration::ZERO;
        let plan = world.settle();
        assert!(!world.is_open());
        let Situation::Stalled(reason, why) = plan.situation else {
            panic!("nobody is told: {:?}", plan.situation);
        };
        assert_eq!(reason, Reason::UnreplicatedMode);
        for part in [
            "demo-1",
            "IN_MEMORY_ANALYTICAL",
            "STORAGE MODE IN_MEMORY_TRANSACTIONAL",
        ] {
            assert!(why.contains(part), "{why}");
        }
        world.servers[1].analytical = false;
        world.settle();
        assert!(world.is_open());
        world.check();
    }
}

#[test]
fn where_the_only_replica_takes_nothing_the_route_stays_as_it_is() {
    let mut world = World::new(2);
    world.settle();
    let term = world.ledger.as_ref().unwrap().term;
    world.servers[1].analytical = true;
    world.settle();
    assert_eq!(
        (world.is_open(), world.ledger.as_ref().unwrap().term),
        (true, term)
    );
    // All registrations are made anew for that, behind a closed route.
    world.settings.mode = ReplicationMode::Sync;
    let plan = world.settle();
    assert!(!world.is_open());
    assert!(
        matches!(plan.situation, Situation::Stalled(Reason::UnreplicatedMode, _)),
        "{plan:?}"
    );
    world.servers[1].analytical = false;
    world.settle();
    assert!(world.is_open());
    world.check();
}

#[test]
fn a_main_that_is_known_to_hold_everything_waits_for_no_replica_that_takes_nothing() {
    let mut world = running();
    world.servers[1].analytical = true;
    world.settings.mode = ReplicationMode::Sync;
    world.settle();
    let ledger = world.ledger.clone().unwrap();
    let members: Vec<_> = ledger.in_sync.iter().map(|m| m.instance.as_str()).collect();
    assert_eq!((members, ledger.route), (vec!["demo-2"], Route::Open));
    world.client_write();
    world.servers[1].analytical = false;
    world.settle();
    world.check();
}
