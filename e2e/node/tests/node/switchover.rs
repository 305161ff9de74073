//! MAIN moves because somebody has asked for it.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, ledger};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use e2e_node::writer::Writer;
use memgraph_operator::api::{SwitchoverState, ledger::Route};
use serde_json::json;

/// Asks, and waits for the outcome.
pub async fn move_main(
    scene: &Scene,
    database: &Database,
    request: serde_json::Value,
) -> Result<SwitchoverState> {
    let id = request["requestId"].as_str().unwrap_or_default().to_owned();
    let patch = json!({"spec": {"switchover": request}}).to_string();
    scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    let cluster = database
        .wait("the switchover to be over", SETTLE_LIMIT, |cluster| {
            let asked = cluster
                .status
                .as_ref()
                .and_then(|status| status.switchover.as_ref());
            asked.is_some_and(|asked| {
                let open = ledger(cluster).is_some_and(|l| l.route == Route::Open);
                let done = !matches!(asked.state, SwitchoverState::Pending | SwitchoverState::Running);
                asked.request_id == id && done && open
            })
        })
        .await?;
    let outcome = cluster.status.and_then(|status| status.switchover);
    outcome.map_or_else(
        || anyhow::bail!("the status does not say what has become of it"),
        |outcome| Ok(outcome.state),
    )
}

pub async fn main_moves_under_load_and_back_without_a_loss(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let (mut acknowledged, mut moved) = (Vec::new(), Vec::new());
    for (id, target) in [
        ("first", None),
        ("second", Some("demo-2")),
        ("third", Some("demo-0")),
    ] {
        database.settled().await?;
        // Under load MAIN may take long to call an ASYNC replica ready, and the request waits for that.
        let writer = match id {
            "second" => None,
            _ => Some(Writer::start(&database, id).await?),
        };
        let state = move_main(&scene, &database, json!({"requestId": id, "target": target})).await?;
        ensure!(state == SwitchoverState::Succeeded, "{id}: {state:?}");
        moved.push(database.ledger().await?.main.instance);
        if let Some(writer) = writer {
            let written = writer.stop().await?;
            eprintln!("          {id} switchover: {written}");
            acknowledged.extend(written.acknowledged);
        }
    }
    ensure!(moved == ["demo-1", "demo-2", "demo-0"], "MAIN was {moved:?}");
    let tokens: Vec<_> = acknowledged.iter().map(String::as_str).collect();
    database.expect_everywhere(&tokens).await?;
    let failover = database.status().await?.last_failover;
    ensure!(failover.is_none(), "a switchover is no failover: {failover:?}");
    let events = scene.kubectl(&["get", "events", "--output=custom-columns=REASON:.reason"])?;
    let told = events.lines().filter(|line| *line == "SwitchedOver").count();
    ensure!(told == 3, "{told} events: {events}");
    Ok(())
}

pub async fn a_request_is_carried_out_once_or_refused(scene: Arc<Scene>) -> Result<()> {
    let database = scene
        .start("demo", json!({"replication": {"electableInstances": 2}}))
        .await?;
    let state = move_main(&scene, &database, json!({"requestId": "a", "target": "demo-2"})).await?;
    ensure!(state == SwitchoverState::Refused, "{state:?}");
    until("the refusal to be an event", SETTLE_LIMIT, async || {
        let events = scene.kubectl(&["get", "events", "--output=custom-columns=REASON:.reason"])?;
        Ok(events
            .lines()
            .any(|line| line == "SwitchoverRefused")
            .then_some(()))
    })
    .await?;
    let state = move_main(&scene, &database, json!({"requestId": "b", "target": "demo-1"})).await?;
    ensure!(state == SwitchoverState::Succeeded, "{state:?}");
    database.settled().await?;
    let term = database.ledger().await?.term;
    // The request is still there when MAIN is lost and has moved back.
    scene.node.kill(&database.pod("demo-1").await?)?;
    database.settled_after(term).await?;
    database.write("after").await?;
    let now = database.ledger().await?;
    ensure!(now.main.instance == "demo-0", "MAIN is {}", now.main.instance);
    Ok(())
}
