//! A cluster that is put to sleep and wakes up.

use std::time::Duration;

use super::{
    super::{
        Said, Signs, Situation,
        Stage::{self, Asleep, Awake, Finishing, Gateways, Instances, Returning, Waking},
        observation::{Container, Sight},
        plan,
        report::{GatewayState, Report, report},
    },
    decisions::running,
    world::World,
};
use crate::api::{
    Phase, ReplicationMode,
    conditions::{ConditionType, Reason, Truth},
    ledger::Route,
};

const SIGNS: Signs = Signs {
    asked: true,
    paused: false,
    said: Said::Nothing,
    closed_for: None,
    gateways: Some(Duration::ZERO),
    instances: true,
    set_aside: false,
    returns: false,
};

#[test]
fn gateways_go_before_instances_and_both_after_what_has_begun() {
    let secs = Duration::from_secs;
    let of = |change: fn(&mut Signs)| {
        let mut signs = SIGNS;
        change(&mut signs);
        Stage::of(signs)
    };
    assert_eq!(of(|_| {}), Gateways);
    assert_eq!(of(|s| s.closed_for = Some(Duration::from_secs(29))), Finishing);
    assert_eq!(of(|s| s.closed_for = Some(Duration::from_secs(30))), Gateways);
    assert_eq!(of(|s| s.gateways = Some(Duration::from_secs(60))), Instances);
    assert_eq!(of(|s| s.gateways = None), Instances);
    let asleep = Signs {
        gateways: None,
        instances: false,
        ..SIGNS
    };
    assert_eq!(Stage::of(asleep), Asleep);
    // A leader that knows nothing of how it began goes on.
    for begun in [
        Signs {
            said: Said::Hibernating,
            ..SIGNS
        },
        Signs {
            set_aside: true,
            ..SIGNS
        },
    ] {
        let closed_for = Some(secs(1));
        assert_eq!(Stage::of(Signs { closed_for, ..begun }), Gateways);
    }
}

#[test]
fn it_wakes_up_until_main_serves_and_a_pause_keeps_it_as_it_is() {
    let signs = |asked, said| Signs { asked, said, ..SIGNS };
    assert_eq!(Stage::of(signs(false, Said::Nothing)), Awake);
    for said in [Said::Hibernating, Said::Hibernated, Said::Waking] {
        assert_eq!(Stage::of(signs(false, said)), Waking);
    }
    let paused = |asked, said| {
        let signs = signs(asked, said);
        Stage::of(Signs {
            paused: true,
            ..signs
        })
    };
    assert_eq!(paused(true, Said::Nothing), Awake);
    assert_eq!(paused(false, Said::Hibernated), Gateways);
    assert_eq!(paused(false, Said::Waking), Waking);
    let aside = Signs {
        set_aside: true,
        returns: true,
        ..signs(false, Said::Nothing)
    };
    assert_eq!(Stage::of(aside), Returning);
    for said in [Said::Hibernating, Said::Hibernated, Said::Waking] {
        let returns = true;
        assert_eq!(
            Stage::of(Signs {
                returns,
                ..signs(false, said)
            }),
            Returning
        );
    }
}

#[test]
fn what_a_human_scales_down_in_a_pause_does_not_sleep() {
    let aside = |asked| Signs {
        asked,
        paused: true,
        set_aside: true,
        returns: true,
        gateways: None,
        instances: false,
        ..SIGNS
    };
    assert_eq!(Stage::of(aside(false)), Awake);
    // A leader that was about to say so wrote this.
    assert_eq!(Stage::of(aside(true)), Asleep);
    let said = Said::Hibernated;
    assert_eq!(
        Stage::of(Signs { said, ..aside(false) }),
        Asleep,
        "it is kept as it is"
    );
}

/// What is said last tells that it was asleep; while something else is finished nobody would say so.
#[test]
fn a_cluster_that_wakes_up_goes_back_to_sleep_at_once() {
    let waking = Signs {
        said: Said::Waking,
        closed_for: Some(Duration::ZERO),
        ..SIGNS
    };
    assert_eq!(Stage::of(waking), Gateways);
    assert_eq!(
        Stage::of(Signs {
            asked: false,
            ..waking
        }),
        Waking
    );
}

/// MAIN serves in its `preStop`, while all pods end.
#[test]
fn sleep_that_is_called_off_is_over_only_when_all_pods_were_made_anew() {
    let mut world = running();
    world.settle();
    for (stage, reason) in [(Returning, Reason::Waking), (Waking, Reason::AsExpected)] {
        world.stage = stage;
        let report = reported(&world, 1);
        assert_eq!(told(&report, ConditionType::Hibernated), (Truth::False, reason));
        assert_eq!(told(&report, ConditionType::Ready).0, Truth::True, "{stage:?}");
    }
}

fn reported(world: &World, gateways: i32) -> Report {
    let mut seen = world.observe();
    if world.stage == Asleep {
        for instance in &mut seen.instances {
            instance.container = Container::Absent;
            instance.address = None;
            instance.pod_uid = None;
        }
    }
    let gateway = GatewayState {
        enabled: true,
        ready: gateways,
        ..GatewayState::default()
    };
    report(&seen, seen.ledger.as_ref(), &plan(&seen).situation, gateway)
}

fn told(report: &Report, kind: ConditionType) -> (Truth, Reason) {
    let verdict = report
        .verdicts
        .iter()
        .find(|verdict| verdict.condition == kind)
        .unwrap();
    (verdict.status, verdict.reason)
}

/// All pods end, whatever is going on.
fn put_to_sleep(world: &mut World) {
    world.settings.hibernated = true;
    world.stage = Asleep;
    for server in &mut world.servers {
        server.up = false;
    }
}

/// All pods are made anew, on the nodes that there are by then.
fn wake(world: &mut World) {
    world.settings.hibernated = false;
    world.stage = Waking;
    for index in 0..world.servers.len() {
        world.servers[index].boot += 1;
        world.servers[index].pod += 1;
        world.restart(index, true);
    }
}

#[test]
fn asleep_nothing_is_done_and_nothing_is_wrong() {
    let mut world = running();
    put_to_sleep(&mut world);
    world.ask_for_switchover(Some(2));
    let before = world.ledger.clone();
    world.settle();
    assert_eq!(world.ledger, before);
    let report = reported(&world, 0);
    assert_eq!((report.phase, report.ready_replicas), (Phase::Hibernated, 0));
    assert!(report.ends_pods);
    for (kind, status, reason) in [
        (ConditionType::Hibernated, Truth::True, Reason::Hibernated),
        (ConditionType::Ready, Truth::False, Reason::Hibernated),
        (ConditionType::Reconciling, Truth::False, Reason::Hibernated),
        (ConditionType::Stalled, Truth::False, Reason::AsExpected),
        (ConditionType::MainAvailable, Truth::False, Reason::Hibernated),
        (ConditionType::Durable, Truth::Unknown, Reason::Hibernated),
        (
            ConditionType::ReplicationHealthy,
            Truth::Unknown,
            Reason::Hibernated,
        ),
        (ConditionType::GatewayAvailable, Truth::False, Reason::Hibernated),
        (ConditionType::StorageReady, Truth::True, Reason::AsExpected),
        (ConditionType::UpToDate, Truth::Unknown, Reason::Hibernated),
    ] {
        assert_eq!(told(&report, kind), (status, reason), "{kind:?}");
    }
    let asked = report.switchover.unwrap();
    assert!(asked.message.contains("spec.hibernated"), "{asked:?}");
}

#[test]
fn on_the_way_there_it_says_so() {
    let mut world = running();
    world.settings.hibernated = true;
    for stage in [Gateways, Instances] {
        world.stage = stage;
        assert!(plan(&world.observe()).steps.is_empty());
        let report = reported(&world, 1);
        assert_eq!(report.phase, Phase::Hibernated);
        for (kind, status) in [
            (ConditionType::Hibernated, Truth::False),
            (ConditionType::Reconciling, Truth::True),
            (ConditionType::Ready, Truth::False),
        ] {
            assert_eq!(
                told(&report, kind),
                (status, Reason::Hibernating),
                "{stage:?} {kind:?}"
            );
        }
    }
}

#[test]
fn what_has_begun_is_finished_first_and_nothing_else_is_begun() {
    let mut world = running();
    world.servers[0].up = false;
    while world.ledger.as_ref().unwrap().route == Route::Open {
        world.step(1);
    }
    world.settings.hibernated = true;
    world.stage = Finishing;
    let report = reported(&world, 1);
    assert_eq!(
        told(&report, ConditionType::Hibernated),
        (Truth::False, Reason::FailingOver)
    );
    world.settle();
    assert_eq!(world.main(), Some(1));
    world.check();
}

/// It is put to sleep before each of the steps of a failover, and by then some of its instances are lost for a while.
#[test]
fn it_comes_back_whatever_it_was_broken_off_in() {
    for steps in 0..40 {
        let mut world = running();
        world.client_write();
        world.servers[0].up = false;
        for _ in 0..steps {
            world.step(1);
        }
        put_to_sleep(&mut world);
        world.settle();
        wake(&mut world);
        assert_eq!(
            told(&reported(&world, 1), ConditionType::Hibernated).1,
            Reason::Waking,
            "{steps}"
        );
        world.settle();
        world.check();
        assert!(world.main().is_some(), "{steps}: {:?}", world.history);
        assert_eq!(world.ledger.as_ref().unwrap().route, Route::Open, "{steps}");
        let awake = reported(&world, 1);
        assert_eq!(
            told(&awake, ConditionType::Hibernated),
            (Truth::False, Reason::AsExpected)
        );
        assert_eq!(awake.phase, Phase::Operational);
    }
}

#[test]
fn a_new_cluster_is_set_up_once_it_is_awake() {
    let mut world = World::new(3);
    put_to_sleep(&mut world);
    world.settle();
    assert_eq!(world.ledger, None);
    assert_eq!(
        told(&reported(&world, 0), ConditionType::Hibernated),
        (Truth::True, Reason::Hibernated)
    );
    wake(&mut world);
    assert_eq!(
        told(&reported(&world, 0), ConditionType::Hibernated).1,
        Reason::AsExpected
    );
    world.settle();
    assert_eq!(world.main(), Some(0));
}

/// What `Async` did not flush may be lost, and what ran while the cluster was awake is not what the spec asks for now.
#[test]
fn another_mode_that_is_asked_for_in_its_sleep_leaves_a_word_to_a_human() {
    let mut world = running();
    world.settings.mode = ReplicationMode::Async;
    world.settings.sync_replicas = 0;
    for server in &mut world.servers {
        server.flushes_all = false;
    }
    world.ledger.as_mut().unwrap().main.incarnation.flushes_all = false;
    world.settle();
    put_to_sleep(&mut world);
    world.settings.mode = ReplicationMode::StrictSync;
    world.settings.sync_replicas = 1;
    wake(&mut world);
    world.settle();
    let Situation::Stalled(Reason::NoCandidate, text) = plan(&world.observe()).situation else {
        panic!("{:?}", plan(&world.observe()));
    };
    assert!(
        text.contains("replication.mode to Async until it leads"),
        "{text}"
    );
    world.settings.mode = ReplicationMode::Async;
    world.settings.sync_replicas = 0;
    world.settle();
    assert_eq!(world.main(), Some(0));
    world.check();
}

/// Replicas that start faster than MAIN lack what it acknowledged, which `MostRecent` accepts only where MAIN is lost.
#[test]
fn a_main_that_is_on_its_way_up_is_waited_for_where_others_may_lack_something() {
    let mut world = running();
    world.settings.mode = ReplicationMode::Async;
    world.settings.sync_replicas = 0;
    world.settle();
    world.settings.most_recent = true;
    put_to_sleep(&mut world);
    wake(&mut world);
    world.servers[0].up = false;
    let mut seen = world.observe();
    assert_eq!(seen.instances[0].sight, Sight::Unseen);
    seen.instances[0].away_for = Duration::from_secs(59);
    for stage in [Returning, Waking] {
        seen.stage = stage;
        let waits = plan(&seen);
        assert!(waits.steps.is_empty());
        assert!(
            matches!(waits.situation, Situation::Waiting(Reason::Waking, _)),
            "{waits:?}"
        );
    }
    seen.instances[0].away_for = Duration::from_secs(60);
    assert!(!plan(&seen).steps.is_empty());
    // Nobody asks that of a cluster that has not slept.
    seen.instances[0].away_for = Duration::from_secs(1);
    seen.stage = Awake;
    assert!(!plan(&seen).steps.is_empty());
}
