//! Who gets in.

use super::{
    super::{
        Action, Situation, Step,
        observation::{Access, Observation, Sight},
        plan,
    },
    decisions::running,
    world::World,
};
use crate::api::{conditions::Reason, ledger::Route};

fn with_password() -> World {
    let mut world = World::new(3);
    world.password = Some(1);
    world.settle();
    world
}

fn settles(plan: &super::super::Plan) -> bool {
    plan.steps
        .iter()
        .any(|step| matches!(step, Step::Do(Action::SettleUsers { .. })))
}

fn opens(plan: &super::super::Plan) -> bool {
    plan.steps
        .iter()
        .any(|step| matches!(step, Step::Write(ledger) if ledger.route == Route::Open))
}

#[test]
fn a_new_main_has_the_password_before_clients_are_let_in() {
    let mut world = with_password();
    assert_eq!(world.servers[0].password, Some(1));
    assert_eq!(world.servers[1].password, None, "registration has emptied it");
    world.servers[0].up = false;
    let mut settled = false;
    while !world.is_open() || world.main() != Some(1) {
        let plan = world.step(usize::MAX);
        assert!(!opens(&plan) || settled, "{}", world.tell());
        settled |= settles(&plan);
    }
    assert_eq!(world.servers[1].password, Some(1));
}

#[test]
fn the_route_stays_closed_until_main_has_the_password() {
    let mut world = with_password();
    world.servers[0].up = false;
    loop {
        let plan = world.step(0);
        if settles(&plan) {
            break;
        }
        world.carry_out(&plan, usize::MAX);
    }
    let mut seen = world.observe();
    for access in [
        Access::Controlled { settled: false },
        Access::Undeclared("no Secret".to_owned()),
    ] {
        seen.access = access;
        let plan = plan(&seen);
        assert!(!opens(&plan) && plan.steps.len() <= 2, "{plan:?}");
    }
    assert_eq!(
        plan(&seen).situation,
        Situation::Stalled(Reason::InvalidCredentials, "no Secret".to_owned())
    );
}

#[test]
fn another_password_is_set_without_closing() {
    let mut world = with_password();
    let term = world.ledger.as_ref().unwrap().term;
    world.password = Some(2);
    let plan = world.step(usize::MAX);
    assert!(settles(&plan) && !plan.writes(), "{plan:?}");
    assert_eq!(world.servers[0].password, Some(2));
    assert_eq!(world.ledger.as_ref().unwrap().term, term);
    assert!(world.step(usize::MAX).steps.is_empty(), "it is set once");
}

#[test]
fn a_cluster_without_passwords_gets_one_while_it_serves() {
    let mut world = running();
    world.password = Some(1);
    assert!(settles(&world.step(usize::MAX)));
    assert!(world.is_open() && world.servers[0].password == Some(1));
}

#[test]
fn a_main_that_refuses_the_password_is_not_replaced() {
    let mut world = with_password();
    world.settle();
    let mut seen = world.observe();
    seen.instances[0].sight = Sight::Barred;
    seen.instances[0].away_for = std::time::Duration::from_secs(3600);
    let plan = plan(&seen);
    assert!(plan.steps.is_empty(), "{plan:?}");
    let Situation::MainLost(Reason::MainUnreachable, text) = plan.situation else {
        panic!("{:?}", plan.situation);
    };
    assert!(text.contains("refuses the password"), "{text}");

    seen.access = Access::Free;
    let Situation::MainLost(_, text) = super::super::plan(&seen).situation else {
        panic!("it was replaced");
    };
    assert!(text.contains("asks for a password"), "{text}");
}

#[test]
fn a_replica_that_refuses_the_password_is_told_of() {
    let world = with_password();
    let mut seen = world.observe();
    seen.instances[2].sight = Sight::Barred;
    seen.instances[2].away_for = std::time::Duration::from_secs(60);
    let plan = plan(&seen);
    assert!(
        matches!(&plan.situation, Situation::Stalled(_, text) if text.contains("demo-2 refuses the password")),
        "{:?}",
        plan.situation
    );
}

#[test]
fn nobody_is_replaced_or_promoted_for_a_certificate_that_cannot_be_trusted() {
    let mut world = running();
    world.settle();
    let untrusted = || Sight::Untrusted {
        why: "certificate expired".to_owned(),
    };
    let mut seen = world.observe();
    for instance in &mut seen.instances {
        instance.sight = untrusted();
        instance.away_for = std::time::Duration::from_secs(3600);
    }
    let lost = plan(&seen);
    assert!(lost.steps.is_empty(), "{lost:?}");
    let Situation::MainLost(Reason::MainUnreachable, text) = lost.situation else {
        panic!("{:?}", lost.situation);
    };
    assert!(
        text.contains("demo-0") && text.contains("(certificate expired)"),
        "{text}"
    );

    let mut seen = world.observe();
    seen.instances[2].sight = untrusted();
    seen.instances[2].away_for = std::time::Duration::from_secs(60);
    let told = plan(&seen);
    assert!(
        matches!(&told.situation, Situation::Stalled(_, text) if text.contains("demo-2 has a certificate that cannot be trusted")),
        "{:?}",
        told.situation
    );
}

/// Without a ledger its data may be the newest: whoever is only told that it does not answer goes on without it.
#[test]
fn an_instance_that_refuses_the_password_is_told_of_before_there_is_a_ledger() {
    let mut world = with_password();
    world.ledger = None;
    let mut seen = world.observe();
    for instance in &mut seen.instances {
        instance.away_for = std::time::Duration::from_secs(60);
    }
    seen.instances[0].sight = Sight::Barred;
    let told = |seen: &Observation, reason| match plan(seen).situation {
        Situation::Stalled(why, text) if why == reason => text,
        other => panic!("{other:?}"),
    };
    let text = told(&seen, Reason::AmbiguousState);
    assert!(
        text.contains("(demo-0 refuses the password of auth.secretRef"),
        "{text}"
    );
    assert!(text.contains("Seen: demo-0: refuses the password,"), "{text}");
    for instance in &mut seen.instances {
        instance.sight = Sight::Barred;
    }
    let text = told(&seen, Reason::InstanceFailing);
    assert!(text.starts_with("demo-0 refuses the password"), "{text}");
}
