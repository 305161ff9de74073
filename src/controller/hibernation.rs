//! How far a cluster is on its way to sleep, or back, by what there is of it.

use super::{
    clusters::Cluster,
    observe::{Inventory, has_ended},
    packed::Packed,
};
use crate::{
    api::{
        MemgraphCluster,
        ledger::{Ledger, Route},
    },
    plan::{Said, Signs, Stage},
    resources::{is_being_carried_out, lacks_pods},
};

/// How far a cluster is.
pub(super) fn stage(state: &Cluster, cluster: &MemgraphCluster, inventory: &Inventory) -> Stage {
    let status = cluster.status.as_ref();
    let said = status
        .map(|status| Said::among(&status.conditions))
        .unwrap_or_default();
    let gateways = inventory.gateways.iter().any(|pod| !has_ended(pod));
    let ending_for = state.gateways_end_for(gateways && said == Said::Hibernating);
    let ledger = status.and_then(|status| status.ledger.as_ref());
    let under_way = |ledger: &&Ledger| ledger.route == Route::Closed && !ledger.is_refuted();
    let closed_for = ledger
        .filter(under_way)
        .map(|ledger| state.closed_for(Some(ledger)));
    // The definition refuses both.
    let asked = cluster.spec.hibernated && cluster.spec.storage.empty_dir.is_none();
    let set = inventory.stateful_set.as_deref();
    let set_aside = set.is_some_and(Packed::asks_for_none);
    let comes_back = (!asked || cluster.spec.paused) && (said != Said::Nothing || set_aside);
    let live = set.filter(|_| comes_back).and_then(Packed::unpack);
    let pods = inventory.instances.as_slice();
    let lacked_for = state.pods_lacked_for(live.as_ref().is_some_and(|live| lacks_pods(live, pods)));
    Stage::of(Signs {
        asked,
        paused: cluster.spec.paused,
        said,
        closed_for,
        gateways: gateways.then_some(ending_for),
        instances: !pods.is_empty(),
        set_aside,
        returns: live.is_some_and(|live| is_being_carried_out(&live, pods, lacked_for)),
    })
}
