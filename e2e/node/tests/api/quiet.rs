//! At rest nothing is written but the Lease.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e_cluster::audit::{Follower, Request};
use e2e_node::database::SETTLE_LIMIT;
use e2e_node::node::OPERATOR_NAMESPACE;
use e2e_node::operators::LEASE;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use serde_json::json;

use crate::rest::pods_are_seen;

/// So often the leader must have renewed the Lease in a row without another write: at 400 ms each, about 12 s.
const RENEWALS: usize = 30;

fn is_on_lease(request: &Request) -> bool {
    let object = request.object_ref.as_ref();
    object.is_some_and(|o| o.resource == "leases" && o.namespace == OPERATOR_NAMESPACE && o.name == LEASE)
}

/// The cluster's pods do not run: nothing can be done for it, and is tried again and again.
pub async fn a_cluster_at_rest_causes_no_write(scene: Arc<Scene>) -> Result<()> {
    let mut log = Follower::of(&scene.node.cluster.audit_log());
    let leader = scene.leader("leader").await?;
    let standby = scene.operator("standby")?;
    let database = scene.create("demo", json!({})).await?;
    pods_are_seen(&database).await?;

    let (mut renewals, mut reads, mut last, mut strays) = (0, 0, None, Vec::new());
    let resting = until(
        "an operator that writes nothing but the Lease",
        SETTLE_LIMIT,
        async || {
            for request in log.news()? {
                if standby.sent(&request) && request.is_write() {
                    strays.push(request.uri.clone());
                }
                if !leader.sent(&request) {
                    continue;
                }
                match (request.is_write(), is_on_lease(&request)) {
                    (true, true) => renewals += 1,
                    (true, false) => {
                        (renewals, reads) = (0, 0);
                        last = Some(request.uri);
                    }
                    (false, true) => {}
                    (false, false) => reads += 1,
                }
            }
            Ok((renewals >= RENEWALS).then_some(()))
        },
    )
    .await;
    resting.map_err(|error| error.context(format!("the last write was of {last:?}")))?;
    ensure!(
        strays.is_empty(),
        "the process that does not lead writes: {strays:?}"
    );
    ensure!(last.is_some(), "the operator has written nothing at all");
    eprintln!("          at rest: {renewals} renewals of the Lease, {reads} reads and no write");
    Ok(())
}
