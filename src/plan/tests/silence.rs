//! A MAIN that says nothing, and what others say of it.

use std::time::Duration;

use super::{
    super::{
        Plan, Situation, Step,
        observation::{Container, Observation, Sight, Witness},
        plan,
        report::{self, GatewayState},
    },
    decisions::running,
};
use crate::{
    api::{
        Phase,
        conditions::{ConditionType, Reason, Truth},
        ledger::Route,
    },
    grants::{MainReach, Report},
};

const TERM: i64 = 1;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// MAIN has been silent for so long for the operator. Kubernetes, whose probe is a connect, takes it to be ready.
fn silent_for(silent: Duration) -> Observation {
    let mut seen = running().observe();
    let main = &mut seen.instances[0];
    (main.sight, main.away_for, main.silent_for) = (Sight::Silent, silent, silent);
    assert!(main.ready);
    assert_eq!(seen.ledger.as_ref().unwrap().term, TERM);
    assert_eq!(seen.settings.detection_timeout, ms(1_000));
    seen
}

/// A gateway that was asked `age` ago and told this.
fn told(age: u64, handshake_ago: Option<u64>, unanswered: Option<u64>) -> Witness {
    let reach = MainReach {
        term: TERM,
        handshake_millis_ago: handshake_ago,
        unanswered_millis: unanswered,
        ..MainReach::default()
    };
    let report = Report {
        term: TERM,
        route: Route::Open,
        reach,
        ..Report::default()
    };
    Witness::of("demo-gateway-x", &report, ms(age))
}

fn is_replaced(plan: &Plan) -> bool {
    let unreachable = matches!(plan.situation, Situation::MainLost(Reason::MainUnreachable, _));
    assert_eq!(plan.steps.is_empty(), unreachable, "{plan:?}");
    plan.steps
        .iter()
        .any(|step| matches!(step, Step::Write(ledger) if ledger.main.instance == "demo-1" && ledger.changes[0].suspected))
}

fn with(mut seen: Observation, witnesses: &[Witness]) -> bool {
    seen.witnesses = witnesses.to_vec();
    is_replaced(&plan(&seen))
}

#[test]
fn silence_counts_once_kubernetes_hears_nothing_either() {
    for (silent, expected) in [(999, false), (1_000, true)] {
        let mut seen = silent_for(ms(silent));
        seen.instances[0].ready = false;
        assert_eq!(with(seen, &[]), expected, "{silent}");
    }
}

#[test]
fn it_counts_once_a_gateway_has_heard_nothing_for_as_long() {
    let cases = [
        ("nobody else looks", None, false),
        ("for as long", Some(told(300, Some(1_100), Some(1_000))), true),
        (
            "not for as long yet",
            Some(told(300, Some(1_100), Some(999))),
            false,
        ),
        ("it has never heard it", Some(told(300, None, Some(1_000))), true),
        ("it told so long ago", Some(told(1_001, None, Some(1_000))), false),
        ("it was held up itself", Some(told(0, Some(9_000), None)), false),
        ("it has heard it", Some(told(300, Some(100), None)), false),
    ];
    for (name, witness, expected) in cases {
        let witnesses: Vec<_> = witness.into_iter().collect();
        assert_eq!(with(silent_for(ms(1_500)), &witnesses), expected, "{name}");
        assert!(
            !with(silent_for(ms(999)), &witnesses),
            "{name}: the operator must have heard nothing for as long too"
        );
    }
}

#[test]
fn what_a_gateway_says_of_another_terms_main_counts_for_nothing() {
    for term in [TERM - 1, TERM + 1] {
        let other = Witness {
            term,
            ..told(0, None, Some(60_000))
        };
        assert!(!with(silent_for(ms(1_500)), &[other]));
        let mut seen = silent_for(ms(1_500));
        seen.instances[0].ready = false;
        let heard = Witness {
            term,
            ..told(0, Some(0), None)
        };
        assert!(with(seen, &[heard]));
    }
}

#[test]
fn a_gateway_that_completes_handshakes_outweighs_others_that_do_not() {
    let silent = told(100, None, Some(5_000));
    let hears = told(100, Some(900), None);
    assert!(!with(silent_for(ms(5_000)), &[silent.clone(), hears.clone()]));
    let heard_once = told(101, Some(900), Some(600));
    assert!(with(silent_for(ms(5_000)), &[silent, heard_once]));
    let mut seen = silent_for(ms(5_000));
    seen.instances[0].ready = false;
    seen.witnesses = vec![hears];
    let plan = plan(&seen);
    assert!(
        matches!(&plan.situation, Situation::MainLost(Reason::MainUnreachable, text) if text.contains("demo-gateway-x")),
        "{plan:?}"
    );
}

#[test]
fn only_clients_of_a_gateway_that_leads_them_are_said_to_be_served() {
    let said = |witnesses: &[Witness]| {
        let mut seen = silent_for(ms(5_000));
        seen.witnesses = witnesses.to_vec();
        match plan(&seen).situation {
            Situation::MainLost(Reason::MainUnreachable, text) => text,
            other => panic!("{other:?}"),
        }
    };
    let serving = told(100, Some(900), None);
    let report = Report {
        term: TERM,
        reach: MainReach {
            term: TERM,
            handshake_millis_ago: Some(0),
            ..MainReach::default()
        },
        ..Report::default()
    };
    let without = Witness::of("demo-gateway-y", &report, ms(100));
    assert_eq!(report.route, Route::Closed);
    let text = said(std::slice::from_ref(&without));
    assert!(
        text.ends_with("the gateway demo-gateway-y, which has no right to lead clients to it"),
        "{text}"
    );
    let text = said(&[without, serving]);
    assert!(
        text.ends_with("the gateway demo-gateway-x, whose clients are served"),
        "{text}"
    );
}

#[test]
fn handshakes_alone_hold_a_replacement_up_for_hang_timeout_at_most() {
    let mut seen = silent_for(ms(60_000));
    seen.instances[0].ready = false;
    let hears = [told(100, Some(100), None)];
    assert!(with(seen.clone(), &hears));
    seen.instances[0].away_for = ms(59_999);
    assert!(!with(seen.clone(), &hears));
    // Where Kubernetes sees nothing wrong, gateways that hear it never make it a lost one.
    (seen.instances[0].ready, seen.instances[0].away_for) = (true, ms(60_000));
    assert!(!with(seen, &[told(0, None, Some(60_000)), hears[0].clone()]));
}

#[test]
fn such_a_change_is_bound_by_what_bounds_suspicion() {
    let mut seen = silent_for(ms(1_500));
    seen.witnesses = vec![told(0, None, Some(1_500))];
    seen.settings.max_per_hour = 0;
    let reason = |seen: &Observation| match plan(seen).situation {
        Situation::MainLost(reason, _) | Situation::Stalled(reason, _) => Some(reason),
        _ => None,
    };
    assert_eq!(reason(&seen), Some(Reason::TooManyFailovers));
    seen.settings.max_per_hour = 6;
    seen.settings.failover_delay = ms(10_000);
    assert_eq!(reason(&seen), Some(Reason::FailoverDelayed));
    seen.settings.failover_delay = Duration::ZERO;
    seen.settings.automatic_failover = false;
    assert_eq!(reason(&seen), Some(Reason::ManualFailover));
}

/// Its clients are served, as far as handshakes can tell: nobody may be told that no one can write.
#[test]
fn where_only_the_operator_does_not_hear_main_it_cannot_tell_whether_clients_can_write() {
    let ready = |told: &report::Report| {
        let mut verdicts = told.verdicts.iter();
        let ready = verdicts.find(|verdict| verdict.condition == ConditionType::Ready);
        (ready.unwrap().status, told.phase)
    };
    let reported = |seen: &Observation| {
        let gateway = GatewayState {
            enabled: true,
            ready: 1,
            ..GatewayState::default()
        };
        report::report(seen, seen.ledger.as_ref(), &plan(seen).situation, gateway)
    };
    let seen = |witness: Witness| {
        let mut seen = silent_for(ms(5_000));
        seen.witnesses = vec![witness];
        seen
    };
    let serving = || told(100, Some(900), None);
    for served in [seen(serving()), {
        let mut at_first = seen(serving());
        (at_first.instances[0].away_for, at_first.instances[0].silent_for) = (ms(0), ms(0));
        at_first
    }] {
        let told = reported(&served);
        assert_eq!(ready(&told), (Truth::Unknown, Phase::Degraded));
        // Tools that wait by conditions (kstatus) see that it is not done.
        let mut verdicts = told.verdicts.iter();
        let reconciling = verdicts.find(|verdict| verdict.condition == ConditionType::Reconciling);
        assert_eq!(reconciling.unwrap().status, Truth::True);
    }
    let mut without_right = serving();
    without_right.serves = false;
    let mut ended = seen(serving());
    ended.instances[0].container = Container::Ended;
    let mut busy = seen(serving());
    busy.instances[0].sight = Sight::Handshake;
    let mut hanging = seen(serving());
    hanging.instances[0].away_for = hanging.settings.hang_timeout;
    for (what, unserved) in [
        ("nobody else looks", silent_for(ms(5_000))),
        ("its grant has run out", seen(without_right)),
        (
            "of another term",
            seen(Witness {
                term: TERM + 1,
                ..serving()
            }),
        ),
        ("its process has ended", ended),
        ("it answers no query", busy),
        ("for very long", hanging),
    ] {
        let (status, phase) = ready(&reported(&unserved));
        assert_eq!(status, Truth::False, "{what}");
        assert_ne!(phase, Phase::Degraded, "{what}");
    }
}
