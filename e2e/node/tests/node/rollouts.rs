//! New gateways take the place of old ones while clients talk.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e_node::scene::Scene;
use e2e_node::session::Session;
use e2e_node::wait::until;
use e2e_node::writer::Writer;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{WatchEvent, WatchParams};
use memgraph_operator::api::names;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);
/// Clients of each gateway.
const CLIENTS: usize = 8;
/// What each still asks after its gateway was told to end.
const LAST_QUESTIONS: usize = 10;

/// Asks a gateway until it is told that it ends, and some questions more. Returns how many.
async fn talk(mut session: Session, told: watch::Receiver<bool>) -> Result<usize> {
    let (mut asked, mut left) = (0, LAST_QUESTIONS);
    while left > 0 {
        if *told.borrow() {
            left -= 1;
        }
        timeout(LIMIT, session.run("RETURN 1"))
            .await?
            .with_context(|| format!("question {asked}, with {left} to go"))?;
        asked += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(asked)
}

fn address(gateway: &Pod) -> Result<SocketAddr> {
    let ip = gateway.status.as_ref().and_then(|status| status.pod_ip.as_ref());
    let ip: IpAddr = ip.context("a gateway without an address")?.parse()?;
    Ok(SocketAddr::new(ip, names::BOLT_PORT))
}

/// What the gateway's process ended with, once its pod is gone.
async fn exit_code(scene: &Scene, pod: &Pod) -> Result<i32> {
    let name = pod.name_any();
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = scene.api::<Pod>().watch(&params, "0").await?.boxed();
    let ended = async {
        while let Some(event) = events.try_next().await? {
            let WatchEvent::Deleted(pod) = event else {
                continue;
            };
            let statuses = pod.status.and_then(|status| status.container_statuses);
            let state = statuses.and_then(|statuses| statuses.into_iter().next()?.state);
            let terminated = state.and_then(|state| state.terminated);
            return Ok(terminated
                .context("a gateway was removed before it had ended")?
                .exit_code);
        }
        bail!("the watch of {name} has ended")
    };
    timeout(LIMIT, ended)
        .await
        .with_context(|| format!("{name} is still there"))?
}

pub async fn of_gateways_refuse_nobody_and_drop_no_session_that_ends_in_time(
    scene: Arc<Scene>,
) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let old = scene.gateways().await?;
    let mut talking = Vec::new();
    for gateway in &old {
        let (tell, told) = watch::channel(false);
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let session = Session::connect(address(gateway)?).await?;
            clients.push(tokio::spawn(talk(session, told.clone())));
        }
        talking.push((tell, clients));
    }
    let ends = old.iter().map(|gateway| {
        let (scene, gateway) = (Arc::clone(&scene), gateway.clone());
        tokio::spawn(async move { exit_code(&scene, &gateway).await })
    });
    let ends: Vec<_> = ends.collect();
    let writer = Writer::start(&database, "rollout").await?;

    let patch = json!({"spec": {"gateway": {"resources": {"requests": {"cpu": "11m"}}}}}).to_string();
    scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    let begin = Instant::now();
    let told_to_end = old.iter().zip(talking).map(async |(gateway, (tell, clients))| {
        let name = gateway.name_any();
        until("the gateway to be told to end", LIMIT, async || {
            let pod = scene.api::<Pod>().get_opt(&name).await?;
            Ok(pod
                .is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
                .then_some(()))
        })
        .await?;
        tell.send_replace(true);
        let mut asked = 0;
        for client in clients {
            asked += client.await?.with_context(|| format!("a client of {name}"))?;
        }
        Ok::<_, anyhow::Error>(asked)
    });
    let asked: usize = try_join_all(told_to_end).await?.into_iter().sum();
    for end in ends {
        let code = end.await??;
        ensure!(code == 0, "a gateway ended with {code}");
    }
    let written = writer.stop().await?;
    eprintln!(
        "          gateways replaced within {:.1} s, {asked} questions answered meanwhile; {written}",
        begin.elapsed().as_secs_f64()
    );
    // Nodes lead nobody to a gateway any more before it refuses connections.
    ensure!(
        written.failed == 0,
        "a client that came meanwhile got nowhere: {written}"
    );
    database.settled().await?;
    database.expect_everywhere(&written.tokens()).await
}
