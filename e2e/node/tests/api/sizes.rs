//! A size of volumes that nobody has, put back before there is a volume.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::SETTLE_LIMIT;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use memgraph_operator::api::names;
use serde_json::json;

/// A claim that somebody has made beforehand, for a volume of his own.
const OWN: &str = "data-demo-1";

/// The claims by name: what they ask for, and their UIDs.
async fn claims(scene: &Scene) -> Result<BTreeMap<String, (String, String)>> {
    let claims = Api::<PersistentVolumeClaim>::list(&scene.api(), &ListParams::default()).await?;
    let told = claims.items.into_iter().map(|claim| {
        let requests = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
        let size = requests
            .and_then(|requests| requests.get("storage"))
            .context("no size")?;
        Ok((claim.name_any(), (size.0.clone(), claim.uid().context("no UID")?)))
    });
    told.collect()
}

/// Waits until the StatefulSet's claims ask for this, and all three are there.
async fn asked(scene: &Scene, size: &str) -> Result<BTreeMap<String, (String, String)>> {
    until("claims of the size that is asked for", SETTLE_LIMIT, async || {
        let claims = claims(scene).await?;
        let others = claims.iter().filter(|(name, _)| *name != OWN);
        let sizes: Vec<_> = others.map(|(_, (size, _))| size.as_str()).collect();
        ensure!(sizes == [size, size], "they ask for {sizes:?}");
        Ok(Some(claims))
    })
    .await
}

async fn pods(scene: &Scene) -> Result<Vec<Option<String>>> {
    let pods = Api::<Pod>::list(
        &scene.api(),
        &ListParams::default().labels(&format!("{}={}", names::COMPONENT_LABEL, names::INSTANCE)),
    )
    .await?;
    Ok(pods.items.iter().map(ResourceExt::uid).collect())
}

pub async fn one_that_was_too_large_is_put_back_and_claims_are_made_again(scene: Arc<Scene>) -> Result<()> {
    let own = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": OWN, "labels": {names::CLUSTER_LABEL: "demo"}},
        "spec": {
            "storageClassName": "", "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "100Ti"}},
        },
    });
    scene.apply(&own.to_string())?;
    let _operator = scene.leader("operator").await?;
    scene
        .create("demo", json!({"storage": {"size": "100Ti"}}))
        .await?;
    let before = asked(&scene, "100Ti").await?;
    let waiting = pods(&scene).await?;
    let patch = json!({"spec": {"storage": {"size": "1Gi"}}}).to_string();
    scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    let after = asked(&scene, "1Gi").await?;
    ensure!(after.get(OWN) == before.get(OWN), "{after:?}");
    ensure!(pods(&scene).await? == waiting, "pods were made anew");
    Ok(())
}
