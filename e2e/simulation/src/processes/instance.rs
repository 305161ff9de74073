//! Instances in pods.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    rc::Rc,
    sync::PoisonError,
    time::Duration,
};

use fastrand::Rng;
use futures::{FutureExt, future::LocalBoxFuture};
use memgraph_operator::{
    api::{InitNote, MemgraphCluster, ledger::Incarnation, names},
    resources,
};
use serde_json::Value;
use tokio::task::spawn_local;

use super::preparation;
use crate::{
    announced::Addresses,
    api::{ApiServer, Connection, Key, Object, Resource, Ways},
    invariants::Watchman,
    kubernetes::{PodPlan, Sandbox, has_own_volume},
    life::Life,
    memgraph::{Memgraphs, Place, Pod, Process, Setup, Status, Volume, WriteId},
    trace::Trace,
    world::CLUSTER,
};

/// Where the name of a pod's own volume lies on it.
const VOLUME_NAME: &str = "set-aside/volume";

/// How long DNS shows a pod's former address, in milliseconds.
const DNS_LAG: std::ops::RangeInclusive<u64> = 0..=3_000;

/// A pod of an instance that lives, whether Kubernetes knows of it or not.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The instance's name.
    pub name: String,
    /// The life that it is in, as Kubernetes names it. The container is empty before the first one.
    pub incarnation: Incarnation,
    /// Its address.
    pub address: IpAddr,
    /// The node's place in the network.
    pub place: Place,
    /// Its pod in the network.
    pub pod: Pod,
    /// Its volume.
    pub volume: Volume,
    /// The volume is the pod's own, and gone with it.
    pub own_volume: bool,
    /// What it is started with.
    pub setup: Setup,
    /// What runs in it now, or ran last.
    pub process: Option<Process>,
}

/// All instances, and the volumes.
#[derive(Clone)]
pub struct Instances {
    inner: Rc<Inner>,
}

struct Inner {
    api: ApiServer,
    memgraphs: Memgraphs,
    ways: Ways,
    watchman: Watchman,
    trace: Trace,
    chance: RefCell<Rng>,
    /// By a number that grows.
    live: RefCell<BTreeMap<u64, Instance>>,
    numbers: Cell<u64>,
    /// Whose address DNS shows under a name, by the number in `live`.
    published: RefCell<BTreeMap<String, u64>>,
    volumes: RefCell<BTreeMap<String, Volume>>,
    /// Whose address is whose, of the cluster's instances.
    addresses: Addresses,
    /// By process, also those that have ended: the instance's name, and its life.
    lives: RefCell<BTreeMap<Process, (String, Incarnation)>>,
    /// By an instance's name: when its machine has lost power last, since the beginning.
    without_power: RefCell<BTreeMap<String, Duration>>,
}

impl Instances {
    /// None yet.
    #[must_use]
    pub fn new(
        api: ApiServer,
        memgraphs: Memgraphs,
        ways: Ways,
        watchman: Watchman,
        chance: Rng,
        addresses: Addresses,
        trace: Trace,
    ) -> Self {
        Self {
            inner: Rc::new(Inner {
                api,
                memgraphs,
                ways,
                watchman,
                trace,
                chance: chance.into(),
                live: RefCell::default(),
                numbers: Cell::new(0),
                published: RefCell::default(),
                volumes: RefCell::default(),
                addresses,
                lives: RefCell::default(),
                without_power: RefCell::default(),
            }),
        }
    }

    pub(super) fn memgraphs(&self) -> &Memgraphs {
        &self.inner.memgraphs
    }

    pub(super) fn trace(&self) -> &Trace {
        &self.inner.trace
    }

    /// I8: the data of an instance is set aside only while nothing relies on it.
    pub(super) fn i8_nothing_relies_on_what_is_set_aside(
        &self,
        instance: &Instance,
        namespace: &str,
        cluster: &str,
    ) {
        let key: Key = (namespace.to_owned(), cluster.to_owned());
        let live = self.inner.api.store().get(&Resource::clusters(), &key);
        let cluster =
            live.and_then(|live| serde_json::from_value::<MemgraphCluster>(Value::clone(&live)).ok());
        let ledger = cluster
            .and_then(|cluster| cluster.status)
            .and_then(|status| status.ledger);
        if ledger.is_some_and(|ledger| ledger.relies_on(&instance.name)) {
            let what = format!(
                "the data of {} is set aside, and the ledger relies on it",
                instance.name
            );
            self.inner.watchman.report("I8", what);
        }
    }

    /// The volumes that claims or pods have, in use or not: that of an instance without power is one too.
    fn claimed(&self) -> Vec<Volume> {
        let store = self.inner.api.store();
        let volumes = self.inner.volumes.borrow();
        let claims = store.all(&Resource::claims());
        let names = claims.filter_map(|(_, claim)| Some(text(claim.get("spec")?.get("volumeName")?)));
        let pods = store.all(&Resource::pods());
        let own = pods.map(|(_, pod)| format!("empty-dir-{}", text(&pod["metadata"]["uid"])));
        let known = names.chain(own).filter_map(|name| volumes.get(&name).copied());
        known.collect()
    }

    /// I8: nothing that was acknowledged is set aside unless another instance has it.
    pub(super) fn i8_others_have_what_is_set_aside(&self, instance: &Instance) {
        self.i8_others_have_it(instance, "is set aside");
    }

    /// I8: nothing that was acknowledged goes with a pod unless another instance has it.
    fn i8_others_have_what_goes(&self, instance: &Instance) {
        self.i8_others_have_it(instance, "is gone with its pod");
    }

    fn i8_others_have_it(&self, instance: &Instance, what_becomes_of_it: &str) {
        let (memgraphs, watchman) = (&self.inner.memgraphs, &self.inner.watchman);
        let acknowledged: BTreeSet<_> = watchman.all_acknowledged().into_iter().collect();
        let live = self.live().into_iter();
        let running = live
            .filter(|other| other.volume != instance.volume)
            .filter_map(|other| other.process);
        let mut held: BTreeSet<_> = running.flat_map(|process| memgraphs.committed(process)).collect();
        let claimed = self.claimed().into_iter();
        let others = claimed.filter(|volume| *volume != instance.volume);
        held.extend(others.flat_map(|volume| memgraphs.on_disk(volume, &instance.setup)));
        let mut only_here = memgraphs.on_disk(instance.volume, &instance.setup).into_iter();
        let lost = |id: &WriteId| acknowledged.contains(id) && !held.contains(id) && !watchman.is_booked(*id);
        if let Some(id) = only_here.find(lost) {
            let what = format!(
                "the data of {} {what_becomes_of_it}, and nobody else has {id:?}",
                instance.name
            );
            watchman.report("I8", what);
        }
    }

    /// The writes that an instance of the cluster holds, or would after its next start, on any volume that a claim or a pod has.
    #[must_use]
    pub fn everything_kept(&self) -> BTreeSet<WriteId> {
        let memgraphs = &self.inner.memgraphs;
        let live = self.live();
        let running = live.iter().filter_map(|instance| instance.process);
        let mut held: BTreeSet<_> = running.flat_map(|process| memgraphs.committed(process)).collect();
        if let Some(instance) = live.first() {
            let volumes = self.claimed().into_iter();
            held.extend(volumes.flat_map(|volume| memgraphs.on_disk(volume, &instance.setup)));
        }
        held
    }

    /// A connection to the API server from a node.
    pub(super) fn connection(&self, node: &str, life: &Life) -> Connection {
        let way = self.inner.ways.of(node);
        let chance = self.inner.chance.borrow_mut().fork();
        Connection::new(
            self.inner.api.clone(),
            way,
            life.clone(),
            node,
            chance,
            self.inner.trace.clone(),
        )
    }

    /// Every one that lives, the oldest first.
    #[must_use]
    pub fn live(&self) -> Vec<Instance> {
        self.inner.live.borrow().values().cloned().collect()
    }

    /// The newest one of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Instance> {
        let live = self.inner.live.borrow();
        live.values()
            .rev()
            .find(|instance| instance.name == name)
            .cloned()
    }

    /// The one that this process runs in.
    #[must_use]
    pub fn of(&self, process: Process) -> Option<Instance> {
        let live = self.inner.live.borrow();
        live.values()
            .find(|instance| instance.process == Some(process))
            .cloned()
    }

    /// The instance that a process is or was of, and in which life.
    #[must_use]
    pub fn life(&self, process: Process) -> Option<(String, Incarnation)> {
        self.inner.lives.borrow().get(&process).cloned()
    }

    /// Whether the machine of the instance of this name has lost power since then.
    #[must_use]
    pub fn lost_power_since(&self, name: &str, then: Duration) -> bool {
        let lost = self.inner.without_power.borrow();
        lost.get(name).is_some_and(|last| *last > then)
    }

    /// The volume of this name.
    #[must_use]
    pub fn volume(&self, name: &str) -> Volume {
        let mut volumes = self.inner.volumes.borrow_mut();
        *volumes
            .entry(name.to_owned())
            .or_insert_with(|| self.inner.memgraphs.volume())
    }

    /// The name that lies on a volume; a new one is put there where there is none.
    fn named_volume(&self, volume: Volume) -> String {
        let new = format!("{:016x}", self.inner.chance.borrow_mut().u64(..));
        self.inner.memgraphs.disk(volume, |disk| {
            let known = disk
                .content(VOLUME_NAME)
                .map(|name| String::from_utf8_lossy(name).into_owned());
            known.unwrap_or_else(|| {
                disk.put(VOLUME_NAME, new.clone().into_bytes());
                new
            })
        })
    }

    /// Makes what runs in the pod of an instance.
    #[must_use]
    pub fn sandbox(&self, plan: PodPlan) -> Box<dyn Sandbox> {
        let inner = &self.inner;
        let name = text(&plan.pod["metadata"]["name"]);
        let namespace = text(&plan.pod["metadata"]["namespace"]);
        let place = inner.memgraphs.place(plan.node.name());
        let volume = self.volume(&plan.volume);
        let pod_uid = text(&plan.pod["metadata"]["uid"]);
        let own_volume = has_own_volume(&plan.pod);
        let told = if own_volume {
            format!("{pod_uid}/{}", self.named_volume(volume))
        } else {
            format!("{}/{}", self.claim_uid(&namespace, &name), plan.volume)
        };
        let instance = Instance {
            incarnation: Incarnation {
                pod_uid,
                container_id: String::new(),
                volume: told,
                boot_id: plan.node.boot_id(),
                ..Incarnation::default()
            },
            address: plan.address,
            place,
            pod: inner.memgraphs.add_pod(place, plan.address),
            volume,
            own_volume,
            setup: self.setup(&namespace, &plan.pod),
            process: None,
            name: name.clone(),
        };
        let mut addresses = inner.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        // Others have ledgers of their own.
        if plan.pod["metadata"]["labels"][names::CLUSTER_LABEL] == CLUSTER {
            addresses.insert(plan.address, name.clone());
        } else {
            addresses.remove(&plan.address);
        }
        drop(addresses);
        let number = inner.numbers.replace(inner.numbers.get() + 1);
        inner.live.borrow_mut().insert(number, instance);
        let cluster = text(&plan.pod["metadata"]["labels"][names::CLUSTER_LABEL]);
        let host = names::instance_host(&cluster, &namespace, &name, "cluster.local");
        let lag = Duration::from_millis(inner.chance.borrow_mut().u64(DNS_LAG));
        let (inner, address) = (Rc::clone(inner), plan.address);
        spawn_local(async move {
            tokio::time::sleep(lag).await;
            let mut published = inner.published.borrow_mut();
            // What is known of a later pod is not forgotten for an earlier one.
            if published.get(&host).is_none_or(|shown| *shown < number) {
                inner.memgraphs.set_name(&host, Some(address));
                published.insert(host, number);
            }
        });
        Box::new(InstanceSandbox {
            instances: self.clone(),
            number,
            address: plan.address,
            namespace,
            cluster,
            node: plan.node.name().to_owned(),
        })
    }

    fn claim_uid(&self, namespace: &str, instance: &str) -> String {
        let key: Key = (namespace.to_owned(), names::data_claim(instance));
        let claim = self.inner.api.store().get(&Resource::claims(), &key);
        claim
            .map(|claim| text(&claim["metadata"]["uid"]))
            .unwrap_or_default()
    }

    /// The container's arguments, and the start gate that is mounted into it.
    fn setup(&self, namespace: &str, pod: &Object) -> Setup {
        let arguments = pod["spec"]["containers"][0]["args"].as_array();
        let volumes = pod["spec"]["volumes"].as_array();
        let gate = volumes
            .into_iter()
            .flatten()
            .find_map(|volume| volume["configMap"]["name"].as_str())
            .and_then(|name| {
                let key: Key = (namespace.to_owned(), name.to_owned());
                self.inner
                    .api
                    .store()
                    .get(&Resource::new("v1", "configmaps"), &key)
            });
        let file = gate.and_then(|gate| {
            let files = gate["data"].as_object()?;
            Some(text(files.values().next()?))
        });
        let image = text(&pod["spec"]["containers"][0]["image"]);
        Setup {
            version: image.rsplit(':').next().map(version).unwrap_or_default(),
            arguments: arguments.into_iter().flatten().map(text).collect(),
            init_file: file,
            initial_user: self.initial_user(namespace, pod),
        }
    }

    /// The user of the container's environment.
    fn initial_user(&self, namespace: &str, pod: &Object) -> Option<(String, String)> {
        let environment = pod["spec"]["containers"][0]["env"].as_array()?;
        let variable = environment
            .iter()
            .find(|variable| variable["name"] == resources::USER_VARIABLE)?;
        let name = text(&variable["valueFrom"]["secretKeyRef"]["name"]);
        let key: Key = (namespace.to_owned(), name);
        let secret = self
            .inner
            .api
            .store()
            .get(&Resource::new("v1", "secrets"), &key)?;
        let secret = serde_json::from_value(Value::clone(&secret)).ok()?;
        let newest = resources::read_credentials(&secret).into_iter().next()?;
        Some((newest.username().to_owned(), newest.password().to_owned()))
    }
}

/// The release of an image's tag: `3.12` of `3.12.0`.
fn version(tag: &str) -> String {
    tag.split('.').take(2).collect::<Vec<_>>().join(".")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

struct InstanceSandbox {
    instances: Instances,
    number: u64,
    address: IpAddr,
    namespace: String,
    cluster: String,
    node: String,
}

impl InstanceSandbox {
    fn instance(&self) -> Option<Instance> {
        self.instances.inner.live.borrow().get(&self.number).cloned()
    }

    fn process(&self) -> Option<Process> {
        self.instance()?.process
    }
}

impl Sandbox for InstanceSandbox {
    fn address(&self) -> IpAddr {
        self.address
    }

    fn prepare(&self) -> LocalBoxFuture<'_, Option<String>> {
        async move {
            let instance = self.instance()?;
            let reset = preparation::prepare(
                &self.instances,
                &instance,
                &self.namespace,
                &self.cluster,
                &self.node,
            )
            .await;
            let name = instance.incarnation.volume.split_once('/').map(|(_, name)| name);
            let note = InitNote {
                boot_id: instance.incarnation.boot_id.clone(),
                volume: name
                    .filter(|_| instance.own_volume)
                    .unwrap_or_default()
                    .to_owned(),
                reset,
                max_map_count: None,
            };
            serde_json::to_string(&note).ok()
        }
        .boxed_local()
    }

    fn start(&self, container: &str) {
        let inner = &self.instances.inner;
        let Some(mut instance) = self.instance() else {
            return;
        };
        container.clone_into(&mut instance.incarnation.container_id);
        let process = inner
            .memgraphs
            .start(instance.pod, instance.volume, &instance.setup);
        instance.process = Some(process);
        let life = (instance.name.clone(), instance.incarnation.clone());
        inner.lives.borrow_mut().insert(process, life);
        inner
            .trace
            .note(|| format!("{} starts as {container} at {}", instance.name, instance.address));
        inner.live.borrow_mut().insert(self.number, instance);
    }

    fn is_ready(&self) -> bool {
        let process = self.process();
        process.is_some_and(|process| self.instances.inner.memgraphs.status(process) == Status::Ready)
    }

    fn ended(&self) -> LocalBoxFuture<'_, i32> {
        let process = self.process();
        async move {
            let Some(process) = process else { return 0 };
            let exit = self.instances.inner.memgraphs.ended(process).await;
            let instance = self.instance();
            let name = instance.map(|instance| instance.name).unwrap_or_default();
            self.instances
                .inner
                .trace
                .note(|| format!("{name} has ended: {exit:?}"));
            exit.map_or(0, |exit| exit.code())
        }
        .boxed_local()
    }

    fn terminate(&self) {
        if let Some(process) = self.process() {
            self.instances.inner.memgraphs.stop(process);
        }
    }

    fn kill(&self) {
        if let Some(process) = self.process() {
            self.instances.inner.memgraphs.kill(process);
        }
    }

    fn lose_power(&self) {
        if let Some(instance) = self.instance() {
            let inner = &self.instances.inner;
            inner.memgraphs.power_off(instance.pod);
            inner.trace.note(|| format!("{} has lost power", instance.name));
            let now = inner.memgraphs.now();
            inner.without_power.borrow_mut().insert(instance.name, now);
            inner.live.borrow_mut().remove(&self.number);
        }
    }

    fn close(&self) {
        if let Some(instance) = self.instance() {
            if instance.own_volume {
                self.instances.i8_others_have_what_goes(&instance);
            }
            self.instances.inner.memgraphs.remove_pod(instance.pod);
            self.instances.inner.live.borrow_mut().remove(&self.number);
        }
    }
}
