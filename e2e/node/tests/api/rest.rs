//! When nothing changes any more.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use e2e_node::database::{Database, SETTLE_LIMIT};
use e2e_node::node::OPERATOR_NAMESPACE;
use e2e_node::operators::LEASE;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::DynamicObject;
use kube::core::ObjectList;
use kube::{Api, ResourceExt};
use memgraph_operator::api::MemgraphCluster;

/// What there is of clusters, volume claims and pods left out.
pub const KINDS: &str = "memgraphclusters,statefulsets,deployments,services,serviceaccounts,configmaps,secrets,roles,rolebindings,\
                         poddisruptionbudgets,networkpolicies";

/// So often the leader must have renewed the Lease meanwhile.
const RENEWALS: usize = 8;

/// The objects of a test by kind and name, with what only the operator and the test write of them: of clusters everything, and of
/// others all but their status.
fn objects(scene: &Scene) -> Result<BTreeMap<String, String>> {
    let all = scene.kubectl(&["get", KINDS, "--output=json"])?;
    let all: ObjectList<DynamicObject> = serde_json::from_str(&all)?;
    let mut found = BTreeMap::new();
    for mut object in all.items {
        let kind = object
            .types
            .as_ref()
            .map_or(String::new(), |types| types.kind.clone());
        if kind != "MemgraphCluster" {
            if let Some(fields) = object.data.as_object_mut() {
                fields.remove("status");
            }
            object.metadata.resource_version = None;
        }
        let name = format!("{kind} {}", object.name_any());
        found.insert(name, serde_json::to_string(&object)?);
    }
    Ok(found)
}

/// Waits until the status tells of three instances.
pub async fn pods_are_seen(database: &Database) -> Result<()> {
    let seen = |cluster: &MemgraphCluster| {
        let status = cluster.status.as_ref();
        status.is_some_and(|status| status.instances.len() == 3)
    };
    database
        .wait("the cluster to be seen", SETTLE_LIMIT, seen)
        .await?;
    Ok(())
}

/// The objects once an operator that leads leaves them as they are for a while.
///
/// # Errors
/// When they change again and again, or nobody leads.
pub async fn at_rest(scene: &Scene) -> Result<BTreeMap<String, String>> {
    let leases: Api<Lease> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
    let (mut last, mut renewals, mut version) = (None, 0, None);
    until("objects that do not change any more", SETTLE_LIMIT, async || {
        let lease = leases.get(LEASE).await?.resource_version();
        if lease != version {
            version = lease;
            renewals += 1;
        }
        let now = objects(scene)?;
        if last.as_ref() != Some(&now) {
            last = Some(now);
            renewals = 0;
        }
        Ok((renewals >= RENEWALS).then_some(()))
    })
    .await?;
    last.context("no objects")
}
