//! What an acknowledged write means is changed while clients write.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e_node::application::Application;
use e2e_node::database::{SETTLE_LIMIT, is_settled};
use e2e_node::scene::Scene;
use e2e_node::session::Session;
use memgraph_operator::api::{MemgraphCluster, RegistrationMode};
use serde_json::json;

/// How many transactions are acknowledged before a change and after it.
const AROUND: usize = 50;

/// The replicas that MAIN waits for are registered anew, in another mode. No session is cut for it.
pub async fn a_session_outlives_a_change_and_nothing_acknowledged_is_lost(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let before = database.lives().await?;
    let mut application = Application::start(&database, "mode").await?;
    let mut session = Session::connect(database.gateway().await?).await?;
    let mut kept = Vec::new();
    for (name, mode) in [
        ("Sync", RegistrationMode::Sync),
        ("StrictSync", RegistrationMode::StrictSync),
    ] {
        application.goes_on(AROUND).await?;
        let term = database.ledger().await?.term;
        let patch = json!({"spec": {"replication": {"mode": name}}}).to_string();
        scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
        let is_changed = |cluster: &MemgraphCluster| {
            let status = cluster.status.as_ref();
            let mut instances = status.into_iter().flat_map(|status| &status.instances);
            is_settled(cluster) && instances.any(|instance| instance.mode == Some(mode))
        };
        database
            .wait("the replica in its new mode", SETTLE_LIMIT, is_changed)
            .await?;
        let token = format!("kept-{name}");
        session.run(&format!("MERGE (t:Token {{id: '{token}'}})")).await?;
        kept.push(token);
        application.goes_on(AROUND).await?;
        let now = database.ledger().await?.term;
        eprintln!("          {name}: terms {term} -> {now}");
    }
    let transactions = application.stop().await?;
    eprintln!("          {transactions}");
    ensure!(
        database.lives().await? == before,
        "an instance was restarted for the change"
    );
    database
        .expect_everywhere(&kept.iter().map(String::as_str).collect::<Vec<_>>())
        .await?;
    transactions.expect_all(&database).await
}
