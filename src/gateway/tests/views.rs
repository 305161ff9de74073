//! Tables for which events about the cluster count.

use super::cluster::{Build, demo, replica};
use crate::{
    api::{Health, InstanceRole, InstanceStatus, MemgraphCluster},
    gateway::{
        routes::{Preference, Standing},
        view::{Verdict, View},
    },
};

fn seen(clusters: &[MemgraphCluster]) -> View {
    let mut view = View::default();
    for cluster in clusters {
        assert_eq!(view.observe(cluster), Verdict::Taken);
    }
    view
}

fn without_ledger(mut cluster: MemgraphCluster) -> MemgraphCluster {
    cluster.status = None;
    cluster
}

fn with_uid(mut cluster: MemgraphCluster, uid: &str) -> MemgraphCluster {
    cluster.metadata.uid = Some(uid.to_owned());
    cluster
}

#[test]
fn a_lower_term_is_not_taken_when_the_event_cannot_be_dated() {
    for (newer, older) in [("", ""), ("", "9"), ("9", "")] {
        let mut view = seen(&[demo().term(8).closed().version(newer)]);
        assert_eq!(view.observe(&demo().term(7).version(older)), Verdict::Stale);
        assert_eq!((view.routes().term, &view.routes().read_write), (8, &None));
    }
}

#[test]
fn an_older_state_of_the_same_term_neither_opens_nor_closes_it() {
    let mut view = seen(&[demo().closed().version("20")]);
    assert_eq!(view.observe(&demo().version("19")), Verdict::Stale);
    assert_eq!(view.routes().read_write, None);

    let mut view = seen(&[demo().version("20")]);
    assert_eq!(view.observe(&demo().closed().version("19")), Verdict::Stale);
    assert!(view.routes().read_write.is_some());
}

#[test]
fn versions_are_compared_as_numbers() {
    let mut view = seen(&[demo().version("9")]);
    assert_eq!(view.observe(&demo().closed().version("10")), Verdict::Taken);
}

#[test]
fn the_same_state_again_changes_nothing() {
    let mut view = seen(&[demo().version("20")]);
    let before = view.routes().clone();
    assert_eq!(view.observe(&demo().version("20")), Verdict::Taken);
    assert_eq!(*view.routes(), before);
}

#[test]
fn a_ledger_that_truly_went_back_closes_everything_until_its_term_is_as_high_again() {
    let mut view = seen(&[demo().term(8).version("20")]);
    assert_eq!(
        view.observe(&demo().term(7).version("21")),
        Verdict::WentBack { from: 8, to: 7 }
    );
    assert_eq!((view.routes().term, &view.routes().read_write), (8, &None));
    assert_eq!(view.routes().standing, Standing::Known);

    assert_eq!(view.observe(&demo().term(9).version("22")), Verdict::Taken);
    assert!(view.routes().read_write.is_some());
}

#[test]
fn a_lost_ledger_closes_everything_and_its_term_is_remembered() {
    let mut view = seen(&[demo().term(8).version("20"), without_ledger(demo()).version("21")]);
    assert_eq!((view.routes().term, &view.routes().read_write), (8, &None));
    assert_eq!(view.routes().standing, Standing::Known);
    assert_eq!(
        view.observe(&demo().term(7).version("22")),
        Verdict::WentBack { from: 8, to: 7 }
    );
}

#[test]
fn a_cluster_that_never_had_a_ledger_is_told_from_one_that_has() {
    let view = seen(&[without_ledger(demo()), without_ledger(demo())]);
    assert_eq!(view.routes().standing, Standing::WithoutLedger);
}

#[test]
fn a_new_uid_starts_over_at_any_term() {
    let mut view = seen(&[
        demo().term(8).version("20"),
        with_uid(demo(), "uid-2").term(1).version("30"),
    ]);
    assert_eq!(
        (view.routes().cluster.as_deref(), view.routes().term),
        (Some("uid-2"), 1)
    );
    assert_eq!(view.observe(&demo().term(9).version("25")), Verdict::Stale);
}

#[test]
fn a_deletion_closes_everything() {
    let mut view = seen(&[demo().version("20")]);
    assert_eq!(view.observe_deletion(&demo().version("21")), Verdict::Taken);
    assert_eq!(view.routes().read_write, None);
    assert_eq!(view.routes().standing, Standing::Absent);

    let mut view = seen(&[demo().version("20")]);
    view.observe_absence();
    assert_eq!(view.routes().read_write, None);
    assert_eq!(view.routes().standing, Standing::Absent);
}

#[test]
fn the_deletion_of_a_predecessor_is_ignored() {
    let mut view = seen(&[with_uid(demo(), "uid-2").version("30")]);
    assert_eq!(view.observe_deletion(&demo().version("21")), Verdict::Stale);
    assert!(view.routes().read_write.is_some());
}

#[test]
fn a_deleted_cluster_does_not_come_back_but_a_new_one_does() {
    let mut view = seen(&[demo().version("20")]);
    view.observe_absence();
    assert_eq!(view.observe(&demo().version("20")), Verdict::Stale);
    assert_eq!(
        view.observe(&with_uid(demo(), "uid-2").version("30")),
        Verdict::Taken
    );
    assert!(view.routes().read_write.is_some());
}

/// MAIN, as it is told of while the operator hears it.
fn main() -> InstanceStatus {
    let mut main = replica("demo-0", "10.0.0.10");
    main.role = InstanceRole::Main;
    main.mode = None;
    main.data_status = None;
    main
}

fn changed(mut instance: InstanceStatus, change: impl FnOnce(&mut InstanceStatus)) -> InstanceStatus {
    change(&mut instance);
    instance
}

fn unheard(instance: InstanceStatus) -> InstanceStatus {
    changed(instance, |it| {
        it.role = InstanceRole::Unknown;
        it.health = Health::Silent;
        it.mode = None;
        it.data_status = None;
    })
}

/// What readers of demo-1 are offered after these states, each of which has these instances.
fn offered(states: &[MemgraphCluster]) -> Vec<(Preference, bool)> {
    let view = seen(states);
    let offers = view.routes().read.iter();
    offers
        .map(|offer| (offer.preference, offer.accepts_new))
        .collect()
}

#[test]
fn a_replica_of_which_nothing_is_heard_comes_last_and_stays_what_it_was() {
    let one = || replica("demo-1", "10.0.0.11");
    let lagging = changed(one(), |it| it.data_status = Some("recovery".into()));
    let both = |one| demo().instances([main(), one]);
    let silent = both(unheard(one()));
    for (before, states, after) in [
        (one(), vec![silent.clone()], (Preference::Unheard, true)),
        (
            one(),
            vec![silent.clone(), silent.clone()],
            (Preference::Unheard, true),
        ),
        (
            lagging.clone(),
            vec![silent.clone()],
            (Preference::Unheard, false),
        ),
        // MAIN is not the same, and may lack what this replica holds.
        (
            one(),
            vec![silent.clone().main("demo-2", "10.0.0.12").term(8)],
            (Preference::Unheard, false),
        ),
        (
            one(),
            vec![silent.clone(), both(one())],
            (Preference::Async, true),
        ),
        (one(), vec![silent, both(lagging)], (Preference::Async, false)),
    ] {
        let states = [vec![both(before)], states].concat();
        assert_eq!(offered(&states), [after], "{states:#?}");
    }
}

/// It was MAIN itself in between, for example, and holds what nobody else does.
#[test]
fn a_replica_of_which_nothing_is_heard_is_offered_no_more_once_main_has_changed_twice_unseen() {
    let one = replica("demo-1", "10.0.0.11");
    let before = demo().instances([main(), one.clone()]);
    let silent = demo().instances([main(), unheard(one)]);
    let elsewhere = silent.clone().main("demo-2", "10.0.0.12");
    assert_eq!(
        offered(&[before.clone(), elsewhere.clone().term(8)]),
        [(Preference::Unheard, false)]
    );
    assert_eq!(offered(&[before.clone(), elsewhere.term(9)]), []);
    // The route to the same MAIN was closed meanwhile; or another one was MAIN.
    assert_eq!(
        offered(&[before.clone(), silent.clone().term(8)]),
        [(Preference::Unheard, true)]
    );
    assert_eq!(offered(&[before, silent.term(9)]), [(Preference::Unheard, false)]);
}

#[test]
fn a_replica_is_as_good_as_it_was_while_main_says_nothing_of_it() {
    let one = replica("demo-1", "10.0.0.11");
    let untold = changed(one.clone(), |it| {
        it.mode = None;
        it.data_status = None;
    });
    let before = demo().instances([main(), one]);
    let dumb = demo().instances([unheard(main()), untold.clone()]);
    assert_eq!(
        offered(&[before.clone(), dumb.clone()]),
        [(Preference::Unheard, true)]
    );
    let nobody_is_heard = demo().instances([unheard(main()), unheard(untold.clone())]);
    assert_eq!(
        offered(&[before.clone(), dumb, nobody_is_heard]),
        [(Preference::Unheard, true)]
    );
    // MAIN is heard, and does not list it.
    let unlisted = demo().instances([main(), untold]);
    assert_eq!(offered(&[before, unlisted]), [(Preference::Async, false)]);
}

#[test]
fn a_replica_that_is_not_heard_is_offered_no_more_once_something_speaks_against_it() {
    let one = replica("demo-1", "10.0.0.11");
    let before = demo().instances([one.clone()]);
    let silent = demo().instances([unheard(one.clone())]);
    let with = |change: fn(&mut InstanceStatus)| demo().instances([changed(unheard(one.clone()), change)]);
    let refused = |status: &str| {
        let mut cluster = silent.clone();
        cluster.status.as_mut().unwrap().instances[0].data_status = Some(status.to_owned());
        cluster
    };
    for after in [
        with(|it| it.health = Health::Down),
        with(|it| it.role = InstanceRole::Main),
        with(|it| it.role = InstanceRole::Deposed),
        with(|it| it.address = None),
        with(|it| it.address = Some("10.0.0.12".into())),
        refused("invalid"),
        refused("diverged"),
        silent.clone().main("demo-1", "10.0.0.11").term(8).closed(),
        silent
            .clone()
            .spec(|spec| spec.fenced_instances = vec!["demo-1".into()]),
        silent
            .clone()
            .spec(|spec| spec.gateway.read.enabled = Some(false)),
        demo().instances([]),
        without_ledger(demo()),
        with_uid(silent.clone(), "uid-2"),
    ] {
        assert_eq!(offered(&[before.clone(), after.clone()]), [], "{after:#?}");
        assert_eq!(offered(&[before.clone(), silent.clone(), after]), []);
    }
    assert_eq!(offered(&[silent]), [], "nobody has ever heard it");
}
