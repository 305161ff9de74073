//! Operators that look after some namespaces only, with no rights in any other.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_cluster::audit::{self, Request};
use e2e_cluster::process;
use e2e_node::beside::{Installed, Operator};
use e2e_node::database::{Database, SETTLE_LIMIT};
use e2e_node::installation::PROJECT;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use serde_json::json;

use crate::election::has_been_seen;
use crate::manifests::{helm, template};
use crate::rest::pods_are_seen;

/// The namespace that `config/namespaced` names.
const NAMED: &str = "graphs";

pub async fn an_operator_looks_after_its_namespaces_and_leaves_all_others_alone(
    scene: Arc<Scene>,
) -> Result<()> {
    let new = async |purpose: &str| {
        Ok::<_, anyhow::Error>(Arc::new(Scene::new(Arc::clone(&scene.node), purpose).await?))
    };
    let (first_home, second_home) = (new("first-home").await?, new("second-home").await?);
    let (shop, foreign) = (new("shop").await?, new("foreign").await?);
    let first_watched = [scene.namespace.as_str(), shop.namespace.as_str()];
    install(&first_home, &first_watched)?;
    install(&second_home, &[&foreign.namespace])?;

    // Whoever looked after it would have seen it before the others.
    let alone = foreign.create("demo", json!({})).await?;
    let first = begin(&first_home, &first_watched, "first")?;
    let graphs = scene.create("demo", json!({})).await?;
    pods_are_seen(&graphs).await?;
    // Made while the operator runs, in another of its namespaces, and of the same name.
    let shop_cluster = shop.create("demo", json!({})).await?;
    pods_are_seen(&shop_cluster).await?;
    nothing_was_done_for(&alone).await?;

    // One that lacks the right to one of its namespaces begins nothing, and says which.
    let lost = begin(&second_home, &[&foreign.namespace, &shop.namespace], "lost")?;
    until("an operator without rights to say so", SETTLE_LIMIT, async || {
        let log = lost.log()?;
        let told = log.contains("may not watch") && log.contains(&format!("namespaces/{}/", shop.namespace));
        Ok(told.then_some(()))
    })
    .await?;
    let writes = requests(&scene, &lost)?.iter().filter(|r| r.is_write()).count();
    ensure!(writes == 0, "it has made {writes} writes");
    nothing_was_done_for(&alone).await?;
    lost.terminate().await?;

    let second = begin(&second_home, &[&foreign.namespace], "second")?;
    pods_are_seen(&alone).await?;
    // Each goes on with its own.
    for cluster in [&graphs, &shop_cluster, &alone] {
        let patch = json!({"spec": {"replicas": 5}}).to_string();
        let own = ["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch];
        cluster.scene.kubectl(&own)?;
        let seen = |cluster: &_| has_been_seen(cluster);
        cluster.wait("the change to be seen", SETTLE_LIMIT, seen).await?;
    }
    stays_in(&scene, &first, &[&first_home, &scene, &shop])?;
    stays_in(&scene, &second, &[&second_home, &foreign])?;

    let plain = new("plain").await?;
    config_is_accepted(&plain)?;
    for used in [plain, first_home, second_home, shop, foreign] {
        used.remove().await?;
    }
    Ok(())
}

/// Installs the chart without anything that is of the whole cluster.
fn install(home: &Scene, watched: &[&str]) -> Result<()> {
    let values = [
        "--set",
        &format!("watchNamespaces={{{}}}", watched.join(",")),
        "--set",
        "crds.install=false,rbac.aggregate=false",
    ];
    let values = values.map(str::to_owned);
    let manifests = template(
        &helm()?,
        "memgraph-operator",
        "memgraph-operator",
        &home.namespace,
        &values,
    )?;
    tokio::task::block_in_place(|| home.node.cluster.kubectl().apply(&manifests)).map(drop)
}

fn begin(home: &Scene, watched: &[&str], name: &str) -> Result<Operator> {
    let watched = watched.join(",");
    let installed = Installed {
        namespace: &home.namespace,
        arguments: &["--watch-namespaces", &watched],
    };
    home.operator_of(&installed, name)
}

fn requests(scene: &Scene, operator: &Operator) -> Result<Vec<Request>> {
    let all = audit::read(&scene.node.cluster.audit_log())?;
    Ok(all.into_iter().filter(|request| operator.sent(request)).collect())
}

/// No request of this process was refused, or is about another namespace than these.
fn stays_in(scene: &Scene, operator: &Operator, namespaces: &[&Scene]) -> Result<()> {
    let requests = requests(scene, operator)?;
    ensure!(
        requests.iter().any(Request::is_write),
        "the operator has written nothing"
    );
    for request in requests {
        let uri = &request.uri;
        ensure!(!request.is_forbidden(), "{} {uri} is forbidden", request.verb);
        let Some(object) = &request.object_ref else {
            continue;
        };
        let inside = namespaces.iter().any(|scene| scene.namespace == object.namespace);
        ensure!(inside, "{} {uri} is about what is elsewhere", request.verb);
    }
    Ok(())
}

/// Its status is what every new cluster has, and nothing belongs to it.
async fn nothing_was_done_for(cluster: &Database) -> Result<()> {
    let status = cluster.status().await?;
    ensure!(
        status.observed_generation == Some(-1) && status.conditions.is_empty(),
        "an operator has looked at it: {status:?}"
    );
    let kinds = "statefulsets,deployments,services,configmaps,secrets,roles,networkpolicies";
    let labelled = ["get", kinds, "--selector=memgraph.dev/cluster", "--output=name"];
    let made = cluster.scene.kubectl(&labelled)?;
    ensure!(made.trim().is_empty(), "an operator has made {made}");
    Ok(())
}

/// The API server takes `config/namespaced` for a namespace that is there.
fn config_is_accepted(scene: &Scene) -> Result<()> {
    let folder = Path::new(PROJECT).join("config/namespaced");
    let kubectl = scene.node.cluster.kubectl();
    let made = scene.node.kubectl(&["kustomize", &folder.to_string_lossy()])?;
    let field = format!("namespace: {NAMED}\n");
    ensure!(made.contains(&field), "nothing of it is in {NAMED}");
    let made = made.replace(&field, &format!("namespace: {}\n", scene.namespace));
    // Nothing is made. Fields of others are taken over in thought.
    let dry = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "-f",
        "-",
    ];
    tokio::task::block_in_place(|| process::output_with_input(&mut kubectl.command(&dry), &made))
        .map(drop)
        .context("config/namespaced")
}
