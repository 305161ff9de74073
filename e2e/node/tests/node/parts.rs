//! Parts of a cluster that a spec takes away and brings back.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e_node::database::{SETTLE_LIMIT, is_settled};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use serde_json::json;

/// What belongs to the gateways, in kubectl's words. Two of them are the gateways' and the readers' Service.
const GATEWAYS: &[&str] = &[
    "deployment/demo-gateway",
    "networkpolicy/demo-gateway",
    "poddisruptionbudget/demo-gateway",
    "role/demo-gateway",
    "rolebinding/demo-gateway",
    "service/demo-gateway",
    "service/demo-gateway-read",
    "serviceaccount/demo-gateway",
];

pub async fn gateways_are_switched_off_and_on(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let found = scene.kubectl(&[&["get", "--output=name"], GATEWAYS].concat())?;
    ensure!(found.lines().count() == GATEWAYS.len(), "there are {found}");

    let switch = |on: bool| json!({"spec": {"gateway": {"enabled": on}}}).to_string();
    let patch = |to: &str| scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", to]);
    patch(&switch(false))?;
    let get = [&["get", "--output=name", "--ignore-not-found"], GATEWAYS].concat();
    until(
        "everything of the gateways to be gone",
        SETTLE_LIMIT,
        async || {
            let left = scene.kubectl(&get)?;
            ensure!(left.is_empty(), "still there: {left}");
            Ok(Some(()))
        },
    )
    .await?;

    patch(&switch(true))?;
    database
        .wait("the gateways to be back", SETTLE_LIMIT, |cluster| {
            cluster.spec.gateway.enabled && is_settled(cluster)
        })
        .await?;
    database.write("after").await?;
    database.expect_everywhere(&["before", "after"]).await
}
