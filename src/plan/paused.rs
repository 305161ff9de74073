//! A cluster that a human has paused: nothing is begun, and what is going on is brought to its end.

use super::{Plan, Situation, observation::Observation};
use crate::api::{
    conditions::Reason,
    ledger::{OperationKind, Route},
};

/// Whether nothing may be done. Where the route is closed already clients wait for its end, which is not withheld from them.
#[must_use]
pub(super) fn holds_back(seen: &Observation) -> bool {
    let under_way = seen
        .ledger
        .as_ref()
        .is_some_and(|ledger| ledger.route == Route::Closed && !ledger.is_refuted());
    seen.settings.paused && !under_way
}

/// What is told in place of a plan that is held back. `wanted`: it had steps.
pub(super) fn without_steps(seen: &Observation, situation: Situation, wanted: bool) -> Plan {
    let unborn = || {
        let text = "the cluster is set up once spec.paused is false";
        Situation::Waiting(Reason::Paused, text.to_owned())
    };
    let lost = || {
        let text = "MAIN is lost, and is replaced once spec.paused is false";
        Situation::MainLost(Reason::Paused, text.to_owned())
    };
    let situation = match situation {
        Situation::Working(OperationKind::Bootstrap, _) => unborn(),
        Situation::Working(OperationKind::Failover | OperationKind::Restart, _) => lost(),
        Situation::Working(OperationKind::Switchover | OperationKind::Repair, _) => Situation::Serving,
        Situation::Waiting(..) if wanted => unborn(),
        Situation::MainLost(..) if wanted => lost(),
        other => other,
    };
    Plan::new(seen, situation)
}
