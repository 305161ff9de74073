//! Deletes volume claims that wait for a volume which is larger than the spec asks.
//!
//! They were made while `storage.size` was larger, and would wait for ever for what cannot be had: the API server takes no change of a
//! claim without a volume. They hold nothing. The StatefulSet's controller makes them again, from the template that it has by then, for
//! pods that wait for them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Preconditions},
};

use super::{
    claims::{declared, has_volume, requested},
    observe::Inventory,
    volumes::VolumeError,
};
use crate::{
    api::{MemgraphCluster, names},
    resources::{Amount, is_controlled_by, template_size, volume_size},
};

/// Deletes each such claim, unless it has changed since: one that gets its volume meanwhile stays.
pub(super) async fn withdraw(
    client: &Client,
    cluster: &MemgraphCluster,
    inventory: &Inventory,
) -> Result<(), VolumeError> {
    let size = volume_size(&cluster.spec)?;
    let claims = idle(cluster, inventory, size);
    if claims.is_empty() || !makes_no_more_of_them(cluster, inventory, size) {
        return Ok(());
    }
    let api =
        Api::<PersistentVolumeClaim>::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
    let mut forbidden = None;
    for claim in claims {
        let name = claim.name_any();
        let preconditions = Preconditions {
            uid: claim.uid(),
            resource_version: claim.resource_version(),
        };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match api.delete(&name, &params).await {
            Ok(_) => tracing::info!(claim = %name, "volume claim that asked for too much deleted"),
            // The watch tells how it is by now.
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => {}
            Err(kube::Error::Api(answer)) if answer.code == 403 => {
                let (claims, _) = forbidden.get_or_insert_with(|| (Vec::new(), answer.message));
                claims.push(name);
            }
            Err(source) => {
                return Err(VolumeError::Withdrawal {
                    claim: name,
                    source: Box::new(source),
                });
            }
        }
    }
    match forbidden {
        Some((claims, said)) => Err(VolumeError::Kept {
            namespace: cluster.namespace().unwrap_or_default(),
            claims,
            said,
        }),
        None => Ok(()),
    }
}

/// Whether nobody makes them as large again: there is no StatefulSet, or it goes, or makes what the spec asks.
fn makes_no_more_of_them(cluster: &MemgraphCluster, inventory: &Inventory, size: Amount) -> bool {
    let Some(set) = inventory.stateful_set.as_deref() else {
        return true;
    };
    let makes = || template_size(&set.value()).is_some_and(|makes| makes.whole() == size.whole());
    is_controlled_by(set.meta(), cluster) && (set.meta().deletion_timestamp.is_some() || makes())
}

/// The claims of declared instances that a StatefulSet of this cluster has made, which ask for more than the spec and have no volume.
fn idle<'a>(
    cluster: &MemgraphCluster,
    inventory: &'a Inventory,
    size: Amount,
) -> Vec<&'a PersistentVolumeClaim> {
    let asks_for_more =
        |claim: &PersistentVolumeClaim| requested(claim).is_some_and(|asked| asked.whole() > size.whole());
    declared(cluster, inventory)
        .filter(|claim| claim.metadata.deletion_timestamp.is_none() && asks_for_more(claim))
        .filter(|claim| is_former(cluster, inventory, claim))
        .filter(|claim| !has_volume(claim) && is_pending(claim) && is_of_the_template(cluster, claim))
        .filter(|claim| !is_used(inventory, claim))
        .collect()
}

/// Whether it was made while another size was asked for, as far as its age tells: since there is the StatefulSet that goes, or that is gone,
/// but not since there is the one that stays. That one makes claims of the size which the spec asks; what is larger all the same, by the word
/// of an admission webhook for example, would be made so again and again.
fn is_former(cluster: &MemgraphCluster, inventory: &Inventory, claim: &PersistentVolumeClaim) -> bool {
    let made = claim.creation_timestamp();
    match inventory.stateful_set.as_deref().map(Resource::meta) {
        Some(set) if set.deletion_timestamp.is_none() => made <= set.creation_timestamp,
        Some(set) => made >= set.creation_timestamp,
        None => made >= cluster.creation_timestamp(),
    }
}

fn is_pending(claim: &PersistentVolumeClaim) -> bool {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    phase.is_none_or(|phase| phase == "Pending")
}

/// Whether it is as a StatefulSet of this cluster makes it: with all its labels, in its class, and for an empty volume of any name. One
/// that somebody has made beforehand, for a volume of his own or for one that is restored, is none of the operator's business.
fn is_of_the_template(cluster: &MemgraphCluster, claim: &PersistentVolumeClaim) -> bool {
    let labels = names::selector(&cluster.name_any(), names::INSTANCE);
    let labelled = labels
        .iter()
        .all(|(key, value)| claim.labels().get(key) == Some(value));
    let class = cluster.spec.storage.storage_class_name.as_ref();
    labelled
        && claim.spec.as_ref().is_some_and(|spec| {
            spec.selector.is_none()
                && spec.data_source.is_none()
                && spec.data_source_ref.is_none()
                && class.is_none_or(|class| spec.storage_class_name.as_ref() == Some(class))
        })
}

/// Whether its pod is on a node: then it has a volume, or is about to have it.
fn is_used(inventory: &Inventory, claim: &PersistentVolumeClaim) -> bool {
    let on_a_node = |pod: &Arc<Pod>| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let its = |pod: &Arc<Pod>| names::data_claim(&pod.name_any()) == claim.name_any();
    inventory.instances.iter().any(|pod| its(pod) && on_a_node(pod))
}
