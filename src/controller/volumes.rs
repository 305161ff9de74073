//! Makes volumes as large as the spec asks.
//!
//! Nothing is remembered of how far it has come: each claim that asks for less than the spec is told to ask for that, and
//! Kubernetes does the rest while instances run. The StatefulSet, whose template new claims are made from, is replaced by
//! [`objects`](super::objects), and claims that wait in vain for a volume go by [`withdraw`](super::withdraw).

use std::{collections::HashMap, time::Duration};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::Mutex, time::Instant};

use super::{
    claims::{capacity, declared, has_volume, requested},
    observe::Inventory,
};
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
    #[error("cannot have volume claim {claim} ask for another size")]
    Request {
        /// The claim.
        claim: String,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// Claims that wait for what is not asked for any more may not be deleted.
    #[error(
        "{} have no volume, wait for a larger one than storage.size asks, and cannot be deleted by the operator: {said}. Delete \
         them (kubectl delete persistentvolumeclaim -n {namespace} {}): they hold nothing, and are made again as the spec asks",
        .claims.join(", "), .claims.join(" ")
    )]
    Kept {
        /// Their namespace.
        namespace: String,
        /// The claims.
        claims: Vec<String>,
        /// What the API server said of the first of them.
        said: String,
    },
    /// Any other failure of that.
    #[error(
        "cannot delete volume claim {claim}, which has no volume and waits for a larger one than storage.size asks"
    )]
    Withdrawal {
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

/// The claims of declared instances that have a volume and are to ask for another size: for more; or for less, where what they asked
/// for has not come about and they have less than the spec asks. A claim that has enough stays as it is: the API server takes no
/// request at or below what a volume has.
fn unlike<'a>(
    cluster: &MemgraphCluster,
    inventory: &'a Inventory,
    size: Amount,
) -> Vec<&'a PersistentVolumeClaim> {
    let is_unlike = |claim: &PersistentVolumeClaim| {
        let Some(asked) = requested(claim).map(Amount::whole) else {
            return false;
        };
        let has_less = || capacity(claim).is_some_and(|has| has.whole() < size.whole());
        asked < size.whole() || asked > size.whole() && has_less()
    };
    declared(cluster, inventory)
        .filter(|claim| claim.metadata.deletion_timestamp.is_none() && has_volume(claim))
        .filter(|claim| is_unlike(claim))
        .collect()
}

impl Growth {
    /// Has each claim ask for what the spec does, as far as that can be.
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
        let unlike = unlike(cluster, inventory, size);
        let mut asked = self.asked.lock().await;
        asked.retain(|uid, before| {
            let same = unlike
                .iter()
                .any(|claim| claim.metadata.uid.as_ref() == Some(uid));
            same && before.size == size && before.at.elapsed() < ASK_AGAIN
        });
        let mut refused: Option<(Vec<String>, String)> = None;
        for claim in unlike {
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
            tracing::info!(claim = %name, size = %size.canonical().0, "volume claim asks for another size");
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
    use super::{
        super::claims::tests::{bound, claim, cluster, inventory},
        *,
    };

    /// The claims that are to ask for 2Gi.
    fn to_ask(claims: impl IntoIterator<Item = serde_json::Value>) -> Vec<String> {
        let cluster = cluster(json!({"replicas": 5, "storage": {"size": "2Gi"}}));
        let size = volume_size(&cluster.spec).unwrap();
        let inventory = inventory(claims);
        let claims = unlike(&cluster, &inventory, size).into_iter();
        claims.map(ResourceExt::name_any).collect()
    }

    #[test]
    fn only_claims_of_instances_with_a_volume_that_is_too_small_ask_for_more() {
        let mut leaving = bound("data-demo-4", "1Gi", "1Gi");
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let names = to_ask([
            bound("data-demo-0", "1Gi", "1Gi"),
            bound("data-demo-1", "2048Mi", "2Gi"),
            bound("data-demo-2", "1T", "1T"),
            // No volume yet.
            claim("data-demo-3", "1Gi"),
            leaving,
            // Left by an instance that is gone.
            bound("data-demo-5", "1Gi", "1Gi"),
            bound("backup-demo-0", "1Gi", "1Gi"),
        ]);
        assert_eq!(names, ["data-demo-0"]);
    }

    #[test]
    fn a_claim_asks_for_less_only_where_its_volume_is_too_small_all_the_same() {
        let mut untold = bound("data-demo-3", "100Ti", "1Gi");
        untold["status"] = json!({});
        let names = to_ask([
            bound("data-demo-0", "100Ti", "1Gi"),
            // Neither would be taken.
            bound("data-demo-1", "100Ti", "2Gi"),
            bound("data-demo-2", "100Ti", "3Gi"),
            untold,
            claim("data-demo-4", "100Ti"),
        ]);
        assert_eq!(names, ["data-demo-0"]);
    }
}
