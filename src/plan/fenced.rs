//! What `spec.fencedInstances` leaves: whether enough instances may still be in sync for the route to be open.

use super::observation::{Instance, Observation};

/// The instances beside `main` that would be electable if they were not fenced.
pub(super) fn left_out<'a>(seen: &'a Observation, main: &str) -> Vec<&'a str> {
    let fenced = seen.declared().filter(|i| seen.settings.is_fenced(&i.name));
    fenced
        .filter(|i| i.name != main && i.ordinal < seen.settings.electable)
        .map(|i| i.name.as_str())
        .collect()
}

/// Why the route could not be open with `main` as MAIN, whatever becomes of all others: the spec lets too few of them be in sync.
/// None: it could.
pub(super) fn shuts_out(seen: &Observation, main: &str) -> Option<String> {
    let may = |instance: &&Instance| instance.name != main && seen.electable(instance);
    if seen.declared().filter(may).count() >= seen.settings.required_members() {
        return None;
    }
    let left_out = left_out(seen, main).join(", ");
    Some(format!(
        "nobody may be in sync beside {main} while fencedInstances names {left_out}: take one out of it, let another instance be in \
         sync (replicas, replication.electableInstances), or set replication.dataDurability to Preferred, which does without"
    ))
}
