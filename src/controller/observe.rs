//! Puts together what Kubernetes and the instances themselves say.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, PersistentVolumeClaim, Pod};
use kube::{Resource, ResourceExt, core::DynamicObject};

use super::{
    certificates::takes_tls,
    claims, image,
    obstacle::{NO_POD, obstacle, shortened},
    packed::Packed,
    settings::settings,
    sightings::{Sightings, Target},
};
use crate::{
    api::{
        InitNote, MemgraphCluster, VolumeNote,
        ledger::{Incarnation, InstanceAddress},
        names,
    },
    plan::{
        Stage,
        observation::{
            Access, Claim, Configuration, Container, CrashLoop, Instance, Numbers, Observation, Volume,
            Witness,
        },
        report::GatewayState,
    },
    resources::{Amount, is_controlled_by},
};

/// From then on it is told that an instance has no pod: one is made within a moment, if nobody refuses it.
const LONG_WITHOUT_A_POD: Duration = Duration::from_secs(10);

/// What Kubernetes holds of one cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Inventory {
    /// The instances' pods.
    pub(super) instances: Vec<Arc<Pod>>,
    /// The gateway's pods.
    pub(super) gateways: Vec<Arc<Pod>>,
    /// The volume claims.
    pub(super) claims: Vec<Arc<PersistentVolumeClaim>>,
    /// The StatefulSet.
    pub(super) stateful_set: Option<Arc<Packed>>,
    /// That of the gateways.
    pub(super) deployment: Option<Arc<Packed>>,
}

/// What this process remembers, as far as decisions rest on it.
pub(super) struct Memories {
    pub(super) known_term: i64,
    pub(super) numbers: Numbers,
    pub(super) fresh_lineage: String,
    pub(super) closed_for: Duration,
    pub(super) shut_for: Duration,
    pub(super) commit_for: Duration,
    pub(super) commits_slowly: bool,
    pub(super) change_ages: Vec<Duration>,
    pub(super) witnesses: Vec<Witness>,
    pub(super) access: Access,
    /// The configuration that the spec asks pods to have; none where that cannot be told now.
    pub(super) configuration: Option<String>,
    pub(super) stage: Stage,
    pub(super) now: Timestamp,
}

/// One instance as Kubernetes describes it.
struct Slot<'a> {
    name: String,
    ordinal: i32,
    pod: Option<&'a Pod>,
    claim: Option<&'a PersistentVolumeClaim>,
}

impl Slot<'_> {
    fn target(&self) -> Target {
        Target {
            name: self.name.clone(),
            address: self.pod.and_then(address),
            incarnation: self.incarnation(),
            terminating: self.is_terminating(),
            tls: self.pod.is_some_and(takes_tls),
        }
    }

    /// Whether its pod has this annotation, with any value.
    fn bears(&self, annotation: &str) -> bool {
        self.pod
            .is_some_and(|pod| pod.annotations().contains_key(annotation))
    }

    fn is_terminating(&self) -> bool {
        self.pod
            .is_some_and(|pod| pod.metadata.deletion_timestamp.is_some())
    }

    /// Whether what it holds goes by itself. `own_set`: UID of this cluster's StatefulSet.
    fn is_passing(&self, in_pods: bool, own_set: Option<&str>) -> bool {
        match self.pod.filter(|pod| in_pods || has_own_volume(pod)) {
            Some(pod) => is_of_a_former_cluster(pod, own_set),
            None => self.claim.is_some_and(|claim| is_leaving(claim, own_set)),
        }
    }

    fn container(&self) -> Container {
        let Some(pod) = self.pod else {
            return Container::Absent;
        };
        if has_ended(pod) {
            return Container::Ended;
        }
        let state = database(pod).and_then(|container| container.state.as_ref());
        match state {
            Some(state) if state.running.is_some() => Container::Running,
            Some(state) if state.terminated.is_some() => Container::Ended,
            _ => Container::Waiting,
        }
    }

    fn incarnation(&self) -> Option<Incarnation> {
        let pod = self.pod?;
        let container = database(pod)?;
        container.state.as_ref()?.running.as_ref()?;
        let note = init_note(pod);
        let volume = if has_own_volume(pod) {
            // Without its name it is not known which one it is.
            let name = note.as_ref().map(|note| &note.volume);
            format!("{}/{}", pod.uid()?, name.filter(|name| !name.is_empty())?)
        } else {
            let claim = self.claim?;
            let bound_to = claim.spec.as_ref()?.volume_name.as_deref()?;
            format!("{}/{bound_to}", claim.uid()?)
        };
        Some(Incarnation {
            pod_uid: pod.uid()?,
            container_id: container.container_id.clone()?,
            volume,
            boot_id: note.map(|note| note.boot_id).unwrap_or_default(),
            flushes_all: flushes_all(pod),
        })
    }
}

/// Whether the data lies in the pod itself.
fn has_own_volume(pod: &Pod) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    let mut volumes = volumes.into_iter().flatten();
    volumes.any(|volume| volume.name == names::DATA_VOLUME && volume.empty_dir.is_some())
}

/// Whether the pod was made for a former cluster of this name, and goes as that has gone: a StatefulSet that is not this cluster's
/// controls it.
fn is_of_a_former_cluster(pod: &Pod, own_set: Option<&str>) -> bool {
    let mut owners = pod.owner_references().iter();
    owners
        .find(|owner| owner.controller == Some(true))
        .is_some_and(|controller| own_set != Some(controller.uid.as_str()))
}

/// Whether the claim goes, and what is on its volume with it: it is being deleted, or belongs to a StatefulSet that is not this
/// cluster's. With `whenDeleted: Retain` claims belong to no StatefulSet, nor do they when theirs is replaced by another one.
fn is_leaving(claim: &PersistentVolumeClaim, own_set: Option<&str>) -> bool {
    let mut owners = claim.owner_references().iter();
    claim.metadata.deletion_timestamp.is_some()
        || owners.any(|owner| owner.kind == "StatefulSet" && own_set != Some(owner.uid.as_str()))
}

/// What Kubernetes says of the database in the pod.
pub(super) fn database(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses
        .iter()
        .find(|status| status.name == names::INSTANCE_CONTAINER)
}

/// The image that the pod's database was made with.
pub(super) fn database_image(pod: &Pod) -> Option<&str> {
    let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let database = containers.find(|container| container.name == names::INSTANCE_CONTAINER)?;
    database.image.as_deref()
}

/// So often a process must have been started again before it counts as one that ends again and again.
const RESTARTS: i32 = 3;

/// After a run of this length the kubelet waits no longer than after the first one.
const LONG_RUN: Duration = Duration::from_secs(600);

/// Whether the database ends again and again: the kubelet waits before it starts it again, or has started it after a short run.
fn crash_loop(pod: &Pod, now: Timestamp) -> Option<CrashLoop> {
    let container = database(pod).filter(|container| container.restart_count >= RESTARTS)?;
    let (state, last) = (container.state.as_ref()?, container.last_state.as_ref());
    let ended = state
        .terminated
        .as_ref()
        .or_else(|| last.and_then(|last| last.terminated.as_ref()));
    let waiting = state
        .waiting
        .as_ref()
        .and_then(|waiting| waiting.reason.as_deref());
    let waits = waiting == Some("CrashLoopBackOff");
    let started = state.running.as_ref().and_then(|run| run.started_at.as_ref());
    let runs_on = started.is_some_and(|started| is_long(started.0, now));
    (waits || ended.is_some_and(was_short) && !runs_on).then(|| CrashLoop {
        exit_code: ended.map(|ended| ended.exit_code),
        waits,
    })
}

fn was_short(run: &ContainerStateTerminated) -> bool {
    let times = run.started_at.as_ref().zip(run.finished_at.as_ref());
    times.is_some_and(|(start, end)| !is_long(start.0, end.0))
}

fn is_long(start: Timestamp, end: Timestamp) -> bool {
    Duration::try_from(end.duration_since(start)).is_ok_and(|length| length >= LONG_RUN)
}

/// The configuration that a new pod is certain to get: the StatefulSet's, once its controller works with it.
pub(super) fn certain_configuration(set: &DynamicObject) -> Option<&str> {
    let observed = set.data["status"]["observedGeneration"].as_i64();
    let template = &set.data["spec"]["template"]["metadata"];
    (observed.is_some() && observed == set.metadata.generation)
        .then(|| template["annotations"][names::CONFIGURATION_ANNOTATION].as_str())
        .flatten()
}

/// The configuration that the pod was made with.
fn own_configuration(pod: &Pod) -> Option<&str> {
    let own = pod.annotations().get(names::CONFIGURATION_ANNOTATION);
    own.map(String::as_str)
}

/// How what a pod was made with stands to what the spec asks for, where that is known, and to what a new one is certain to get. One
/// that was made by an operator which told none is left alone.
fn standing(pod: &Pod, wanted: Option<&str>, certain: Option<&str>) -> Configuration {
    match (own_configuration(pod), wanted.or(certain)) {
        (Some(own), Some(wanted)) if own != wanted && certain == Some(wanted) => Configuration::Outdated,
        (Some(own), Some(wanted)) if own != wanted => Configuration::Earlier,
        _ => Configuration::Current,
    }
}

/// What the pod's init container has said.
pub(super) fn init_note(pod: &Pod) -> Option<InitNote> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    let init = statuses
        .iter()
        .find(|status| status.name == names::INIT_CONTAINER)?;
    let ended = init.state.as_ref()?.terminated.as_ref()?;
    serde_json::from_str(ended.message.as_deref()?).ok()
}

/// Whether the pod's Memgraph flushes its log at each transaction. That it should by now does not count: a pod keeps the
/// flags that it was started with.
fn flushes_all(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut databases = containers.filter(|container| container.name == names::INSTANCE_CONTAINER);
    databases.any(|container| {
        let mut args = container.args.iter().flatten();
        args.any(|arg| arg == names::FLUSH_ALWAYS)
    })
}

fn claim(claim: &PersistentVolumeClaim, size: u64) -> Option<Claim> {
    Some(Claim {
        uid: claim.uid()?,
        note: note(claim),
        volume: volume(claim, size),
    })
}

/// Where the data lies in the pod, that is the claim: what is noted of the data is gone with it.
fn own_claim(pod: &Pod) -> Option<Claim> {
    Some(Claim {
        uid: pod.uid()?,
        note: note(pod),
        volume: Some(Volume {
            capacity: None,
            awaits_kubelet: false,
        }),
    })
}

/// What is noted on the object that the data ends with.
fn note<K: ResourceExt>(holder: &K) -> Option<VolumeNote> {
    let text = holder.annotations().get(names::NOTE_ANNOTATION)?;
    serde_json::from_str(text).ok()
}

/// What is told of the claim's volume, if it has one. `size`: what the spec asks. That the claim asks for more, and how far that has come,
/// is nobody's concern: it was asked for by an earlier spec, or by its owner.
fn volume(claim: &PersistentVolumeClaim, size: u64) -> Option<Volume> {
    let conditions = || claim.status.as_ref()?.conditions.as_ref();
    let mut conditions = conditions().into_iter().flatten();
    let asks_for_more = claims::requested(claim).is_some_and(|asked| asked.whole() > size);
    claims::has_volume(claim).then(|| Volume {
        capacity: claims::capacity(claim).map(Amount::whole),
        awaits_kubelet: !asks_for_more
            && conditions.any(|c| c.type_ == "FileSystemResizePending" && c.status == "True"),
    })
}

/// Whether none of its processes runs any more, nor will: a pod that was evicted stays, as one that has ended.
pub(super) fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The pod's address. Where it has one of each kind that is the IPv4 one: Memgraph listens on 0.0.0.0. That of a pod which has ended
/// may be another one's by now.
pub(super) fn address(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref().filter(|_| !has_ended(pod))?;
    let first = status.pod_ip.iter().map(String::as_str);
    let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let parsed: Vec<IpAddr> = first.chain(all).filter_map(|ip| ip.parse().ok()).collect();
    let v4 = parsed.iter().find(|address| address.is_ipv4());
    v4.or(parsed.first()).copied()
}

/// `host:port` of the replication server in a pod with this address.
pub(super) fn replication_address(pod: IpAddr) -> Option<String> {
    match pod {
        IpAddr::V4(pod) => Some(InstanceAddress::of(pod)),
        IpAddr::V6(_) => None,
    }
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready") == Some("True")
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some(&condition.status)
}

/// Whether Kubernetes hears the database: its own probe of it succeeds, and nothing is known against its node.
///
/// A container that somebody has put beside it, by a webhook for example, and that is not ready says nothing of it. A pod that is not
/// ready although all of its containers are is on a node that is lost: Kubernetes then changes that condition alone. Where another container
/// was not ready before, it changes nothing, but deletes the pod some minutes later.
fn is_heard(pod: &Pod) -> bool {
    let stays = pod.metadata.deletion_timestamp.is_none();
    let another_is_not = || stays && condition(pod, "ContainersReady") == Some("False");
    is_ready(pod) || (another_is_not() && database(pod).is_some_and(|container| container.ready))
}

/// Whether the database is ready, and a container beside it is not.
fn is_incomplete(pod: &Pod) -> bool {
    condition(pod, "ContainersReady") == Some("False")
        && database(pod).is_some_and(|container| container.ready)
}

/// The object of this name.
fn named<'a, K: ResourceExt>(mut objects: impl Iterator<Item = &'a K>, name: &str) -> Option<&'a K> {
    objects.find(|object| object.meta().name.as_deref() == Some(name))
}

/// The incarnation that `pod` is in, as [`Observation`]s tell it.
pub(super) fn incarnation(pod: &Pod, claims: &[PersistentVolumeClaim]) -> Option<Incarnation> {
    let name = pod.name_any();
    let claim = named(claims.iter(), &names::data_claim(&name));
    Slot {
        ordinal: 0,
        pod: Some(pod),
        claim,
        name,
    }
    .incarnation()
}

impl Inventory {
    fn slots(&self, cluster: &MemgraphCluster) -> Vec<Slot<'_>> {
        let name = cluster.name_any();
        let existing = self
            .instances
            .iter()
            .filter_map(|pod| names::ordinal(&name, pod.metadata.name.as_deref()?));
        let mut ordinals: Vec<i32> = (0..cluster.spec.replicas).chain(existing).collect();
        ordinals.sort_unstable();
        ordinals.dedup();
        ordinals
            .into_iter()
            .map(|ordinal| {
                let instance = names::instance(&name, ordinal);
                let claim = names::data_claim(&instance);
                let pods = self.instances.iter().map(Arc::as_ref);
                let claims = self.claims.iter().map(Arc::as_ref);
                // Claims of an earlier cluster of this name hold nothing of this one.
                let has_claims = cluster.spec.storage.empty_dir.is_none();
                Slot {
                    ordinal,
                    pod: named(pods, &instance),
                    claim: named(claims, &claim).filter(|_| has_claims),
                    name: instance,
                }
            })
            .collect()
    }

    /// The instances to look at. Of a cluster that sleeps these are none, so that nobody has been away for the whole night when it
    /// wakes up.
    pub(super) fn targets(&self, cluster: &MemgraphCluster) -> Vec<Target> {
        let sleeps = self.stateful_set.as_deref().is_some_and(Packed::asks_for_none);
        let slots = self.slots(cluster).into_iter();
        slots
            .filter(|slot| !sleeps || slot.pod.is_some())
            .map(|slot| slot.target())
            .collect()
    }

    /// UID of the StatefulSet, if it is this cluster's and not one of a former cluster of its name.
    fn own_set_uid(&self, cluster: &MemgraphCluster) -> Option<String> {
        let set = self.stateful_set.as_deref();
        let own = set.filter(|set| is_controlled_by(set.meta(), cluster));
        own.and_then(ResourceExt::uid)
    }

    /// What Kubernetes says of the gateway.
    pub(super) fn gateway(&self, cluster: &MemgraphCluster) -> GatewayState {
        let ready = self.gateways.iter().filter(|pod| is_ready(pod)).count();
        let refused = || self.deployment.as_deref()?.refusal().map(shortened);
        GatewayState {
            enabled: cluster.spec.gateway.enabled,
            ready: i32::try_from(ready).unwrap_or(i32::MAX),
            obstacle: self
                .gateways
                .iter()
                .find_map(|pod| obstacle(pod))
                .or_else(refused),
            unfinished: self
                .deployment
                .as_deref()
                .and_then(Packed::unfinished)
                .map(str::to_owned),
        }
    }

    /// Whether anything shows that instances have been started: a process that runs, or a note on a volume's claim.
    pub(super) fn have_run(&self) -> bool {
        let noted =
            |claim: &Arc<PersistentVolumeClaim>| claim.annotations().contains_key(names::NOTE_ANNOTATION);
        let is_up = |pod: &Arc<Pod>| {
            let state = database(pod).and_then(|container| container.state.as_ref());
            state.is_some_and(|state| state.running.is_some())
        };
        self.claims.iter().any(noted) || self.instances.iter().any(is_up)
    }

    /// Whether the pod of this instance was made with this configuration.
    pub(super) fn runs(&self, instance: &str, configuration: &str) -> bool {
        self.pod(instance).and_then(own_configuration) == Some(configuration)
    }

    /// The pod of this instance.
    pub(super) fn pod(&self, instance: &str) -> Option<&Pod> {
        named(self.instances.iter().map(Arc::as_ref), instance)
    }

    /// UID of what the data of this instance ends with: its volume claim, or its pod, where it lies in that.
    pub(super) fn data_uid(&self, instance: &str) -> Option<String> {
        match self.pod(instance).filter(|pod| has_own_volume(pod)) {
            Some(pod) => pod.uid(),
            None => {
                let claims = self.claims.iter().map(Arc::as_ref);
                named(claims, &names::data_claim(instance)).and_then(ResourceExt::uid)
            }
        }
    }

    /// The instances with a pod, and with data of a cluster that was set up, which is to stay.
    pub(super) fn data_holders(&self, cluster: &MemgraphCluster) -> Vec<String> {
        let in_pods = cluster.spec.storage.empty_dir.is_some();
        let claims = || self.claims.iter().map(Arc::as_ref);
        let is_noted = |pod: &Pod| match in_pods {
            true => pod.annotations().contains_key(names::NOTE_ANNOTATION),
            false => named(claims(), &names::data_claim(&pod.name_any())).is_some_and(|claim| {
                claim.metadata.deletion_timestamp.is_none()
                    && claim.annotations().contains_key(names::NOTE_ANNOTATION)
            }),
        };
        // A claim outlives its pod, and the pod that takes its place has it again.
        let stays =
            |pod: &&Arc<Pod>| (!in_pods || pod.metadata.deletion_timestamp.is_none()) && is_noted(pod);
        let pods = self.instances.iter().filter(stays);
        pods.map(|pod| pod.name_any()).collect()
    }

    /// Bound claims of this cluster beyond the declared instances; where data lies in pods, pods that hold some.
    fn stray_volumes(&self, cluster: &MemgraphCluster) -> Vec<String> {
        let name = cluster.name_any();
        if cluster.spec.storage.empty_dir.is_some() {
            let beyond =
                |pod: &String| names::ordinal(&name, pod).is_some_and(|n| n >= cluster.spec.replicas);
            let holders = self.data_holders(cluster).into_iter();
            return holders.filter(beyond).collect();
        }
        let beyond = |claim: &&PersistentVolumeClaim| {
            let claim_name = claim.name_any();
            let instance = claim_name
                .strip_prefix(names::DATA_VOLUME)
                .and_then(|rest| rest.strip_prefix('-'));
            instance
                .and_then(|instance| names::ordinal(&name, instance))
                .is_some_and(|ordinal| ordinal >= cluster.spec.replicas)
        };
        let claims = self.claims.iter().map(Arc::as_ref);
        claims.filter(beyond).map(ResourceExt::name_any).collect()
    }

    /// Everything that a decision rests on.
    pub(super) async fn observation(
        &self,
        cluster: &MemgraphCluster,
        sightings: &Sightings,
        memories: Memories,
        cluster_domain: &str,
    ) -> Observation {
        let ledger = cluster.status.as_ref().and_then(|status| status.ledger.clone());
        let namespace = cluster.namespace().unwrap_or_default();
        let told = match &ledger {
            Some(ledger) => sightings.told_by(&ledger.main.instance).await,
            None => BTreeMap::new(),
        };
        let certain = self.stateful_set.as_deref().and_then(Packed::configuration);
        let status = cluster.status.as_ref();
        let version = status.and_then(|status| status.version.as_deref());
        let in_pods = cluster.spec.storage.empty_dir.is_some();
        let own_set = self.own_set_uid(cluster);
        let settings = settings(&cluster.spec, image::wanted(cluster, self), version);
        let mut instances = Vec::new();
        for slot in self.slots(cluster) {
            let target = slot.target();
            let sighting = sightings.sighting(&target).await;
            let host = names::instance_host(&cluster.name_any(), &namespace, &slot.name, cluster_domain);
            instances.push(Instance {
                replication_address: target.address.and_then(replication_address),
                replication_name: format!("{host}:{}", names::REPLICATION_PORT),
                address: target.address,
                node: slot.pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone()),
                container: slot.container(),
                ready: slot.pod.is_some_and(is_heard),
                incomplete: slot.pod.is_some_and(is_incomplete),
                claim: match slot.pod.filter(|pod| has_own_volume(pod)) {
                    Some(pod) => own_claim(pod),
                    None => slot.claim.and_then(|its| claim(its, settings.volume_size)),
                },
                position: sighting.position,
                pod_uid: slot.pod.and_then(ResourceExt::uid),
                pod_version: slot.pod.and_then(ResourceExt::resource_version),
                passing: slot.is_passing(in_pods, own_set.as_deref()),
                terminating: slot.is_terminating(),
                terminating_for: sighting.terminating_for,
                configuration: slot
                    .pod
                    .map(|pod| standing(pod, memories.configuration.as_deref(), certain))
                    .unwrap_or_default(),
                restart_asked: slot.bears(names::RESTART_ANNOTATION),
                reset_asked: slot.bears(names::RESET_ANNOTATION),
                reset_note: slot.pod.and_then(init_note).map(|note| note.reset),
                incarnation: target.incarnation,
                sight: sighting.sight,
                away_for: sighting.away_for,
                silent_for: sighting.silent_for,
                stuck_for: sighting.stuck_for,
                has_answered: sighting.has_answered,
                crash_loop: slot.pod.and_then(|pod| crash_loop(pod, memories.now)),
                obstacle: match slot.pod {
                    Some(pod) => obstacle(pod),
                    None => (sighting.unseen_for >= LONG_WITHOUT_A_POD && !memories.stage.ends_pods())
                        .then(|| NO_POD.to_owned()),
                },
                adamant: sighting.adamant,
                unregistrable: sighting.unregistrable,
                may_have_ended: sighting.may_have_ended,
                last_behind: told.get(&slot.ordinal).copied(),
                last_mode: sighting.last_mode,
                refused: ledger
                    .as_ref()
                    .is_some_and(|ledger| sighting.refused_in == Some(ledger.term)),
                ordinal: slot.ordinal,
                name: slot.name,
            });
        }
        Observation {
            settings,
            ledger,
            known_term: memories.known_term,
            instances,
            stray_volumes: self.stray_volumes(cluster),
            numbers: memories.numbers,
            closed_for: memories.closed_for,
            shut_for: memories.shut_for,
            busy_for: sightings.busy_for().await,
            misses_a_gateway: sightings.misses_a_gateway().await,
            commit_for: memories.commit_for,
            commits_slowly: memories.commits_slowly,
            change_ages: memories.change_ages,
            witnesses: memories.witnesses,
            access: memories.access,
            fresh_lineage: memories.fresh_lineage,
            stage: memories.stage,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_beside_the_database_says_nothing_of_it_and_a_lost_node_does() {
        let heard = |ready: &str, containers_ready: &str, database: bool| {
            let container = |name: &str, ready: bool| json!({"name": name, "image": "i", "imageID": "i", "ready": ready, "restartCount": 0});
            let pod = json!({
                "metadata": {"name": "demo-0"},
                "status": {
                    "conditions": [
                        {"type": "Ready", "status": ready}, {"type": "ContainersReady", "status": containers_ready},
                    ],
                    "containerStatuses": [
                        container("beside", containers_ready == "True"), container(names::INSTANCE_CONTAINER, database),
                    ],
                },
            });
            is_heard(&serde_json::from_value(pod).unwrap())
        };
        assert!(heard("True", "True", true));
        assert!(
            heard("False", "False", true),
            "only the one beside it is not ready"
        );
        assert!(!heard("False", "False", false));
        assert!(!heard("False", "True", true), "the node is lost");
    }

    #[test]
    fn one_that_ends_again_and_again_does_so_between_its_ends_too() {
        let found = |restarts: i32, state: serde_json::Value, last: serde_json::Value| {
            let pod = json!({
                "metadata": {"name": "demo-0"},
                "status": {"containerStatuses": [{
                    "name": names::INSTANCE_CONTAINER, "image": "i", "imageID": "i", "ready": false,
                    "restartCount": restarts, "state": state, "lastState": last,
                }]},
            });
            let now = "2026-01-01T00:30:00Z".parse().unwrap();
            crash_loop(&serde_json::from_value(pod).unwrap(), now)
                .map(|crash_loop| (crash_loop.exit_code.unwrap(), crash_loop.waits))
        };
        let ended = |from: &str, to: &str| {
            let at = |minute: &str| format!("2026-01-01T00:{minute}:00Z");
            json!({"terminated": {"exitCode": 134, "startedAt": at(from), "finishedAt": at(to)}})
        };
        let runs_since =
            |minute: &str| json!({"running": {"startedAt": format!("2026-01-01T00:{minute}:00Z")}});
        let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
        let short = || ended("18", "19");
        assert_eq!(found(3, waiting("CrashLoopBackOff"), short()), Some((134, true)));
        assert_eq!(found(2, waiting("CrashLoopBackOff"), short()), None);
        assert_eq!(found(3, runs_since("21"), short()), Some((134, false)));
        assert_eq!(found(3, short(), ended("00", "17")), Some((134, false)));
        assert_eq!(
            found(3, runs_since("21"), ended("00", "19")),
            None,
            "it ran for long"
        );
        assert_eq!(found(3, runs_since("20"), short()), None, "it runs for long");
        assert_eq!(found(3, runs_since("21"), json!({})), None);
    }

    #[test]
    fn a_file_system_is_waited_for_only_by_what_the_spec_asks_now() {
        let awaits = |asked: &str, size: u64| {
            let mut claim = claims::tests::bound("data-demo-0", asked, "1Gi");
            claim["status"]["conditions"] = json!([{"type": "FileSystemResizePending", "status": "True"}]);
            let told = volume(&serde_json::from_value(claim).unwrap(), size).unwrap();
            assert_eq!(told.capacity, Some(1 << 30));
            told.awaits_kubelet
        };
        assert!(awaits("2Gi", 2 << 30) && awaits("2Gi", 3 << 30));
        assert!(!awaits("100Ti", 1 << 30), "the size was put back");
    }

    #[test]
    fn a_pod_is_incomplete_where_the_database_is_ready_and_another_container_is_not() {
        let incomplete = |containers_ready: &str, database: bool| {
            let pod = json!({
                "metadata": {"name": "demo-0"},
                "status": {
                    "conditions": [{"type": "ContainersReady", "status": containers_ready}],
                    "containerStatuses": [
                        {"name": names::INSTANCE_CONTAINER, "image": "i", "imageID": "i", "ready": database, "restartCount": 0},
                    ],
                },
            });
            is_incomplete(&serde_json::from_value(pod).unwrap())
        };
        assert!(incomplete("False", true));
        assert!(!incomplete("True", true));
        assert!(!incomplete("False", false), "it is what is not ready");
    }
}
