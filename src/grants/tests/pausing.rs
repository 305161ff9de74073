//! Sessions that stay while the route is closed for a moment.

use super::*;
use crate::api::ledger::{Operation, OperationKind};

/// MAIN stays who it is.
pub(super) fn repair() -> Operation {
    Operation {
        kind: OperationKind::Repair,
        target: "demo-0".into(),
        from: Some("demo-0".into()),
        started_at: String::new(),
        cause: String::new(),
        lossy: false,
        election: None,
        reversed: false,
        proven: false,
    }
}

/// The ledger of [`ledger`], paused in this term.
fn paused(term: i64) -> Ledger {
    Ledger {
        term,
        route: Route::Closed,
        operation: Some(repair()),
        ..ledger()
    }
}

fn open(term: i64) -> Ledger {
    Ledger { term, ..ledger() }
}

fn learn(holder: &mut Holder, ledger: &Ledger, now: Duration) {
    holder.learn(CLUSTER, &Position::of(ledger), now);
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// From which term on sessions may go on, after a grant for this ledger.
fn since(holder: &mut Holder, ledger: &Ledger, now: Duration) -> i64 {
    let grant = granted(holder, ledger, now);
    holder.accept(&grant, now).unwrap();
    holder.permit(now).unwrap().since
}

#[test]
fn sessions_stay_without_a_right_to_pass_anything_and_go_on_under_the_next_terms_grant() {
    let mut holder = holding(secs(100));
    learn(&mut holder, &paused(8), secs(101));
    assert_eq!(holder.permit(secs(101)), None);
    assert_eq!(holder.due(secs(101)), None, "there is nothing to renew");
    let pause = holder.pause(secs(101)).unwrap();
    assert_eq!((pause.term, pause.since, pause.until), (8, 7, secs(102)));
    assert_eq!(since(&mut holder, &open(8), millis(101_500)), 7);
    assert_eq!(holder.permit(millis(101_500)).unwrap().term, 8);
    assert_eq!(holder.pause(millis(101_500)), None);
    assert_eq!([7, 8, 3].map(|term| holder.present_term(term)), [8, 8, 3]);

    // Another one: the sessions are as old as before.
    learn(&mut holder, &paused(9), secs(102));
    assert_eq!([7, 8, 9, 3].map(|term| holder.present_term(term)), [9, 9, 9, 3]);
    assert_eq!(since(&mut holder, &open(9), secs(102)), 7);
    // Renewed, it is the same.
    assert_eq!(since(&mut holder, &open(9), secs(103)), 7);
}

#[test]
fn a_route_that_is_seen_open_before_its_grant_comes_does_not_end_the_pause() {
    let mut holder = holding(secs(100));
    learn(&mut holder, &paused(8), secs(101));
    learn(&mut holder, &open(8), secs(101));
    assert_eq!(
        holder.permit(secs(101)),
        None,
        "to know where MAIN is gives no right"
    );
    assert_eq!(since(&mut holder, &open(8), millis(101_200)), 7);
}

#[test]
fn a_pause_ends_after_a_second_or_when_the_grant_would_have_run_out() {
    for (learnt, until) in [(secs(102), secs(103)), (millis(103_600), secs(104))] {
        let mut holder = holding(secs(100));
        learn(&mut holder, &paused(8), learnt);
        assert!(holder.pause(until - Duration::from_nanos(1)).is_some());
        assert_eq!(holder.pause(until), None);
        assert_eq!(
            since(&mut holder, &open(8), until),
            8,
            "the sessions are gone by then"
        );
    }
    let mut holder = holding(secs(100));
    learn(&mut holder, &paused(8), secs(104));
    assert_eq!(holder.pause(secs(104)), None, "there are no sessions any more");
}

#[test]
fn nothing_stays_if_main_may_be_another_one() {
    // Not the next term: there may have been another MAIN in between.
    let mut holder = holding(secs(100));
    learn(&mut holder, &paused(9), secs(101));
    assert_eq!(holder.pause(secs(101)), None);

    let mut holder = holding(secs(100));
    holder.taint(7, secs(101));
    learn(&mut holder, &paused(8), secs(101));
    assert_eq!(holder.pause(secs(101)), None);

    let another = DataCopy {
        instance: "demo-0".into(),
        incarnation: Incarnation {
            container_id: "second".into(),
            ..Incarnation::default()
        },
    };
    let others = [
        Ledger {
            main: another,
            ..open(8)
        },
        Ledger {
            main_address: "10.0.0.11".into(),
            ..open(8)
        },
    ];
    for other in others {
        let mut holder = holding(secs(100));
        learn(&mut holder, &paused(8), secs(101));
        assert_eq!(since(&mut holder, &other, secs(101)), 8);
    }
}

#[test]
fn whatever_comes_after_the_pause_but_its_end_ends_the_sessions() {
    let failover = Ledger {
        operation: None,
        ..paused(9)
    };
    for next in [failover, paused(9), open(9)] {
        let mut holder = holding(secs(100));
        let late = {
            learn(&mut holder, &paused(8), secs(101));
            granted(&mut holder, &open(8), secs(101))
        };
        learn(&mut holder, &next, secs(101));
        assert_eq!(holder.pause(secs(101)), None, "{next:?}");
        // The end of the pause comes after what followed it.
        assert_eq!(holder.accept(&late, secs(101)), Err(Refusal::OldTerm));
        assert_eq!(holder.pause(secs(101)), None);
    }
    let mut holder = holding(secs(100));
    learn(&mut holder, &paused(8), secs(101));
    holder.taint(8, secs(101));
    assert_eq!(holder.pause(secs(101)), None, "MAIN has refused a connection");
    let mut holder = holding(secs(100));
    learn(&mut holder, &paused(8), secs(101));
    holder.let_go();
    assert_eq!(holder.pause(secs(101)), None);
}

#[test]
fn a_closing_for_another_main_pauses_nothing() {
    let mut holder = holding(secs(100));
    learn(
        &mut holder,
        &Ledger {
            operation: Some(Operation {
                kind: OperationKind::Failover,
                ..repair()
            }),
            ..paused(8)
        },
        secs(101),
    );
    assert_eq!(holder.pause(secs(101)), None);
    let mut holder = holding(secs(100));
    let elsewhere = Position {
        main: "demo-1".into(),
        ..Position::of(&paused(8))
    };
    holder.learn(CLUSTER, &elsewhere, secs(101));
    assert_eq!(holder.pause(secs(101)), None);
}
