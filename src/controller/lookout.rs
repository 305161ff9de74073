//! Looks at the instances of a cluster all the time.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::{Operator, clusters::Cluster, connections::Connections, link::GatewayLink, sightings::Whom};
use crate::{
    api::MemgraphCluster,
    memgraph::{Bolt, Led, SignedIn},
};

/// How often the instances of a cluster are looked at between two changes.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Looks at a cluster's instances all the time, and has it reconciled when something has changed.
///
/// It ends with the operator, which owns it.
pub(super) async fn look_out<B: Bolt, G: GatewayLink>(
    operator: Weak<Operator<B, G>>,
    memory: Arc<Cluster>,
    reference: ObjectRef<MemgraphCluster>,
    uid: String,
) {
    let connections = Connections::default();
    let look_at = |whom| look_again_and_again(&operator, &memory, &connections, &reference, &uid, whom);
    tokio::select! {
        biased;
        () = look_at(Whom::Answering(None)) => {}
        () = look_at(Whom::Missing) => {}
    }
}

async fn look_again_and_again<B: Bolt, G: GatewayLink>(
    operator: &Weak<Operator<B, G>>,
    memory: &Cluster,
    connections: &Connections<<SignedIn<Led<B>> as Bolt>::Session>,
    reference: &ObjectRef<MemgraphCluster>,
    uid: &str,
    whom: Whom<'_>,
) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(operator) = operator.upgrade() else {
            return;
        };
        let Some(cluster) = operator
            .cached
            .get(reference)
            .filter(|c| c.uid().as_deref() == Some(uid))
        else {
            operator.clusters.forget(uid);
            operator.fence.link().forget(uid);
            return;
        };
        let emptiness = memory.lacks_a_ledger(&cluster);
        let targets = operator.targets(memory, &cluster, &operator.inventory(&cluster));
        let changed = memory
            .sightings
            .look(&operator.bolt(memory), connections, &targets, emptiness, whom)
            .await;
        memory.note_main(&cluster).await;
        if changed {
            operator.poke(reference.clone());
        }
    }
}
