//! Changes of a running cluster that cannot come true, and are taken back.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, is_settled};
use e2e_node::scene::Scene;
use e2e_node::writer::Writer;
use memgraph_operator::api::MemgraphCluster;
use serde_json::{Value, json};

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
