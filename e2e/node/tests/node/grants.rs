//! Gateways lead to MAIN under grants: what is silent holds nothing up for long, and what nobody renews ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e_node::database::{Database, ledger, run};
use e2e_node::node::{OPERATOR_NAMESPACE, wait_for_operator};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use memgraph_operator::api::ledger::Route;
use memgraph_operator::api::{MemgraphCluster, names};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a grant lasts by default.
const TTL: Duration = Duration::from_secs(4);
/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

fn address(pod: &Pod, port: u16) -> Result<SocketAddr> {
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref());
    let ip: IpAddr = ip.context("a gateway without an address")?.parse()?;
    Ok(SocketAddr::new(ip, port))
}

/// A session through a gateway, up to the answer to its handshake.
async fn session(gateway: &Pod) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address(gateway, names::BOLT_PORT)?).await?;
    let mut handshake = vec![0x60, 0x60, 0xb0, 0x17, 0, 0, 4, 4];
    handshake.resize(20, 0);
    stream.write_all(&handshake).await?;
    let mut version = [0; 4];
    timeout(LIMIT, stream.read_exact(&mut version))
        .await
        .context("no answer to the handshake")??;
    Ok(stream)
}

/// Whether a session goes on: nothing comes, neither bytes nor an end.
async fn lives(session: &mut TcpStream) -> bool {
    timeout(Duration::from_millis(100), session.read_u8())
        .await
        .is_err()
}

/// `GET /readyz` of a gateway: the status and the reason.
async fn readiness(gateway: &Pod) -> Result<String> {
    let mut stream = TcpStream::connect(address(gateway, names::HTTP_PORT)?).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn until_closed(database: &Database, term: i64) -> Result<()> {
    let closed = |cluster: &MemgraphCluster| {
        ledger(cluster).is_some_and(|l| l.term > term && l.route == Route::Closed)
    };
    database
        .wait("the route to be closed", LIMIT, closed)
        .await
        .map(drop)
}

pub async fn a_frozen_gateway_holds_a_failover_up_no_longer_than_its_grant(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let before = database.ledger().await?;
    let gateways = scene.gateways().await?;
    ensure!(
        before.gateways.len() == gateways.len(),
        "the ledger names {:?}",
        before.gateways
    );
    let mut cut_off = session(&gateways[0]).await?;
    ensure!(lives(&mut cut_off).await, "the session ended by itself");

    scene.freeze(&gateways[0].name_any())?;
    scene.node.kill(&database.pod("demo-0").await?)?;
    let killed = Instant::now();
    until_closed(&database, before.term).await?;
    let opened = |cluster: &MemgraphCluster| {
        ledger(cluster).is_some_and(|l| l.term > before.term && l.route == Route::Open)
    };
    database.wait("the new MAIN to be opened", LIMIT, opened).await?;
    eprintln!(
        "          MAIN killed while a gateway was frozen, opened after {:.2} s",
        killed.elapsed().as_secs_f64()
    );
    let now = database.ledger().await?;
    ensure!(now.main.instance == "demo-1", "MAIN is {}", now.main.instance);
    run(
        address(&gateways[1], names::BOLT_PORT)?,
        "MERGE (t:Token {id: 'through-the-other'})",
    )
    .await?;

    scene.thaw()?;
    let mut rest = Vec::new();
    let end = timeout(LIMIT, cut_off.read_to_end(&mut rest)).await?;
    ensure!(
        end.is_err() || rest.is_empty(),
        "the old MAIN's session went on: {rest:?}"
    );
    database.settled_after(before.term).await?;
    database.write("after").await?;
    database
        .expect_everywhere(&["before", "through-the-other", "after"])
        .await
}

pub async fn without_an_operator_sessions_go_on(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let gateways = scene.gateways().await?;
    let mut session = session(&gateways[0]).await?;
    let operators: Api<Pod> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
    for pod in operators.list(&ListParams::default()).await?.items {
        scene.freeze_in(OPERATOR_NAMESPACE, &pod.name_any())?;
    }
    // Each gateway must have renewed its grant by itself three times.
    tokio::time::sleep(3 * TTL).await;
    let alive = lives(&mut session).await;
    let written = database.write("alone").await;
    scene.thaw()?;
    ensure!(alive, "the session was cut");
    eprintln!(
        "          a write without an operator took {:.3} s",
        written?.as_secs_f64()
    );
    wait_for_operator(&scene.node.cluster)?;
    database.settled().await?;
    ensure!(
        lives(&mut session).await,
        "the session was cut when the operator came back"
    );
    database.expect_everywhere(&["alone"]).await
}

/// Where MAIN does not wait for its replica's word: in `StrictSync` writers are served for as long as all operators vouch.
pub async fn without_an_operator_and_an_api_server_writers_are_cut_off(scene: Arc<Scene>) -> Result<()> {
    let database = scene
        .start("demo", json!({"replication": {"mode": "Sync"}}))
        .await?;
    database.write("before").await?;
    let gateways = scene.gateways().await?;
    let gateway = database.gateway().await?;
    let mut session = session(&gateways[0]).await?;
    let pods = [&gateways[0], &gateways[1]];
    let node = e2e_cluster::address::BoxName::ControlPlane;
    scene.node.cluster.hold_program(node, "kube-apiserver")?;
    let gone = Instant::now();
    let mut rest = Vec::new();
    let ended = timeout(LIMIT, session.read_to_end(&mut rest)).await;
    let cut_after = gone.elapsed();
    let refused = timeout(LIMIT, async {
        loop {
            let mut reasons = Vec::new();
            for pod in pods {
                reasons.push(readiness(pod).await?);
            }
            if reasons.iter().all(|reason| reason.starts_with("HTTP/1.1 503")) {
                return anyhow::Ok(reasons);
            }
        }
    })
    .await;
    let written = run(gateway, "MERGE (t:Token {id: 'nobody'})").await;
    scene.node.cluster.release_program(node, "kube-apiserver")?;
    ended.context("the session was not cut")?.ok();
    eprintln!(
        "          cut {:.2} s after the API server, and leadership with it, went away",
        cut_after.as_secs_f64()
    );
    let reasons = refused??;
    ensure!(
        reasons
            .iter()
            .all(|reason| reason.contains("no right to lead")
                && reason.contains("the API server cannot be read")),
        "/readyz says {reasons:?}"
    );
    ensure!(written.is_err(), "a write was acknowledged without a grant");
    let answered = async || Ok(database.get().await.is_ok().then_some(()));
    until("the API server to be back", LIMIT, answered).await?;
    database.write("after").await?;
    database.settled().await?;
    database.expect_everywhere(&["before", "after"]).await
}

pub async fn a_client_that_comes_during_a_failover_is_held(scene: Arc<Scene>) -> Result<()> {
    let database = scene
        .start("demo", json!({"gateway": {"replicas": 2, "holdTimeout": "30s"}}))
        .await?;
    database.write("before").await?;
    let term = database.ledger().await?.term;
    let gateways = scene.gateways().await?;
    // One that is frozen makes the failover take a while.
    scene.freeze(&gateways[0].name_any())?;
    scene.node.kill(&database.pod("demo-0").await?)?;
    until_closed(&database, term).await?;
    let asked = Instant::now();
    session(&gateways[1]).await?;
    eprintln!(
        "          a client that came while the route was closed was served after {:.2} s",
        asked.elapsed().as_secs_f64()
    );
    scene.thaw()?;
    database.settled_after(term).await?;
    database.write("after").await?;
    database.expect_everywhere(&["before", "after"]).await
}
