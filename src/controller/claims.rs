//! What the volume claims of a cluster's declared instances ask for, and what they have.

use std::{collections::HashSet, sync::Arc};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;

use super::observe::Inventory;
use crate::{
    api::{MemgraphCluster, names},
    resources::Amount,
};

/// The claims of declared instances. Those of an earlier cluster of this name are none, where data lies in pods.
pub(super) fn declared<'a>(
    cluster: &MemgraphCluster,
    inventory: &'a Inventory,
) -> impl Iterator<Item = &'a PersistentVolumeClaim> {
    let name = cluster.name_any();
    let instances = match cluster.spec.storage.empty_dir {
        Some(_) => 0..0,
        None => 0..cluster.spec.replicas,
    };
    let claims = instances.map(|ordinal| names::data_claim(&names::instance(&name, ordinal)));
    let claims: HashSet<String> = claims.collect();
    let all = inventory.claims.iter().map(Arc::as_ref);
    all.filter(move |claim| claims.contains(&claim.name_any()))
}

/// Whether it has a volume. From then on it has that one for good.
pub(super) fn has_volume(claim: &PersistentVolumeClaim) -> bool {
    claim.spec.as_ref().is_some_and(|spec| spec.volume_name.is_some())
}

/// How large a volume it asks for.
pub(super) fn requested(claim: &PersistentVolumeClaim) -> Option<Amount> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    Amount::parse(&resources.requests.as_ref()?.get("storage")?.0).ok()
}

/// How large its volume is. None: it has none, or nobody tells.
pub(super) fn capacity(claim: &PersistentVolumeClaim) -> Option<Amount> {
    let status = claim.status.as_ref().filter(|_| has_volume(claim))?;
    Amount::parse(&status.capacity.as_ref()?.get("storage")?.0).ok()
}

/// How large the smallest volume of a declared instance is.
pub(super) fn smallest(cluster: &MemgraphCluster, inventory: &Inventory) -> Option<Amount> {
    let capacities = declared(cluster, inventory).filter_map(capacity);
    capacities.min_by_key(|capacity| capacity.whole())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(in super::super) fn cluster(spec: Value) -> MemgraphCluster {
        serde_json::from_value(json!({
            "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster", "metadata": {"name": "demo"}, "spec": spec,
        }))
        .unwrap()
    }

    /// A claim of this name that asks for `size`.
    pub(in super::super) fn claim(name: &str, size: &str) -> Value {
        json!({
            "metadata": {"name": name, "uid": name},
            "spec": {"resources": {"requests": {"storage": size}}},
        })
    }

    /// A claim that has a volume of this size.
    pub(in super::super) fn bound(name: &str, asks: &str, has: &str) -> Value {
        let mut claim = claim(name, asks);
        claim["spec"]["volumeName"] = json!("pv");
        claim["status"] = json!({"phase": "Bound", "capacity": {"storage": has}});
        claim
    }

    pub(in super::super) fn inventory(claims: impl IntoIterator<Item = Value>) -> Inventory {
        let claims = claims.into_iter();
        Inventory {
            claims: claims
                .map(|claim| Arc::new(serde_json::from_value(claim).unwrap()))
                .collect(),
            ..Inventory::default()
        }
    }

    fn told(spec: Value, claims: impl IntoIterator<Item = Value>) -> Option<String> {
        smallest(&cluster(spec), &inventory(claims)).map(|size| size.canonical().0)
    }

    #[test]
    fn the_smallest_volume_of_a_declared_instance_is_told_as_the_api_server_writes_it() {
        let volumes = || {
            [
                bound("data-demo-0", "100Ti", "20Gi"),
                bound("data-demo-1", "100Ti", "10240Mi"),
                // No volume yet, whatever is told of it.
                claim("data-demo-2", "1Gi"),
                // Left by an instance that is gone, and somebody else's.
                bound("data-demo-3", "1Gi", "1Gi"),
                bound("backup-demo-0", "1Gi", "1Gi"),
            ]
        };
        assert_eq!(told(json!({}), volumes()).as_deref(), Some("10Gi"));
        assert_eq!(told(json!({"storage": {"emptyDir": {}}}), volumes()), None);
        assert_eq!(told(json!({"replicas": 4}), volumes()).as_deref(), Some("1Gi"));
    }

    #[test]
    fn no_size_is_told_where_no_volume_or_no_capacity_is() {
        assert_eq!(told(json!({}), []), None);
        assert_eq!(told(json!({}), [claim("data-demo-0", "10Gi")]), None);
        let mut untold = bound("data-demo-0", "10Gi", "10Gi");
        untold["status"] = json!({});
        assert_eq!(told(json!({}), [untold]), None);
    }
}
