//! The loss of a whole machine, with everything that runs on it: MAIN, a gateway, perhaps the operator's leader. For clusters
//! of several nodes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e_cluster::address::BoxName;
use e2e_cluster::firewall::Cut;
use e2e_cluster::interrupt::Interrupt;
use e2e_node::database::Database;
use e2e_node::scene::Scene;

use crate::faults::{main_is_lost, replaced};

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
