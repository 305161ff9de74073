//! What a script does to the world, and what it looks at: for courses of events that are written down, not drawn.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use bolt_server::Map;
use memgraph_operator::api::{MemgraphCluster, MemgraphClusterStatus, ledger::Route, names};
use memgraph_sim::engine::{InspectedReplica, InspectedRole};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    api::{Object, Resource},
    invariants::Promise,
    kubernetes::Node,
    memgraph::{BOLT_PORT, Client, ClientError, Path, Status, Trouble, TroubleId},
    processes::{Instance, OperatorSlot},
    run::{Outcome, run},
    trace::Trace,
    world::{NAMESPACE, Options, World, cluster_key},
};

/// How often a script looks whether what it waits for has come.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// For how long a script's clients wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many lines of the trace are shown of a script that fails.
const LAST_LINES: usize = 200;

/// Shows the end of the trace if the script panics.
struct Shown(Trace);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut lines = self.0.lines();
            lines.retain(|line| !line.contains("/leases/"));
            for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
                println!("{line}");
            }
        }
    }
}

/// Whether a client's session goes on.
pub async fn is_alive(client: &mut Client) -> bool {
    client.run("RETURN 1", Map::new(), PATIENCE).await.is_ok()
}

/// Plays a script from the moment on at which the cluster of `options` is whole.
///
/// # Panics
/// When the cluster does not become whole, the script panics, or an invariant does not hold. The end of the trace is shown then.
pub fn play<F>(options: &Options, script: impl FnOnce(Rc<World>) -> F) -> Outcome
where
    F: Future<Output = ()>,
{
    let shown = std::cell::OnceCell::new();
    let outcome = run(1, options, true, async |world| {
        let _ = shown.set(Shown(world.trace.clone()));
        world.create_cluster(&options.spec);
        let whole = world.settled(0, Duration::from_secs(60)).await;
        assert!(whole, "the cluster was not set up: {:?}", world.status());
        let reachable = |world: &World| !world.clients.endpoints().is_empty();
        assert!(
            world.until(Duration::from_secs(60), reachable).await,
            "no gateway is ready"
        );
        script(Rc::clone(&world)).await;
        world.check();
    });
    match outcome {
        Ok(outcome) => {
            assert_eq!(outcome.violations, []);
            outcome
        }
        Err(error) => panic!("there is no runtime: {error}"),
    }
}

impl World {
    /// MAIN, as the ledger names it.
    #[must_use]
    pub fn main(&self) -> Option<Instance> {
        let main = self.ledger()?.main.instance;
        self.instances.named(&main)
    }

    /// The name of MAIN in the ledger, whether it is there or not; empty where there is no ledger.
    #[must_use]
    pub fn main_name(&self) -> String {
        self.ledger()
            .map(|ledger| ledger.main.instance)
            .unwrap_or_default()
    }

    /// The first member of the in-sync set; empty where there is none.
    #[must_use]
    pub fn member(&self) -> String {
        let members = self.ledger().map(|ledger| ledger.in_sync).unwrap_or_default();
        members
            .into_iter()
            .next()
            .map(|member| member.instance)
            .unwrap_or_default()
    }

    /// The replicas that MAIN does not wait for, by name.
    #[must_use]
    pub fn others(&self) -> Vec<String> {
        let relied_on = self.ledger().unwrap_or_default();
        let mut names: Vec<_> = self
            .instances
            .live()
            .into_iter()
            .map(|instance| instance.name)
            .collect();
        names.retain(|name| !relied_on.relies_on(name));
        names.sort();
        names
    }

    /// Whether clients are let in to an instance, as the ledger has it.
    #[must_use]
    pub fn is_open_to(&self, instance: &str) -> bool {
        self.ledger()
            .is_some_and(|ledger| ledger.route == Route::Open && ledger.main.instance == instance)
    }

    /// The operator process that holds the Lease.
    #[must_use]
    pub fn leader(&self) -> Option<Rc<OperatorSlot>> {
        let key = (
            "memgraph-operator-system".to_owned(),
            "memgraph-operator".to_owned(),
        );
        let leases = Resource::new("coordination.k8s.io/v1", "leases");
        let lease = self.api.store().get(&leases, &key)?;
        let holder = lease["spec"]["holderIdentity"].as_str()?.to_owned();
        let mut slots = self.operators.iter();
        slots.find(|slot| holder.starts_with(slot.name())).cloned()
    }

    /// The node that a pod runs on.
    #[must_use]
    pub fn node_of(&self, pod: &str) -> Option<Node> {
        let pod = self.pod(pod)?;
        let name = pod["spec"]["nodeName"].as_str()?;
        let nodes = self.kubernetes.instance_nodes().iter();
        let mut nodes = nodes.chain(self.kubernetes.gateway_nodes());
        nodes.find(|node| node.name() == name).cloned()
    }

    /// A pod, as the API server has it.
    #[must_use]
    pub fn pod(&self, name: &str) -> Option<Object> {
        self.api
            .store()
            .get(&Resource::pods(), &(NAMESPACE.to_owned(), name.to_owned()))
    }

    /// Deletes a pod, as `kubectl delete pod` does.
    pub fn delete_pod(&self, name: &str) {
        let key = (NAMESPACE.to_owned(), name.to_owned());
        self.api.store().edit(&Resource::pods(), &key, |pod| {
            if pod["metadata"]["deletionTimestamp"].is_null() {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                pod["metadata"]["deletionGracePeriodSeconds"] = json!(60);
            }
        });
    }

    /// The pod is not there any more for Kubernetes; its node does not know that until it is connected again, and lets it
    /// live on.
    #[must_use]
    pub fn delete_by_force(&self, name: &str) -> Option<Node> {
        let node = self.node_of(name)?;
        node.set_connected(false);
        let key = (NAMESPACE.to_owned(), name.to_owned());
        self.api.store().remove(&Resource::pods(), &key);
        Some(node)
    }

    /// Whether the data of the instances goes with their pods.
    #[must_use]
    pub fn has_data_in_pods(&self) -> bool {
        let is_so = |cluster: &MemgraphCluster| cluster.spec.storage.empty_dir.is_some();
        self.with_cluster(is_so).unwrap_or_default()
    }

    /// Marks the volume claim of an instance as deleted: it goes with the pod.
    pub fn delete_claim(&self, instance: &str) {
        let key = (NAMESPACE.to_owned(), names::data_claim(instance));
        self.api.store().edit(&Resource::claims(), &key, |claim| {
            claim["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        });
    }

    /// Changes the cluster's spec.
    pub fn edit_spec(&self, change: impl FnOnce(&mut Value)) {
        self.api
            .store()
            .edit(&Resource::clusters(), &cluster_key(), |cluster| {
                change(&mut cluster["spec"]);
                if Promise::of(&cluster["spec"]) != self.promise {
                    self.watchman.note_promised_less();
                }
            });
    }

    /// Wakes the cluster up, if it sleeps or is to.
    pub fn wake(&self) {
        if self.with_cluster(|cluster| cluster.spec.hibernated) == Some(true) {
            self.edit_spec(|spec| spec["hibernated"] = json!(false));
        }
    }

    /// What is reported of the cluster.
    #[must_use]
    pub fn status(&self) -> MemgraphClusterStatus {
        self.cluster()
            .and_then(|cluster| cluster.status)
            .unwrap_or_default()
    }

    /// Value and reason of a condition, such as `("True", "AsExpected")`; both empty where there is none.
    #[must_use]
    pub fn condition(&self, type_: &str) -> (String, String) {
        let conditions = self.status().conditions.into_iter();
        let mut found = conditions.filter(|condition| condition.type_ == type_);
        let found = found.next();
        found
            .map(|condition| (condition.status, condition.reason))
            .unwrap_or_default()
    }

    /// The replicas that are registered on an instance, if it is a MAIN.
    #[must_use]
    pub fn registrations(&self, instance: &str) -> Vec<InspectedReplica> {
        let process = self
            .instances
            .named(instance)
            .and_then(|instance| instance.process);
        let look = process.and_then(|process| self.memgraphs.look(process));
        match look.map(|look| look.inspection.role) {
            Some(InspectedRole::Main { registrations, .. }) => registrations,
            _ => Vec::new(),
        }
    }

    /// The instances that are open to clients and MAIN by their own word, whatever the ledger says.
    #[must_use]
    pub fn mains(&self) -> Vec<String> {
        let live = self.instances.live().into_iter();
        let serves =
            |process| self.memgraphs.is_main(process) && self.memgraphs.status(process) == Status::Ready;
        let mains = live.filter(|instance| instance.process.is_some_and(serves));
        mains.map(|instance| instance.name).collect()
    }

    /// The statements that change something and were sent to an instance, or to whoever had its address, from the
    /// `since`th statement on.
    #[must_use]
    pub fn sent_to(&self, instance: &str, since: u64) -> Vec<String> {
        let address = self.instances.named(instance).map(|instance| instance.address);
        let since = usize::try_from(since).unwrap_or(usize::MAX);
        let sent = self.protocol.sent().into_iter().skip(since);
        sent.filter(|sent| Some(sent.to.ip()) == address)
            .map(|sent| sent.statement)
            .collect()
    }

    /// Gives a command to an instance, as a human with a shell in its pod does.
    ///
    /// # Errors
    /// When it is not carried out.
    pub async fn command(&self, instance: &str, statement: &str) -> Result<(), ClientError> {
        let Some(instance) = self.instances.named(instance) else {
            return Err(ClientError::Failed(format!("there is no {instance}")));
        };
        let mut client = self.memgraphs.client(self.memgraphs.place("human"));
        client
            .connect((instance.address, BOLT_PORT).into(), PATIENCE)
            .await?;
        let done = client.run(statement, Map::new(), PATIENCE).await.map(drop);
        self.trace
            .note(|| format!("human: {statement} at {}: {done:?}", instance.name));
        done
    }

    /// Cuts the packets between two instances' replication ports, in both directions; other connections go on.
    #[must_use]
    pub fn cut_replication(&self, one: &Instance, other: &Instance) -> [TroubleId; 2] {
        [
            Path::between(one.place, other.place),
            Path::between(other.place, one.place),
        ]
        .map(|path| {
            self.memgraphs
                .trouble(path.on(names::REPLICATION_PORT), Trouble::Drop)
        })
    }

    /// A client with a session through any gateway, on this port.
    ///
    /// # Errors
    /// When no gateway takes it.
    pub async fn session(&self, port: u16) -> Result<Client, ClientError> {
        let mut last = ClientError::Failed("there is no gateway".to_owned());
        for address in self.clients.endpoints() {
            let mut client = self.memgraphs.client(self.memgraphs.place("application"));
            let connected = client.connect(SocketAddr::new(address, port), PATIENCE).await;
            match connected {
                Ok(()) => match client.run("RETURN 1", Map::new(), PATIENCE).await {
                    Ok(_) => return Ok(client),
                    Err(error) => last = error,
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Waits until something holds; whether it does in time.
    pub async fn until(&self, time: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + time;
        loop {
            if holds(self) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until so many more writes are acknowledged; whether they are in time.
    pub async fn writes(&self, more: u64, time: Duration) -> bool {
        let wanted = self.clients.acknowledged() + more;
        self.until(time, |world| world.clients.acknowledged() >= wanted)
            .await
    }

    /// Whether something holds for that long, at every look.
    pub async fn throughout(&self, time: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        !self.until(time, |world| !holds(world)).await
    }
}
