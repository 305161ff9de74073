//! Two installations of the operator that both look after all namespaces.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e_cluster::audit;
use e2e_node::beside::{Installed, Operator};
use e2e_node::database::SETTLE_LIMIT;
use e2e_node::node::OPERATOR_NAMESPACE;
use e2e_node::operators::LEASE;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use serde_json::json;

use crate::election::has_been_seen;
use crate::manifests::{helm, template};
use crate::rest::{at_rest, pods_are_seen};

/// What the objects of the first installation are called that are of the whole cluster.
const NAME: &str = "neighbour";
/// For how long the second one is watched while the first one runs: it looks several times.
const WATCHED: Duration = Duration::from_secs(25);

/// Installs the chart a second time, for all namespaces, in a namespace of its own.
fn install(home: &Scene) -> Result<()> {
    let values = format!(
        "fullnameOverride={NAME},serviceAccount.name=memgraph-operator,crds.install=false,rbac.aggregate=false"
    );
    let values = ["--set".to_owned(), values];
    let manifests = template(&helm()?, NAME, "memgraph-operator", &home.namespace, &values)?;
    tokio::task::block_in_place(|| home.node.cluster.kubectl().apply(&manifests)).map(drop)
}

/// What a process has written, Leases left out.
fn writes(scene: &Scene, operator: &Operator) -> Result<Vec<String>> {
    let requests = audit::read(&scene.node.cluster.audit_log())?;
    let own = requests.into_iter().filter(|r| operator.sent(r) && r.is_write());
    let others = own.filter(|r| {
        let object = r.object_ref.as_ref();
        object.is_none_or(|object| object.resource != "leases")
    });
    Ok(others
        .map(|request| format!("{} {}", request.verb, request.uri))
        .collect())
}

/// Whether a process has been refused anything.
fn was_refused(scene: &Scene, operator: &Operator) -> Result<Option<String>> {
    let requests = audit::read(&scene.node.cluster.audit_log())?;
    let mut refused = requests
        .into_iter()
        .filter(|r| operator.sent(r) && r.is_forbidden());
    Ok(refused.next().map(|request| request.uri))
}

pub async fn a_second_installation_leaves_clusters_alone_until_the_first_one_is_gone(
    scene: Arc<Scene>,
) -> Result<()> {
    let home = Scene::new(Arc::clone(&scene.node), "neighbour-home").await?;
    install(&home)?;
    let own = Installed {
        namespace: &home.namespace,
        arguments: &[],
    };
    let first = home.operator_of(&own, "first")?;
    let database = scene.create("demo", json!({})).await?;
    pods_are_seen(&database).await?;
    let looked_after = |by: &str| {
        let by = format!("{by}/{LEASE}");
        move |cluster: &memgraph_operator::api::MemgraphCluster| {
            let status = cluster.status.as_ref();
            status.and_then(|status| status.operator.as_ref()) == Some(&by)
        }
    };
    let theirs = looked_after(&home.namespace);
    database
        .wait("the first one to say so", SETTLE_LIMIT, &theirs)
        .await?;

    let second = scene.leader("second").await?;
    let before = at_rest(&scene).await?;
    until("the second one to say what it leaves", SETTLE_LIMIT, async || {
        let reasons = ["get", "events", "--output=jsonpath={.items[*].reason}"];
        let told = scene.kubectl(&reasons)?;
        Ok(told.contains("LookedAfterByAnother").then_some(()))
    })
    .await?;
    tokio::time::sleep(WATCHED).await;
    ensure!(at_rest(&scene).await? == before, "something has changed");
    let written = writes(&scene, &second)?;
    let [event] = &written[..] else {
        anyhow::bail!("the second one has written {written:?}");
    };
    ensure!(event.contains("/events"), "it has written {event}");
    ensure!(theirs(&database.get().await?), "it is another one's");

    // The second one is the one of the manifests: its account may look at the other one's Lease.
    let begun = Instant::now();
    first.terminate().await?;
    let ours = looked_after(OPERATOR_NAMESPACE);
    database
        .wait("the second one to take over", SETTLE_LIMIT, &ours)
        .await?;
    eprintln!(
        "          the second installation has taken over after {:?}",
        begun.elapsed()
    );
    let patch = json!({"spec": {"replicas": 5}}).to_string();
    scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    database
        .wait("the change to be seen", SETTLE_LIMIT, |cluster| {
            cluster.spec.replicas == 5 && has_been_seen(cluster)
        })
        .await?;
    let refused = was_refused(&scene, &second)?;
    ensure!(refused.is_none(), "it may not {refused:?}");
    for kind in ["clusterrolebinding", "clusterrole"] {
        let removed = home.kubectl(&["delete", kind, NAME, "--ignore-not-found"]);
        removed.with_context(|| format!("the {kind} stays"))?;
    }
    home.remove().await
}
