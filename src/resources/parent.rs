//! The cluster, as the objects see it that belong to it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use super::Error;
use crate::api::{MemgraphCluster, MemgraphClusterSpec, names};

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
        let own = self.own_metadata(name, component);
        let Some(inherited) = &self.spec.inherited_metadata else {
            return own;
        };
        let mut labels = inherited.labels.clone();
        labels.extend(own.labels.into_iter().flatten());
        let annotations = inherited.annotations.clone();
        ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            ..own
        }
    }

    /// Metadata of an object that is written when what is in it changes, and not when the spec does: of a Secret.
    pub(super) fn own_metadata(&self, name: String, component: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(names::labels(&self.name, component)),
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
