//! Where MAIN is told to find each instance.
//!
//! Replicas are registered by the address of their pod, and what is said to MAIN by a registration holds for whoever has
//! that address. A pod may get one that another instance of the same cluster had a moment ago, and Memgraph accepts it in the
//! other's place: it knows MAIN's UUID. So an address is noted in the ledger before a registration is made at it; that the
//! instance has it is read again from Kubernetes after that; and no other instance starts at an address that is noted
//! ([`Ledger::other_at`]). From then on the registration leads to this instance or to nobody.

use super::{
    Action, Plan, Situation, Step,
    expendable::is_expendable,
    observation::{Container, Instance, Numbers, Observation},
};
use crate::api::{
    conditions::Reason,
    ledger::{InstanceAddress, Ledger},
};

/// What is noted for an instance.
pub(super) fn noted<'a>(ledger: &'a Ledger, instance: &str) -> Option<&'a InstanceAddress> {
    ledger.addresses.iter().find(|noted| noted.instance == instance)
}

/// Notes the address that an instance's pod has now. Registrations that were made before do not count any more, because
/// another instance may have had it then.
pub(super) fn note(instance: &Instance, numbers: &mut Numbers, ledger: &mut Ledger) {
    let Some(address) = &instance.replication_address else {
        return;
    };
    if noted(ledger, &instance.name).is_some_and(|noted| noted.address == *address) {
        return;
    }
    let since = numbers.take(ledger);
    ledger.addresses.retain(|noted| noted.instance != instance.name);
    ledger.addresses.push(InstanceAddress {
        instance: instance.name.clone(),
        address: address.clone(),
        since,
    });
    ledger.addresses.sort_by(|a, b| a.instance.cmp(&b.instance));
}

/// Notes all addresses in a ledger that is about to be written anyway, so that a registration needs no write of its own,
/// and forgets those of instances that are not declared any more.
pub(super) fn note_all(seen: &Observation, numbers: &mut Numbers, ledger: &mut Ledger) {
    ledger
        .addresses
        .retain(|noted| seen.declared().any(|i| i.name == noted.instance));
    for instance in seen.declared() {
        note(instance, numbers, ledger);
    }
}

/// Replaces the pod of an instance whose init container does not let it start, because the ledger has another instance at
/// its address. Another pod gets another address. Nothing runs in this one, so that nothing is lost with it; where it holds data,
/// that is asked before, and its pod goes only where [`make_way`] does not help.
pub(super) fn replace_displaced(seen: &Observation, ledger: &Ledger) -> Option<Step> {
    if seen.settings.data_in_pods && noted_anew(seen, ledger).is_some() {
        return None;
    }
    let displaced = displaced(seen, ledger).find(|i| is_expendable(seen, Some(ledger), i))?;
    Some(Step::Do(Action::DeletePod {
        instance: displaced.name.clone(),
        pod_uid: displaced.pod_uid.clone()?,
    }))
}

/// The instances whose init containers do not let them start because the ledger has another instance at their address.
fn displaced<'a>(seen: &'a Observation, ledger: &'a Ledger) -> impl Iterator<Item = &'a Instance> {
    seen.instances.iter().filter(|instance| {
        let waits = instance.container == Container::Waiting && !instance.terminating;
        let taken = |address: &String| ledger.other_at(address, &instance.name).is_some();
        waits && instance.replication_address.as_ref().is_some_and(taken)
    })
}

/// The ledger with the addresses that all have by now, and the numbers that are left; none where it has them already.
fn noted_anew(seen: &Observation, ledger: &Ledger) -> Option<(Ledger, Numbers)> {
    let mut numbers = seen.numbers;
    let mut next = ledger.clone();
    numbers.ensure(&mut next);
    note_all(seen, &mut numbers, &mut next);
    (next.addresses != ledger.addresses).then_some((next, numbers))
}

/// Notes where everybody is by now, so that an instance can start whose pod holds what may be the only copy of a write: whoever is
/// noted at its address may have been given another one. Where that helps nobody a human is asked: a pod that keeps its data gets
/// another address only from its node.
pub(super) fn make_way(seen: &Observation, ledger: &Ledger, situation: &Situation) -> Option<Plan> {
    let displaced = displaced(seen, ledger)
        .next()
        .filter(|_| seen.settings.data_in_pods)?;
    if let Some((next, numbers)) = noted_anew(seen, ledger) {
        return Some(Plan {
            steps: vec![Step::write(next)],
            situation: situation.clone(),
            numbers,
        });
    }
    // Somebody else may follow MAIN until then.
    if displaced.away_for < seen.settings.hang_timeout.saturating_mul(2) {
        return None;
    }
    let name = &displaced.name;
    let address = displaced.replication_address.as_ref()?;
    let other = ledger.other_at(address, name)?;
    let text = format!(
        "{name} does not start at {address}, which may still be the address of {other} for MAIN, and its pod is not replaced, because \
         its data lies in it (storage.emptyDir) and may be the only copy of a write. Have its node set the pod's network up anew \
         (crictl stopp), which keeps the data; to go on without it, delete the pod"
    );
    Some(Plan::new(seen, Situation::Stalled(Reason::InstanceFailing, text)))
}
