//! Two operator processes, of which one acts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e_cluster::audit;
use e2e_node::beside::Operator;
use e2e_node::database::SETTLE_LIMIT;
use e2e_node::operators::LEASE;
use e2e_node::scene::Scene;
use memgraph_operator::api::MemgraphCluster;
use serde_json::json;

/// How long it may take on a busy machine until another process leads.
const LIMIT: Duration = Duration::from_secs(60);

/// How many writes a process has made, and how many of them are about the Lease.
fn writes(scene: &Scene, operator: &Operator) -> Result<(usize, usize)> {
    let requests = audit::read(&scene.node.cluster.audit_log())?;
    let own = requests.iter().filter(|r| operator.sent(r) && r.is_write());
    let (lease, other): (Vec<_>, Vec<_>) = own.partition(|r| {
        r.object_ref
            .as_ref()
            .is_some_and(|o| o.resource == "leases" && o.name == LEASE)
    });
    Ok((other.len(), lease.len()))
}

/// Whether the operator has looked at the spec as it is.
pub fn has_been_seen(cluster: &MemgraphCluster) -> bool {
    let seen = cluster
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    seen.is_some() && seen == cluster.metadata.generation
}

pub async fn the_next_process_leads_when_one_is_killed(scene: Arc<Scene>) -> Result<()> {
    let first = scene.leader("first").await?;
    let second = scene.operator("second")?;
    let database = scene.create("demo", json!({})).await?;
    database
        .wait("the cluster to be seen", SETTLE_LIMIT, has_been_seen)
        .await?;
    let before = scene.node.leader().await?.context("nobody leads")?;
    let (other, lease) = writes(&scene, &first)?;
    ensure!(
        other > 0 && lease > 0,
        "the leader has made {other} writes, and {lease} of the Lease"
    );
    ensure!(
        writes(&scene, &second)? == (0, 0),
        "the process that does not lead has written: {:?}",
        writes(&scene, &second)?
    );

    first.kill()?;
    scene.node.next_leader(&before, LIMIT).await?;
    let patch = json!({"spec": {"replicas": 5}}).to_string();
    scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    database
        .wait(
            "the change to be seen by the next leader",
            SETTLE_LIMIT,
            |cluster| cluster.spec.replicas == 5 && has_been_seen(cluster),
        )
        .await?;
    let (other, _) = writes(&scene, &second)?;
    ensure!(other > 0, "the next leader has written nothing");
    Ok(())
}

pub async fn one_that_ends_lets_go_of_the_lease(scene: Arc<Scene>) -> Result<()> {
    let only = scene.leader("only").await?;
    let status = only.terminate().await?;
    ensure!(status.success(), "it ended with {status}");
    // Nobody else is there to take it: a Lease that was not let go of would still name the process.
    let holder = scene.node.leader().await?;
    ensure!(holder.is_none(), "the Lease is held by {holder:?}");
    scene.leader("next").await?;
    Ok(())
}
