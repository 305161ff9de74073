//! Releases that differ: from what the spec asks for, and from each other.

use super::{
    super::{
        Action, Situation, Step,
        observation::{Observation, Sight},
        plan, report,
    },
    decisions::running,
    world::World,
};
use crate::api::{
    ReplicationMode,
    conditions::{ConditionType, Reason, Truth},
};

/// The world's, where this instance says that it is this release.
fn with(world: &World, instance: usize, release: &str) -> Observation {
    let mut seen = world.observe();
    match &mut seen.instances[instance].sight {
        Sight::Serving(view) => release.clone_into(&mut view.version),
        other => panic!("it does not serve: {other:?}"),
    }
    seen
}

fn up_to_date(seen: &Observation) -> (Truth, Reason, String) {
    let gateway = report::GatewayState {
        enabled: true,
        ready: 1,
        ..Default::default()
    };
    let report = report::report(seen, seen.ledger.as_ref(), &Situation::Serving, gateway);
    let mut verdicts = report.verdicts.into_iter();
    let verdict = verdicts.find(|v| v.condition == ConditionType::UpToDate).unwrap();
    (verdict.status, verdict.reason, verdict.message)
}

fn replaces(seen: &Observation, instance: &str) -> bool {
    let is = |step: &Step| matches!(step, Step::Do(Action::DeletePod { instance: it, .. }) if it == instance);
    plan(seen).steps.iter().any(is)
}

/// A digest does not say which release it is.
#[test]
fn the_first_replica_that_turns_out_to_be_older_than_main_is_the_last_one() {
    let mut world = running();
    world.settings.image = "memgraph/memgraph@sha256:ab".into();
    world.configuration += 1;
    while !replaces(&world.observe(), "demo-1") {
        world.step(usize::MAX);
    }
    assert_eq!(world.servers[2].configuration, 1);
    assert!(replaces(&with(&world, 2, "3.13.0"), "demo-1"));
    let older = with(&world, 2, "3.9.0");
    assert_eq!(plan(&older).steps, []);
    let (status, reason, message) = up_to_date(&older);
    assert_eq!((status, reason), (Truth::False, Reason::Downgrade));
    assert!(
        message.contains("demo-2 runs Memgraph 3.9.0") && message.contains("Set image to 3.12.0"),
        "{message}"
    );
}

#[test]
fn several_releases_are_told_where_nothing_is_being_changed() {
    let world = running();
    let (status, reason, _) = up_to_date(&world.observe());
    assert_eq!((status, reason), (Truth::True, Reason::AsExpected));
    let (status, reason, message) = up_to_date(&with(&world, 1, "3.12.1"));
    assert_eq!((status, reason), (Truth::False, Reason::MixedReleases));
    assert!(message.contains("demo-1 runs Memgraph 3.12.1"), "{message}");
}

#[test]
fn an_image_that_may_be_another_one_tomorrow_is_told_of() {
    let mut world = running();
    assert!(!up_to_date(&world.observe()).2.contains("image"));
    world.settings.image = "memgraph/memgraph".into();
    let (status, _, message) = up_to_date(&world.observe());
    assert_eq!(status, Truth::True);
    assert!(message.contains("name a release or a digest"), "{message}");
}

#[test]
fn a_release_that_came_after_the_operator_is_taken_and_told_of() {
    let newer = "newer than 3.12, the newest release that this operator is tested for";
    let mut world = running();
    for known in ["3.12.0", "3.12.7", "master"] {
        let (.., message) = up_to_date(&with(&world, 0, known));
        assert!(!message.contains("newer than"), "{known}: {message}");
    }
    // An image named by a digest tells only once it runs.
    let (.., message) = up_to_date(&with(&world, 2, "3.13.0"));
    assert!(
        message.contains(newer) && message.contains("demo-2 runs"),
        "{message}"
    );

    // It is told before any instance is replaced, and they are.
    world.settings.image = "memgraph/memgraph:4.0.0".into();
    world.configuration += 1;
    let seen = world.observe();
    let (status, reason, message) = up_to_date(&seen);
    assert_eq!((status, reason), (Truth::False, Reason::Updating));
    assert!(
        message.contains("still with an earlier") && message.contains(newer),
        "{message}"
    );
    assert!(replaces(&seen, "demo-2"));
}

/// What is on disk is the same in all patch releases of one release.
#[test]
fn a_patch_release_can_be_taken_back_and_a_release_cannot() {
    let mut world = running();
    world.configuration += 1;
    world.settings.image = "memgraph/memgraph:3.12.0".into();
    let mut seen = world.observe();
    for instance in &mut seen.instances {
        match &mut instance.sight {
            Sight::Serving(view) => view.version = "3.12.1".into(),
            other => panic!("it does not serve: {other:?}"),
        }
    }
    assert!(replaces(&seen, "demo-2"));
    seen.settings.image = "memgraph/memgraph:3.11.9".into();
    assert_eq!(plan(&seen).steps, []);
    assert_eq!(up_to_date(&seen).1, Reason::Downgrade);
}

#[test]
fn a_mode_that_the_release_lacks_is_refused_and_all_else_goes_on() {
    let mut world = World::new(3);
    world.settings.mode = ReplicationMode::Sync;
    world.settle();
    let before = plan(&world.observe());
    assert_eq!((before.steps, before.situation), (Vec::new(), Situation::Serving));
    // What settings are made of a spec that asks for StrictSync while 3.4 runs.
    world.settings.not_strict = Some("3.4.2".into());
    let refused = plan(&world.observe());
    assert_eq!(refused.steps, []);
    match refused.situation {
        Situation::Stalled(Reason::InvalidSpec, why) => assert!(why.contains("3.4.2 runs"), "{why}"),
        other => panic!("{other:?}"),
    }
    // The release that has it is on its way.
    world.configuration += 1;
    assert_eq!(plan(&world.observe()).situation, Situation::Serving);
}

/// What an older release refuses is refused of any mode, before anything is set up.
#[test]
fn a_release_that_nobody_knows_is_not_set_up_in_any_mode() {
    for mode in [
        ReplicationMode::StrictSync,
        ReplicationMode::Sync,
        ReplicationMode::Async,
    ] {
        let mut world = World::new(3);
        world.settings.mode = mode;
        if mode == ReplicationMode::Async {
            world.settings.sync_replicas = 0;
        }
        let plan = plan(&with(&world, 1, "3.3.0"));
        assert_eq!(plan.steps, []);
        match plan.situation {
            Situation::Stalled(Reason::InvalidSpec, why) => {
                assert!(why.contains("demo-1 runs Memgraph 3.3.0"), "{why}")
            }
            other => panic!("{mode:?}: {other:?}"),
        }
    }
}
