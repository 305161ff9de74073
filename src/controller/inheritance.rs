//! Gives volume claims what they inherit from the spec: the template that they are made from can never be changed.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};

use super::objects::ObjectError;
use crate::{
    api::{MemgraphCluster, names},
    resources::claims_inheritance,
};

/// Gives each claim of an instance, also of one that there is no more, what it is to inherit, and takes what it is not to any
/// more. That one may not be changed keeps no other one from it.
pub(super) async fn pass_on(
    client: &Client,
    cluster: &MemgraphCluster,
    claims: &[Arc<PersistentVolumeClaim>],
) -> Result<(), ObjectError> {
    // Those of a former cluster of this name are none of its business then.
    if cluster.spec.storage.empty_dir.is_some() {
        return Ok(());
    }
    let api =
        Api::<PersistentVolumeClaim>::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    let mut failed = None;
    for claim in claims.iter().filter(|claim| is_of_an_instance(cluster, claim)) {
        let Some(wanted) = claims_inheritance(cluster, claim) else {
            continue;
        };
        let name = claim.name_any();
        match api.patch_metadata(&name, &params, &Patch::Apply(wanted)).await {
            Ok(_) => tracing::info!(claim = %name, "labels and annotations of a volume claim changed"),
            // It is gone, or another one has taken its place.
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => {}
            Err(source) => {
                failed.get_or_insert(ObjectError::Request {
                    action: "apply",
                    kind: PersistentVolumeClaim::kind(&()).into_owned(),
                    name,
                    source: Box::new(source),
                });
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn is_of_an_instance(cluster: &MemgraphCluster, claim: &PersistentVolumeClaim) -> bool {
    let name = claim.name_any();
    let instance = name
        .strip_prefix(names::DATA_VOLUME)
        .and_then(|rest| rest.strip_prefix('-'));
    let is_its = instance.and_then(|instance| names::ordinal(&cluster.name_any(), instance));
    is_its.is_some() && claim.metadata.deletion_timestamp.is_none()
}
