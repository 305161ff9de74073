//! Tables for which events about the cluster count.

use super::cluster::{Build, demo};
use crate::{
    api::MemgraphCluster,
    gateway::{
        routes::Standing,
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
