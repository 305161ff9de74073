//! What Secrets and volume claims have of `spec.inheritedMetadata`.
//!
//! All other objects are compared with the whole of what the operator last applied. A Secret is written when what is in it
//! changes, and a claim is made by the StatefulSet's controller from a template that never changes; so on each of them a note
//! tells what was given to it last. Without that nobody could tell, with no request, whether it has a key that it is to lose.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Resource, ResourceExt, core::ObjectMeta};
use serde_json::{Value, json};

use super::object::content_hash;
use crate::api::{InheritedMetadata, MemgraphCluster, MemgraphClusterSpec, names};

/// Annotation with a hash of what an object was given last; where it was given nothing, it is not there.
pub const INHERITED_ANNOTATION: &str = "memgraph.dev/inherited-hash";

/// Annotations by which Kubernetes says which volume a claim has and gets.
const OF_CLAIMS: [&str; 3] = [
    "pv.kubernetes.io/",
    "volume.kubernetes.io/",
    "volume.beta.kubernetes.io/",
];

/// What is inherited, without what an earlier definition may have let through: what decides to which cluster an object belongs,
/// and where its data lies.
pub(super) fn inherited(spec: &MemgraphClusterSpec) -> InheritedMetadata {
    let mut inherited = spec.inherited_metadata.clone().unwrap_or_default();
    let own = names::labels("", "");
    let is_free = |key: &str| {
        let is_of_claims = OF_CLAIMS.iter().any(|prefix| key.starts_with(prefix));
        !own.contains_key(key) && !key.starts_with("memgraph.dev/") && !is_of_claims
    };
    inherited.labels.retain(|key, _| is_free(key));
    inherited.annotations.retain(|key, _| is_free(key));
    inherited
}

/// What is inherited, with the note of it.
pub(super) fn noted(spec: &MemgraphClusterSpec) -> InheritedMetadata {
    let mut inherited = inherited(spec);
    if let Some(note) = note(&inherited) {
        let name = INHERITED_ANNOTATION.to_owned();
        inherited.annotations.insert(name, note);
    }
    inherited
}

fn note(inherited: &InheritedMetadata) -> Option<String> {
    let is_something = !inherited.labels.is_empty() || !inherited.annotations.is_empty();
    is_something.then(|| content_hash(&json!([inherited.labels, inherited.annotations])))
}

/// Whether a Secret or claim has what it is to inherit, and nothing more that it once inherited.
#[must_use]
pub fn inherits(cluster: &MemgraphCluster, live: &ObjectMeta) -> bool {
    let wanted = noted(&cluster.spec);
    let note = |annotations: &BTreeMap<String, String>| annotations.get(INHERITED_ANNOTATION).cloned();
    let live_note = live.annotations.as_ref().and_then(note);
    let has = |live: &Option<BTreeMap<String, String>>, wanted: &BTreeMap<String, String>| {
        let live = |key: &String| live.as_ref().and_then(|live| live.get(key));
        wanted.iter().all(|(key, value)| live(key) == Some(value))
    };
    live_note == note(&wanted.annotations)
        && has(&live.labels, &wanted.labels)
        && has(&live.annotations, &wanted.annotations)
}

/// What is applied to this very claim, and to none that takes its place, so that it inherits what it is to; none: it does. What is
/// not in it, and was applied before, goes.
#[must_use]
pub fn claims_inheritance(cluster: &MemgraphCluster, claim: &PersistentVolumeClaim) -> Option<Value> {
    if inherits(cluster, &claim.metadata) {
        return None;
    }
    let mut metadata = json!(noted(&cluster.spec));
    metadata["name"] = json!(claim.name_any());
    metadata["uid"] = json!(claim.uid());
    Some(json!({
        "apiVersion": PersistentVolumeClaim::api_version(&()),
        "kind": PersistentVolumeClaim::kind(&()),
        "metadata": metadata,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(inherited: Value) -> MemgraphCluster {
        let spec = serde_json::from_value(json!({"inheritedMetadata": inherited})).unwrap();
        MemgraphCluster::new("demo", spec)
    }

    fn claim(metadata: Value) -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    /// The claim as it is after what was applied, by whom nothing was applied before.
    fn after(applied: &Value) -> PersistentVolumeClaim {
        claim(applied["metadata"].clone())
    }

    #[test]
    fn a_claim_is_applied_to_until_it_has_what_it_is_to_have_and_not_again() {
        let team = cluster(json!({"labels": {"team": "graphs"}, "annotations": {"example.com/owner": ""}}));
        let bare =
            claim(json!({"name": "data-demo-0", "uid": "u", "labels": {"team": "other", "mine": "stays"}}));
        let applied = claims_inheritance(&team, &bare).unwrap();
        let metadata = &applied["metadata"];
        assert_eq!(
            (&metadata["name"], &metadata["uid"]),
            (&json!("data-demo-0"), &json!("u"))
        );
        assert_eq!(metadata["labels"], json!({"team": "graphs"}));
        assert_eq!(metadata["annotations"]["example.com/owner"], "");
        let settled = after(&applied);
        assert_eq!(claims_inheritance(&team, &settled), None);
        // Somebody has taken it away.
        let mut edited = settled.clone();
        edited.metadata.labels = None;
        assert!(claims_inheritance(&team, &edited).is_some());
    }

    #[test]
    fn a_key_that_is_no_longer_inherited_goes_and_whoever_never_inherited_is_let_alone() {
        let two = cluster(json!({"labels": {"team": "graphs", "tier": "gold"}}));
        let settled = after(&claims_inheritance(&two, &claim(json!({"name": "c", "uid": "u"}))).unwrap());
        let one = cluster(json!({"labels": {"team": "graphs"}}));
        let applied = claims_inheritance(&one, &settled).unwrap();
        assert_eq!(applied["metadata"]["labels"], json!({"team": "graphs"}));
        for nothing in [json!({}), Value::Null] {
            let nothing = cluster(nothing);
            let applied = claims_inheritance(&nothing, &settled).unwrap();
            assert_eq!(
                applied["metadata"],
                json!({"name": "c", "uid": "u"}),
                "nor the note"
            );
            assert_eq!(
                claims_inheritance(&nothing, &claim(json!({"name": "c", "labels": {"a": "b"}}))),
                None
            );
        }
    }

    /// An earlier definition may have let it through.
    #[test]
    fn what_says_whose_a_claim_is_and_which_volume_it_has_is_never_inherited() {
        let cluster = cluster(json!({
            "labels": {names::CLUSTER_LABEL: "other", names::COMPONENT_LABEL: "other"},
            "annotations": {"volume.kubernetes.io/selected-node": "n", "pv.kubernetes.io/bind-completed": "no", names::NOTE_ANNOTATION: "{}"},
        }));
        assert_eq!(claims_inheritance(&cluster, &claim(json!({"name": "c"}))), None);
    }
}
