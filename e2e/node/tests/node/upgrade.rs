//! Another version of the operator, and another release of Memgraph, while an application writes whose driver does the rest. They
//! need what `e2e/images/earlier.sh` makes: `make e2e-upgrade`.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_cluster::process;
use e2e_node::application::Application;
use e2e_node::database::{Database, SETTLE_LIMIT, is_settled, run};
use e2e_node::installation::Version;
use e2e_node::node::OPERATOR_NAMESPACE;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use e2e_node::writer::Writer;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use memgraph_operator::api::ledger::DataCopy;
use serde_json::json;

use crate::chart::{desk_with_helm, in_place_of_the_operator};
use crate::updates::is_up_to_date;

/// How many transactions are acknowledged before a change and after it.
const AROUND: usize = 100;

/// How often the other version comes to lead.
const CHANGES_OF_LEADER: usize = 4;

/// The Deployment of the other version.
const OTHER: &str = "memgraph-operator-other";

pub async fn of_the_operator_by_helm_and_back_restarts_no_database_pod(scene: Arc<Scene>) -> Result<()> {
    let desk = desk_with_helm(&scene)?;
    in_place_of_the_operator(&desk, async |desk| {
        there_and_back(&scene, |change, version| {
            let chart = version.project.join("charts/memgraph-operator");
            let (chart, values) = (chart.display(), version.chart_values()?);
            let what = match change {
                Change::Install => format!("install memgraph-operator '{chart}' --create-namespace {values}"),
                Change::Upgrade => {
                    format!("upgrade memgraph-operator '{chart}' --reset-then-reuse-values {values}")
                }
                Change::Back => "rollback memgraph-operator".to_owned(),
            };
            let mut helm = desk.command(&format!("helm {what} --namespace {OPERATOR_NAMESPACE} --wait"))?;
            tokio::task::block_in_place(|| process::run(&mut helm))
        })
        .await
    })
    .await
}

pub async fn of_the_operator_by_kustomize_and_back_restarts_no_database_pod(scene: Arc<Scene>) -> Result<()> {
    scene.alone().await?;
    let result = there_and_back(&scene, |_, version| scene.node.install(version)).await;
    if result.is_err() {
        scene.tell_state();
    }
    result.and(scene.node.install_operator())
}

/// How a version takes another one's place.
#[derive(Clone, Copy)]
enum Change {
    Install,
    Upgrade,
    Back,
}

/// A cluster that an earlier version has made gets this one for its operator, and the earlier one again.
async fn there_and_back(scene: &Arc<Scene>, change: impl Fn(Change, &Version) -> Result<()>) -> Result<()> {
    let (earlier, this) = (scene.node.earlier()?.operator, scene.node.this_version());
    change(Change::Install, &earlier)?;
    let database = scene.start("demo", json!({})).await?;
    all_run(scene, &earlier.image).await?;
    let mut application = Application::start(&database, "upgrade").await?;
    let before = Untouched::of(&database).await?;
    for (how, version) in [(Change::Upgrade, &this), (Change::Back, &earlier)] {
        application.goes_on(AROUND).await?;
        change(how, version)?;
        all_run(scene, &version.image).await?;
        database.settled().await?;
        application.goes_on(AROUND).await?;
        before.expect(&database).await?;
    }
    let transactions = application.stop().await?;
    eprintln!("          {transactions}");
    transactions.expect_all(&database).await
}

/// One process of each version, by turns in the lead. Each has the gateways run its own image.
pub async fn two_versions_side_by_side_do_no_harm(scene: Arc<Scene>) -> Result<()> {
    scene.alone().await?;
    let earlier = scene.node.earlier()?.operator;
    let result = side_by_side(&scene, &earlier).await;
    if result.is_err() {
        scene.tell_state();
    }
    let deployments: Api<Deployment> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
    let removed = deployments.delete(OTHER, &DeleteParams::default()).await;
    result
        .and(removed.map(drop).map_err(Into::into))
        .and(scene.node.install_operator())
}

async fn side_by_side(scene: &Arc<Scene>, earlier: &Version) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let before = Untouched::of(&database).await?;
    let images = [scene.node.this_version().image, earlier.image.clone()];
    one_process_of_each(scene, &images).await?;
    let mut application = Application::start(&database, "side-by-side").await?;
    let mut led = Vec::new();
    for _ in 0..CHANGES_OF_LEADER {
        led.push(another_version_leads(scene, &images).await?);
        all_gateways_run(scene, &images[led[led.len() - 1]]).await?;
        database.settled().await?;
        application.goes_on(AROUND).await?;
        before.expect(&database).await?;
    }
    let transactions = application.stop().await?;
    eprintln!("          {transactions}; led by turns: {led:?}");
    transactions.expect_all(&database).await?;

    // The gateways are still the other version's when MAIN is lost.
    let mut writer = Writer::start(&database, "lost").await?;
    writer.goes_on(AROUND).await?;
    another_version_leads(scene, &images).await?;
    let (term, main) = (database.ledger().await?.term, database.main().await?);
    scene.node.kill(&database.pod(&main).await?)?;
    database.settled_after(term).await?;
    writer.goes_on(AROUND).await?;
    let written = writer.stop().await?;
    eprintln!("          MAIN lost between two versions: {written}");
    database.expect_everywhere(&written.tokens()).await
}

/// Has one process of the operator, and one of the other version beside it with the same rights and the same Lease.
async fn one_process_of_each(scene: &Scene, [this, other]: &[String; 2]) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
    let one = json!({"spec": {"replicas": 1}});
    deployments
        .patch("memgraph-operator", &PatchParams::default(), &Patch::Merge(&one))
        .await?;
    let mut beside = deployments.get("memgraph-operator").await?;
    let labels = beside.labels().clone();
    beside.metadata = kube::core::ObjectMeta {
        name: Some(OTHER.to_owned()),
        labels: Some(labels),
        ..kube::core::ObjectMeta::default()
    };
    beside.status = None;
    let spec = beside.spec.as_mut().context("a Deployment without a spec")?;
    // Its pods are also the operator's, which gateways ask, but no pods of the first Deployment.
    let mark = |labels: &mut Option<BTreeMap<String, String>>| {
        labels
            .get_or_insert_default()
            .insert("memgraph.dev/test".to_owned(), OTHER.to_owned());
    };
    mark(&mut spec.selector.match_labels);
    mark(&mut spec.template.metadata.get_or_insert_default().labels);
    let text = serde_json::to_string(&beside)?.replace(this, other);
    deployments
        .create(&PostParams::default(), &serde_json::from_str(&text)?)
        .await?;
    let mut both = vec![this.clone(), other.clone()];
    both.sort();
    until("one process of each version", SETTLE_LIMIT, async || {
        let pods: Api<Pod> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
        let pods = pods.list(&ListParams::default()).await?.items;
        let mut images: Vec<_> = pods.iter().filter_map(ready_image).collect();
        images.sort();
        Ok((images == both && pods.len() == both.len()).then_some(()))
    })
    .await
}

/// Ends the process that leads. Returns the number of the image that the next leader runs, which is not its own: its
/// successor of the same version starts only then.
async fn another_version_leads(scene: &Scene, images: &[String; 2]) -> Result<usize> {
    let first = scene.node.leader().await?.context("nobody leads")?;
    let leading = scene.node.leading_pod().await?;
    let pods: Api<Pod> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
    until(
        "the other process to be ready to lead",
        SETTLE_LIMIT,
        async || {
            let pods = pods.list(&ListParams::default()).await?.items;
            let ready = pods.iter().filter(|pod| ready_image(pod).is_some()).count();
            Ok((ready == 2 && pods.len() == 2).then_some(()))
        },
    )
    .await?;
    pods.delete(&leading.name_any(), &DeleteParams::default()).await?;
    scene.node.next_leader(&first, SETTLE_LIMIT).await?;
    let leads = scene.node.leading_pod().await?;
    let number = |pod: &Pod| {
        let image = image(pod);
        images.iter().position(|known| Some(known) == image)
    };
    let (was, is) = (number(&leading), number(&leads));
    ensure!(was != is, "a process of the same version leads again: {is:?}");
    is.with_context(|| format!("the leader runs {:?}", image(&leads)))
}

fn image(pod: &Pod) -> Option<&String> {
    pod.spec.as_ref()?.containers.first()?.image.as_ref()
}

/// The image of a pod that is ready, and not about to go.
fn ready_image(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True");
    let stays = ready && pod.metadata.deletion_timestamp.is_none();
    image(pod).filter(|_| stays).cloned()
}

/// Waits until operator and gateways run this image, all are ready, and none of another one is left.
async fn all_run(scene: &Scene, image: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
    until(&format!("an operator of {image}"), SETTLE_LIMIT, async || {
        let pods = pods.list(&ListParams::default()).await?.items;
        Ok(both_run(&pods, image).then_some(()))
    })
    .await?;
    all_gateways_run(scene, image).await
}

async fn all_gateways_run(scene: &Scene, image: &str) -> Result<()> {
    until(&format!("gateways of {image}"), SETTLE_LIMIT, async || {
        Ok(both_run(&scene.gateways().await?, image).then_some(()))
    })
    .await
}

fn both_run(pods: &[Pod], image: &str) -> bool {
    pods.len() == 2 && pods.iter().all(|pod| ready_image(pod).as_deref() == Some(image))
}

/// What no change of the operator may touch: the instances' containers, who is MAIN, and the term. The list of gateways follows these.
#[derive(Debug, PartialEq)]
struct Untouched {
    lives: BTreeMap<String, (String, i32)>,
    main: DataCopy,
    lineage: String,
    term: i64,
}

impl Untouched {
    async fn of(database: &Database) -> Result<Self> {
        let ledger = database.ledger().await?;
        Ok(Self {
            lives: database.lives().await?,
            main: ledger.main,
            lineage: ledger.lineage,
            term: ledger.term,
        })
    }

    async fn expect(&self, database: &Database) -> Result<()> {
        let now = Self::of(database).await?;
        ensure!(
            *self == now,
            "instances or MAIN have changed: {self:?}, then {now:?}"
        );
        Ok(())
    }
}

/// The instances get a later release, one after the other.
pub async fn of_memgraph_fails_no_transaction(scene: Arc<Scene>) -> Result<()> {
    let earlier = scene.node.earlier()?.memgraph;
    let database = scene.start("demo", json!({"image": earlier})).await?;
    let old = releases(&database).await?;
    let mut application = Application::start(&database, "release").await?;
    application.goes_on(AROUND).await?;
    let patch = json!({"spec": {"image": scene.node.images.memgraph}}).to_string();
    scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    // Each instance waits for 5 s before it ends, and for its replication to be well before the next one.
    database
        .wait("the upgrade to end", SETTLE_LIMIT * 3, |cluster| {
            is_up_to_date(cluster) == Some(true) && is_settled(cluster)
        })
        .await?;
    application.goes_on(AROUND).await?;
    let transactions = application.stop().await?;
    let new = releases(&database).await?;
    eprintln!("          {old:?} -> {new:?}: {transactions}");
    let differs = |(old, new): (&String, &String)| old != new;
    ensure!(
        old.len() == new.len() && old.iter().zip(&new).all(differs),
        "{old:?} -> {new:?}"
    );
    transactions.expect_all(&database).await
}

/// What each instance says that it is.
async fn releases(database: &Database) -> Result<Vec<String>> {
    let mut releases = Vec::new();
    for instance in database.instances().await? {
        let rows = run(database.bolt_of(&instance).await?, "SHOW VERSION").await?;
        let version = rows.first().and_then(|row| row.get("version")?.as_str());
        releases.push(version.context("SHOW VERSION says nothing")?.to_owned());
    }
    Ok(releases)
}
