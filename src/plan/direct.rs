//! Clients that reach instances past the gateway (`gateway.enabled: false`): there is no fence that a deposed MAIN could be behind.
//!
//! Such a MAIN cannot acknowledge a write all the same while it needs the vote of a strict replica that has been promoted in its
//! place, and so does not vote any more. Which replicas it waits for is what the ledger says as well as the spec: a change of
//! `replication.mode` reaches no MAIN that is lost, while registrations are made anew neither of the two is true, and the first
//! gateways keep no client away from a MAIN that was there before them.

use super::{
    Situation,
    fate::{self, Fate},
    observation::{Instance, Observation},
    successor,
};
use crate::api::{
    RegistrationMode, ReplicationMode,
    conditions::Reason,
    ledger::{Ledger, Member, OperationKind, Route},
};

/// Whether clients may be on MAIN without a gateway between them: by the spec, or by an earlier one under which this MAIN was reached so.
pub(super) fn is_direct(seen: &Observation, ledger: &Ledger) -> bool {
    seen.settings.direct || ledger.direct
}

/// Whether MAIN, if it lives on unseen, acknowledges nothing once this instance is promoted in its place.
///
/// A former MAIN (generation 0) is back as a replica, or was made one by a planned change.
pub(super) fn silences_main(seen: &Observation, ledger: &Ledger, instance: &Instance) -> bool {
    let strict = seen.settings.mode == ReplicationMode::StrictSync;
    let votes = |member: &Member| {
        let waited_for = strict && member.mode == Some(RegistrationMode::StrictSync);
        member.instance == instance.name && (waited_for || member.generation == 0)
    };
    let repaired = ledger.route == Route::Closed
        && ledger
            .operation
            .as_ref()
            .is_some_and(|o| o.kind == OperationKind::Repair);
    let pool = match ledger.route {
        Route::Open => &ledger.in_sync,
        Route::Closed => &ledger.candidates,
    };
    !is_direct(seen, ledger) || instance.name == ledger.main.instance || !repaired && pool.iter().any(votes)
}

/// What to say where somebody could be promoted if MAIN were behind a fence.
pub(super) fn waits(seen: &Observation, ledger: &Ledger, fate: &Fate, why: &str) -> Option<Situation> {
    if matches!(fate, Fate::Demoted(_)) || fate::has_lost_its_data(seen, ledger) {
        return None;
    }
    let next = successor::fit(seen, ledger).filter(|to| {
        seen.instance(&to.copy.instance)
            .is_some_and(|i| !silences_main(seen, ledger, i))
    })?;
    let text = format!(
        "{why}; bring it back. {} is not promoted instead: nothing keeps a MAIN that clients have reached without the gateway \
         from acknowledging writes, and a change of the spec does not reach it now",
        next.copy.instance
    );
    Some(Situation::MainLost(Reason::ManualFailover, text))
}
