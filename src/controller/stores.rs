//! Caches of the objects that clusters consist of, each kept by one watch.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::task::AbortOnDropHandle;

use super::{
    fence::Gateway,
    link::Acquaintance,
    observe::{Inventory, has_ended},
    packed::Packed,
};
use crate::{
    api::{MemgraphCluster, names},
    resources::{Kind, ObjectKey, OperatorPods},
    scope::{Remembered, Scope, watch_all},
};

/// Where a watch says that something of a cluster has changed.
pub(super) type Pokes = UnboundedSender<ObjectRef<MemgraphCluster>>;

/// The caches.
#[derive(Clone)]
pub(super) struct Stores {
    pods: Store<Pod>,
    claims: Store<PersistentVolumeClaim>,
    pod_names: Arc<Members>,
    claim_names: Arc<Members>,
    /// The operator's own processes.
    operators: Store<Pod>,
    /// By kind: the objects that this operator applies.
    applied: Vec<(Kind, Store<Packed>)>,
    /// They end with the last of those who read the caches.
    _watches: Arc<[AbortOnDropHandle<()>]>,
}

/// Which of a cache's objects belong to each cluster, so that nobody has to look through those of all others. An object that
/// is not in the cache any more may still be named.
#[derive(Default)]
struct Members {
    /// By the cluster's namespace and name: their names.
    names: Mutex<HashMap<(String, String), BTreeSet<String>>>,
}

impl Members {
    fn names(&self) -> MutexGuard<'_, HashMap<(String, String), BTreeSet<String>>> {
        // Each change is one step, so a panic elsewhere under the lock spoils nothing.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add<K: ResourceExt>(&self, object: &K) {
        if let Some(cluster) = cluster_of(object) {
            self.names().entry(cluster).or_default().insert(object.name_any());
        }
    }

    fn remove<K: ResourceExt>(&self, object: &K) {
        let Some(cluster) = cluster_of(object) else {
            return;
        };
        let mut names = self.names();
        if let Some(members) = names.get_mut(&cluster) {
            members.remove(&object.name_any());
            if members.is_empty() {
                names.remove(&cluster);
            }
        }
    }

    /// From now on these are all.
    fn set<K: ResourceExt>(&self, objects: &[Arc<K>]) {
        let mut all: HashMap<_, BTreeSet<String>> = HashMap::new();
        for object in objects {
            if let Some(cluster) = cluster_of(object.as_ref()) {
                all.entry(cluster).or_default().insert(object.name_any());
            }
        }
        *self.names() = all;
    }

    /// The objects of this cluster, by name: a cache has an order of its own each time, and nothing that is decided may depend
    /// on it.
    fn of<K>(&self, store: &Store<K>, namespace: &str, cluster: &str) -> Vec<Arc<K>>
    where
        K: Resource<DynamicType = ()> + Clone + 'static,
    {
        let key = (namespace.to_owned(), cluster.to_owned());
        let names: Vec<String> = self.names().get(&key).into_iter().flatten().cloned().collect();
        let objects = names
            .iter()
            .filter_map(|name| store.get(&ObjectRef::new(name).within(namespace)));
        // It may have passed to another cluster.
        objects
            .filter(|object| object.labels().get(names::CLUSTER_LABEL).map(String::as_str) == Some(cluster))
            .collect()
    }
}

/// Namespace and name of the cluster that an object belongs to.
fn cluster_of<K: ResourceExt>(object: &K) -> Option<(String, String)> {
    let cluster = object.labels().get(names::CLUSTER_LABEL)?;
    Some((object.namespace()?, cluster.clone()))
}

impl Stores {
    /// Starts the watches.
    pub(super) fn start(client: &Client, scope: &Scope, own: &OperatorPods, pokes: &Pokes) -> Self {
        let ours = format!("app.kubernetes.io/managed-by={}", names::FIELD_MANAGER);
        let (pod_names, claim_names) = (Arc::<Members>::default(), Arc::<Members>::default());
        let labels = names::CLUSTER_LABEL;
        let (pods, pod_watch) = watch(scope.apis(client), (), labels, Some(&pod_names), pokes);
        let (claims, claim_watch) = watch(scope.apis(client), (), labels, Some(&claim_names), pokes);
        let own_pods = Api::namespaced(client.clone(), own.namespace());
        let (operators, operator_watch) = watch(vec![own_pods], (), &own.selector(), None, pokes);
        let mut watches = vec![pod_watch, claim_watch, operator_watch];
        let applied = Kind::ALL.into_iter().map(|kind| {
            let resource = kind.api_resource();
            let apis = scope.dynamic_apis(client, &resource);
            let (store, watching) = watch(apis, resource, &ours, None, pokes);
            watches.push(watching);
            (kind, store)
        });
        Self {
            pods,
            claims,
            pod_names,
            claim_names,
            operators,
            applied: applied.collect(),
            _watches: watches.into(),
        }
    }

    /// Waits until every cache holds its first list. Before that, absence in a cache says nothing.
    pub(super) async fn wait_until_ready(
        &self,
    ) -> Result<(), kube::runtime::reflector::store::WriterDropped> {
        self.pods.wait_until_ready().await?;
        self.claims.wait_until_ready().await?;
        self.operators.wait_until_ready().await?;
        for (_, store) in &self.applied {
            store.wait_until_ready().await?;
        }
        Ok(())
    }

    /// What the caches hold of one cluster.
    pub(super) fn inventory(&self, namespace: &str, cluster: &str) -> Inventory {
        let mut pods = self.pod_names.of(&self.pods, namespace, cluster);
        let is = |pod: &Pod, component: &str| {
            let named = pod.labels().get(names::COMPONENT_LABEL);
            named.map(String::as_str) == Some(component)
        };
        let instances = pods.extract_if(.., |pod| is(pod, names::INSTANCE)).collect();
        pods.retain(|pod| is(pod, names::GATEWAY));
        let applied = |kind, name| self.applied(&ObjectKey { kind, name }, namespace);
        Inventory {
            instances,
            gateways: pods,
            claims: self.claim_names.of(&self.claims, namespace, cluster),
            stateful_set: applied(Kind::StatefulSet, names::statefulset(cluster)),
            deployment: applied(Kind::Deployment, names::gateway(cluster)),
        }
    }

    /// The names of the pods in which processes of this operator may run, now or later.
    pub(super) fn operators(&self) -> Vec<String> {
        let pods = self.operators.state().into_iter().filter(|pod| !has_ended(pod));
        in_order(pods).iter().map(|pod| pod.name_any()).collect()
    }

    /// The clusters that have gateways.
    pub(super) fn acquaintances(&self) -> Vec<Acquaintance> {
        let deployments = self.applied.iter().filter(|(kind, _)| *kind == Kind::Deployment);
        let deployments = deployments.flat_map(|(_, store)| store.state());
        in_order(deployments)
            .iter()
            .filter_map(|deployment| {
                let owner = deployment.owner_references().iter();
                let owner = owner.into_iter().find(|owner| owner.controller == Some(true))?;
                let name = deployment.labels().get(names::CLUSTER_LABEL)?;
                let namespace = deployment.namespace()?;
                Some(self.acquaintance(&owner.uid, &namespace, name))
            })
            .collect()
    }

    /// This cluster, with its gateways.
    pub(super) fn acquaintance(&self, uid: &str, namespace: &str, name: &str) -> Acquaintance {
        let gateways = self.inventory(namespace, name).gateways;
        let gateways = gateways.iter().filter_map(|pod| Gateway::of(pod));
        Acquaintance {
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            gateways: gateways.map(|gateway| (gateway.uid, gateway.address)).collect(),
        }
    }

    /// An applied object, as the watch last saw it.
    pub(super) fn applied(&self, key: &ObjectKey, namespace: &str) -> Option<Arc<Packed>> {
        let (_, store) = self.applied.iter().find(|(kind, _)| *kind == key.kind)?;
        store.get(&ObjectRef::new_with(&key.name, key.kind.api_resource()).within(namespace))
    }

    /// The Services that carry this cluster's label, as the watch last saw them.
    pub(super) fn services(&self, namespace: &str, cluster: &str) -> Vec<Arc<Packed>> {
        let of_cluster = |service: &Arc<Packed>| {
            service.meta().namespace.as_deref() == Some(namespace)
                && service.labels().get(names::CLUSTER_LABEL).map(String::as_str) == Some(cluster)
        };
        let stores = self.applied.iter().filter(|(kind, _)| *kind == Kind::Service);
        in_order(stores.flat_map(|(_, store)| store.state()).filter(of_cluster))
    }
}

/// By name: a cache has an order of its own each time, and nothing that is decided may depend on it.
fn in_order<K: ResourceExt>(objects: impl Iterator<Item = Arc<K>>) -> Vec<Arc<K>> {
    let mut objects: Vec<Arc<K>> = objects.collect();
    objects.sort_by(|one, other| one.meta().name.cmp(&other.meta().name));
    objects
}

/// Keeps a cache of the objects with this label, and pokes the cluster that a changed one belongs to. `members`: where it is
/// noted which cluster that is.
fn watch<K>(
    apis: Vec<Api<K>>,
    kind: K::DynamicType,
    selector: &str,
    members: Option<&Arc<Members>>,
    pokes: &Pokes,
) -> (Store<K>, AbortOnDropHandle<()>)
where
    K: Resource + Remembered + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Clone + Debug + Eq + Hash + Send + Sync + Unpin + 'static,
{
    let writer = Writer::new(kind);
    let store = writer.as_reader();
    let (pokes, members, cached) = (pokes.clone(), members.cloned(), store.clone());
    let config = watcher::Config::default().labels(selector);
    let watching = tokio::spawn(async move {
        // Noted before it is cached: whoever finds the cache filled finds all that is in it.
        let noted = members.clone();
        let changes = watch_all(apis, &config)
            .default_backoff()
            .inspect_ok(move |change| {
                if let (Some(members), watcher::Event::InitApply(object) | watcher::Event::Apply(object)) =
                    (&noted, change)
                {
                    members.add(object);
                }
            });
        let mut changes = std::pin::pin!(changes.reflect(writer));
        while let Some(change) = changes.next().await {
            let object = match change {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => object,
                Ok(watcher::Event::Delete(object)) => {
                    if let Some(members) = &members {
                        members.remove(&object);
                    }
                    object
                }
                Ok(watcher::Event::Init) => continue,
                Ok(watcher::Event::InitDone) => {
                    if let Some(members) = &members {
                        members.set(&cached.state());
                    }
                    continue;
                }
                Err(error) => {
                    tracing::debug!(%error, "watch interrupted; it is taken up again");
                    continue;
                }
            };
            if let Some((namespace, cluster)) = cluster_of(&object) {
                // The receiver is gone only while the process ends.
                let _ = pokes.send(ObjectRef::new(&cluster).within(&namespace));
            }
        }
    });
    (store, AbortOnDropHandle::new(watching))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, cluster: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {
            "name": name, "namespace": "graphs", "labels": {names::CLUSTER_LABEL: cluster},
        }}))
        .unwrap()
    }

    #[test]
    fn a_cluster_has_its_own_members_only_as_long_as_they_are_cached() {
        let (members, mut writer) = (Members::default(), Writer::<Pod>::default());
        let store = writer.as_reader();
        let found = |cluster: &str| {
            let pods = members.of(&store, "graphs", cluster);
            pods.iter().map(|pod| pod.name_any()).collect::<Vec<_>>()
        };
        for (name, cluster) in [("demo-1", "demo"), ("other-0", "other"), ("demo-0", "demo")] {
            members.add(&pod(name, cluster));
            assert!(
                found(cluster).iter().all(|there| there != name),
                "it is not cached yet"
            );
            writer.apply_watcher_event(&watcher::Event::Apply(pod(name, cluster)));
        }
        assert_eq!(found("demo"), ["demo-0", "demo-1"]);
        assert!(members.of(&store, "elsewhere", "demo").is_empty());

        writer.apply_watcher_event(&watcher::Event::Delete(pod("demo-0", "demo")));
        assert_eq!(found("demo"), ["demo-1"]);
        members.remove(&pod("demo-0", "demo"));

        // It passes to another cluster.
        members.add(&pod("demo-1", "other"));
        writer.apply_watcher_event(&watcher::Event::Apply(pod("demo-1", "other")));
        assert!(found("demo").is_empty());
        members.set(&store.state());
        assert_eq!(found("other"), ["demo-1", "other-0"]);
        assert_eq!(members.names().len(), 1, "nothing is left of the first one");
    }
}
