//! The cluster's NetworkPolicies, enforced: nobody gets past the gateways, and nothing that the cluster needs is kept out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, is_settled};
use e2e_node::node::{OPERATOR_NAMESPACE, wait_for_operator};
use e2e_node::policies::Enforcement;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use k8s_openapi::api::core::v1::Pod;
use kube::api::EvictParams;
use kube::{Api, ResourceExt};
use memgraph_operator::api::ledger::OperationKind;
use memgraph_operator::api::names;
use serde_json::json;

/// How long a changed policy may take to hold.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);

pub async fn no_client_gets_past_the_gateways_and_nothing_else_is_kept_out(scene: Arc<Scene>) -> Result<()> {
    let enforcement = Enforcement::begin(&scene).await?;
    let database = scene.start("demo", json!({})).await?;
    database.write("begun").await?;
    scene.start_client()?;
    only_gateways_are_reached(&database).await?;

    let term = database.ledger().await?.term;
    let killed = Instant::now();
    scene.node.kill(&database.pod("demo-0").await?)?;
    database.write("failed-over").await?;
    eprintln!(
        "          MAIN killed, next write acknowledged after {:.2} s",
        killed.elapsed().as_secs_f64()
    );
    database.settled_after(term).await?;

    // Pods with new addresses: of instances, gateways, operators.
    for replicas in [4, 3] {
        scene.kubectl(&["scale", "memgraphcluster/demo", &format!("--replicas={replicas}")])?;
        database
            .wait("as many instances", SETTLE_LIMIT, |cluster| {
                cluster.spec.replicas == replicas && is_settled(cluster)
            })
            .await?;
        database.write(&format!("of-{replicas}")).await?;
    }
    let term = database.ledger().await?.term;
    let main = database.main().await?;
    // As by `kubectl drain`.
    let pods: Api<Pod> = scene.api();
    pods.evict(&main, &EvictParams::default()).await?;
    database.write("moved").await?;
    database.settled_after(term).await?;
    let last = database.status().await?.history.first().map(|record| record.kind);
    ensure!(
        last == Some(OperationKind::Switchover),
        "{main} was evicted under the policies, and not moved in time: {last:?}"
    );
    let gateways = format!("--selector={}={}", names::COMPONENT_LABEL, names::GATEWAY);
    scene.kubectl(&["delete", "pods", &gateways])?;
    database.write("by-new-gateways").await?;
    scene.node.kubectl(&[
        "--namespace",
        OPERATOR_NAMESPACE,
        "rollout",
        "restart",
        "deployment/memgraph-operator",
    ])?;
    wait_for_operator(&scene.node.cluster)?;
    let term = database.ledger().await?.term;
    scene.node.kill(&database.pod(&database.main().await?).await?)?;
    database.write("by-new-operators").await?;
    database.settled_after(term).await?;
    only_gateways_are_reached(&database).await?;

    // It is the policies that keep the client out.
    let off = r#"{"spec": {"networkPolicy": {"enabled": false}}}"#;
    scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", off])?;
    let instance = database.bolt_of("demo-1").await?;
    until(
        "instances to be reached without policies",
        CHANGE_LIMIT,
        async || Ok(reached(&scene, &instance.ip().to_string(), instance.port())?.then_some(())),
    )
    .await?;
    drop(enforcement);
    let all = [
        "begun",
        "failed-over",
        "of-4",
        "of-3",
        "moved",
        "by-new-gateways",
        "by-new-operators",
    ];
    database.expect_everywhere(&all).await
}

async fn only_gateways_are_reached(database: &Database) -> Result<()> {
    let scene = &database.scene;
    for service in [
        names::gateway(&database.name),
        names::read_gateway(&database.name),
    ] {
        ensure!(
            reached(scene, &service, names::BOLT_PORT)?,
            "{service} is not reached"
        );
    }
    for instance in database.instances().await? {
        let address = database.bolt_of(&instance).await?.ip().to_string();
        for port in [names::BOLT_PORT, names::REPLICATION_PORT] {
            ensure!(
                !reached(scene, &address, port)?,
                "{instance} is reached at port {port}"
            );
        }
    }
    for gateway in scene.gateways().await? {
        let name = gateway.name_any();
        let address = gateway
            .status
            .and_then(|status| status.pod_ip)
            .unwrap_or_default();
        ensure!(
            reached(scene, &address, names::HTTP_PORT)?,
            "no metrics of {name}"
        );
        ensure!(
            !reached(scene, &address, names::CONTROL_PORT)?,
            "{name} would be led"
        );
    }
    Ok(())
}

/// Whether the client's pod gets a connection.
fn reached(scene: &Scene, host: &str, port: u16) -> Result<bool> {
    // What is dropped is tried again by the kernel after one second, and after three.
    let program = format!(
        "import socket\n\
         try:\n    socket.create_connection(('{host}', {port}), timeout=4)\n    print('reached')\n\
         except TimeoutError:\n    print('dropped')"
    );
    let printed = scene.kubectl(&["exec", "client", "--", "python3", "-c", &program])?;
    Ok(printed.trim() == "reached")
}
