//! A Kubernetes object as a cache keeps it: its text.
//!
//! Taken apart, an object needs some ten times the room of its JSON, since each of its many small maps has room for eleven fields;
//! and at rest hardly anything is read of most of them.

use std::borrow::Cow;

use kube::{
    Resource,
    core::{ApiResource, DynamicObject, DynamicResourceScope, ObjectMeta},
};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use super::observe::certain_configuration;
use crate::{
    api::names,
    resources::asks_for_none,
    scope::{Remembered, outline},
};

/// An object of any kind, without who has changed which field when.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    /// What is asked of it again and again, and nothing else: see [`brief`].
    metadata: ObjectMeta,
    /// All of it, as JSON.
    text: Box<str>,
    /// Of a StatefulSet: see [`asks_for_none`].
    asks_for_none: bool,
    /// Of a StatefulSet: see [`certain_configuration`].
    configuration: Option<String>,
    /// Of a Deployment: see [`unfinished`].
    unfinished: Option<String>,
    /// Of a Deployment: see [`refusal`].
    refusal: Option<String>,
}

impl Packed {
    /// The object.
    pub(super) fn unpack(&self) -> Option<DynamicObject> {
        // It was written from one.
        serde_json::from_str(&self.text).ok()
    }

    /// The object, as it was written by the API server.
    pub(super) fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// Of a StatefulSet: whether it asks for no instance.
    pub(super) fn asks_for_none(&self) -> bool {
        self.asks_for_none
    }

    /// Of a Deployment: what it still lacks, by what its controller has told.
    pub(super) fn unfinished(&self) -> Option<&str> {
        self.unfinished.as_deref()
    }

    /// Of a Deployment: why its pods cannot be made.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Of a StatefulSet: the configuration that a new pod is certain to get.
    pub(super) fn configuration(&self) -> Option<&str> {
        self.configuration.as_deref()
    }
}

/// Name, version, age, owners, the cluster that it belongs to, and whether it is being deleted.
fn brief(of: &ObjectMeta) -> ObjectMeta {
    let labels = of.labels.clone().map(|mut labels| {
        labels.retain(|label, _| label == names::CLUSTER_LABEL);
        labels
    });
    ObjectMeta {
        labels,
        owner_references: of.owner_references.clone(),
        creation_timestamp: of.creation_timestamp.clone(),
        deletion_timestamp: of.deletion_timestamp.clone(),
        ..outline(of)
    }
}

/// What a Deployment lacks that has just been changed.
pub(super) const UNSEEN: &str = "a change has not been seen by its controller yet";

/// What a Deployment lacks to be as its spec asks (`kubectl rollout status`, in kubectl's `rollout_status.go`).
fn unfinished(deployment: &DynamicObject) -> Option<String> {
    let status = &deployment.data["status"];
    let newest = deployment.metadata.generation?;
    let observed = status["observedGeneration"].as_i64().unwrap_or_default();
    let wanted = deployment.data["spec"]["replicas"].as_i64().unwrap_or(1);
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    let (all, updated, available) = (
        count("replicas"),
        count("updatedReplicas"),
        count("availableReplicas"),
    );
    if observed < newest {
        Some(UNSEEN.to_owned())
    } else if updated < wanted {
        Some(format!("{updated} of {wanted} pods are up to date"))
    } else if all > updated {
        Some(format!("{} former pods have not ended", all - updated))
    } else if available < updated {
        Some(format!("{available} of {updated} pods are available"))
    } else {
        None
    }
}

/// Why the API server takes no pod of a Deployment, such as a quota: it has accepted the Deployment itself.
fn refusal(deployment: &DynamicObject) -> Option<String> {
    let conditions = deployment.data["status"]["conditions"].as_array()?;
    let is_it = |condition: &&Value| condition["type"] == "ReplicaFailure" && condition["status"] == "True";
    let told = conditions.iter().find(is_it)?["message"].as_str()?;
    Some(format!("its pods cannot be made: {told}"))
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let mut object = DynamicObject::deserialize(source)?;
        object.metadata.managed_fields = None;
        let text = serde_json::to_string(&object).map_err(Error::custom)?;
        Ok(Self {
            metadata: brief(&object.metadata),
            text: text.into(),
            asks_for_none: asks_for_none(&object),
            configuration: certain_configuration(&object).map(str::to_owned),
            unfinished: unfinished(&object),
            refusal: refusal(&object),
        })
    }
}

impl Remembered for Packed {
    fn remains(&self) -> Self {
        Self {
            metadata: outline(&self.metadata),
            text: Box::default(),
            asks_for_none: false,
            configuration: None,
            unfinished: None,
            refusal: None,
        }
    }
}

/// As for a [`DynamicObject`].
impl Resource for Packed {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(kind: &ApiResource) -> Cow<'_, str> {
        DynamicObject::kind(kind)
    }

    fn group(kind: &ApiResource) -> Cow<'_, str> {
        DynamicObject::group(kind)
    }

    fn version(kind: &ApiResource) -> Cow<'_, str> {
        DynamicObject::version(kind)
    }

    fn plural(kind: &ApiResource) -> Cow<'_, str> {
        DynamicObject::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use serde_json::json;

    use super::*;

    fn set() -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {
                "name": "demo", "namespace": "graphs", "uid": "u", "resourceVersion": "7", "generation": 2,
                "labels": {names::CLUSTER_LABEL: "demo", "app.kubernetes.io/name": "memgraph"},
                "annotations": {"note": "kept"},
                "ownerReferences": [{"apiVersion": "v", "kind": "k", "name": "demo", "uid": "c", "controller": true}],
                "managedFields": [{"manager": "kube-controller-manager"}],
            },
            "spec": {"replicas": 0, "template": {"metadata": {"annotations": {names::CONFIGURATION_ANNOTATION: "x"}}}},
            "status": {"observedGeneration": 2},
        })
    }

    #[test]
    fn an_object_comes_out_as_it_went_in_but_for_who_wrote_what() {
        let packed: Packed = serde_json::from_value(set()).unwrap();
        let mut expected = set();
        let metadata = expected["metadata"].as_object_mut().unwrap();
        metadata.remove("managedFields").unwrap();
        assert_eq!(packed.value(), expected);
        let unpacked = packed.unpack().unwrap();
        assert_eq!(serde_json::to_value(&unpacked).unwrap(), expected);
    }

    #[test]
    fn what_is_asked_again_and_again_needs_no_unpacking() {
        let packed: Packed = serde_json::from_value(set()).unwrap();
        assert!(packed.asks_for_none());
        assert_eq!(packed.configuration(), Some("x"));
        assert_eq!(packed.labels().len(), 1);
        assert_eq!(
            (packed.name_any().as_str(), packed.uid().as_deref()),
            ("demo", Some("u"))
        );
        assert_eq!(packed.owner_references()[0].uid, "c");
        let left = packed.remains();
        assert_eq!((left.name_any().as_str(), left.text.len()), ("demo", 0));
    }
}
