//! A MAIN that answers and ends no commit.

use std::time::Duration;

use super::{
    super::{
        Action, Plan, Situation, Step,
        observation::{Container, Observation, Role, Sight},
        plan,
    },
    decisions::running,
};
use crate::api::ledger::{OperationKind, Route};

/// MAIN has not ended a commit for so long.
fn tried_for(time: Duration) -> Observation {
    let mut seen = running().observe();
    seen.commit_for = time;
    seen
}

fn is_replaced(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| {
        matches!(step, Step::Write(ledger) if ledger.main.instance == "demo-1"
        && ledger.route == Route::Closed
        && ledger.changes.last().is_some_and(|change| change.suspected)
        && ledger.operation.as_ref().is_some_and(|o| {
            o.kind == OperationKind::Failover && o.cause == "demo-0 answers, but does not end commits"
        }))
    })
}

#[test]
fn a_main_whose_commit_takes_longer_than_any_replica_can_make_it_wait_is_replaced() {
    for (hang_timeout, slow, stuck) in [(60, 64, 65), (1, 64, 65), (120, 119, 120)] {
        let with = |secs| {
            let mut seen = tried_for(Duration::from_secs(secs));
            seen.settings.hang_timeout = Duration::from_secs(hang_timeout);
            plan(&seen)
        };
        assert!(with(slow).steps.is_empty(), "{hang_timeout}");
        assert!(is_replaced(&with(stuck)), "{hang_timeout}");
    }
}

#[test]
fn it_is_left_alone_where_nobody_can_take_its_place() {
    let mut nobody = tried_for(Duration::from_secs(70));
    for replica in &mut nobody.instances[1..] {
        (replica.sight, replica.container) = (Sight::Unseen, Container::Absent);
    }
    let mut manual = tried_for(Duration::from_secs(70));
    manual.settings.automatic_failover = false;
    for seen in [nobody, manual] {
        let plan = plan(&seen);
        assert!(!plan.writes(), "{plan:?}");
        assert_eq!(plan.situation, Situation::Serving);
    }
}

#[test]
fn too_many_of_them_are_held_back_as_other_suspicions_are() {
    let mut seen = tried_for(Duration::from_secs(70));
    seen.settings.max_per_hour = 0;
    let plan = plan(&seen);
    assert!(plan.steps.is_empty());
    assert!(matches!(plan.situation, Situation::Stalled(..)), "{plan:?}");
}

#[test]
fn a_delay_counts_from_the_commit_that_does_not_end() {
    for (secs, expected) in [(70, false), (120, true)] {
        let mut seen = tried_for(Duration::from_secs(secs));
        seen.settings.failover_delay = Duration::from_secs(120);
        assert_eq!(is_replaced(&plan(&seen)), expected, "{secs}");
    }
}

/// Its commit leaves no moment for the command that would make it a replica.
#[test]
fn a_former_main_that_cannot_be_demoted_gets_a_new_pod_and_is_not_waited_for() {
    let mut seen = running().observe();
    let impostor = &mut seen.instances[2];
    if let Sight::Serving(view) = &mut impostor.sight {
        view.role = Role::Main;
    }
    let of_it = |plan: &Plan| -> Vec<Action> {
        let actions = plan.steps.iter().filter_map(|step| match step {
            Step::Do(action @ (Action::Demote { instance } | Action::DeletePod { instance, .. }))
                if instance == "demo-2" =>
            {
                Some(action.clone())
            }
            _ => None,
        });
        actions.collect()
    };
    assert!(matches!(of_it(&plan(&seen))[..], [Action::Demote { .. }]));
    seen.instances[2].adamant = true;
    assert!(matches!(of_it(&plan(&seen))[..], [Action::DeletePod { .. }]));
    seen.instances[2].terminating = true;
    assert!(of_it(&plan(&seen)).is_empty());
}
