//! A cluster at rest costs next to nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e_cluster::audit::{self, Request};
use e2e_node::node::{OPERATOR_NAMESPACE, OPERATOR_USER};
use e2e_node::operators::LEASE;
use e2e_node::scene::Scene;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use memgraph_operator::api::names;
use serde_json::json;

/// For how long requests are counted.
const WINDOW: Duration = Duration::from_secs(60);

pub async fn a_cluster_at_rest_causes_no_write(scene: Arc<Scene>) -> Result<()> {
    scene.alone().await?;
    let database = scene.start("demo", json!({})).await?;
    database.write("token").await?;
    database.expect_everywhere(&["token"]).await?;
    database.settled().await?;
    let begin = jiff::Timestamp::now();
    tokio::time::sleep(WINDOW).await;
    let end = jiff::Timestamp::now();

    let gateway = format!(
        "system:serviceaccount:{}:{}",
        scene.namespace,
        names::gateway("demo")
    );
    let mut writes = Vec::new();
    let (mut renewals, mut operator_reads, mut gateway_reads) = (0, 0, 0);
    for request in audit::read(&scene.node.cluster.audit_log())? {
        let at: jiff::Timestamp = request.request_received_timestamp.parse()?;
        if at < begin || at > end {
            continue;
        }
        match &request.user.username {
            user if user != OPERATOR_USER && *user != gateway => continue,
            user if user == OPERATOR_USER && is_on_lease(&request) => renewals += 1,
            _ if request.is_write() => writes.push(request),
            user if user == OPERATOR_USER => operator_reads += 1,
            _ => gateway_reads += 1,
        }
    }
    ensure!(
        writes.is_empty(),
        "{} writes at rest: {:#?}",
        writes.len(),
        writes.iter().map(line).collect::<Vec<_>>()
    );
    eprintln!(
        "          API requests in {} s at rest: 0 writes but for the lease ({renewals} requests), {operator_reads} reads by the operator, {gateway_reads} by the gateways",
        WINDOW.as_secs()
    );

    let operators: Api<Pod> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
    let gateways: Api<Pod> = scene.api();
    let selector = format!("{}={}", names::COMPONENT_LABEL, names::GATEWAY);
    let operators = operators.list(&ListParams::default()).await?;
    let gateways = gateways.list(&ListParams::default().labels(&selector)).await?;
    for pod in operators.items.iter().chain(&gateways.items) {
        let kib = scene.node.resident_kib(pod)?;
        let name = pod.metadata.name.as_deref().context("a pod without a name")?;
        eprintln!(
            "          resident memory of {name}: {:.1} MiB",
            kib as f64 / 1024.0
        );
    }
    Ok(())
}

/// Both operator processes read it, and one renews it.
fn is_on_lease(request: &Request) -> bool {
    let object = request.object_ref.as_ref();
    object.is_some_and(|o| o.resource == "leases" && o.namespace == OPERATOR_NAMESPACE && o.name == LEASE)
}

fn line(request: &Request) -> String {
    format!(
        "{} {} {} by {}",
        request.request_received_timestamp, request.verb, request.uri, request.user.username
    )
}
