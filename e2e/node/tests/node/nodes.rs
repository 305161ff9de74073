//! The loss of a whole machine, with everything that runs on it: MAIN, a gateway, perhaps the operator's leader; and one that is
//! drained. For clusters of several nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e_cluster::address::BoxName;
use e2e_cluster::firewall::Cut;
use e2e_cluster::interrupt::Interrupt;
use e2e_node::application::Application;
use e2e_node::database::{Database, is_settled};
use e2e_node::node::{OPERATOR_NAMESPACE, wait_for_operator};
use e2e_node::scene::Scene;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use memgraph_operator::api::ledger::OperationKind;
use memgraph_operator::api::{MemgraphCluster, SwitchoverState};
use serde_json::json;

use crate::faults::{main_is_lost, replaced};
use crate::switchover::move_main;

/// How many transactions are acknowledged before a drain and after it.
const AROUND: usize = 100;

/// How long a machine may take until Kubernetes runs pods on it again.
const MACHINE_LIMIT: Duration = Duration::from_secs(300);

async fn machine_of(database: &Database, instance: &str) -> Result<BoxName> {
    let pod = database.pod(instance).await?;
    pod.spec
        .and_then(|spec| spec.node_name)
        .with_context(|| format!("pod {instance} has no node"))?
        .parse()
}

pub async fn the_machine_of_main_loses_its_power(scene: Arc<Scene>) -> Result<()> {
    main_is_lost(scene, async |database, main| {
        let cluster = &database.scene.node.cluster;
        let machine = machine_of(database, main).await?;
        tokio::task::block_in_place(|| cluster.power_cut(machine))?;
        let replaced = replaced(database, main).await;
        tokio::task::block_in_place(|| {
            cluster.power_on(machine)?;
            cluster.wait_for_nodes(&Interrupt::never(), MACHINE_LIMIT)
        })?;
        replaced
    })
    .await
}

/// Neither does its disk. A human says so as `docs/operations.md` asks, and the instance is filled anew on another machine.
pub async fn the_machine_of_main_never_comes_back(scene: Arc<Scene>) -> Result<()> {
    main_is_lost(scene, async |database, main| {
        let cluster = &database.scene.node.cluster;
        let machine = machine_of(database, main).await?;
        tokio::task::block_in_place(|| cluster.power_cut(machine))?;
        let filled = filled_elsewhere(database, main, machine).await;
        // For other tests: a machine of this name joins, as a new one would.
        tokio::task::block_in_place(|| {
            cluster.power_on(machine)?;
            cluster.wait_for_nodes(&Interrupt::never(), MACHINE_LIMIT)
        })?;
        filled
    })
    .await
}

async fn filled_elsewhere(database: &Database, lost: &str, machine: BoxName) -> Result<()> {
    let scene = &database.scene;
    replaced(database, lost).await?;
    scene.node.kubectl(&["delete", "node", &machine.to_string()])?;
    let misses_its_disk = |cluster: &MemgraphCluster| {
        let instances = cluster.status.iter().flat_map(|status| &status.instances);
        instances
            .filter(|instance| instance.name == lost)
            .any(|instance| instance.obstacle.is_some())
    };
    database
        .wait("the pod's obstacle to be told", MACHINE_LIMIT, misses_its_disk)
        .await?;
    let claim = format!("data-{lost}");
    scene.kubectl(&["delete", "persistentvolumeclaim", &claim, "--wait=false"])?;
    scene.kubectl(&["delete", "pod", lost])?;
    database
        .wait("all instances to follow", MACHINE_LIMIT, is_settled)
        .await?;
    let now = machine_of(database, lost).await?;
    ensure!(now != machine, "{lost} is on {machine}, which is gone");
    Ok(())
}

/// It goes on, with its clients' gateway beside it: nothing that is written there may be acknowledged.
pub async fn the_machine_of_main_is_cut_off(scene: Arc<Scene>) -> Result<()> {
    main_is_lost(scene, async |database, main| {
        let cluster = &database.scene.node.cluster;
        let cut = Cut {
            machine: machine_of(database, main).await?,
            from: None,
            port: None,
        };
        cluster.partition(cut)?;
        let replaced = replaced(database, main).await;
        cluster.heal()?;
        tokio::task::block_in_place(|| cluster.wait_for_nodes(&Interrupt::never(), MACHINE_LIMIT))?;
        replaced
    })
    .await
}

/// As before an upgrade of the machine, with a gateway and the operator that leads beside it: MAIN moves while it serves, and its
/// pod goes then.
pub async fn the_machine_of_main_is_drained(scene: Arc<Scene>) -> Result<()> {
    // A client of an earlier test may not be evicted: nobody would start it again.
    scene.alone().await?;
    let database = scene.start("demo", json!({})).await?;
    let Places {
        machine,
        instance,
        other,
    } = places(&database).await?;
    if database.main().await? != instance {
        let request = json!({"requestId": "drained", "target": instance});
        let state = move_main(&scene, &database, request).await?;
        ensure!(state == SwitchoverState::Succeeded, "{state:?}");
        database.settled().await?;
    }
    lead_from(&scene, &machine).await?;
    scene.start_client_on(Some(&other))?;
    let mut application = Application::start(&database, "drain").await?;
    application.goes_on(AROUND).await?;
    let before = database.ledger().await?;
    let drained = scene.node.kubectl(&[
        "drain",
        &machine,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        &format!("--timeout={}s", MACHINE_LIMIT.as_secs()),
    ]);
    let went_on = match drained {
        Ok(_) => application.goes_on(AROUND).await,
        Err(error) => Err(error),
    };
    let history = database.status().await?.history;
    scene.node.kubectl(&["uncordon", &machine])?;
    went_on?;
    database.settled_after(before.term).await?;
    wait_for_operator(&scene.node.cluster)?;
    application.goes_on(AROUND).await?;
    let transactions = application.stop().await?;
    let kinds: Vec<_> = history
        .iter()
        .filter(|record| record.term > before.term)
        .map(|record| record.kind)
        .collect();
    eprintln!("          {transactions}; {kinds:?}");
    ensure!(
        kinds.contains(&OperationKind::Switchover) && !kinds.contains(&OperationKind::Failover),
        "MAIN was not moved before its pod went: {history:?}"
    );
    transactions.expect_all(&database).await
}

/// Where a drain takes as much as it can at once.
struct Places {
    /// A machine with a gateway and an operator.
    machine: String,
    /// The only instance there: the volume of a drained one stays behind, and a second one is not evicted while the first has no
    /// place.
    instance: String,
    /// Another machine.
    other: String,
}

async fn places(database: &Database) -> Result<Places> {
    let scene = &database.scene;
    let mut instances = BTreeMap::<String, Vec<String>>::new();
    for instance in database.instances().await? {
        let machine = machine_of(database, &instance).await?.to_string();
        instances.entry(machine).or_default().push(instance);
    }
    let gateways = machines(scene.gateways().await?);
    let operators = machines(operators(scene).await?);
    let chosen = instances
        .iter()
        .find_map(|(machine, there)| match there.as_slice() {
            [alone] if gateways.contains(machine) && operators.contains(machine) => Some((machine, alone)),
            _ => None,
        });
    let (machine, instance) = chosen.with_context(|| {
        format!("no machine has one instance with a gateway and an operator: {instances:?}, {gateways:?}, {operators:?}")
    })?;
    let other = instances.keys().find(|other| *other != machine);
    Ok(Places {
        machine: machine.clone(),
        instance: instance.clone(),
        other: other.context("there is one machine only")?.clone(),
    })
}

/// The operators' pods that stay.
async fn operators(scene: &Scene) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
    let of_operators = ListParams::default().labels("app.kubernetes.io/name=memgraph-operator");
    let mut operators = pods.list(&of_operators).await?.items;
    operators.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(operators)
}

fn machines(pods: Vec<Pod>) -> BTreeSet<String> {
    let of_pod = |pod: Pod| pod.spec.and_then(|spec| spec.node_name);
    pods.into_iter().filter_map(of_pod).collect()
}

/// Has the operator on this machine lead.
async fn lead_from(scene: &Scene, machine: &str) -> Result<()> {
    let leading = scene.node.leading_pod().await?;
    let its = leading.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    if its != Some(machine) {
        let first = scene.node.leader().await?.context("nobody leads")?;
        let pods: Api<Pod> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
        pods.delete(&leading.name_any(), &DeleteParams::default()).await?;
        scene.node.next_leader(&first, MACHINE_LIMIT).await?;
        wait_for_operator(&scene.node.cluster)?;
    }
    let leads = machines(vec![scene.node.leading_pod().await?]);
    ensure!(
        leads.contains(machine),
        "the operator on {machine} does not lead, but on {leads:?}"
    );
    Ok(())
}
