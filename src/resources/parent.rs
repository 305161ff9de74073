//! The cluster, as the objects see it that belong to it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use super::{Error, inheritance};
use crate::api::{InheritedMetadata, MemgraphCluster, MemgraphClusterSpec, names};

/// A cluster that is stored in the API server, and so can own objects.
pub(super) struct Parent<'a> {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) spec: &'a MemgraphClusterSpec,
    owner: OwnerReference,
}

impl<'a> Parent<'a> {
    pub(super) fn of(cluster: &'a MemgraphCluster) -> Result<Self, Error> {
        let name = cluster.name_any();
        let namespace = cluster.namespace().ok_or(Error::NotStored("namespace"))?;
        let owner = cluster
            .controller_owner_ref(&())
            .ok_or(Error::NotStored("name or uid"))?;
        Ok(Self {
            name,
            namespace,
            spec: &cluster.spec,
            // The cluster stays until its objects are gone when somebody waits for that (foreground deletion).
            owner: OwnerReference {
                block_owner_deletion: Some(true),
                ..owner
            },
        })
    }

    /// Metadata of an object of this cluster, with what the spec gives to all of them. No selector goes by that.
    pub(super) fn metadata(&self, name: String, component: &str) -> ObjectMeta {
        self.with(name, component, inheritance::inherited(self.spec))
    }

    /// Metadata of an object of which only that is compared with what it was given last: of a Secret.
    pub(super) fn noted_metadata(&self, name: String, component: &str) -> ObjectMeta {
        self.with(name, component, inheritance::noted(self.spec))
    }

    fn with(&self, name: String, component: &str, inherited: InheritedMetadata) -> ObjectMeta {
        let mut labels = inherited.labels;
        labels.extend(names::labels(&self.name, component));
        let annotations = inherited.annotations;
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }
}

/// Whether the object belongs to this very cluster.
///
/// An object with one of our names that does not is somebody else's: it is neither applied nor deleted.
#[must_use]
pub fn is_controlled_by(object: &ObjectMeta, cluster: &MemgraphCluster) -> bool {
    controller(object).is_some_and(|owner| cluster.meta().uid.as_ref() == Some(&owner.uid))
}

/// Whether the object belongs to a former cluster of this name, so that Kubernetes' garbage collector is about to remove it.
#[must_use]
pub fn is_left_behind(object: &ObjectMeta, cluster: &MemgraphCluster) -> bool {
    let group =
        |owner: &OwnerReference| owner.api_version.split('/').next() == Some(&MemgraphCluster::group(&()));
    controller(object).is_some_and(|owner| {
        let is_namesake = owner.kind == MemgraphCluster::kind(&()) && owner.name == cluster.name_any();
        is_namesake && group(owner) && !is_controlled_by(object, cluster)
    })
}

fn controller(object: &ObjectMeta) -> Option<&OwnerReference> {
    let mut owners = object.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true))
}
