//! The operator process that leads is killed after the first step of what it does, the next time after the second one, and
//! so on up to the last one: another process takes it up where it is. A step is an action or a write of the ledger. How often
//! some of them come is chance, so that each time it is the first step of a kind, or one more of its kind, that it was not killed after.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, run};
use e2e_node::node::wait_for_operator;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use e2e_node::writer::Writer;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use memgraph_operator::api::{MemgraphCluster, SwitchoverState, names};
use serde_json::json;

/// How many writes are acknowledged before the leader works.
const AROUND: usize = 30;

/// Name of the clusters, or what it begins with: no other test's, whose steps would be taken for theirs.
const NAME: &str = "steps";

/// The steps after which the leader was killed so far.
#[derive(Default)]
struct Deaths(Vec<String>);

impl Deaths {
    /// Has the leader killed after one more step than the last times in what `begin` makes it do, and waits until it is `over` all
    /// the same. False: it has come to the end before.
    async fn one_more(
        &mut self,
        database: &Database,
        begin: impl AsyncFnOnce() -> Result<()>,
        over: impl AsyncFn() -> Result<()>,
    ) -> Result<bool> {
        let node = &database.scene.node;
        let doomed = node.doom_leader(&database.name, &self.0).await?;
        begin().await?;
        let last = doomed.dies_before(over()).await?;
        let Some(step) = last else { return Ok(false) };
        over().await?;
        eprintln!("          killed after {step}");
        self.0.push(step);
        wait_for_operator(&node.cluster)?;
        Ok(true)
    }

    /// Checks that steps of all these kinds were among them.
    fn expect(&self, kinds: &[&str]) -> Result<()> {
        let missing: Vec<_> = kinds
            .iter()
            .filter(|kind| self.0.iter().all(|step| step != *kind))
            .collect();
        ensure!(
            missing.is_empty(),
            "never killed after {missing:?}, only after {:?}",
            self.0
        );
        Ok(())
    }
}

/// Each time of another cluster: one that loses MAIN often is made to wait.
pub async fn of_a_failover(scene: Arc<Scene>) -> Result<()> {
    let mut deaths = Deaths::default();
    let mut more = true;
    while more {
        let database = scene
            .start(&format!("{NAME}-{}", deaths.0.len()), json!({}))
            .await?;
        let mut writer = Writer::start(&database, "token").await?;
        writer.goes_on(AROUND).await?;
        let before = database.ledger().await?;
        let main = database.pod(&before.main.instance).await?;
        let over = async || database.settled_after(before.term).await.map(drop);
        more = deaths
            .one_more(&database, async || scene.node.kill(&main), over)
            .await?;
        all_is_there(&database, writer).await?;
        remove(&database).await?;
    }
    deaths.expect(&[
        "WriteClosed",
        "Fence",
        "Promote",
        "Register",
        "ProbeCommit",
        "Confirm",
        "WriteOpen",
    ])
}

pub async fn of_a_switchover(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start(NAME, json!({})).await?;
    let mut writer = Writer::start(&database, "token").await?;
    let mut deaths = Deaths::default();
    let mut more = true;
    while more {
        database.settled().await?;
        writer.goes_on(AROUND).await?;
        let id = format!("move-{}", deaths.0.len());
        let patch = json!({"spec": {"switchover": {"requestId": id}}}).to_string();
        let ask = async || {
            scene
                .kubectl(&[
                    "patch",
                    "memgraphcluster",
                    NAME,
                    "--type=merge",
                    "--patch",
                    &patch,
                ])
                .map(drop)
        };
        let over = async || {
            let over = |cluster: &MemgraphCluster| {
                let status = cluster.status.as_ref();
                let asked = status.and_then(|status| status.switchover.as_ref());
                asked.is_some_and(|asked| {
                    let open = matches!(asked.state, SwitchoverState::Pending | SwitchoverState::Running);
                    asked.request_id == id && !open
                })
            };
            database
                .wait("the switchover to be over", SETTLE_LIMIT, over)
                .await?;
            database.settled().await.map(drop)
        };
        more = deaths.one_more(&database, ask, over).await?;
    }
    all_is_there(&database, writer).await?;
    deaths.expect(&[
        "ReachGateways",
        "WriteClosed",
        "Fence",
        "Quiesce",
        "ProbeCommit",
        "Confirm",
        "StepDown",
        "Promote",
        "Register",
        "WriteOpen",
    ])
}

pub async fn of_a_bootstrap(scene: Arc<Scene>) -> Result<()> {
    let mut deaths = Deaths::default();
    let mut more = true;
    while more {
        let database = Database::new(Arc::clone(&scene), &format!("{NAME}-{}", deaths.0.len()));
        let create = async || scene.create(&database.name, json!({})).await.map(drop);
        let over = async || database.settled().await.map(drop);
        more = deaths.one_more(&database, create, over).await?;
        database.write("first").await?;
        database.expect_everywhere(&["first"]).await?;
        remove(&database).await?;
    }
    deaths.expect(&[
        "WriteClosed",
        "Promote",
        "Mark",
        "Register",
        "ProbeCommit",
        "Confirm",
        "WriteOpen",
    ])
}

/// Somebody takes the registration away by which MAIN waits for its in-sync replica.
pub async fn of_a_repair(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start(NAME, json!({})).await?;
    let mut writer = Writer::start(&database, "token").await?;
    let mut deaths = Deaths::default();
    let mut more = true;
    while more {
        database.settled().await?;
        writer.goes_on(AROUND).await?;
        let before = database.ledger().await?;
        let over = async || database.settled_after(before.term).await.map(drop);
        more = deaths
            .one_more(&database, async || drop_strict_replica(&database).await, over)
            .await?;
        let now = database.ledger().await?;
        ensure!(
            now.main == before.main,
            "MAIN has changed: {before:?}, then {now:?}"
        );
    }
    all_is_there(&database, writer).await?;
    deaths.expect(&[
        "WriteClosed",
        "Fence",
        "Register",
        "ProbeCommit",
        "Confirm",
        "WriteOpen",
    ])
}

async fn drop_strict_replica(database: &Database) -> Result<()> {
    let main = database.bolt_of(&database.main().await?).await?;
    // Commits hold the lock that the command needs.
    until("a registration to be dropped", SETTLE_LIMIT, async || {
        let replicas = run(main, "SHOW REPLICAS").await?;
        let strict = replicas
            .iter()
            .find(|row| row.get("sync_mode").and_then(|mode| mode.as_str()) == Some("strict_sync"));
        let Some(name) = strict.and_then(|row| row.get("name")?.as_str()) else {
            return Ok(None);
        };
        run(main, &format!("DROP REPLICA {name}")).await?;
        Ok(Some(()))
    })
    .await
}

/// An instance's data is set aside and filled anew. Clients notice nothing.
pub async fn of_a_reset(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start(NAME, json!({})).await?;
    let mut writer = Writer::start(&database, "token").await?;
    let before = database.ledger().await?;
    let pods: Api<Pod> = scene.api();
    let instance = format!("{NAME}-2");
    let list = format!("ls {}/{}", names::DATA_MOUNT, names::SET_ASIDE);
    // The oldest go when there are several.
    let set_aside = || scene.kubectl(&["exec", &instance, "--", "bash", "-c", &list]);
    let mut deaths = Deaths::default();
    let (mut folders, mut more) = (String::new(), true);
    while more {
        database.settled().await?;
        writer.goes_on(AROUND).await?;
        let token = format!("again-{}", deaths.0.len());
        let annotation = json!({"metadata": {"annotations": {names::RESET_ANNOTATION: token}}});
        let ask = async || {
            let (params, patch) = (PatchParams::default(), Patch::Merge(&annotation));
            pods.patch(&instance, &params, &patch).await?;
            Ok(())
        };
        let over = async || {
            until("the data to be set aside once more", SETTLE_LIMIT, async || {
                Ok((set_aside()? != folders).then_some(()))
            })
            .await?;
            database
                .wait("the order to be over", SETTLE_LIMIT, |cluster| {
                    let status = cluster.status.as_ref();
                    let ledger = status.and_then(|status| status.ledger.as_ref());
                    ledger.is_some_and(|ledger| ledger.resets.is_empty())
                })
                .await?;
            database.settled().await.map(drop)
        };
        more = deaths.one_more(&database, ask, over).await?;
        folders = set_aside()?;
        let now = database.ledger().await?;
        ensure!(
            (now.term, &now.main) == (before.term, &before.main),
            "clients were disturbed: {before:?}, then {now:?}"
        );
    }
    all_is_there(&database, writer).await?;
    deaths.expect(&["WriteOpen", "Drop", "DeletePod", "Register"])
}

/// Nothing that was acknowledged is lost, and clients are served.
async fn all_is_there(database: &Database, mut writer: Writer) -> Result<()> {
    writer.goes_on(AROUND).await?;
    let written = writer.stop().await?;
    eprintln!("          {written}");
    database.expect_everywhere(&written.tokens()).await
}

async fn remove(database: &Database) -> Result<()> {
    let clusters: Api<MemgraphCluster> = database.scene.api();
    clusters.delete(&database.name, &DeleteParams::default()).await?;
    Ok(())
}
