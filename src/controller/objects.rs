//! Brings a cluster's Kubernetes objects to what they should be, with no request where they already are.

use std::{
    collections::HashMap,
    sync::{self, Arc, MutexGuard, PoisonError},
};

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy},
    core::{DynamicObject, ObjectMeta},
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{
    access::AccessError,
    certificates::CertificateError,
    custody::{self, CustodyError},
    gateway_certificate::GatewayCertificateError,
    license::LicenseError,
    link::Unprepared,
    packed::Packed,
    stores::Stores,
    volumes::VolumeError,
};
use crate::{
    api::{MemgraphCluster, MemgraphClusterSpec, ledger::Ledger, names},
    plan::{Stage, instances_to_keep},
    resources::{
        self, Desired, Evictions, Fingerprints, Installation, Kind, Object, ObjectKey, Replacement, Rest,
        is_controlled_by, is_left_behind, keeps_volumes, outlive_their_set,
    },
};

/// Why an object is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The spec cannot be turned into objects.
    #[error("cannot build the objects of the cluster")]
    Build(#[from] resources::Error),
    /// Something else has an object of that name.
    #[error(
        "{kind} {name} exists and does not belong to this cluster; delete or rename it, or give the cluster (or, where it is a \
         gateway's Service, that one) another name"
    )]
    Foreign {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// An object of that name belongs to a former cluster of the same name.
    #[error(
        "{kind} {name} belongs to a former cluster of this name, and Kubernetes' garbage collector has not removed it yet; where it \
         never does, delete it"
    )]
    LeftBehind {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The credentials are not as they should be.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The certificate is not as it should be.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate of the gateways is not as it should be.
    #[error(transparent)]
    GatewayCertificate(#[from] GatewayCertificateError),
    /// The license is not as it should be.
    #[error(transparent)]
    License(#[from] LicenseError),
    /// Pods do not belong to the cluster yet, which they must before their StatefulSet goes.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// A volume is not as large as it should be.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The gateways could not be talked to.
    #[error("cannot prepare the control channel to the gateways")]
    Gateways(#[source] Unprepared),
    /// The API server refused.
    #[error("cannot {action} {kind} {name}")]
    Request {
        /// What was to be done.
        action: &'static str,
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
        /// Why not.
        source: Box<kube::Error>,
    },
}

impl ObjectError {
    /// Whether the API server has refused a value that no rule of the definition is about.
    fn refuses_a_value(&self) -> bool {
        let Self::Request { source, .. } = self else {
            return false;
        };
        matches!(&**source, kube::Error::Api(answer) if answer.code == 422)
    }
}

/// What was applied, so that a cache that is behind is not taken for a change by somebody else; and what was found to be as
/// it should be, so that nothing is built and compared again that has not changed.
#[derive(Default)]
pub(super) struct Applied {
    versions: sync::Mutex<HashMap<ObjectKey, Stamp>>,
    /// The cluster and the generation of its spec that all objects were brought to last.
    reached: sync::Mutex<Option<(Option<String>, Option<i64>)>>,
    checked: Mutex<HashMap<ObjectKey, Checked>>,
    built: Mutex<Option<Built>>,
}

struct Stamp {
    hash: String,
    resource_version: u64,
}

/// An object in the cache that was compared with what it should be, and is like that.
struct Checked {
    hash: String,
    /// It is held, so that no other object can have its address.
    cached: Arc<Packed>,
}

/// The objects of a cluster, and what they were built from.
struct Built {
    uid: Option<String>,
    spec: MemgraphClusterSpec,
    image: String,
    secrets: Fingerprints,
    evictions: Evictions,
    desired: Arc<Desired>,
}

/// What a cluster's objects follow from.
pub(super) struct Wanted<'a> {
    pub(super) cluster: &'a MemgraphCluster,
    pub(super) operator: &'a Installation,
    /// The image of instances that are made now.
    pub(super) image: String,
    /// What tells the contents of Secrets from others.
    pub(super) secrets: Fingerprints,
    /// The instances that hold data.
    pub(super) holders: Vec<String>,
    /// Whether MAIN was seen to serve.
    pub(super) main_serves: bool,
    /// How far the cluster is on its way to sleep, or back.
    pub(super) stage: Stage,
}

/// Applies what differs, and deletes what should not be there.
pub(super) async fn bring_about(
    client: &Client,
    stores: &Stores,
    applied: &Applied,
    wanted: Wanted<'_>,
) -> Result<(), ObjectError> {
    let cluster = wanted.cluster;
    let namespace = cluster.namespace().unwrap_or_default();
    let ledger = cluster.status.as_ref().and_then(|status| status.ledger.as_ref());
    let desired = applied.desired(&wanted, ledger).await?;
    let (mut kept, mut refused, mut failed) = (Ok(()), None, None);
    for object in &desired.objects {
        // Who may connect waits for nothing else.
        if failed.is_some() && object.key().kind != Kind::NetworkPolicy {
            continue;
        }
        match bring(client, stores, applied, &wanted, object).await {
            Ok(()) => {}
            // Nothing else waits for a human's word on it.
            Err(forbidden @ ObjectError::Custody(CustodyError::Forbidden { .. })) => kept = Err(forbidden),
            // A port of the nodes' that another Service has: the gateways need not wait for that, and the other one may be next.
            Err(error) if object.key().kind == Kind::Service && error.refuses_a_value() => {
                refused = Some(error)
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let failed = failed.or(refused);
    let absent = desired.absent.iter().filter_map(|key| {
        let live = stores.applied(key, &namespace)?;
        Some((key.clone(), live))
    });
    if let Some(error) = failed {
        // Of gateways that are switched off too, theirs goes after them.
        let open = !cluster.spec.network_policy.enabled;
        for (key, live) in absent.filter(|(key, _)| open && key.kind == Kind::NetworkPolicy) {
            if is_controlled_by(live.meta(), cluster) {
                delete(client, &key, live.meta(), PropagationPolicy::Background).await?;
            }
        }
        return Err(error);
    }
    // What takes the place of these is there by now.
    let services = stores.services(&namespace, &cluster.name_any()).into_iter();
    let left_over = services.filter_map(|live| {
        let name = live.name_any();
        let key = ObjectKey {
            kind: Kind::Service,
            name,
        };
        desired.is_left_over(&key).then_some((key, live))
    });
    for (key, live) in absent.chain(left_over) {
        if is_controlled_by(live.meta(), cluster) {
            delete(client, &key, live.meta(), PropagationPolicy::Background).await?;
        }
    }
    applied.has_reached(cluster);
    kept
}

/// Takes one object to what it should be, or a step towards that.
async fn bring(
    client: &Client,
    stores: &Stores,
    applied: &Applied,
    wanted: &Wanted<'_>,
    object: &Object,
) -> Result<(), ObjectError> {
    let cluster = wanted.cluster;
    let namespace = cluster.namespace().unwrap_or_default();
    let cached = stores.applied(object.key(), &namespace);
    let unpacked = || cached.as_deref().and_then(Packed::unpack);
    let awake = wanted.stage == Stage::Awake;
    if !awake && rests(client, stores, wanted, object, unpacked().as_ref()).await? {
        return Ok(());
    }
    if applied.stands(object, cached.as_ref()).await {
        return Ok(());
    }
    let api = api(client, &namespace, object.key());
    require_ours(&api, cluster, object.key(), cached.as_deref()).await?;
    if object.key().kind == Kind::StatefulSet
        && let Some(live) = &unpacked()
    {
        match Replacement::of(live, &object.content()) {
            Replacement::Unneeded => {}
            // The watch tells of the next step; once it is gone, it is made anew like any object that is not there.
            Replacement::Wait => return Ok(()),
            Replacement::KeepVolumes => return change(&api, object.key(), keeps_volumes(live)).await,
            Replacement::Delete => {
                let pods = stores.inventory(&namespace, &cluster.name_any()).instances;
                if custody::take(client, cluster, &pods).await? {
                    delete(client, object.key(), &live.metadata, PropagationPolicy::Orphan).await?;
                }
                return Ok(());
            }
        }
    }
    apply(&api, applied, object, cached.as_deref()).await
}

/// Does what sleep asks for about an object. Returns whether nothing else is to be done about it.
async fn rests(
    client: &Client,
    stores: &Stores,
    wanted: &Wanted<'_>,
    object: &Object,
    cached: Option<&DynamicObject>,
) -> Result<bool, ObjectError> {
    let cluster = wanted.cluster;
    let namespace = cluster.namespace().unwrap_or_default();
    let inventory = || stores.inventory(&namespace, &cluster.name_any());
    match Rest::of(wanted.stage, object, cached, || inventory().instances) {
        Rest::Apply => Ok(false),
        Rest::Hold => {
            let ours = cached.filter(|live| is_controlled_by(&live.metadata, cluster));
            let outlived = wanted.stage == Stage::Asleep && outlive_their_set(&object.content());
            if let Some(set) = ours.filter(|_| outlived) {
                custody::release(client, set, &inventory().claims).await?;
            }
            Ok(true)
        }
        Rest::Change(patch) => {
            refuse_foreign(cluster, object.key(), cached.map(|live| &live.metadata))?;
            change(&api(client, &namespace, object.key()), object.key(), patch).await?;
            tracing::info!(name = %object.key().name, stage = ?wanted.stage, "StatefulSet scaled");
            Ok(true)
        }
    }
}

/// Lowers the number of instances that a drain of nodes may take, where that is due, before and whatever becomes of all other objects, and
/// also in a pause: an instance whose data has gone with its pod is soon ready again, and filled much later or never.
pub(super) async fn limit_evictions(
    client: &Client,
    stores: &Stores,
    applied: &Applied,
    cluster: &MemgraphCluster,
) -> Result<(), ObjectError> {
    let Some(budget) = resources::lowered_budget(cluster)? else {
        return Ok(());
    };
    let namespace = cluster.namespace().unwrap_or_default();
    let cached = stores.applied(budget.key(), &namespace);
    if applied.stands(&budget, cached.as_ref()).await {
        return Ok(());
    }
    let api = api(client, &namespace, budget.key());
    require_ours(&api, cluster, budget.key(), cached.as_deref()).await?;
    apply(&api, applied, &budget, None).await
}

/// `live`: what was looked at. A StatefulSet is changed only as it was then: what a process has sent that does not lead any more may arrive late,
/// and an instance that is taken away may take its volume along.
async fn apply(
    api: &Api<DynamicObject>,
    applied: &Applied,
    object: &Object,
    live: Option<&Packed>,
) -> Result<(), ObjectError> {
    let mut content = object.content();
    if let Some(live) = live.filter(|_| object.key().kind == Kind::StatefulSet) {
        content["metadata"]["resourceVersion"] = json!(live.resource_version());
    }
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    let patch = Patch::Apply(&content);
    let written = match api.patch(&object.key().name, &params, &patch).await {
        Ok(written) => written,
        // The watch tells of the version that it has by now.
        Err(kube::Error::Api(answer)) if answer.code == 409 && object.key().kind == Kind::StatefulSet => {
            return Ok(());
        }
        Err(error) => return Err(request("apply", object.key())(error)),
    };
    tracing::info!(kind = %object.key().kind.api_resource().kind, name = %object.key().name, "applied");
    applied.note(object, &written);
    Ok(())
}

/// Changes some fields of a very object, which `patch` names by its UID, as it was when it was looked at.
async fn change(api: &Api<DynamicObject>, key: &ObjectKey, patch: Value) -> Result<(), ObjectError> {
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api.patch(&key.name, &params, &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
        Err(error) => Err(request("change", key)(error)),
    }
}

/// Deletes this very object, and no successor of it.
///
/// With [`PropagationPolicy::Orphan`] what belongs to it stays: pods go on as they are, and belong to the next StatefulSet whose
/// selector they fit. What this operator then finds is the same wherever it was broken off: an object that is to go, or none.
async fn delete(
    client: &Client,
    key: &ObjectKey,
    live: &ObjectMeta,
    dependents: PropagationPolicy,
) -> Result<(), ObjectError> {
    let preconditions = Preconditions {
        uid: live.uid.clone(),
        resource_version: None,
    };
    let params = DeleteParams {
        preconditions: Some(preconditions),
        propagation_policy: Some(dependents),
        ..DeleteParams::default()
    };
    let namespace = live.namespace.as_deref().unwrap_or_default();
    match api(client, namespace, key).delete(&key.name, &params).await {
        Ok(_) => tracing::info!(kind = %key.kind.api_resource().kind, name = %key.name, "deleted"),
        // It is gone, or another one has taken its place: the cache will show it.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => {}
        Err(error) => return Err(request("delete", key)(error)),
    }
    Ok(())
}

fn api(client: &Client, namespace: &str, key: &ObjectKey) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &key.kind.api_resource())
}

fn request(action: &'static str, key: &ObjectKey) -> impl FnOnce(kube::Error) -> ObjectError {
    let (kind, name) = (key.kind.api_resource().kind, key.name.clone());
    move |source| ObjectError::Request {
        action,
        kind,
        name,
        source: Box::new(source),
    }
}

/// The cache holds what carries our labels; anything of this name must be ours to be touched.
async fn require_ours(
    api: &Api<DynamicObject>,
    cluster: &MemgraphCluster,
    key: &ObjectKey,
    cached: Option<&Packed>,
) -> Result<(), ObjectError> {
    if let Some(cached) = cached {
        return refuse_foreign(cluster, key, Some(cached.meta()));
    }
    let live = api.get_opt(&key.name).await.map_err(request("read", key))?;
    refuse_foreign(cluster, key, live.as_ref().map(|live| &live.metadata))
}

fn refuse_foreign(
    cluster: &MemgraphCluster,
    key: &ObjectKey,
    live: Option<&ObjectMeta>,
) -> Result<(), ObjectError> {
    let Some(live) = live.filter(|live| !is_controlled_by(live, cluster)) else {
        return Ok(());
    };
    let (kind, name) = (key.kind.api_resource().kind, key.name.clone());
    Err(if is_left_behind(live, cluster) {
        ObjectError::LeftBehind { kind, name }
    } else {
        ObjectError::Foreign { kind, name }
    })
}

/// The server's versions grow; they are compared only to tell whether a cache has passed our own write.
fn version(object: &impl ResourceExt) -> u64 {
    let version = object.resource_version();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

/// Which spec of which cluster it is.
fn spec_of(cluster: &MemgraphCluster) -> (Option<String>, Option<i64>) {
    (cluster.uid(), cluster.metadata.generation)
}

impl Stamp {
    /// Whether the cache has not come to what was written.
    fn outruns(&self, cached: &Packed) -> bool {
        version(cached) < self.resource_version
    }

    /// Whether nothing has been seen that came after what was written. Also where the API server has made something else of it, as
    /// of a field of a feature that is switched off, or a webhook has: the same would come of it again.
    fn is_the_last_word(&self, cached: &Packed) -> bool {
        // 0 stands for what is no number, and tells nothing.
        let is_it = self.resource_version > 0 && version(cached) == self.resource_version;
        is_it || self.outruns(cached)
    }
}

impl Applied {
    /// The objects of a cluster, with as many instances as must be kept for now. The operator is the same in every call.
    async fn desired(
        &self,
        wanted: &Wanted<'_>,
        ledger: Option<&Ledger>,
    ) -> Result<Arc<Desired>, resources::Error> {
        let cluster = wanted.cluster;
        let mut spec = cluster.spec.clone();
        // It says of the objects what is to be done now, and not what is asked for in the end.
        spec.hibernated = wanted.stage.ends_pods();
        spec.replicas = instances_to_keep(
            &cluster.name_any(),
            spec.replicas,
            ledger,
            &wanted.holders,
            wanted.main_serves,
        );
        let evictions = Evictions::of(cluster);
        let mut built = self.built.lock().await;
        if let Some(built) = &*built
            && built.uid == cluster.metadata.uid
            && built.spec == spec
            && built.image == wanted.image
            && built.secrets == wanted.secrets
            && built.evictions == evictions
        {
            return Ok(Arc::clone(&built.desired));
        }
        let kept = MemgraphCluster {
            metadata: cluster.metadata.clone(),
            spec,
            status: cluster.status.clone(),
        };
        let desired = Arc::new(resources::desired(
            &kept,
            wanted.operator,
            &wanted.image,
            &wanted.secrets,
        )?);
        *built = Some(Built {
            uid: kept.metadata.uid,
            spec: kept.spec,
            image: wanted.image.clone(),
            secrets: wanted.secrets.clone(),
            evictions,
            desired: Arc::clone(&desired),
        });
        Ok(desired)
    }

    /// Whether `object` is known to be as it should be.
    async fn stands(&self, object: &Object, cached: Option<&Arc<Packed>>) -> bool {
        let Some(cached) = cached else { return false };
        let is_ours = |stamp: &Stamp| stamp.hash == object.hash() && stamp.is_the_last_word(cached);
        if self.versions().get(object.key()).is_some_and(is_ours) {
            return true;
        }
        let mut checked = self.checked.lock().await;
        let known = checked.get(object.key());
        if known.is_some_and(|known| known.hash == object.hash() && Arc::ptr_eq(&known.cached, cached)) {
            return true;
        }
        let stands = object.is_applied(&cached.value());
        if stands {
            let found = Checked {
                hash: object.hash().to_owned(),
                cached: Arc::clone(cached),
            };
            checked.insert(object.key().clone(), found);
        } else {
            checked.remove(object.key());
        }
        stands
    }

    fn versions(&self) -> MutexGuard<'_, HashMap<ObjectKey, Stamp>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reached(&self) -> MutexGuard<'_, Option<(Option<String>, Option<i64>)>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_reached(&self, cluster: &MemgraphCluster) {
        *self.reached() = Some(spec_of(cluster));
    }

    /// Whether what this object is to be like by the spec is not in the cache yet: it was written a moment ago, or the spec is newer
    /// than what was written last. What the cache tells of it is about an earlier spec then.
    pub(super) fn outruns(
        &self,
        cluster: &MemgraphCluster,
        key: &ObjectKey,
        cached: Option<&Packed>,
    ) -> bool {
        let is_newer = |stamp: &Stamp| cached.is_none_or(|cached| stamp.outruns(cached));
        let is_left = |reached: &(Option<String>, Option<i64>)| *reached != spec_of(cluster);
        self.versions().get(key).is_some_and(is_newer) || self.reached().as_ref().is_some_and(is_left)
    }

    fn note(&self, object: &Object, written: &DynamicObject) {
        let stamp = Stamp {
            hash: object.hash().to_owned(),
            resource_version: version(written),
        };
        self.versions().insert(object.key().clone(), stamp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_the_last_word_until_something_newer_is_seen() {
        let is_last = |written: u64, cached: &str| {
            let stamp = Stamp {
                hash: String::new(),
                resource_version: written,
            };
            let cached = json!({"metadata": {"name": "demo", "resourceVersion": cached}});
            stamp.is_the_last_word(&serde_json::from_value(cached).unwrap())
        };
        assert!(is_last(7, "6") && is_last(7, "7"));
        assert!(!is_last(7, "8"));
        assert!(!is_last(0, "a"), "versions that are no numbers tell nothing");
    }
}
