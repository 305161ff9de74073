//! A cluster at rest costs next to nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e_cluster::audit::{self, Request};
use e2e_node::node::{OPERATOR_NAMESPACE, OPERATOR_USER};
use e2e_node::operators::LEASE;
use e2e_node::readings;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use memgraph_operator::api::names;
use serde_json::json;

/// For how long requests are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Within what time each instance has told what it holds and uses: it is asked every 50 s.
const TOLD_LIMIT: Duration = Duration::from_secs(120);

pub async fn a_cluster_at_rest_causes_no_write(scene: Arc<Scene>) -> Result<()> {
    scene.alone().await?;
    let database = scene
        .start("demo", json!({"config": {"memory-limit": "256"}}))
        .await?;
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
    usage_is_told(&scene).await?;

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

/// The leader tells of each instance what it holds and uses.
async fn usage_is_told(scene: &Scene) -> Result<()> {
    let what = "the leader tells what each instance holds and uses";
    until(what, TOLD_LIMIT, async || {
        let answers = readings::answers(scene).await?;
        for ordinal in 0..3 {
            let labels = format!(
                "{{namespace=\"{}\",cluster=\"demo\",pod=\"demo-{ordinal}\"}} ",
                scene.namespace
            );
            let value = |name: &str| -> Result<&str> {
                let sample = format!("memgraph_instance_{name}{labels}");
                let mut lines = answers.iter().flat_map(|answer| answer.metrics.lines());
                let value = lines.find_map(|line| line.strip_prefix(&sample));
                value.with_context(|| format!("no {sample}"))
            };
            for name in ["vertices", "memory_bytes", "memory_tracked_bytes", "disk_bytes"] {
                let value: f64 = value(name)?.parse()?;
                ensure!(value > 0.0, "{name} of demo-{ordinal} is {value}");
            }
            let limit = value("memory_limit_bytes")?;
            ensure!(limit == "268435456.0", "the limit of demo-{ordinal} is {limit}");
        }
        Ok(Some(()))
    })
    .await
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
