//! Faults while somebody writes without a pause: whatever was acknowledged is there in the end.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT};
use e2e_node::node::{OPERATOR_NAMESPACE, wait_for_operator};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use e2e_node::writer::Writer;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, EvictParams, ListParams};
use memgraph_operator::api::MemgraphCluster;
use memgraph_operator::api::ledger::Route;
use serde_json::json;

/// How many writes are acknowledged before a fault and after it.
const AROUND: usize = 50;

/// How long the API server is away.
const OUTAGE: Duration = Duration::from_secs(60);

pub async fn a_main_that_is_killed(scene: Arc<Scene>) -> Result<()> {
    main_is_lost(scene, async |database, main| {
        database.scene.node.kill(&database.pod(main).await?)
    })
    .await
}

pub async fn a_main_whose_pod_is_deleted(scene: Arc<Scene>) -> Result<()> {
    main_is_lost(scene, async |database, main| {
        let pods: Api<Pod> = database.scene.api();
        pods.delete(main, &DeleteParams::default()).await?;
        Ok(())
    })
    .await
}

/// As by `kubectl drain`.
pub async fn a_main_whose_pod_is_evicted(scene: Arc<Scene>) -> Result<()> {
    main_is_lost(scene, async |database, main| {
        let pods: Api<Pod> = database.scene.api();
        pods.evict(main, &EvictParams::default()).await?;
        Ok(())
    })
    .await
}

/// The API server forgets the pod at once; its process lives until the kubelet has noticed.
pub async fn a_main_whose_pod_is_deleted_by_force(scene: Arc<Scene>) -> Result<()> {
    main_is_lost(scene, async |database, main| {
        database
            .scene
            .kubectl(&["delete", "pod", main, "--grace-period=0", "--force"])
            .map(drop)
    })
    .await
}

/// It comes back to life when another one is MAIN.
pub async fn a_main_that_is_stopped(scene: Arc<Scene>) -> Result<()> {
    main_is_lost(scene, async |database, main| {
        let node = &database.scene.node;
        let pod = database.pod(main).await?;
        node.stop(&pod)?;
        let replaced = replaced(database, main).await;
        node.go_on(&pod)?;
        replaced
    })
    .await
}

/// As a process that waits for a broken disk: it cannot be killed, either.
pub async fn a_main_that_is_frozen(scene: Arc<Scene>) -> Result<()> {
    main_is_lost(scene, async |database, main| {
        database.scene.freeze(main)?;
        let replaced = replaced(database, main).await;
        database.scene.thaw()?;
        replaced
    })
    .await
}

pub async fn a_main_in_a_black_hole(scene: Arc<Scene>) -> Result<()> {
    main_is_lost(scene, async |database, main| {
        let hole = database.scene.node.black_hole(&database.pod(main).await?)?;
        let replaced = replaced(database, main).await;
        hole.heal()?;
        replaced
    })
    .await
}

/// Without any operator process, clients go on; what happens to MAIN later is seen by the next one.
pub async fn both_operators_at_once(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let before = database.ledger().await?;
    let mut writer = Writer::start(&database, "token").await?;
    // A gateway may know a moment later than the other one that the route is open.
    writer.goes_on(AROUND).await?;
    let failed = writer.failed();
    let held = HeldSession::open(database.gateway().await?)?;
    let pods: Api<Pod> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
    for pod in pods.list(&ListParams::default()).await?.items {
        scene.node.kill(&pod)?;
    }
    writer.goes_on(AROUND).await?;
    wait_for_operator(&scene.node.cluster)?;
    writer.goes_on(AROUND).await?;
    ensure!(held.is_open()?, "a session was cut");
    let written = writer.stop().await?;
    eprintln!("          {written}");
    ensure!(
        written.failed == failed,
        "writes have failed: {:?}",
        written.reasons
    );
    database.settled().await?;
    ensure!(
        database.ledger().await? == before,
        "the operators' restart has changed the ledger"
    );
    database.expect_everywhere(&written.tokens()).await
}

/// Neither operator nor gateways can ask who is MAIN. The operator's processes vouch for it, and nobody notices.
pub async fn an_api_server_that_is_away_for_a_minute(scene: Arc<Scene>) -> Result<()> {
    // Without their word gateways do not go on.
    scene.node.operators_are_ready(SETTLE_LIMIT).await?;
    let database = scene.start("demo", json!({})).await?;
    let mut writer = Writer::start(&database, "token").await?;
    writer.goes_on(AROUND).await?;
    let held = HeldSession::open(database.gateway().await?)?;
    scene.node.api_server_goes()?;
    tokio::time::sleep(OUTAGE).await;
    let goes_on = writer.goes_on(AROUND).await;
    let open = held.is_open();
    scene.node.api_server_is_back()?;
    goes_on?;
    ensure!(open?, "a session was cut while the API server was away");
    until("the API server to be back", SETTLE_LIMIT, async || {
        database.get().await.map(Some)
    })
    .await?;
    writer.goes_on(AROUND).await?;
    let written = writer.stop().await?;
    eprintln!("          {written}");
    wait_for_operator(&scene.node.cluster)?;
    database.settled().await?;
    let main = database.main().await?;
    ensure!(main == "demo-0", "the outage has made {main} MAIN");
    database.expect_everywhere(&written.tokens()).await
}

/// MAIN is lost under load by a fault, which is over when `fault` returns.
pub(super) async fn main_is_lost(
    scene: Arc<Scene>,
    fault: impl AsyncFnOnce(&Database, &str) -> Result<()>,
) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let before = database.ledger().await?;
    let old = before.main.instance.as_str();
    let mut writer = Writer::start(&database, "token").await?;
    writer.goes_on(AROUND).await?;
    fault(&database, old).await?;
    replaced(&database, old).await?;
    writer.goes_on(AROUND).await?;
    let written = writer.stop().await?;
    let now = database.ledger().await?;
    let history = database.status().await?.history;
    let kind = history.first().map(|record| record.kind);
    eprintln!("          {written}; {kind:?}");
    // One loss is one term, but on a machine that starves its processes others are suspected, too.
    eprintln!("          terms: {} -> {}", before.term, now.term);
    ensure!(
        now.term > before.term && now.lineage == before.lineage,
        "no new term of the same history: {before:?}, then {now:?}"
    );
    // A MAIN that was lost in the middle of a commit may hold what nobody else has: it is set aside, and comes anew.
    database.settled().await?;
    database.expect_everywhere(&written.tokens()).await
}

/// Waits until another instance than `old` is MAIN, and open to clients.
pub(super) async fn replaced(database: &Database, old: &str) -> Result<()> {
    let other = |cluster: &MemgraphCluster| {
        let ledger = cluster.status.as_ref().and_then(|status| status.ledger.as_ref());
        ledger.is_some_and(|ledger| ledger.route == Route::Open && ledger.main.instance != old)
    };
    database.wait("another MAIN", SETTLE_LIMIT, other).await.map(drop)
}

/// A client that is connected and says nothing.
struct HeldSession(TcpStream);

impl HeldSession {
    /// Magic number and one version of a Bolt handshake: 4.3.
    const HANDSHAKE: [u8; 20] = [
        0x60, 0x60, 0xB0, 0x17, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];

    fn open(at: SocketAddr) -> Result<Self> {
        let limit = Duration::from_secs(5);
        let mut stream = TcpStream::connect_timeout(&at, limit).context("cannot connect to the gateway")?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(&Self::HANDSHAKE)?;
        let mut version = [0; 4];
        stream.read_exact(&mut version)?;
        ensure!(version == [0, 0, 3, 4], "no handshake: {version:?}");
        stream.set_nonblocking(true)?;
        Ok(Self(stream))
    }

    fn is_open(&self) -> Result<bool> {
        match (&self.0).read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Ok(0) => Ok(false),
            other => anyhow::bail!("the server has spoken unasked: {other:?}"),
        }
    }
}
