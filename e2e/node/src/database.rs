//! A MemgraphCluster under test: its state, and what is written to it and read from it over Bolt.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use memgraph_operator::api::ledger::{Ledger, Route};
use memgraph_operator::api::names::{self, BOLT_PORT};
use memgraph_operator::api::{MemgraphCluster, MemgraphClusterStatus, Phase};
use memgraph_operator::memgraph::{Bolt, BoltError, Neo4rsBolt, Row, Session};

use crate::scene::Scene;
use crate::wait::until;

/// How long a cluster may take to be as its spec says: containers start, data is copied, and the machine is small and may
/// have much else to do.
pub const SETTLE_LIMIT: Duration = Duration::from_secs(300);

/// How long to wait before a watch that was broken off is begun anew.
const WATCH_PAUSE: Duration = Duration::from_millis(100);

/// How long one statement may take.
const STATEMENT_LIMIT: Duration = Duration::from_secs(5);

/// How long a write is tried again, as a driver does.
const WRITE_LIMIT: Duration = Duration::from_secs(180);

/// A MemgraphCluster under test.
pub struct Database {
    /// The test that it belongs to.
    pub scene: Arc<Scene>,
    /// Its name.
    pub name: String,
    clusters: Api<MemgraphCluster>,
}

impl Database {
    /// The cluster of that name in a test's namespace.
    pub fn new(scene: Arc<Scene>, name: &str) -> Self {
        Self {
            clusters: scene.api(),
            scene,
            name: name.to_owned(),
        }
    }

    /// The object as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn get(&self) -> Result<MemgraphCluster> {
        Ok(self.clusters.get(&self.name).await?)
    }

    /// Its status as it is now.
    ///
    /// # Errors
    /// When it has none.
    pub async fn status(&self) -> Result<MemgraphClusterStatus> {
        self.get().await?.status.context("the cluster has no status")
    }

    /// Its ledger as it is now.
    ///
    /// # Errors
    /// When it has none.
    pub async fn ledger(&self) -> Result<Ledger> {
        self.status().await?.ledger.context("the cluster has no ledger")
    }

    /// Name of the instance that is MAIN.
    ///
    /// # Errors
    /// When the status names none.
    pub async fn main(&self) -> Result<String> {
        self.status().await?.main.context("the status names no MAIN")
    }

    /// Watches until the object is as wanted.
    ///
    /// # Errors
    /// When it is not in time; the error has its last status.
    pub async fn wait(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&MemgraphCluster) -> bool + Send,
    ) -> Result<MemgraphCluster> {
        let condition = |cluster: Option<&MemgraphCluster>| cluster.is_some_and(&wanted);
        // An API server that is killed, restarted or starved breaks watches off: another one is begun.
        let watched = async {
            loop {
                match await_condition(self.clusters.clone(), &self.name, condition).await {
                    Ok(found) => return found,
                    Err(_) => tokio::time::sleep(WATCH_PAUSE).await,
                }
            }
        };
        match tokio::time::timeout(limit, watched).await {
            Ok(found) => found.context("the cluster has been deleted"),
            Err(_) => {
                let status = serde_json::to_string(&self.status().await?)?;
                anyhow::bail!(
                    "{what}: not so after {} s; the status is {status}",
                    limit.as_secs()
                )
            }
        }
    }

    /// Waits until it is as its spec says, in all that the status tells.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn settled(&self) -> Result<MemgraphCluster> {
        self.wait("the cluster to be as its spec says", SETTLE_LIMIT, is_settled)
            .await
    }

    /// As [`Self::settled`], but in a later term than `term`.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn settled_after(&self, term: i64) -> Result<MemgraphCluster> {
        self.wait(
            "a new term, and the cluster to be as its spec says",
            SETTLE_LIMIT,
            |cluster| is_settled(cluster) && ledger(cluster).is_some_and(|ledger| ledger.term > term),
        )
        .await
    }

    /// Names of its instances by the spec.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn instances(&self) -> Result<Vec<String>> {
        let replicas = self.get().await?.spec.replicas;
        Ok((0..replicas)
            .map(|ordinal| names::instance(&self.name, ordinal))
            .collect())
    }

    /// An instance's pod.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn pod(&self, instance: &str) -> Result<Pod> {
        Ok(self.scene.api::<Pod>().get(instance).await?)
    }

    /// The UID of each instance's pod, and how often its containers were started anew.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn lives(&self) -> Result<BTreeMap<String, (String, i32)>> {
        let mut lives = BTreeMap::new();
        for instance in self.instances().await? {
            let pod = self.pod(&instance).await?;
            let uid = pod.uid().context("a pod without a UID")?;
            let statuses = pod.status.and_then(|status| status.container_statuses);
            let restarts = statuses.map_or(0, |all| all.iter().map(|status| status.restart_count).sum());
            lives.insert(instance, (uid, restarts));
        }
        Ok(lives)
    }

    /// Where an instance answers Bolt; this machine routes to its pod.
    ///
    /// # Errors
    /// When its pod has no address.
    pub async fn bolt_of(&self, instance: &str) -> Result<SocketAddr> {
        let address = self.pod(instance).await?.status.and_then(|status| status.pod_ip);
        let address: IpAddr = address
            .with_context(|| format!("pod {instance} has no address"))?
            .parse()?;
        Ok(SocketAddr::new(address, BOLT_PORT))
    }

    /// Where the gateway leads to MAIN.
    ///
    /// # Errors
    /// When its Service is not there.
    pub async fn gateway(&self) -> Result<SocketAddr> {
        self.service(&names::gateway(&self.name)).await
    }

    /// Where the gateway leads to a replica.
    ///
    /// # Errors
    /// When its Service is not there.
    pub async fn read_gateway(&self) -> Result<SocketAddr> {
        self.service(&names::read_gateway(&self.name)).await
    }

    async fn service(&self, name: &str) -> Result<SocketAddr> {
        let service = self.scene.api::<Service>().get(name).await?;
        let address = service.spec.and_then(|spec| spec.cluster_ip);
        let address: IpAddr = address
            .with_context(|| format!("Service {name} has no address"))?
            .parse()?;
        Ok(SocketAddr::new(address, BOLT_PORT))
    }

    /// Writes a token through the gateway, trying again as a driver does, and returns how long it took.
    ///
    /// # Errors
    /// When it is not acknowledged in time.
    pub async fn write(&self, token: &str) -> Result<Duration> {
        let gateway = self.gateway().await?;
        let statement = format!("MERGE (t:Token {{id: '{token}'}}) RETURN t.id AS id");
        let begin = Instant::now();
        until(
            &format!("writing {token} through {gateway}"),
            WRITE_LIMIT,
            async || {
                let rows = run(gateway, &statement).await?;
                ensure!(rows.len() == 1, "{} rows instead of one", rows.len());
                Ok(Some(()))
            },
        )
        .await?;
        Ok(begin.elapsed())
    }

    /// Reads each of the tokens from every instance, from MAIN through the gateway and from a replica through the read
    /// gateway.
    ///
    /// # Errors
    /// When one is not there in time.
    pub async fn expect_everywhere(&self, expected: &[&str]) -> Result<()> {
        for instance in self.instances().await? {
            self.expect_at(&instance, expected).await?;
        }
        self.expect_through_gateways(expected).await
    }

    /// Reads each of the tokens from MAIN through the gateway and from a replica through the read gateway.
    ///
    /// # Errors
    /// When one is not there in time.
    pub async fn expect_through_gateways(&self, expected: &[&str]) -> Result<()> {
        expect(
            &format!("{} through the gateway", self.name),
            expected,
            async || self.gateway().await,
        )
        .await?;
        if self.get().await?.spec.replicas > 1 {
            let reader = async || self.read_gateway().await;
            expect(
                &format!("{} through the read gateway", self.name),
                expected,
                reader,
            )
            .await?;
        }
        Ok(())
    }

    /// Reads each of the tokens from an instance.
    ///
    /// # Errors
    /// When one is not there in time.
    pub async fn expect_at(&self, instance: &str, expected: &[&str]) -> Result<()> {
        expect(instance, expected, async || self.bolt_of(instance).await).await
    }
}

async fn expect(what: &str, expected: &[&str], at: impl AsyncFn() -> Result<SocketAddr>) -> Result<()> {
    until(
        &format!("tokens {expected:?} at {what}"),
        SETTLE_LIMIT,
        async || {
            let found = tokens(at().await?).await?;
            let missing: Vec<_> = expected.iter().filter(|token| !found.contains(**token)).collect();
            ensure!(missing.is_empty(), "{missing:?} are missing, there are {found:?}");
            Ok(Some(()))
        },
    )
    .await
}

/// The tokens that a server has.
///
/// # Errors
/// When it does not answer.
pub async fn tokens(at: SocketAddr) -> Result<BTreeSet<String>> {
    let rows = run(at, "MATCH (t:Token) RETURN t.id AS id").await?;
    let ids = rows.iter().filter_map(|row| row.get("id")?.as_str());
    Ok(ids.map(str::to_owned).collect())
}

/// Runs one statement on a connection of its own.
///
/// # Errors
/// When it is refused, or not answered in time.
pub async fn run(at: SocketAddr, statement: &str) -> Result<Vec<Row>, BoltError> {
    Neo4rsBolt::anonymous()
        .session(at)
        .run(statement, STATEMENT_LIMIT)
        .await
}

/// A cluster's ledger.
pub fn ledger(cluster: &MemgraphCluster) -> Option<&Ledger> {
    cluster.status.as_ref()?.ledger.as_ref()
}

/// The value of a condition, `True`, `False` or `Unknown`, and its reason.
pub fn condition<'a>(cluster: &'a MemgraphCluster, type_: &str) -> Option<(&'a str, &'a str)> {
    let conditions = &cluster.status.as_ref()?.conditions;
    let found = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((&found.status, &found.reason))
}

/// Whether a cluster is as its spec says, in all that the status tells.
pub fn is_settled(cluster: &MemgraphCluster) -> bool {
    let Some(status) = &cluster.status else {
        return false;
    };
    let open = status
        .ledger
        .as_ref()
        .is_some_and(|ledger| ledger.route == Route::Open && ledger.operation.is_none());
    let is = |type_, value| condition(cluster, type_).is_some_and(|(status, _)| status == value);
    open && status.observed_generation == cluster.metadata.generation
        && status.phase == Some(Phase::Operational)
        && status.replicas == cluster.spec.replicas
        && status.ready_replicas == cluster.spec.replicas
        && is("Ready", "True")
        && is("Reconciling", "False")
}
