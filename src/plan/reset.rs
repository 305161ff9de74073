//! Sets the data of an instance aside that has branched off or cannot be read, so that it is filled anew from MAIN.
//!
//! The order stands in the ledger before anything is done. The instance's own init container carries it out, after it
//! has read the order live: it never has data open, and it obeys no order that the ledger does not hold any more.

use super::{
    Action, Step, failing,
    members::Members,
    observation::{DataStatus, Instance, Numbers, Observation},
};
use crate::api::{
    ResetOutcome,
    ledger::{Ledger, ResetOrder},
};

/// So many pods are replaced for one order. What keeps an init container from obeying will not go away by itself then.
const ATTEMPTS: i32 = 5;

/// Whether an instance's data has branched off from MAIN's.
pub(super) fn has_diverged(members: &Members<'_>, instance: &Instance) -> bool {
    let listed = members.registration_of(instance).and_then(|r| r.status);
    instance.is_replica() && (instance.refused || listed == Some(DataStatus::Diverged))
}

/// Whether an instance follows MAIN only once its data is set aside.
fn is_due(members: &Members<'_>, instance: &Instance) -> bool {
    has_diverged(members, instance) || failing::is_unreadable(&members.seen.settings, instance)
}

/// The instances, neither relied on nor under an order, that have diverged.
pub(super) fn diverged<'a>(members: &'a Members<'_>) -> impl Iterator<Item = &'a Instance> {
    due(members).filter(|i| has_diverged(members, i))
}

/// The instances, neither relied on nor under an order, that follow MAIN only once their data is set aside.
pub(super) fn due<'a>(members: &'a Members<'_>) -> impl Iterator<Item = &'a Instance> {
    members
        .others()
        .filter(|i| !members.ledger.relies_on(&i.name) && order(members.ledger, i).is_none())
        .filter(|i| is_due(members, i))
}

/// The order for this instance.
pub(super) fn order<'a>(ledger: &'a Ledger, instance: &Instance) -> Option<&'a ResetOrder> {
    ledger.resets.iter().find(|order| order.instance == instance.name)
}

/// What becomes of the data, for people.
pub(super) fn outcome(seen: &Observation) -> &'static str {
    if seen.settings.data_in_pods {
        "its data deleted with the pod (storage.emptyDir) and filled anew"
    } else {
        "its data set aside and filled anew"
    }
}

/// Why no data that has branched off is set aside before a human says so, where that is so.
pub(super) fn why_unasked_is_kept(members: &Members<'_>) -> Option<&'static str> {
    if members.ledger.recovered {
        Some(
            "bootstrap.recover was obeyed, and no data is set aside unasked before every instance has followed MAIN",
        )
    } else if !members.seen.settings.reset_diverged {
        Some("replication.divergedInstances is Keep")
    } else {
        None
    }
}

/// What to say where copies have branched off, and only a human may have them set aside.
pub(super) fn awaits_a_word(members: &Members<'_>) -> Option<String> {
    let (seen, main) = (members.seen, &members.main.name);
    let why = why_unasked_is_kept(members)?;
    let unasked: Vec<_> = diverged(members).filter(|i| !i.reset_asked).collect();
    let names: Vec<_> = unasked.iter().map(|i| i.name.as_str()).collect();
    let electable = unasked.iter().find(|i| seen.electable(i));
    let first = &electable.or(unasked.first())?.name;
    Some(format!(
        "{} holds writes that {main} does not, and {why}. Save what you need of it, then annotate the pod of {first} with \
         memgraph.dev/reset=yes to have {}",
        names.join(", "),
        outcome(seen)
    ))
}

/// The next thing to do about orders; what must be written first goes into `ledger`. MAIN must be up, in the life that
/// the ledger names, and its epoch durable.
///
/// No acknowledged write is lost: MAIN has them all, and the instance is one that the ledger does not rely on; a write
/// that would make it one voids the order. While what MAIN holds is about to go, nobody's data is set aside for it, and orders that were
/// not obeyed are taken back: that may be all there is a moment later.
pub(super) fn next(members: &Members<'_>, ledger: &mut Ledger, numbers: &mut Numbers) -> Option<Vec<Step>> {
    let resets = &members.ledger.resets;
    let is_obeyed = |order: &ResetOrder| {
        let instance = members.others().find(|i| i.name == order.instance);
        instance.is_some_and(|instance| outcome_of(order, instance) == Some(ResetOutcome::Done))
    };
    if is_about_to_lose_its_data(members) && !resets.iter().all(is_obeyed) {
        ledger.resets.retain(is_obeyed);
        return Some(Vec::new());
    }
    if let Some(steps) = resets.iter().find_map(|order| pursue(members, order, ledger)) {
        return Some(steps);
    }
    // One after the other, but for those that nobody knows when to expect.
    if is_any_under_way(members) {
        return None;
    }
    if is_about_to_lose_its_data(members) {
        return None;
    }
    let settings = &members.seen.settings;
    let unasked = why_unasked_is_kept(members).is_none();
    let chosen = members
        .others()
        .filter(|i| order(members.ledger, i).is_none())
        .filter(|i| !members.ledger.relies_on(&i.name))
        .filter(|i| i.reset_asked || unasked && is_due(members, i))
        // One that is away may be on its way back as something else.
        .find(|i| i.view().is_some() || failing::crash_loops(settings, i))?;
    let of_ours = chosen
        .marker()
        .is_some_and(|marker| marker.lineage == ledger.lineage);
    // What cannot be read may be anything.
    let preserve = of_ours && has_diverged(members, chosen) || chosen.view().is_none();
    let number = numbers.take(ledger);
    ledger.resets.push(ResetOrder {
        instance: chosen.name.clone(),
        // Terms are never used twice, not even by a ledger that was made anew.
        token: format!("t{}-r{number}", ledger.term),
        term: ledger.term,
        pod_uid: chosen.pod_uid.clone()?,
        attempts: 0,
        preserve,
        at: String::new(),
    });
    Some(Vec::new())
}

/// Whether what MAIN holds goes with its pod, which is ending: the data lies in that, or its volume claim is being deleted, which lasts for
/// as long as the pod is there.
fn is_about_to_lose_its_data(members: &Members<'_>) -> bool {
    let main = members.main;
    main.terminating && (main.passing || members.seen.settings.data_in_pods)
}

/// What has become of this order, as far as the instance's present pod tells.
fn outcome_of(order: &ResetOrder, instance: &Instance) -> Option<ResetOutcome> {
    let note = instance.reset_note.as_ref();
    let note = note.filter(|note| note.token == order.token)?;
    Some(note.outcome)
}

/// Whether somebody's data is about to be set aside, so that what is wrong now may be over then.
pub(super) fn is_any_under_way(members: &Members<'_>) -> bool {
    let mut orders = members.ledger.resets.iter();
    orders.any(|order| is_under_way(members, order))
}

/// Whether what the order asks for is to be expected: its pod comes, or may obey it yet.
fn is_under_way(members: &Members<'_>, order: &ResetOrder) -> bool {
    let Some(instance) = members.others().find(|i| i.name == order.instance) else {
        return false;
    };
    let hopeless = order.attempts >= ATTEMPTS || outcome_of(order, instance) == Some(ResetOutcome::Refused);
    !hopeless && instance.away_for < members.seen.settings.hang_timeout
}

fn pursue(members: &Members<'_>, order: &ResetOrder, ledger: &mut Ledger) -> Option<Vec<Step>> {
    let position = |ledger: &Ledger| ledger.resets.iter().position(|o| o.token == order.token);
    let Some(instance) = members.others().find(|i| i.name == order.instance) else {
        ledger.resets.remove(position(ledger)?);
        return Some(Vec::new());
    };
    let outcome = outcome_of(order, instance);
    if outcome == Some(ResetOutcome::Done) {
        // It is empty, and registered like a new one.
        ledger.resets.remove(position(ledger)?);
        return Some(Vec::new());
    }
    if let Some(registration) = members.registration_of(instance) {
        return Some(vec![members.drop(registration)]);
    }
    let pod_uid = instance.pod_uid.as_ref()?;
    if *pod_uid == order.pod_uid {
        // Where the data goes with the pod, no init container looks at MAIN before.
        let is_known = !members.seen.settings.data_in_pods || members.main.carries(members.ledger);
        if instance.terminating || !is_known || is_about_to_lose_its_data(members) {
            return None;
        }
        return Some(vec![Step::Do(Action::DeletePod {
            instance: instance.name.clone(),
            pod_uid: pod_uid.clone(),
        })]);
    }
    // Its successor has started, and has not obeyed.
    let started = instance.view().is_some() || failing::crash_loops(&members.seen.settings, instance);
    let again = order.attempts < ATTEMPTS && started && outcome != Some(ResetOutcome::Refused);
    if !again {
        return None;
    }
    let position = position(ledger)?;
    ledger.resets[position].pod_uid.clone_from(pod_uid);
    ledger.resets[position].attempts += 1;
    Some(Vec::new())
}
