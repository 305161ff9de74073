//! Whether the pod of an instance may be made anew, as far as data goes that lies in pods.
//!
//! A volume claim outlives its pod, so that nothing else asks this. Whoever replaces a pod that still runs asks for more besides.

use super::{
    observation::{Instance, Observation, Role},
    refused,
};
use crate::api::ledger::{Ledger, Route};

/// Whether nothing that was acknowledged depends on what the pod of `instance` holds: MAIN serves, in another one, and holds everything.
/// A copy that the ledger does not rely on may be the only one that is left when those are lost that it does rely on.
///
/// Before the cluster was opened for the first time clients have written nothing, and a copy goes on which the ledger does not rely.
/// Without a ledger nothing depends on pods of which none has a note: no cluster was ever set up with them. Before it is shown that the MAIN
/// which was chosen holds what the others do, anything may depend on any of them.
pub(super) fn is_expendable(seen: &Observation, ledger: Option<&Ledger>, instance: &Instance) -> bool {
    if !seen.settings.data_in_pods {
        return true;
    }
    let Some(ledger) = ledger else {
        let mut claims = seen.instances.iter().filter_map(|i| i.claim.as_ref());
        return claims.all(|claim| claim.note.is_none());
    };
    let taken_over = ledger.operation.as_ref().is_some_and(|o| o.from.is_some());
    if ledger.is_void(seen.known_term) || ledger.recovered || !ledger.opened && taken_over {
        return false;
    }
    let pod = instance.pod_uid.as_ref();
    let relied_on = pod.is_some_and(|pod| ledger.relies_on_pod(pod));
    let unused = !ledger.opened && !relied_on;
    unused || instance.name != ledger.main.instance && main_holds_all(seen, ledger)
}

/// Whether MAIN serves in the life that the ledger names, and was promoted as one that holds every acknowledged write. One that has
/// restarted may have been put back to an older state: the others are its witnesses until the route opens, or until they have had the
/// time to answer. And one whose pod ends takes what it holds along: a moment later the other copies may be all there is.
fn main_holds_all(seen: &Observation, ledger: &Ledger) -> bool {
    let lossy = ledger.operation.as_ref().is_some_and(|o| o.lossy);
    let known = ledger.route == Route::Open
        || refused::main_is_known(ledger)
        || seen.closed_for >= seen.settings.hang_timeout;
    let main = seen.instance(&ledger.main.instance);
    !lossy
        && known
        && main.is_some_and(|main| {
            main.role() == Some(Role::Main)
                && !main.terminating
                && main.incarnation.as_ref() == Some(&ledger.main.incarnation)
                && main.carries(ledger)
        })
}
