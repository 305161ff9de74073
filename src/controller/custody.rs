//! Has instances' pods belong to their cluster itself before their StatefulSet goes without them.
//!
//! Until the next StatefulSet takes them over, nobody else owns them: a cluster that is deleted in between would leave them running
//! for ever. A pod with two owners goes when both are gone, and the next StatefulSet takes it over as it would any other.

use std::sync::Arc;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::api::{MemgraphCluster, names};

/// A pod could not be made one of the cluster's.
#[derive(Debug, thiserror::Error)]
#[error("cannot make pod {pod} belong to the cluster")]
pub struct CustodyError {
    pod: String,
    source: Box<kube::Error>,
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
                return Err(CustodyError {
                    pod: name,
                    source: Box::new(source),
                });
            }
        }
    }
    Ok(all)
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
}
