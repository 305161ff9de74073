//! Makes volumes as large as the spec asks.
//!
//! Nothing is remembered of how far it has come: each claim that asks for less than the spec is told to ask for that, and
//! Kubernetes does the rest while instances run. The StatefulSet, whose template new claims are made from, is replaced by
//! [`objects`](super::objects).

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::Mutex, time::Instant};

use super::observe::Inventory;
use crate::{
    api::{MemgraphCluster, names},
    resources::{self, Amount, volume_size},
};

/// How soon the same is asked of the same claim again: what was refused may be allowed by now, and the cache shows what was
/// done long before.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Why a volume is not as large as the spec asks.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The size cannot be used.
    #[error("cannot tell how large volumes are to be")]
    Size(#[from] resources::Error),
    /// Whoever decides about it does not allow it: the storage class, a quota.
    #[error(
        "{} cannot grow to {size}: {said}. Set allowVolumeExpansion in the StorageClass if that is what forbids it and its \
         driver can do it, raise the quota if it is that, or replace the volumes one after the other: delete a replica's \
         claim and then its pod, wait until it follows MAIN again, MAIN's last", .claims.join(", ")
    )]
    Refused {
        /// The claims.
        claims: Vec<String>,
        /// The size.
        size: String,
        /// What the API server said of the first of them.
        said: String,
    },
    /// Any other failure.
    #[error("cannot have volume claim {claim} ask for more")]
    Request {
        /// The claim.
        claim: String,
        /// Why not.
        source: Box<kube::Error>,
    },
}

/// What was asked of claims.
#[derive(Default)]
pub(super) struct Growth {
    /// By the claim's UID.
    asked: Mutex<HashMap<String, Asked>>,
}

struct Asked {
    size: Amount,
    at: Instant,
    /// What the API server said against it.
    refusal: Option<String>,
}

/// The claims of declared instances that have a volume and ask for less than this. (The API server takes no change of a claim
/// without a volume; that one asks for it as soon as it has one.)
fn small<'a>(
    cluster: &MemgraphCluster,
    inventory: &'a Inventory,
    size: Amount,
) -> Vec<&'a PersistentVolumeClaim> {
    let name = cluster.name_any();
    let declared =
        (0..cluster.spec.replicas).map(|ordinal| names::data_claim(&names::instance(&name, ordinal)));
    let declared: HashSet<String> = declared.collect();
    let is_small = |claim: &&PersistentVolumeClaim| {
        let spec = claim.spec.as_ref().filter(|spec| spec.volume_name.is_some());
        let requests = spec.and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
        let asked = requests.and_then(|requests| Amount::parse(&requests.get("storage")?.0).ok());
        asked.is_some_and(|asked| asked.whole() < size.whole())
    };
    let claims = inventory.claims.iter().map(AsRef::as_ref);
    claims
        .filter(|claim| declared.contains(&claim.name_any()) && claim.metadata.deletion_timestamp.is_none())
        .filter(is_small)
        .collect()
}

impl Growth {
    /// Has each claim that asks for less than the spec ask for that.
    pub(super) async fn bring_about(
        &self,
        client: &Client,
        cluster: &MemgraphCluster,
        inventory: &Inventory,
    ) -> Result<(), VolumeError> {
        if cluster.spec.storage.empty_dir.is_some() {
            return Ok(());
        }
        let size = volume_size(&cluster.spec)?;
        let small = small(cluster, inventory, size);
        let mut asked = self.asked.lock().await;
        asked.retain(|uid, before| {
            let same = small.iter().any(|claim| claim.metadata.uid.as_ref() == Some(uid));
            same && before.size == size && before.at.elapsed() < ASK_AGAIN
        });
        let mut refused: Option<(Vec<String>, String)> = None;
        for claim in small {
            let uid = claim.uid().unwrap_or_default();
            let refusal = match asked.get(&uid) {
                Some(before) => before.refusal.clone(),
                None => {
                    let refusal = ask(client, claim, &uid, size).await?;
                    let now = Asked {
                        size,
                        at: Instant::now(),
                        refusal: refusal.clone(),
                    };
                    asked.insert(uid, now);
                    refusal
                }
            };
            if let Some(said) = refusal {
                refused
                    .get_or_insert_with(|| (Vec::new(), said))
                    .0
                    .push(claim.name_any());
            }
        }
        match refused {
            Some((claims, said)) => Err(VolumeError::Refused {
                claims,
                size: size.canonical().0,
                said,
            }),
            None => Ok(()),
        }
    }
}

/// Has this very claim ask for `size`. Returns what the API server has against it.
async fn ask(
    client: &Client,
    claim: &PersistentVolumeClaim,
    uid: &str,
    size: Amount,
) -> Result<Option<String>, VolumeError> {
    let name = claim.name_any();
    let api =
        Api::<PersistentVolumeClaim>::namespaced(client.clone(), &claim.namespace().unwrap_or_default());
    let patch = json!({
        "metadata": {"uid": uid},
        "spec": {"resources": {"requests": {"storage": size.canonical()}}},
    });
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api.patch(&name, &params, &Patch::Merge(&patch)).await {
        Ok(_) => {
            tracing::info!(claim = %name, size = %size.canonical().0, "volume claim asks for more");
            Ok(None)
        }
        Err(kube::Error::Api(answer)) if matches!(answer.code, 403 | 422) => Ok(Some(answer.message)),
        // It is gone, or another one has taken its place.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(None),
        Err(source) => Err(VolumeError::Request {
            claim: name,
            source: Box::new(source),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;

    fn claim(name: &str, spec: Value) -> Arc<PersistentVolumeClaim> {
        let claim = json!({"metadata": {"name": name, "uid": name}, "spec": spec});
        Arc::new(serde_json::from_value(claim).unwrap())
    }

    #[test]
    fn only_claims_of_instances_with_a_volume_that_is_too_small_ask_for_more() {
        let cluster: MemgraphCluster = serde_json::from_value(json!({
            "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster", "metadata": {"name": "demo"},
            "spec": {"replicas": 5, "storage": {"size": "2Gi"}},
        }))
        .unwrap();
        let bound = |size: &str| json!({"volumeName": "pv", "resources": {"requests": {"storage": size}}});
        let mut leaving = PersistentVolumeClaim::clone(&claim("data-demo-4", bound("1Gi")));
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        let inventory = Inventory {
            claims: vec![
                claim("data-demo-0", bound("1Gi")),
                claim("data-demo-1", bound("2048Mi")),
                claim("data-demo-2", bound("1T")),
                // No volume yet.
                claim(
                    "data-demo-3",
                    json!({"resources": {"requests": {"storage": "1Gi"}}}),
                ),
                Arc::new(leaving),
                // Left by an instance that is gone.
                claim("data-demo-5", bound("1Gi")),
                claim("backup-demo-0", bound("1Gi")),
            ],
            ..Inventory::default()
        };
        let size = volume_size(&cluster.spec).unwrap();
        let names: Vec<_> = small(&cluster, &inventory, size)
            .iter()
            .map(|claim| claim.name_any())
            .collect();
        assert_eq!(names, ["data-demo-0"]);
    }
}
