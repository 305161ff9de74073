//! The condition of each critical alert, produced once, and the alert evaluated on what Prometheus would have read meanwhile.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use e2e_node::database::{SETTLE_LIMIT, condition};
use e2e_node::node::{OPERATOR_NAMESPACE, wait_for_operator};
use e2e_node::readings::{self, Readings};
use e2e_node::scene::Scene;
use memgraph_operator::api::{InstanceRole, MemgraphCluster};
use serde_json::json;

/// Longer than the `for` of each critical alert but the one on the leader, by some readings.
const LASTING: Duration = Duration::from_secs(45);
/// The same for that one.
const LEADERLESS: Duration = Duration::from_secs(75);

pub async fn critical_ones_fire_on_what_is_read_here(scene: Arc<Scene>) -> Result<()> {
    scene.alone().await?;
    let folder = readings::folder();
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    writes_unavailable(&scene, &folder).await?;
    a_second_main(&scene, &folder).await?;
    without_leader(&scene, &folder).await?;
    readings::evaluate(&folder)
}

/// MAIN hangs, and nobody but a human may replace it.
async fn writes_unavailable(scene: &Arc<Scene>, folder: &Path) -> Result<()> {
    let database = scene
        .start("demo", json!({"failover": {"mode": "Manual"}}))
        .await?;
    let mut readings = Readings::new(&["MemgraphWritesUnavailable", "MemgraphStalled"]);
    readings.read(scene).await?;
    scene.freeze("demo-0")?;
    let unavailable = |cluster: &MemgraphCluster| holds(cluster, "Stalled");
    database
        .wait("a human is needed", SETTLE_LIMIT, unavailable)
        .await?;
    let read = readings.read_for(scene, LASTING).await;
    scene.thaw()?;
    read?;
    readings.keep(folder, "main-hangs-and-nobody-replaces-it")?;
    database.settled().await?;
    scene.kubectl(&["delete", "memgraphcluster", "demo"]).map(drop)
}

/// Somebody makes a replica MAIN while the operator may do nothing about it.
async fn a_second_main(scene: &Arc<Scene>, folder: &Path) -> Result<()> {
    let database = scene.start("two", json!({})).await?;
    let mut readings = Readings::new(&["MemgraphSecondMain"]);
    readings.read(scene).await?;
    let pause = |paused: bool| {
        let change = json!({"spec": {"paused": paused}}).to_string();
        scene.kubectl(&[
            "patch",
            "memgraphcluster",
            "two",
            "--type=merge",
            "--patch",
            &change,
        ])
    };
    pause(true)?;
    let paused = |cluster: &MemgraphCluster| holds(cluster, "Paused");
    database
        .wait("the cluster to be paused", SETTLE_LIMIT, paused)
        .await?;
    let promote = "echo 'SET REPLICATION ROLE TO MAIN;' | mgconsole";
    scene.kubectl(&["exec", "two-2", "--", "bash", "-c", promote])?;
    let deposed = |cluster: &MemgraphCluster| {
        let instances = cluster.status.iter().flat_map(|status| &status.instances);
        instances
            .into_iter()
            .any(|instance| instance.role == InstanceRole::Deposed)
    };
    database
        .wait("two-2 to be told of as a second MAIN", SETTLE_LIMIT, deposed)
        .await?;
    readings.read_for(scene, LASTING).await?;
    readings.keep(folder, "a-second-main-in-a-pause")?;
    pause(false)?;
    database.settled().await.map(drop)
}

/// Nobody runs the operator.
async fn without_leader(scene: &Arc<Scene>, folder: &Path) -> Result<()> {
    let mut readings = Readings::new(&["MemgraphOperatorWithoutLeader"]);
    readings.read(scene).await?;
    let scale = |replicas: &str| {
        let replicas = format!("--replicas={replicas}");
        scene.node.kubectl(&[
            "--namespace",
            OPERATOR_NAMESPACE,
            "scale",
            "deployment/memgraph-operator",
            &replicas,
        ])
    };
    scale("0")?;
    let read = readings.read_for(scene, LEADERLESS).await;
    scale("2")?;
    wait_for_operator(&scene.node.cluster)?;
    read?;
    readings.keep(folder, "no-operator")
}

fn holds(cluster: &MemgraphCluster, of_type: &str) -> bool {
    condition(cluster, of_type).is_some_and(|(status, _)| status == "True")
}
