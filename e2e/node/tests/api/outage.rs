//! The API server goes away while an operator runs, and comes back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e_cluster::interrupt::Interrupt;
use e2e_node::beside::Operator;
use e2e_node::database::SETTLE_LIMIT;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use memgraph_operator::api::names;
use serde_json::json;

use crate::rest::{at_rest, pods_are_seen};

/// How long a process may take to notice.
const LIMIT: Duration = Duration::from_secs(60);

fn times_started_over(operator: &Operator) -> Result<usize> {
    Ok(operator.log()?.matches("has started over").count())
}

pub async fn an_operator_outlives_an_api_server_that_is_away(scene: Arc<Scene>) -> Result<()> {
    let node = &scene.node;
    let mut operator = scene.leader("operator").await?;
    let database = scene.create("demo", json!({})).await?;
    pods_are_seen(&database).await?;
    let before = at_rest(&scene).await?;
    ensure!(before.len() > 15, "only {:?}", before.keys());

    // A restart, and one that lasts: by then the process does not lead any more, and starts over.
    for lasting in [false, true] {
        let starts = times_started_over(&operator)?;
        node.api_server_goes()?;
        if lasting {
            until("the operator to start over", LIMIT, async || {
                Ok((times_started_over(&operator)? > starts).then_some(()))
            })
            .await?;
        }
        until("the API server to be gone", LIMIT, async || {
            Ok(node.kubectl(&["get", "--raw=/readyz"]).is_err().then_some(()))
        })
        .await?;
        node.api_server_is_back()?;
        tokio::task::block_in_place(|| node.cluster.wait_for_api(&Interrupt::never()))?;
        operator.leads(node).await?;
        ensure!(operator.is_alive()?, "the operator has ended");
        let after = at_rest(&scene).await?;
        for (name, object) in &before {
            let now = after.get(name);
            ensure!(now == Some(object), "{name} was changed: {object}, then {now:?}");
        }
        ensure!(after.len() == before.len(), "there are {:?}", after.keys());
    }

    // It works on.
    let patch = json!({"spec": {"replicas": 5}}).to_string();
    scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    until("five pods", SETTLE_LIMIT, async || {
        let selector = names::selector("demo", names::INSTANCE);
        let selector: Vec<_> = selector
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let pods = ListParams::default().labels(&selector.join(","));
        let pods = scene.api::<Pod>().list(&pods).await?;
        Ok((pods.items.len() == 5).then_some(()))
    })
    .await
}
