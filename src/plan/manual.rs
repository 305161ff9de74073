//! Failovers on which a human decides (`failover.mode: Manual`): a request to move MAIN (`spec.switchover`) is the decision.
//!
//! No acknowledged write is lost: only a copy is promoted that would be with `Automatic`, and one that may lack something only with
//! `failover.candidates: MostRecent`, where nobody is known to hold everything; a human may name which one then. Two mains never both acknowledge: the
//! gateways are fenced first, as always, and where clients reach instances past them, the old MAIN cannot acknowledge without
//! the vote of whoever is promoted; where neither holds, nobody is ([`direct`](super::direct)).

use super::{
    Plan, Situation,
    fate::Fate,
    loss,
    observation::{Observation, SwitchoverRequest},
    successor::{self, Successor},
    switchover,
};
use crate::api::{conditions::Reason, ledger::Ledger};

/// How to go on where no copy is known to hold everything.
pub(super) const GO_ON: &str = "To go on with a replica, and without what it lacks, set failover.candidates to MostRecent, and ask for \
                                MAIN to be moved (spec.switchover)";

/// The same, of a MAIN that may return.
pub(super) const WAY_OUT: &str = ". To go on without it instead, and without what the replica lacks that is to be MAIN, set failover.candidates to MostRecent, and ask \
     for MAIN to be moved (spec.switchover)";

/// Has the copy promoted that a human names, or whichever is fit where none is named.
pub(super) fn go_ahead(seen: &Observation, ledger: &Ledger, fate: &Fate, why: &str) -> Option<Plan> {
    let (to, request) = asked(seen, ledger, fate)?;
    let why = format!("{why}; request {}", request.id);
    let waits =
        loss::waits_for_an_import(seen, ledger, fate, &why).or_else(|| loss::pause(seen, ledger, &why));
    if waits.is_some() {
        return waits;
    }
    let next = Ledger {
        switchover: Some(switchover::begun(ledger, request, &to.copy.instance)),
        ..ledger.clone()
    };
    // Not one that `failover.maxPerHour` is about: nobody has only suspected something.
    Some(loss::replace(seen, &next, to, false, &why))
}

fn asked<'a>(
    seen: &'a Observation,
    ledger: &Ledger,
    fate: &Fate,
) -> Option<(Successor, &'a SwitchoverRequest)> {
    let request = switchover::pending(seen, ledger).filter(|_| !was_demoted(fate))?;
    let named = |name: &str| request.target.as_deref().is_none_or(|target| target == name);
    let to = match successor::able(seen, ledger, &|_| true) {
        Some(_) => successor::able(seen, ledger, &|instance| named(&instance.name)),
        None => successor::lacking(seen, ledger, fate, &|instance| named(&instance.name)),
    };
    Some((to?, request))
}

/// MAIN has lost nothing where it was only made a replica: it leads again.
fn was_demoted(fate: &Fate) -> bool {
    matches!(fate, Fate::Demoted(_))
}

/// What to say where somebody could be promoted.
pub(super) fn waits(seen: &Observation, ledger: &Ledger, fate: &Fate, why: &str) -> Option<Situation> {
    if was_demoted(fate) {
        return None;
    }
    let next = successor::able(seen, ledger, &|_| true)
        .or_else(|| successor::lacking(seen, ledger, fate, &|_| true))?;
    if let Some(plan) = loss::waits_for_an_import(seen, ledger, fate, why) {
        return Some(plan.situation);
    }
    let unfit = switchover::pending(seen, ledger)
        .and_then(|request| request.target.as_ref())
        .map(|target| {
            let lacks = match seen.settings.is_fenced(target) {
                true => "is fenced",
                false if next.lossy => "does not follow MAIN in this history, or may not lead",
                false => "is not known to hold every acknowledged write",
            };
            format!("{target}, which spec.switchover names, {lacks}. ")
        })
        .unwrap_or_default();
    let name = &next.copy.instance;
    let price = match next.lossy {
        true => format!(
            ". No copy is known to hold every acknowledged write: what {name}, the least behind as far as is known, lacks is lost then"
        ),
        false => String::new(),
    };
    let text = format!(
        "{why}; failover.mode is Manual. {unfit}Bring it back, or ask for MAIN to be moved (spec.switchover), or set failover.mode to \
         Automatic to have {name} promoted{price}"
    );
    Some(Situation::MainLost(Reason::ManualFailover, text))
}
