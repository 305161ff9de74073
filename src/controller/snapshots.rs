//! Sees to it that each replica on which the ledger relies finds its data when it starts again.
//!
//! Nothing waits for that: a snapshot may take long. It is done once in each life of a copy, right after the ledger has named
//! it while the route is open. MAIN is not asked: while it takes a snapshot, the question would keep one of the threads that
//! serve its clients waiting. It was a replica that was asked, or has the UUID that its snapshots have.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use kube::runtime::reflector::ObjectRef;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Operator,
    clusters::Cluster,
    link::GatewayLink,
    presence::{self, Process},
};
use crate::{
    api::{MemgraphCluster, ledger::Route},
    memgraph::{self, Bolt},
};

/// How soon it is tried again where it has failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Looks after the copies of a cluster. It ends with the operator, which owns it.
pub(super) async fn settle_all<B: Bolt, G: GatewayLink>(
    operator: Weak<Operator<B, G>>,
    memory: Arc<Cluster>,
    reference: ObjectRef<MemgraphCluster>,
) {
    let mut changes = memory.ledger_changes();
    // What has ended stays here, and is done.
    let mut begun: Vec<(Process, AbortOnDropHandle<()>)> = Vec::new();
    loop {
        let ledger = changes.borrow_and_update().clone().flatten();
        if let Some(open) = ledger.filter(|ledger| ledger.route == Route::Open) {
            let mut copies = presence::relied_on(&open);
            copies.retain(|copy| copy.instance != open.main.instance);
            begun.retain(|(copy, _)| copies.contains(copy));
            for copy in copies {
                if begun.iter().all(|(known, _)| *known != copy) {
                    let settle = settle(
                        Weak::clone(&operator),
                        Arc::clone(&memory),
                        reference.clone(),
                        copy.clone(),
                    );
                    begun.push((copy, AbortOnDropHandle::new(tokio::spawn(settle))));
                }
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn settle<B: Bolt, G: GatewayLink>(
    operator: Weak<Operator<B, G>>,
    memory: Arc<Cluster>,
    reference: ObjectRef<MemgraphCluster>,
    copy: Process,
) {
    loop {
        // The operator is not held while a snapshot is waited for.
        let bolt = match operator.upgrade() {
            Some(operator) => {
                presence::is_there(&operator, &reference, &copy).then(|| operator.bolt(&memory))
            }
            None => return,
        };
        let Some(bolt) = bolt else {
            sleep(AGAIN).await;
            continue;
        };
        match memgraph::settle_snapshots(&bolt, copy.at, &copy.instance).await {
            Ok(()) => return,
            Err(error) => {
                let error = super::chain(&error);
                tracing::debug!(
                    cluster = reference.name,
                    error,
                    "a copy may not find its data when it starts again"
                );
            }
        }
        sleep(AGAIN).await;
    }
}
