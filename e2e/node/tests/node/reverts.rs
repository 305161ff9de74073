//! Changes of a running cluster that cannot come true, and are taken back.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, condition, is_settled};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use e2e_node::writer::Writer;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use memgraph_operator::api::{MemgraphCluster, names};
use serde_json::{Value, json};

use crate::expansion::{claim, requested};
use crate::updates::is_up_to_date;

/// How many further writes must be acknowledged while a change hangs.
const WRITES: usize = 20;

/// What is asked for, and what the status then says of the instance that cannot have it.
fn changes() -> [(&'static str, Value, &'static str); 5] {
    let label = "example.com/there-is-none";
    let nowhere = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": label, "operator": "Exists"}]}],
    }}});
    [
        (
            "/spec/image",
            json!("localhost/there-is-none:99.0.0"),
            "its image localhost/there-is-none:99.0.0 cannot be pulled",
        ),
        (
            "/spec/resources",
            json!({"requests": {"memory": "4Ti"}}),
            "no node takes it: Insufficient memory",
        ),
        (
            "/spec/podTemplate",
            json!({"spec": {"affinity": nowhere}}),
            "no node takes it: node(s) didn't match",
        ),
        // Memgraph itself comes up.
        (
            "/spec/podTemplate",
            json!({"spec": {"containers": [{"name": "beside", "image": "localhost/there-is-none:1"}]}}),
            "its image localhost/there-is-none:1 cannot be pulled",
        ),
        (
            "/spec/config",
            json!({"there-is-no-such-flag": "1"}),
            "its container memgraph ends again and again",
        ),
    ]
}

pub async fn a_cluster_serves_meanwhile_and_heals_without_a_human(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let spec = serde_json::to_value(database.get().await?)?;
    let (main, term) = (database.main().await?, database.ledger().await?.term);
    let pod = database.pod(&main).await?.metadata.uid;
    let mut writer = Writer::start(&database, "reverted").await?;
    for (field, wrong, said) in changes() {
        // What stood there before, defaults included; nothing where there was nothing.
        let before = spec.pointer(field);
        edit(&scene, &json!([{"op": "add", "path": field, "value": wrong}]))?;
        hangs(&database, said).await.with_context(|| field.to_owned())?;
        writer.goes_on(WRITES).await?;
        let back = match before {
            Some(before) => json!([{"op": "replace", "path": field, "value": before}]),
            None => json!([{"op": "remove", "path": field}]),
        };
        edit(&scene, &back)?;
        database
            .wait("the cluster to be whole again", SETTLE_LIMIT, |cluster| {
                is_up_to_date(cluster) == Some(true) && is_settled(cluster)
            })
            .await
            .with_context(|| format!("{field} was taken back"))?;
        // MAIN was neither moved nor restarted for it.
        ensure!(
            database.main().await? == main && database.ledger().await?.term == term,
            "{field}: MAIN has changed"
        );
        ensure!(
            database.pod(&main).await?.metadata.uid == pod,
            "{field}: {main} has another pod"
        );
    }
    let written = writer.stop().await?;
    eprintln!("          reverted: {written}");
    database.expect_everywhere(&written.tokens()).await
}

/// A fourth instance is asked for together with it, whose claim was made for that size and never gets a volume.
pub async fn a_size_of_volumes_that_nobody_has_is_put_back(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let size = database.get().await?.spec.storage.size;
    let (main, term) = (database.main().await?, database.ledger().await?.term);
    let lives = database.lives().await?;
    let mut writer = Writer::start(&database, "sizes").await?;
    let set = |size: &str| json!({"op": "replace", "path": "/spec/storage/size", "value": size});
    edit(
        &scene,
        &json!([set("100Ti"), {"op": "replace", "path": "/spec/replicas", "value": 4}]),
    )?;
    until("a claim that is in vain", SETTLE_LIMIT, async || {
        let claim = scene
            .api::<PersistentVolumeClaim>()
            .get_opt(&names::data_claim("demo-3"))
            .await?;
        Ok(claim.filter(|claim| requested(claim) == Some("100Ti")))
    })
    .await?;
    writer.goes_on(WRITES).await?;
    edit(&scene, &json!([set(&size)]))?;
    let settled = database
        .wait("four instances", SETTLE_LIMIT, is_settled)
        .await
        .context("the size was put back")?;
    ensure!(requested(&claim(&scene, "demo-3").await?) == Some(size.as_str()));
    ensure!(told(&settled) == Some(size.as_str()), "{:?}", told(&settled));
    let storage = condition(&settled, "StorageReady");
    ensure!(storage == Some(("True", "AsExpected")), "{storage:?}");
    let smaller = edit(&scene, &json!([set("1Mi")]));
    ensure!(
        smaller
            .as_ref()
            .is_err_and(|why| format!("{why:#}").contains("status.volumeSize")),
        "{smaller:?}"
    );

    // What the claims of the first three still ask for is no obstacle to a size that is to be had.
    edit(&scene, &json!([set("2Gi")]))?;
    database
        .wait("larger volumes", SETTLE_LIMIT, |cluster| {
            is_settled(cluster) && told(cluster) == Some("2Gi")
        })
        .await?;
    let after = database.lives().await?;
    for (instance, life) in &lives {
        ensure!(after.get(instance) == Some(life), "{instance} has restarted");
    }
    ensure!(
        database.main().await? == main && database.ledger().await?.term == term,
        "MAIN has changed"
    );
    let written = writer.stop().await?;
    eprintln!("          sizes: {written}");
    database.expect_everywhere(&written.tokens()).await
}

/// How large the volumes are, by the status.
fn told(cluster: &MemgraphCluster) -> Option<&str> {
    cluster.status.as_ref()?.volume_size.as_deref()
}

fn edit(scene: &Scene, patch: &Value) -> Result<()> {
    let patch = patch.to_string();
    scene
        .kubectl(&["patch", "memgraphcluster/demo", "--type=json", "--patch", &patch])
        .map(drop)
}

/// Waits until one instance cannot have the change, and the others are left as they are.
async fn hangs(database: &Database, said: &str) -> Result<()> {
    let told = |cluster: &MemgraphCluster| {
        let instances = cluster.status.iter().flat_map(|status| &status.instances);
        let hindered = instances.filter(|i| i.obstacle.as_deref().is_some_and(|told| told.contains(said)));
        hindered.count() == 1 && is_up_to_date(cluster) == Some(false)
    };
    let what = format!("the status to say '{said}'");
    database.wait(&what, SETTLE_LIMIT, told).await.map(drop)
}
