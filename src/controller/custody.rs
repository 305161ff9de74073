//! Has instances' pods belong to their cluster itself before their StatefulSet goes without them, and volume claims to nobody.
//!
//! Until the next StatefulSet takes them over, nobody else owns them: a cluster that is deleted in between would leave them running
//! for ever. A pod with two owners goes when both are gone, and the next StatefulSet takes it over as it would any other.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::DynamicObject,
};
use serde_json::{Value, json};

use crate::api::{MemgraphCluster, names};

/// Something could not be given another owner.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    /// A pod could not be made one of the cluster's.
    #[error("cannot make pod {pod} belong to the cluster")]
    Pod {
        /// The pod.
        pod: String,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// Somebody forbids to have volume claims outlive their StatefulSet, as an admission plugin does that asks for the right to delete
    /// whatever is to have other owners (`OwnerReferencesPermissionEnforcement`).
    #[error(
        "{} would be deleted with the StatefulSet, although storage.retentionPolicy.whenDeleted is Retain by now: {said}. Wake the \
         cluster up (spec.hibernated: false), or let the operator delete persistentvolumeclaims where that is what is asked for", .claims.join(", ")
    )]
    Forbidden {
        /// The claims.
        claims: Vec<String>,
        /// What the API server said of the first of them.
        said: String,
    },
    /// A volume claim would go with its StatefulSet.
    #[error("cannot have volume claim {claim} outlive its StatefulSet")]
    Claim {
        /// The claim.
        claim: String,
        /// Why not.
        source: Box<kube::Error>,
    },
}

/// What is merged into a pod so that it belongs to the cluster, too; none: it does already.
fn change(pod: &Pod, cluster: &MemgraphCluster) -> Option<Value> {
    let owner = OwnerReference {
        // The one that controls it is a StatefulSet, now and later.
        controller: None,
        ..cluster.controller_owner_ref(&())?
    };
    let mut owners = pod.owner_references().to_vec();
    if owners.iter().any(|own| own.uid == owner.uid) {
        return None;
    }
    owners.push(owner);
    Some(json!({"metadata": {"uid": pod.uid(), "ownerReferences": owners}}))
}

/// Has each of these pods belong to the cluster. Returns whether they do: not, if one of them has changed meanwhile, which the watch
/// tells of.
pub(super) async fn take(
    client: &Client,
    cluster: &MemgraphCluster,
    pods: &[Arc<Pod>],
) -> Result<bool, CustodyError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let mut all = true;
    for pod in pods {
        let Some(change) = change(pod, cluster) else {
            continue;
        };
        let name = pod.name_any();
        // Owners are merged by their UIDs.
        match api
            .patch_metadata(&name, &params, &Patch::Strategic(change))
            .await
        {
            Ok(_) => {}
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => all = false,
            Err(source) => {
                return Err(CustodyError::Pod {
                    pod: name,
                    source: Box::new(source),
                });
            }
        }
    }
    Ok(all)
}

/// What is merged into a claim so that it no longer belongs to this StatefulSet; none: it does not.
fn parting(claim: &PersistentVolumeClaim, set_uid: &str) -> Option<Value> {
    let owners = claim.owner_references();
    let others: Vec<_> = owners.iter().filter(|owner| owner.uid != set_uid).collect();
    (others.len() < owners.len()).then(|| {
        let version = claim.resource_version();
        json!({"metadata": {"uid": claim.uid(), "resourceVersion": version, "ownerReferences": others}})
    })
}

/// Takes volume claims from their StatefulSet, with which they would go. Its own controller does so for instances that have a pod.
/// That one of them may not be taken keeps no other one from it.
pub(super) async fn release(
    client: &Client,
    set: &DynamicObject,
    claims: &[Arc<PersistentVolumeClaim>],
) -> Result<(), CustodyError> {
    let namespace = set.namespace().unwrap_or_default();
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    let set_uid = set.uid().unwrap_or_default();
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let mut forbidden = None;
    for claim in claims {
        let Some(change) = parting(claim, &set_uid) else {
            continue;
        };
        let name = claim.name_any();
        match api.patch_metadata(&name, &params, &Patch::Merge(change)).await {
            Ok(_) => {}
            // The watch tells how it is by now.
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => {}
            Err(kube::Error::Api(answer)) if answer.code == 403 => {
                let (claims, _) = forbidden.get_or_insert_with(|| (Vec::new(), answer.message));
                claims.push(name);
            }
            Err(source) => {
                return Err(CustodyError::Claim {
                    claim: name,
                    source: Box::new(source),
                });
            }
        }
    }
    match forbidden {
        Some((claims, said)) => Err(CustodyError::Forbidden { claims, said }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_a_second_owner_once_and_keeps_the_one_that_controls_it() {
        let mut cluster = MemgraphCluster::new("demo", Default::default());
        cluster.meta_mut().uid = Some("cluster-uid".into());
        let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "demo", "uid": "set-uid", "controller": true});
        let mut pod: Pod = serde_json::from_value(
            json!({"metadata": {"name": "demo-0", "uid": "pod-uid", "ownerReferences": [set]}}),
        )
        .unwrap();
        let wanted = change(&pod, &cluster).unwrap();
        assert_eq!(wanted["metadata"]["uid"], "pod-uid");
        let owners = &wanted["metadata"]["ownerReferences"];
        assert_eq!(owners[0], set);
        assert_eq!(
            (&owners[1]["uid"], &owners[1]["controller"]),
            (&json!("cluster-uid"), &Value::Null)
        );
        pod.metadata.owner_references = serde_json::from_value(owners.clone()).unwrap();
        assert_eq!(change(&pod, &cluster), None);
    }

    #[test]
    fn a_claim_parts_from_its_set_and_from_nobody_else() {
        let claim = |owners: Value| -> PersistentVolumeClaim {
            let claim = json!({"metadata": {"name": "data-demo-0", "uid": "c", "resourceVersion": "7", "ownerReferences": owners}});
            serde_json::from_value(claim).unwrap()
        };
        let owner =
            |uid: &str| json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "demo", "uid": uid});
        let both = claim(json!([owner("set-uid"), owner("another")]));
        let wanted = parting(&both, "set-uid").unwrap();
        let left =
            json!({"metadata": {"uid": "c", "resourceVersion": "7", "ownerReferences": [owner("another")]}});
        assert_eq!(wanted, left);
        assert_eq!(parting(&claim(json!([owner("another")])), "set-uid"), None);
        assert_eq!(parting(&claim(Value::Null), "set-uid"), None);
    }
}
