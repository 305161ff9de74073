//! Caches of the objects that clusters consist of, each kept by one watch.

use std::{fmt::Debug, hash::Hash, sync::Arc};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::DynamicObject,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::task::AbortOnDropHandle;

use super::{fence::Gateway, link::Acquaintance, observe::Inventory};
use crate::{
    api::{MemgraphCluster, names},
    resources::{Kind, ObjectKey, OperatorPods},
};

/// Where a watch says that something of a cluster has changed.
pub(super) type Pokes = UnboundedSender<ObjectRef<MemgraphCluster>>;

/// The caches.
#[derive(Clone)]
pub(super) struct Stores {
    pods: Store<Pod>,
    claims: Store<PersistentVolumeClaim>,
    /// The operator's own processes.
    operators: Store<Pod>,
    /// By kind: the objects that this operator applies.
    applied: Vec<(Kind, Store<DynamicObject>)>,
    /// They end with the last of those who read the caches.
    _watches: Arc<[AbortOnDropHandle<()>]>,
}

impl Stores {
    /// Starts the watches.
    pub(super) fn start(client: &Client, own: &OperatorPods, pokes: &Pokes) -> Self {
        let ours = format!("app.kubernetes.io/managed-by={}", names::FIELD_MANAGER);
        let (pods, pod_watch) = watch(Api::all(client.clone()), (), names::CLUSTER_LABEL, pokes);
        let (claims, claim_watch) = watch(Api::all(client.clone()), (), names::CLUSTER_LABEL, pokes);
        let own_pods = Api::namespaced(client.clone(), own.namespace());
        let (operators, operator_watch) = watch(own_pods, (), &own.selector(), pokes);
        let mut watches = vec![pod_watch, claim_watch, operator_watch];
        let applied = Kind::ALL.into_iter().map(|kind| {
            let resource = kind.api_resource();
            let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
            let (store, watching) = watch(api, resource, &ours, pokes);
            watches.push(watching);
            (kind, store)
        });
        Self {
            pods,
            claims,
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
        let pods = |component: &str| {
            let selector = names::selector(cluster, component);
            let wanted = |pod: &Arc<Pod>| {
                pod.metadata.namespace.as_deref() == Some(namespace)
                    && selector
                        .iter()
                        .all(|(key, value)| pod.labels().get(key) == Some(value))
            };
            in_order(self.pods.state().into_iter().filter(wanted))
        };
        let owned = |claim: &Arc<PersistentVolumeClaim>| {
            claim.metadata.namespace.as_deref() == Some(namespace)
                && claim.labels().get(names::CLUSTER_LABEL).map(String::as_str) == Some(cluster)
        };
        let set = ObjectKey {
            kind: Kind::StatefulSet,
            name: names::statefulset(cluster),
        };
        Inventory {
            instances: pods(names::INSTANCE),
            gateways: pods(names::GATEWAY),
            claims: in_order(self.claims.state().into_iter().filter(owned)),
            stateful_set: self.applied(&set, namespace),
        }
    }

    /// The names of the pods in which processes of this operator may run, now or later.
    pub(super) fn operators(&self) -> Vec<String> {
        let ended = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        let pods = self.operators.state().into_iter().filter(|pod| !ended(pod));
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
    pub(super) fn applied(&self, key: &ObjectKey, namespace: &str) -> Option<Arc<DynamicObject>> {
        let (_, store) = self.applied.iter().find(|(kind, _)| *kind == key.kind)?;
        store.get(&ObjectRef::new_with(&key.name, key.kind.api_resource()).within(namespace))
    }

    /// The Services that carry this cluster's label, as the watch last saw them.
    pub(super) fn services(&self, namespace: &str, cluster: &str) -> Vec<Arc<DynamicObject>> {
        let of_cluster = |service: &Arc<DynamicObject>| {
            service.metadata.namespace.as_deref() == Some(namespace)
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

/// Keeps a cache of the objects with this label, and pokes the cluster that a changed one belongs to.
fn watch<K>(
    api: Api<K>,
    kind: K::DynamicType,
    selector: &str,
    pokes: &Pokes,
) -> (Store<K>, AbortOnDropHandle<()>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Clone + Debug + Eq + Hash + Send + Sync + Unpin + 'static,
{
    let writer = Writer::new(kind);
    let store = writer.as_reader();
    let pokes = pokes.clone();
    let config = watcher::Config::default().labels(selector);
    let watching = tokio::spawn(async move {
        let mut changes = std::pin::pin!(
            watcher(api, config)
                .default_backoff()
                .modify(|object| object.managed_fields_mut().clear())
                .reflect(writer)
                .touched_objects()
        );
        while let Some(change) = changes.next().await {
            match change {
                Ok(object) => {
                    let cluster = object.labels().get(names::CLUSTER_LABEL);
                    if let (Some(cluster), Some(namespace)) = (cluster, object.namespace()) {
                        // The receiver is gone only while the process ends.
                        let _ = pokes.send(ObjectRef::new(cluster).within(&namespace));
                    }
                }
                Err(error) => tracing::debug!(%error, "watch interrupted; it is taken up again"),
            }
        }
    });
    (store, AbortOnDropHandle::new(watching))
}
