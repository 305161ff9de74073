//! The whole simulated world, put together from one seed.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, PoisonError},
};

use fastrand::Rng;
use kube::Client;
use memgraph_operator::api::{MemgraphCluster, ledger::Ledger, names};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::spawn_local;

use crate::{
    announced::Addresses,
    api::{ApiServer, Connection, Key, Object, Resource, Way, Ways},
    clients::Clients,
    invariants::{Promise, Watchman},
    kubernetes::{ELSEWHERE, Kubernetes},
    life::Life,
    memgraph::{Memgraphs, Place, SimulatedBolt},
    processes::{
        GatewayMaker, Gateways, Instances, Kept, Link, OPERATORS, OPERATORS_NAMESPACE, OperatorSlot,
        Surroundings,
    },
    protocol::{Protocol, Seen},
    trace::Trace,
};

/// Name of the cluster.
pub const CLUSTER: &str = "demo";
/// Its namespace.
pub const NAMESPACE: &str = "db";

/// What the world is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The cluster's spec.
    pub spec: Value,
    /// How many nodes there are for instances.
    pub nodes: usize,
    /// How many clients write.
    pub writers: usize,
    /// How many clients read.
    pub readers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            spec: json!({}),
            nodes: 3,
            writers: 3,
            readers: 1,
        }
    }
}

/// The simulated world.
pub struct World {
    /// What has happened.
    pub trace: Trace,
    /// What the operators do.
    pub protocol: Protocol,
    /// What must never be.
    pub watchman: Watchman,
    /// The API server.
    pub api: ApiServer,
    /// Engines and network.
    pub memgraphs: Memgraphs,
    /// Controllers and nodes.
    pub kubernetes: Rc<Kubernetes>,
    /// Instances in pods.
    pub instances: Instances,
    /// Gateways in pods.
    pub gateways: Gateways,
    /// The operator processes.
    pub operators: Vec<Rc<OperatorSlot>>,
    /// By node or operator: its way to the API server.
    pub ways: Ways,
    /// Clients.
    pub clients: Clients,
    /// For what happens to the world from outside.
    pub chance: RefCell<Rng>,
    /// What clients are promised.
    pub promise: Promise,
    /// The cluster as it was asked for last, as text is not read twice.
    read: RefCell<Option<(Object, MemgraphCluster)>>,
}

impl World {
    /// Makes the world and lets it begin. The cluster is not there yet.
    ///
    /// # Panics
    /// Outside of a `LocalSet`.
    #[must_use]
    pub fn begin(seed: u64, options: &Options, trace: Trace) -> Rc<Self> {
        let mut chance = Rng::with_seed(seed);
        let addresses = Addresses::default();
        let protocol = Protocol::new(Arc::clone(&addresses), trace.clone());
        let watchman = Watchman::new(trace.clone());
        let api = ApiServer::default();
        let memgraphs = Memgraphs::new(chance.u64(..));
        let ways = Ways::default();
        let instances = Instances::new(
            api.clone(),
            memgraphs.clone(),
            ways.clone(),
            watchman.clone(),
            chance.fork(),
            addresses,
            trace.clone(),
        );
        let gateways = Gateways::default();
        let maker = GatewayMaker {
            api: api.clone(),
            memgraphs: memgraphs.clone(),
            gateways: gateways.clone(),
            ways: ways.clone(),
            chance: Rc::new(RefCell::new(chance.fork())),
            watchman: watchman.clone(),
            trace: trace.clone(),
        };
        let pods = instances.clone();
        let kubernetes = Kubernetes::new(
            api.clone(),
            options.nodes,
            2,
            chance.fork(),
            trace.clone(),
            Box::new(move |plan| {
                if plan.pod["metadata"]["labels"][names::COMPONENT_LABEL] == names::INSTANCE {
                    pods.sandbox(plan)
                } else {
                    maker.sandbox(plan)
                }
            }),
        );
        kubernetes.start();
        let operators = (0..2)
            .map(|number| OperatorSlot::new(&format!("operator-{number}"), chance.fork(), trace.clone()))
            .collect();
        let clients = Clients::new(
            api.clone(),
            memgraphs.clone(),
            instances.clone(),
            watchman.clone(),
            trace.clone(),
        );
        let world = Rc::new(Self {
            clients,
            trace,
            protocol,
            watchman,
            api,
            memgraphs,
            kubernetes,
            instances,
            gateways,
            operators,
            ways,
            chance: chance.fork().into(),
            promise: Promise::of(&options.spec),
            read: RefCell::default(),
        });
        world.show_operators();
        for operator in &world.operators {
            let reach = world.reach(operator.name(), &mut chance);
            spawn_local(Rc::clone(operator).run(reach));
        }
        spawn_local(Rc::clone(&world).follow_ledger());
        spawn_local(Rc::clone(&world).follow_commands());
        world.clients.start(options.writers, options.readers, &mut chance);
        world
    }

    /// Makes the cluster.
    pub fn create_cluster(&self, spec: &Value) {
        self.create_neighbour(CLUSTER, spec);
    }

    /// Makes another cluster beside it, on the same nodes, which the same operators look after. It has no clients.
    pub fn create_neighbour(&self, name: &str, spec: &Value) {
        let cluster = json!({
            "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": spec,
        });
        let key = (NAMESPACE.to_owned(), name.to_owned());
        let created = self.api.store().create(&Resource::clusters(), &key, cluster);
        self.trace.note(|| format!("cluster made: {}", created.is_ok()));
    }

    /// The cluster as the API server has it.
    #[must_use]
    pub fn cluster(&self) -> Option<MemgraphCluster> {
        self.with_cluster(MemgraphCluster::clone)
    }

    /// Looks at the cluster as the API server has it.
    pub fn with_cluster<T>(&self, look: impl FnOnce(&MemgraphCluster) -> T) -> Option<T> {
        let live = self.api.store().get(&Resource::clusters(), &cluster_key())?;
        let mut read = self.read.borrow_mut();
        if !matches!(&*read, Some((known, _)) if Arc::ptr_eq(known, &live)) {
            *read = None;
            let cluster = MemgraphCluster::deserialize(&*live).ok()?;
            *read = Some((live, cluster));
        }
        read.as_ref().map(|(_, cluster)| look(cluster))
    }

    /// The cluster's version, which grows with each write.
    #[must_use]
    pub fn cluster_version(&self) -> Option<String> {
        let live = self.api.store().get(&Resource::clusters(), &cluster_key())?;
        Some(live["metadata"]["resourceVersion"].as_str()?.to_owned())
    }

    /// The ledger as it is written.
    #[must_use]
    pub fn ledger(&self) -> Option<Ledger> {
        self.with_cluster(|cluster| cluster.status.as_ref()?.ledger.clone())?
    }

    /// The way of a node or an operator to the API server.
    #[must_use]
    pub fn way(&self, name: &str) -> Way {
        self.ways.of(name)
    }

    fn reach(&self, name: &str, chance: &mut Rng) -> Reach {
        let place = self.memgraphs.place(name);
        Reach {
            name: name.to_owned(),
            api: self.api.clone(),
            way: self.way(name),
            bolt: self.memgraphs.bolt(place),
            place,
            gateways: self.gateways.clone(),
            paths: self.memgraphs.paths(),
            protocol: self.protocol.clone(),
            trace: self.trace.clone(),
            chance: chance.fork().into(),
            kept: Kept::default(),
        }
    }

    /// Has Kubernetes know the pods that the operators run in. They run outside of its nodes, and stay.
    fn show_operators(&self) {
        for operator in &self.operators {
            let key = (OPERATORS_NAMESPACE.to_owned(), operator.name().to_owned());
            let (label, value) = OPERATORS.split_once('=').unwrap_or_default();
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": key.0, "name": key.1, "labels": {label: value}},
                "spec": {"nodeName": ELSEWHERE},
            });
            let shown = self.api.store().create(&Resource::pods(), &key, pod);
            self.trace
                .note(|| format!("pod of {} made: {}", operator.name(), shown.is_ok()));
        }
    }

    /// Looks at each command at the moment at which it is sent.
    async fn follow_commands(self: Rc<Self>) {
        let mut commands = self.protocol.commands();
        while let Some(command) = commands.recv().await {
            self.i2_roles_change_behind_a_fence(&command);
            self.i1_whoever_is_promoted_holds_everything(&command);
            self.i16_only_the_leader_commands(&command);
            self.i3_a_registration_leads_to_whom_it_names(&command);
            self.i5_nobody_can_refuse_the_mark(&command);
        }
    }

    /// Looks at each state of the cluster.
    async fn follow_ledger(self: Rc<Self>) {
        let mut changes = self.api.store().changes(&Resource::clusters());
        let mut version = 0;
        let mut before: Option<MemgraphCluster> = None;
        loop {
            changes.get_and_see();
            loop {
                let next = self.api.store().next_recorded(&Resource::clusters(), version);
                let Some(change) = next else { break };
                version = change.version;
                let object = change.now.as_ref().or(change.before.as_ref());
                if object.is_some_and(|object| object["metadata"]["name"] != CLUSTER) {
                    continue;
                }
                let Some(object) = change.now else {
                    self.protocol.cluster_gone();
                    before = None;
                    continue;
                };
                let Ok(cluster) = MemgraphCluster::deserialize(&*object) else {
                    continue;
                };
                self.ledger_written(before.as_ref(), &cluster);
                before = Some(cluster);
            }
            changes.changed().await;
        }
    }

    fn ledger_written(&self, before: Option<&MemgraphCluster>, now: &MemgraphCluster) {
        if let Some(ready) = ready(now).filter(|ready| before.and_then(self::ready).as_ref() != Some(ready)) {
            self.trace.note(|| format!("status: {ready}"));
        }
        let asks_for_a_password = now.spec.auth.is_some();
        let declared = now.spec.replicas;
        let ledger = |cluster: &MemgraphCluster| cluster.status.as_ref()?.ledger.clone();
        let (before, Some(now)) = (before.and_then(ledger), ledger(now)) else {
            self.protocol.ledger_lost();
            return;
        };
        if before.as_ref() == Some(&now) {
            return;
        }
        if before.is_none() {
            self.i13_nothing_begins_before_every_instance_was_seen(declared, &now);
        }
        if asks_for_a_password {
            self.i18_nobody_is_led_to_a_main_without_users(before.as_ref(), &now);
        }
        self.trace.note(|| told(&now));
        self.protocol.ledger(&now);
        self.watchman.ledger(before.as_ref(), &now);
        self.check();
    }
}

/// What the status says first.
fn ready(cluster: &MemgraphCluster) -> Option<String> {
    let mut conditions = cluster.status.as_ref()?.conditions.iter();
    let ready = conditions.find(|condition| condition.type_ == "Ready")?;
    Some(format!(
        "Ready={} {}: {}",
        ready.status, ready.reason, ready.message
    ))
}

/// A ledger in one line, without times of day.
fn told(ledger: &Ledger) -> String {
    let names = |members: &[memgraph_operator::api::ledger::Member]| {
        let names: Vec<_> = members
            .iter()
            .map(|member| {
                let life = member
                    .incarnation
                    .container_id
                    .trim_start_matches("containerd://0000");
                format!("{}/{life}g{}", member.instance, member.generation)
            })
            .collect();
        names.join(",")
    };
    let operation = ledger.operation.as_ref();
    format!(
        "ledger: term {} opened: {} {:?} main {}/{} in sync [{}] candidates [{}] {:?}",
        ledger.term,
        ledger.opened,
        ledger.route,
        ledger.main.instance,
        ledger
            .main
            .incarnation
            .container_id
            .trim_start_matches("containerd://0000"),
        names(&ledger.in_sync),
        names(&ledger.candidates),
        operation.map(|operation| (operation.kind, &operation.target, operation.proven)),
    )
}

/// Where the cluster lies.
#[must_use]
pub fn cluster_key() -> Key {
    (NAMESPACE.to_owned(), CLUSTER.to_owned())
}

/// How one operator process reaches the world.
struct Reach {
    name: String,
    api: ApiServer,
    way: Way,
    bolt: SimulatedBolt,
    place: Place,
    gateways: Gateways,
    paths: crate::memgraph::Paths,
    protocol: Protocol,
    trace: Trace,
    chance: RefCell<Rng>,
    kept: Kept,
}

impl Surroundings<Seen<SimulatedBolt>, Link> for Reach {
    fn reach(&self, life: &Life) -> (Client, Seen<SimulatedBolt>, Link) {
        let chance = self.chance.borrow_mut().fork();
        let connection = Connection::new(
            self.api.clone(),
            self.way.clone(),
            life.clone(),
            &self.name,
            chance,
            self.trace.clone(),
        )
        .followed_by(self.protocol.clone());
        let bolt = Seen::new(self.bolt.clone(), &self.name, life.clone(), self.protocol.clone());
        let link = Link {
            from: self.place,
            life: life.clone(),
            gateways: self.gateways.clone(),
            paths: self.paths.clone(),
            protocol: self.protocol.clone(),
            kept: Arc::clone(&self.kept),
        };
        (connection.client(), bolt, link)
    }

    fn forget(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
