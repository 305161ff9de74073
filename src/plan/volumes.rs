//! What is said of the volumes, against what the spec asks for.

use super::{
    Situation,
    observation::{Claim, Instance, Observation, Volume},
};
use crate::api::conditions::{Reason, Truth};

/// Whether every declared instance has a volume that is large enough; and if not, why, and what helps.
pub(super) fn verdict(seen: &Observation, situation: &Situation) -> (Truth, Reason, String) {
    if let Situation::Stalled(reason @ Reason::ExpansionRefused, message) = situation {
        return (Truth::False, *reason, message.clone());
    }
    let unclaimed = |instance: &&Instance| instance.claim.is_none() && !seen.settings.data_in_pods;
    let unclaimed: Vec<_> = seen
        .declared()
        .filter(unclaimed)
        .map(|instance| instance.name.as_str())
        .collect();
    if !unclaimed.is_empty() {
        let message = format!(
            "no volume claim yet: {}; if it stays so, `kubectl describe statefulset` says why",
            unclaimed.join(", ")
        );
        return (Truth::False, Reason::WaitingForVolumes, message);
    }
    let without = names(seen, |claim| claim.volume.is_none());
    if !without.is_empty() {
        let message = format!(
            "no volume yet: {}; `kubectl describe persistentvolumeclaims` says what it waits for",
            without.join(", ")
        );
        return (Truth::False, Reason::WaitingForVolumes, message);
    }
    match growing(seen) {
        Some(message) => (Truth::False, Reason::Expanding, message),
        None => (
            Truth::True,
            Reason::AsExpected,
            if seen.settings.data_in_pods {
                "the data lies in the pods, and is gone with them (storage.emptyDir)".into()
            } else {
                "every volume is as large as storage.size asks".into()
            },
        ),
    }
}

/// Which volumes are still smaller than the spec asks.
pub(super) fn growing(seen: &Observation) -> Option<String> {
    let is_small = |volume: &Volume| {
        let capacity = volume.capacity;
        volume.awaits_kubelet || capacity.is_some_and(|bytes| bytes < seen.settings.volume_size)
    };
    let small = names(seen, |claim| claim.volume.as_ref().is_some_and(is_small));
    if small.is_empty() {
        return None;
    }
    let mut message = format!("growing to storage.size: {}", small.join(", "));
    let waiting = names(seen, |claim| {
        claim.volume.is_some_and(|volume| volume.awaits_kubelet)
    });
    if !waiting.is_empty() {
        message += &format!(
            "; only the file system is left of {}: if it stays so, delete that pod, one after the other",
            waiting.join(", ")
        );
    }
    Some(message)
}

/// The declared instances whose claim is like that.
fn names(seen: &Observation, like: impl Fn(&Claim) -> bool) -> Vec<&str> {
    let is = |instance: &&Instance| instance.claim.as_ref().is_some_and(&like);
    seen.declared()
        .filter(is)
        .map(|instance| instance.name.as_str())
        .collect()
}
