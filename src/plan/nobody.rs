//! What to say where MAIN is lost and nobody can be promoted.

use super::{
    Situation, direct,
    fate::{Fate, has_lost_its_data},
    manual,
    observation::{Instance, Observation},
    successor::{choose, is_candidate, waited_for},
};
use crate::api::{
    conditions::Reason,
    ledger::{Incarnation, Ledger},
};

/// What to say when nobody can be promoted.
pub(super) fn nobody(
    seen: &Observation,
    ledger: &Ledger,
    fate: &Fate,
    automatic: bool,
    why: &str,
) -> Situation {
    let others = automatic || !matches!(fate, Fate::Demoted(_));
    let whoever = choose(seen, ledger, others, &|_| true);
    if let Some(fenced) = whoever.filter(|to| seen.settings.is_fenced(&to.copy.instance)) {
        let name = fenced.copy.instance;
        let text = format!(
            "{why}; {name} could be promoted, but is fenced: take it out of fencedInstances to have it promoted"
        );
        return Situation::Stalled(Reason::FencedInstance, text);
    }
    let alone = seen.settings.automatic_failover;
    let known = direct::waits(seen, ledger, fate, why)
        .or_else(|| manual::waits(seen, ledger, fate, why).filter(|_| !alone))
        .or_else(|| for_good(seen, ledger, why))
        .or_else(|| unflushed(seen, ledger, why));
    if let Some(situation) = known {
        return situation;
    }
    // Where the operator decides alone, it is too early to ask a human to lose something.
    let way_out = if alone { "" } else { manual::WAY_OUT };
    let text = format!(
        "{why}; no other copy is known to hold every acknowledged write; waiting for it to return{}{way_out}",
        shortcomings(seen, ledger)
    );
    Situation::MainLost(Reason::NoCandidate, text)
}

/// What a human can do where no copy is known to hold everything.
pub(super) fn start_over(seen: &Observation) -> &'static str {
    if seen.settings.data_in_pods {
        "Save what you need of what the pods hold; to begin with an empty database, delete the MemgraphCluster, and its data with \
         it (storage.emptyDir), and make it again"
    } else {
        "To begin with what the volumes hold, delete the MemgraphCluster, which keeps them unless storage.retentionPolicy.whenDeleted is \
         Delete (set it to Retain before), and make it again"
    }
}

/// What to say where waiting ends nothing: MAIN is back without its data, and every copy that held everything has shown that it
/// cannot be known to hold it any more.
fn for_good(seen: &Observation, ledger: &Ledger, why: &str) -> Option<Situation> {
    let all_shown =
        waited_for(ledger).all(|m| seen.instance(&m.instance).is_some_and(|i| i.view().is_some()));
    if !(all_shown && has_lost_its_data(seen, ledger)) {
        return None;
    }
    let others = seen.declared().filter(|i| i.name != ledger.main.instance);
    let able: Vec<_> = others
        .filter(|i| seen.electable(i) && i.is_replica() && i.carries(ledger))
        .collect();
    let remedy = if able.is_empty() || direct::is_direct(seen, ledger) {
        start_over(seen)
    } else if !seen.settings.automatic_failover {
        manual::GO_ON
    } else if able.iter().any(|i| i.last_behind.is_some()) {
        "To go on with the replica that was the least behind, and without what it lacks, set failover.candidates to MostRecent"
    } else {
        "Which replica was the least behind is not known any more, because another operator process leads now. To go on with one, and without what it lacks, name it in replication.preferredMain, and set failover.candidates to MostRecent"
    };
    let text = format!(
        "{why}, and without its data; no other copy is known to hold every acknowledged write{}. {remedy}",
        shortcomings(seen, ledger)
    );
    Some(Situation::Stalled(Reason::NoCandidate, text))
}

/// What to say where MAIN is back on its volume, may lack what it had not flushed, and nobody is known to have held as much. In
/// `Async` it leads again, since nothing else is promised there; whether more was promised while it led, the ledger does not tell.
fn unflushed(seen: &Observation, ledger: &Ledger, why: &str) -> Option<Situation> {
    let (main, life) = (seen.instance(&ledger.main.instance)?, &ledger.main.incarnation);
    let lacks_only_that = main.is_replica()
        && main.carries(ledger)
        && main.has_volume_of(life)
        && !main.kept_all_of(life)
        && waited_for(ledger).next().is_none();
    lacks_only_that.then(|| {
        let name = &main.name;
        let text = format!(
            "{why} on another boot of a node, and was not told to flush each transaction: it may lack the last ones, and no other copy is \
             known to hold them. To go on with what {name} holds, set replication.mode to Async until it leads"
        );
        Situation::Stalled(Reason::NoCandidate, text)
    })
}

/// What each copy that once held everything lacks now, and MAIN itself where it is back.
fn shortcomings(seen: &Observation, ledger: &Ledger) -> String {
    let mut text = String::new();
    for member in waited_for(ledger) {
        let instance = seen.instance(&member.instance);
        let restarted = instance.is_some_and(|instance| !is_candidate(instance, member));
        let lacks =
            shortcoming(instance, &member.incarnation, ledger).or(restarted.then_some("has restarted"));
        if let Some(lacks) = lacks {
            text.push_str(&format!(". {} {lacks}", member.instance));
        }
    }
    let main = seen.instance(&ledger.main.instance);
    let back = main.filter(|main| main.view().is_some());
    if let Some(lacks) = back.and_then(|_| shortcoming(back, &ledger.main.incarnation, ledger)) {
        text.push_str(&format!(". {} {lacks}", ledger.main.instance));
    }
    text
}

/// Why an instance is not the copy that it was in this life, beside having restarted.
fn shortcoming(instance: Option<&Instance>, life: &Incarnation, ledger: &Ledger) -> Option<&'static str> {
    match instance {
        None => Some("is gone"),
        Some(i) if i.view().is_none() => Some("does not answer"),
        Some(i) if !i.has_volume_of(life) => Some("has another volume than before"),
        Some(i) if !i.carries(ledger) => Some("does not show the mark of this history"),
        Some(i) if !i.kept_all_of(life) => {
            Some("was not told to flush each transaction, and its node has restarted")
        }
        Some(i) if !i.is_replica() => Some("is MAIN without our word"),
        Some(_) => None,
    }
}
