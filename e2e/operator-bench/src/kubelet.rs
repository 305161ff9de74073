//! Has the pods of clusters run, and their claims bound, on a control plane that has no node.
//!
//! The API server and Kubernetes' controllers are the real ones: they make pods and claims, and see what is written here. A pod
//! that has no node is removed by the API server as soon as somebody deletes it. Of what a node does only this is left out: the
//! init container (its word is written as it would end), what a pod's `preStop` hook waits for, and images.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use memgraph_operator::api::{
    InitNote, ResetNote, ResetOutcome,
    names::{self, CLUSTER_LABEL, COMPONENT_LABEL},
};
use serde_json::{Value, json};
use tokio::{
    sync::{
        Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    time::sleep,
};

use crate::{
    machines::Machines,
    orders::{Event, Order},
};

/// The StorageClass of the clusters' claims, for which only this program makes volumes.
pub const STORAGE_CLASS: &str = "bench";

/// So many requests to the API server are under way at most.
const REQUESTS: usize = 32;
/// A kubelet looks so often whether containers have ended.
const RELIST: Duration = Duration::from_secs(1);
/// How soon it asks again for what a pod mounts and that is not there.
const MOUNT_AGAIN: Duration = Duration::from_secs(1);
/// How a process ends that was killed.
const KILLED: i32 = 137;

/// Kills the databases of pods.
#[derive(Clone)]
pub struct Killer(UnboundedSender<Message>);

impl Killer {
    /// Ends the database in a pod as SIGKILL does. It is started again when a kubelet would have noticed.
    pub fn kill(&self, namespace: &str, pod: &str) {
        let (namespace, pod) = (namespace.to_owned(), pod.to_owned());
        // Gone only while this program ends.
        let _ = self.0.send(Message::Kill { namespace, pod });
    }
}

/// What its own tasks tell it.
enum Message {
    /// By UID of the pod: what its process needs is there.
    Prepared(String, Work),
    /// By UID of the pod: a kubelet would have noticed by now that its container has ended.
    Noticed(String),
    /// Somebody kills a database.
    Kill { namespace: String, pod: String },
}

/// What the process of a pod is started with.
#[derive(Clone)]
enum Work {
    /// The command line of a database.
    Instance(Vec<String>),
    /// The folder with the certificates of a gateway.
    Gateway(PathBuf),
}

/// A pod, and the process in it.
struct Running {
    namespace: String,
    name: String,
    cluster: String,
    container: String,
    machine: usize,
    address: Ipv4Addr,
    work: Option<Work>,
    /// The number of its process.
    process: u64,
    restarts: u32,
}

/// Looks after all pods and claims of clusters.
pub struct Kubelet {
    client: Client,
    machines: Machines,
    folder: PathBuf,
    init_note: String,
    requests: Arc<Semaphore>,
    sender: UnboundedSender<Message>,
    receiver: UnboundedReceiver<Message>,
    events: UnboundedReceiver<Event>,
    /// By UID.
    pods: HashMap<String, Running>,
    /// By the number of a process: the UID of its pod.
    processes: HashMap<u64, String>,
    /// UIDs of claims for which a volume was made.
    claims: HashSet<String>,
    numbers: u64,
    addresses: u32,
}

impl Kubelet {
    /// With data and certificates below `folder`.
    pub fn new(
        client: Client,
        (machines, events): (Machines, UnboundedReceiver<Event>),
        folder: &Path,
    ) -> Result<(Self, Killer)> {
        let (sender, receiver) = unbounded_channel();
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let init_note = serde_json::to_string(&InitNote {
            boot_id: boot_id.trim().to_owned(),
            volume: String::new(),
            reset: ResetNote {
                token: String::new(),
                outcome: ResetOutcome::None,
                detail: String::new(),
            },
            max_map_count: None,
        })?;
        let killer = Killer(sender.clone());
        let kubelet = Self {
            client,
            machines,
            folder: folder.to_owned(),
            init_note,
            requests: Arc::new(Semaphore::new(REQUESTS)),
            sender,
            receiver,
            events,
            pods: HashMap::new(),
            processes: HashMap::new(),
            claims: HashSet::new(),
            numbers: 0,
            addresses: 0,
        };
        Ok((kubelet, killer))
    }

    /// Works until something fails that should not.
    pub async fn run(mut self) -> Result<()> {
        let ours = || watcher::Config::default().labels(CLUSTER_LABEL);
        let pods = watcher(Api::<Pod>::all(self.client.clone()), ours()).default_backoff();
        let claims = watcher(Api::<PersistentVolumeClaim>::all(self.client.clone()), ours())
            .default_backoff()
            .applied_objects();
        let (mut pods, mut claims) = (pods.boxed(), claims.boxed());
        loop {
            tokio::select! {
                event = pods.next() => match event.context("the watch of pods has ended")? {
                    Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => self.see(&pod),
                    Ok(watcher::Event::Delete(pod)) => self.end(&pod.uid().unwrap_or_default()),
                    Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
                    Err(error) => eprintln!("the watch of pods is taken up again: {error}"),
                },
                claim = claims.try_next() => match claim {
                    Ok(claim) => self.bind(claim.context("the watch of claims has ended")?),
                    Err(error) => eprintln!("the watch of claims is taken up again: {error}"),
                },
                message = self.receiver.recv() => match message.context("nobody tells anything")? {
                    Message::Prepared(uid, work) => {
                        if let Some(pod) = self.pods.get_mut(&uid) {
                            pod.work = Some(work);
                            self.start(&uid);
                        }
                    }
                    Message::Noticed(uid) => self.start_again(&uid),
                    Message::Kill { namespace, pod } => self.kill(&namespace, &pod),
                },
                event = self.events.recv() => match event.context("no machine is left")? {
                    Event::Ready { id, ready } => self.ready(id, ready),
                    Event::Failed { id, why } => {
                        if let Some(pod) = self.processes.get(&id).and_then(|uid| self.pods.get(uid)) {
                            eprintln!("{}/{} has ended: {why}", pod.namespace, pod.name);
                        }
                    }
                },
            }
        }
    }

    /// A pod that is not known yet is started.
    fn see(&mut self, pod: &Pod) {
        let uid = pod.uid().unwrap_or_default();
        if self.pods.contains_key(&uid) || pod.metadata.deletion_timestamp.is_some() {
            return;
        }
        let labels = pod.labels();
        let (Some(cluster), Some(component)) = (labels.get(CLUSTER_LABEL), labels.get(COMPONENT_LABEL))
        else {
            return;
        };
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let Some(container) = containers.into_iter().next() else {
            return;
        };
        let namespace = pod.namespace().unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        (&namespace, cluster).hash(&mut hasher);
        let machine = usize::try_from(hasher.finish()).unwrap_or_default() % self.machines.count().max(1);
        self.addresses += 1;
        // 127.0.0.0/16 is left to others.
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + self.addresses);
        let running = Running {
            name: pod.name_any(),
            cluster: cluster.clone(),
            container: container.name.clone(),
            machine,
            address,
            work: None,
            process: 0,
            restarts: 0,
            namespace,
        };
        let preparation = Preparation {
            client: self.client.clone(),
            requests: Arc::clone(&self.requests),
            namespace: running.namespace.clone(),
            cluster: running.cluster.clone(),
            address,
            folder: self.folder.join(&uid),
            arguments: container.args.clone().unwrap_or_default(),
            is_gateway: component == names::GATEWAY,
        };
        self.pods.insert(uid.clone(), running);
        let sender = self.sender.clone();
        tokio::spawn(async move {
            match preparation.prepare().await {
                Ok(work) => drop(sender.send(Message::Prepared(uid, work))),
                Err(error) => eprintln!("a pod cannot be started: {error:#}"),
            }
        });
    }

    fn start(&mut self, uid: &str) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let Some(work) = pod.work.clone() else { return };
        self.numbers += 1;
        let (id, address) = (self.numbers, pod.address);
        pod.process = id;
        self.processes.insert(id, uid.to_owned());
        let order = match work {
            Work::Instance(arguments) => Order::Instance {
                id,
                address,
                arguments,
            },
            Work::Gateway(certificates) => {
                let order = Order::Gateway {
                    id,
                    address,
                    namespace: pod.namespace.clone(),
                    cluster: pod.cluster.clone(),
                    pod_uid: uid.to_owned(),
                    certificates,
                };
                self.machines.tell(pod.machine, order);
                // It is not ready before operators can reach it, for which they must know its address.
                return self.tell(uid, running(id), false);
            }
        };
        self.machines.tell(pod.machine, order);
    }

    fn ready(&mut self, id: u64, ready: bool) {
        if let Some(uid) = self.processes.get(&id).cloned() {
            self.tell(&uid, running(id), ready);
        }
    }

    fn kill(&mut self, namespace: &str, pod: &str) {
        let found = self
            .pods
            .iter()
            .find(|(_, it)| it.namespace == namespace && it.name == pod);
        let Some((uid, pod)) = found else { return };
        self.machines.tell(pod.machine, Order::Kill { id: pod.process });
        self.processes.remove(&pod.process);
        let (uid, sender) = (uid.clone(), self.sender.clone());
        tokio::spawn(async move {
            sleep(RELIST.mul_f64(fastrand::f64())).await;
            let _ = sender.send(Message::Noticed(uid));
        });
    }

    fn start_again(&mut self, uid: &str) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let ended = json!({"terminated": {"exitCode": KILLED, "containerID": container_id(pod.process)}});
        pod.restarts += 1;
        self.tell(uid, ended, false);
        self.start(uid);
    }

    fn end(&mut self, uid: &str) {
        let Some(pod) = self.pods.remove(uid) else {
            return;
        };
        self.machines.tell(pod.machine, Order::Kill { id: pod.process });
        self.processes.remove(&pod.process);
    }

    /// Writes what a kubelet tells of a pod.
    fn tell(&self, uid: &str, state: Value, ready: bool) {
        let Some(pod) = self.pods.get(uid) else { return };
        let address = pod.address.to_string();
        let mut status = json!({"metadata": {"uid": uid}, "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            "containerStatuses": [{
                "name": pod.container, "image": "i", "imageID": "i", "ready": ready, "restartCount": pod.restarts,
                "state": state, "containerID": container_id(pod.process),
            }],
        }});
        if matches!(pod.work, Some(Work::Instance(_))) {
            status["status"]["initContainerStatuses"] = json!([{
                "name": names::INIT_CONTAINER, "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
                "state": {"terminated": {"exitCode": 0, "message": self.init_note}},
            }]);
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let (name, requests) = (pod.name.clone(), Arc::clone(&self.requests));
        tokio::spawn(async move {
            // A fair queue: what is told later of a pod is written later.
            let _place = requests.acquire().await;
            let patch = Patch::Merge(status);
            match pods.patch_status(&name, &PatchParams::default(), &patch).await {
                Ok(_) => {}
                // The pod has gone, or another one has its name.
                Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => {}
                Err(error) => eprintln!("the status of {name} was not written: {error}"),
            }
        });
    }

    /// Makes a volume for a claim that has none, to which Kubernetes' controller binds it.
    fn bind(&mut self, claim: PersistentVolumeClaim) {
        let uid = claim.uid().unwrap_or_default();
        let spec = claim.spec.as_ref();
        let has_volume = spec.is_some_and(|spec| spec.volume_name.is_some());
        let class = spec.and_then(|spec| spec.storage_class_name.as_deref());
        if has_volume || class != Some(STORAGE_CLASS) || !self.claims.insert(uid.clone()) {
            return;
        }
        let requested = spec.and_then(|spec| spec.resources.as_ref()?.requests.clone());
        let (namespace, name) = (claim.namespace(), claim.name_any());
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("bench-{uid}")},
            "spec": {
                "capacity": requested, "accessModes": ["ReadWriteOnce"], "storageClassName": STORAGE_CLASS,
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nowhere"},
                "claimRef": {"namespace": namespace, "name": name, "uid": uid},
            },
        });
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let requests = Arc::clone(&self.requests);
        tokio::spawn(async move {
            let _place = requests.acquire().await;
            let made = match serde_json::from_value(volume) {
                Ok(volume) => volumes
                    .create(&PostParams::default(), &volume)
                    .await
                    .err()
                    .map(|e| e.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = made {
                eprintln!("no volume for {name}: {error}");
            }
        });
    }
}

fn container_id(process: u64) -> String {
    format!("bench://{process:016x}")
}

fn running(process: u64) -> Value {
    debug_assert!(process > 0, "each process has a number");
    json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})
}

/// What stands between a pod and its process.
struct Preparation {
    client: Client,
    requests: Arc<Semaphore>,
    namespace: String,
    cluster: String,
    address: Ipv4Addr,
    folder: PathBuf,
    /// Of its container.
    arguments: Vec<String>,
    is_gateway: bool,
}

impl Preparation {
    async fn prepare(self) -> Result<Work> {
        std::fs::create_dir_all(&self.folder)?;
        if self.is_gateway {
            self.mount_certificates().await?;
            return Ok(Work::Gateway(self.folder));
        }
        let gate = self.start_gate().await?;
        let (address, folder) = (self.address, self.folder.display());
        let mut arguments = self.arguments;
        // The last word counts.
        arguments.extend([
            format!("--bolt-address={address}"),
            format!("--monitoring-address={address}"),
            format!("--metrics-address={address}"),
            format!("--data-directory={folder}/data"),
            format!("--init-file={gate}"),
            "--also-log-to-stderr=false".to_owned(),
        ]);
        Ok(Work::Instance(arguments))
    }

    async fn mount_certificates(&self) -> Result<()> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = names::control_certificates(&self.cluster);
        let data = loop {
            let place = self.requests.acquire().await?;
            if let Some(data) = secrets.get_opt(&name).await?.and_then(|secret| secret.data) {
                break data;
            }
            drop(place);
            sleep(MOUNT_AGAIN).await;
        };
        for (file, content) in data {
            std::fs::write(self.folder.join(file), content.0)?;
        }
        Ok(())
    }

    /// The path of the statements that an instance starts with.
    async fn start_gate(&self) -> Result<String> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let _place = self.requests.acquire().await?;
        let map = maps.get(&names::start_gate(&self.cluster)).await?;
        let (_, statements) = map
            .data
            .into_iter()
            .flatten()
            .next()
            .context("the ConfigMap of the start has no data")?;
        let file = self.folder.join("start-gate.cypherl");
        std::fs::write(&file, statements)?;
        Ok(file.display().to_string())
    }
}
