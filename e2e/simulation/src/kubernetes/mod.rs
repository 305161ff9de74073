//! Kubernetes apart from its API server: controllers, nodes, and what runs in pods.

mod kubelet;
mod nodes;
mod status;
mod workloads;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
};

use fastrand::Rng;
use memgraph_operator::api::names;
use serde_json::Value;
use tokio::task::spawn_local;

pub use nodes::Node;
pub(crate) use workloads::has_own_volume;

use crate::{
    api::{ApiServer, Object, Resource},
    signal::Signal,
    trace::Trace,
};

/// What runs in a pod: as many containers one after the other as it takes.
pub trait Sandbox {
    /// The pod's address.
    fn address(&self) -> IpAddr;
    /// What runs before the first container; what it leaves as its last word.
    fn prepare(&self) -> futures::future::LocalBoxFuture<'_, Option<String>>;
    /// Starts a container.
    fn start(&self, container: &str);
    /// Whether the container that was started last serves.
    fn is_ready(&self) -> bool;
    /// Waits until it has ended, and tells with which exit code.
    fn ended(&self) -> futures::future::LocalBoxFuture<'_, i32>;
    /// Asks it to end (SIGTERM).
    fn terminate(&self);
    /// Ends it (SIGKILL).
    fn kill(&self);
    /// The node's power is lost, and with it everything that the pod was.
    fn lose_power(&self);
    /// The pod is over; its address may be given to another one.
    fn close(&self);
}

/// What a pod is made of.
pub struct PodPlan {
    /// The pod, as it was when it was bound to its node.
    pub pod: Object,
    /// The node.
    pub node: Node,
    /// Its address.
    pub address: IpAddr,
    /// The volume of its data; empty for one that has none.
    pub volume: String,
}

/// Makes what runs in pods.
pub type Runtime = Box<dyn Fn(PodPlan) -> Box<dyn Sandbox>>;

/// The node of pods that are run by somebody else.
pub const ELSEWHERE: &str = "elsewhere";

/// Controllers and nodes.
pub struct Kubernetes {
    api: ApiServer,
    chance: RefCell<Rng>,
    trace: Trace,
    instance_nodes: Vec<Node>,
    gateway_nodes: Vec<Node>,
    runtime: Runtime,
    addresses: RefCell<Addresses>,
    containers: Cell<u32>,
    volumes: Cell<u32>,
    /// Instances whose volume claims a quota does not allow.
    withheld: RefCell<BTreeSet<String>>,
    /// By volume: the pod that uses it.
    holders: RefCell<BTreeMap<String, String>>,
    /// Whether controllers and humans reach the API server.
    api_is_there: Signal<bool>,
}

/// Addresses of pods. One that is free may be given to another pod soon.
#[derive(Default)]
struct Addresses {
    used: u16,
    free: Vec<IpAddr>,
    /// By name of a pod: what it gets as soon as that is free.
    intended: BTreeMap<String, IpAddr>,
}

/// How likely a new pod gets an address that another one had.
const REUSE: f64 = 0.3;

impl Kubernetes {
    /// A cluster with so many nodes for instances and for gateways.
    #[must_use]
    pub fn new(
        api: ApiServer,
        instances: usize,
        gateways: usize,
        mut chance: Rng,
        trace: Trace,
        runtime: Runtime,
    ) -> Rc<Self> {
        let mut nodes = |kind: &str, count: usize| -> Vec<Node> {
            (0..count)
                .map(|number| Node::new(&format!("{kind}-{number}"), chance.fork()))
                .collect()
        };
        let (instance_nodes, gateway_nodes) = (nodes("node", instances), nodes("edge", gateways));
        Rc::new(Self {
            api,
            chance: chance.into(),
            trace,
            instance_nodes,
            gateway_nodes,
            runtime,
            addresses: RefCell::default(),
            containers: Cell::new(0),
            volumes: Cell::new(0),
            withheld: RefCell::default(),
            holders: RefCell::default(),
            api_is_there: Signal::new(true),
        })
    }

    /// Starts controllers and nodes; they go on for ever.
    pub fn start(self: &Rc<Self>) {
        spawn_local(workloads::run(Rc::clone(self)));
        spawn_local(kubelet::run(Rc::clone(self)));
        for node in self.instance_nodes.iter().chain(&self.gateway_nodes) {
            spawn_local(status::monitor(Rc::clone(self), node.clone()));
        }
    }

    /// Takes the API server away from everything that is part of Kubernetes, or gives it back: nodes tell nothing and hear nothing,
    /// and controllers stand still. What runs on the nodes goes on.
    pub fn set_api(&self, is_there: bool) {
        for node in self.instance_nodes.iter().chain(&self.gateway_nodes) {
            node.set_api(is_there);
        }
        self.api_is_there
            .send_if_modified(|now| std::mem::replace(now, is_there) != is_there);
    }

    /// Whether controllers and humans reach the API server.
    #[must_use]
    pub fn has_api(&self) -> bool {
        self.api_is_there.get()
    }

    /// Waits until they do.
    pub(crate) async fn with_api(&self) {
        self.api_is_there.subscribe().wait_for(|is_there| *is_there).await;
    }

    /// The nodes that instances run on, by ordinal.
    #[must_use]
    pub fn instance_nodes(&self) -> &[Node] {
        &self.instance_nodes
    }

    /// The nodes that gateways run on.
    #[must_use]
    pub fn gateway_nodes(&self) -> &[Node] {
        &self.gateway_nodes
    }

    fn chance<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.chance.borrow_mut())
    }

    /// An instance stays where its volume is; a gateway goes where there is power and the fewest others.
    fn node_for(&self, pod: &Value) -> Node {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        if pod["metadata"]["labels"][names::COMPONENT_LABEL] == names::INSTANCE {
            let ordinal = name
                .rsplit('-')
                .next()
                .and_then(|number| number.parse::<usize>().ok());
            let nodes = self.instance_nodes.len();
            return self.instance_nodes[ordinal.unwrap_or_default() % nodes].clone();
        }
        let store = self.api.store();
        let load = |node: &&Node| {
            let pods = store.all(&Resource::pods());
            let count = pods
                .filter(|(_, pod)| pod["spec"]["nodeName"] == *node.name())
                .count();
            (!node.has_power(), count)
        };
        let node = self.gateway_nodes.iter().min_by_key(load);
        node.unwrap_or(&self.instance_nodes[0]).clone()
    }

    /// Pods of this name get this address, once and whenever it is free by then.
    pub fn intend(&self, pod: &str, address: IpAddr) {
        self.addresses
            .borrow_mut()
            .intended
            .insert(pod.to_owned(), address);
    }

    /// Whether a quota keeps this instance from having a volume claim: without one it gets no pod.
    pub fn withhold_claim(&self, instance: &str, withheld: bool) {
        let mut all = self.withheld.borrow_mut();
        if withheld {
            all.insert(instance.to_owned());
        } else {
            all.remove(instance);
        }
    }

    fn new_address(&self, pod: &str) -> IpAddr {
        let mut addresses = self.addresses.borrow_mut();
        let intended = addresses.intended.get(pod).copied();
        if let Some(index) =
            intended.and_then(|wanted| addresses.free.iter().position(|free| *free == wanted))
        {
            addresses.intended.remove(pod);
            return addresses.free.remove(index);
        }
        if !addresses.free.is_empty() && self.chance(Rng::f64) < REUSE {
            return addresses.free.remove(0);
        }
        addresses.used += 1;
        let [high, low] = addresses.used.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(10, 1, high, low))
    }

    fn new_container_id(&self) -> String {
        self.containers.set(self.containers.get() + 1);
        format!("containerd://{:08x}", self.containers.get())
    }

    fn new_volume(&self) -> String {
        self.volumes.set(self.volumes.get() + 1);
        format!("pv-{}", self.volumes.get())
    }

    fn sandbox(&self, node: &Node, pod: &Object, volume: String) -> Box<dyn Sandbox> {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let address = self.new_address(name);
        self.trace
            .note(|| format!("pod {name} gets {address} on {}", node.name()));
        (self.runtime)(PodPlan {
            pod: Object::clone(pod),
            node: node.clone(),
            address,
            volume,
        })
    }

    /// The address may be given to another pod from now on. Whoever manages addresses takes one back when the pod is gone for
    /// Kubernetes, or when its network is taken down on its node.
    pub fn give_back(&self, address: IpAddr) {
        let mut addresses = self.addresses.borrow_mut();
        if !addresses.free.contains(&address) {
            addresses.free.push(address);
        }
    }

    /// Whether this pod may use the volume: no other one does.
    fn take_volume(&self, volume: &str, pod: &str) -> bool {
        if volume.is_empty() {
            return true;
        }
        let mut holders = self.holders.borrow_mut();
        *holders.entry(volume.to_owned()).or_insert_with(|| pod.to_owned()) == pod
    }

    fn release_volume(&self, volume: &str, pod: &str) {
        let mut holders = self.holders.borrow_mut();
        if holders.get(volume).is_some_and(|holder| holder == pod) {
            holders.remove(volume);
        }
    }
}
