//! What Kubernetes' controllers make of StatefulSets and Deployments: pods, volume claims and volumes.

use std::{rc::Rc, time::Duration};

use memgraph_operator::{api::names, resources::Kind};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Kubernetes;
use crate::api::{Key, Object, Resource, Store};

/// How long the controllers take to act upon a change, at the least and at the most, in milliseconds.
const REACTION: std::ops::RangeInclusive<u64> = 5..=80;

/// Runs the controllers for ever.
pub(super) async fn run(kubernetes: Rc<Kubernetes>) {
    let resources = [
        Resource::stateful_sets(),
        Resource::deployments(),
        Resource::pods(),
        Resource::claims(),
        Resource::clusters(),
    ];
    let mut changes: Vec<_> = {
        let mut store = kubernetes.api.store();
        resources.iter().map(|resource| store.changes(resource)).collect()
    };
    loop {
        kubernetes.with_api().await;
        sync(&kubernetes);
        for change in &mut changes {
            change.get_and_see();
        }
        let waits = changes.iter_mut().map(|change| Box::pin(change.changed()));
        futures::future::select_all(waits).await;
        sleep(Duration::from_millis(
            kubernetes.chance(|chance| chance.u64(REACTION)),
        ))
        .await;
    }
}

fn sync(kubernetes: &Kubernetes) {
    collect_orphans(kubernetes);
    release_claims(kubernetes);
    let all = |resource: &Resource| -> Vec<(Key, Object)> {
        let store = kubernetes.api.store();
        store
            .all(resource)
            .map(|(key, object)| (key.clone(), Object::clone(object)))
            .collect()
    };
    for (key, set) in all(&Resource::stateful_sets()) {
        sync_stateful_set(kubernetes, &key, &set);
    }
    for (key, deployment) in all(&Resource::deployments()) {
        sync_deployment(kubernetes, &key, &deployment);
    }
}

/// What belongs to an object that is gone goes too; claims of a StatefulSet stay.
fn collect_orphans(kubernetes: &Kubernetes) {
    let made = Kind::ALL.map(|kind| {
        let made = kind.api_resource();
        Resource::new(&made.api_version, &made.plural)
    });
    let owned = [vec![Resource::pods()], made.to_vec()].concat();
    let owners = [
        Resource::clusters(),
        Resource::stateful_sets(),
        Resource::deployments(),
    ];
    let mut store = kubernetes.api.store();
    let mut uids = std::collections::BTreeSet::new();
    for resource in &owners {
        for (_, object) in store.all(resource) {
            uids.insert(object["metadata"]["uid"].as_str().unwrap_or_default().to_owned());
        }
    }
    let mut orphans = Vec::new();
    for resource in &owned {
        for (key, object) in store.all(resource) {
            let owner = object["metadata"]["ownerReferences"][0]["uid"].as_str();
            if owner.is_some_and(|owner| !uids.contains(owner)) {
                orphans.push((resource.clone(), key.clone()));
            }
        }
    }
    for (resource, key) in orphans {
        remove(&mut store, &resource, &key);
    }
}

/// Pods are ended by their node, anything else goes at once.
fn remove(store: &mut Store, resource: &Resource, key: &Key) {
    if *resource == Resource::pods() {
        store.edit(resource, key, |pod| {
            if pod["metadata"]["deletionTimestamp"].is_null() {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                pod["metadata"]["deletionGracePeriodSeconds"] =
                    pod["spec"]["terminationGracePeriodSeconds"].clone();
            }
        });
    } else {
        store.remove(resource, key);
    }
}

/// A claim that somebody has deleted goes when no pod uses it any more (the finalizer `pvc-protection`).
fn release_claims(kubernetes: &Kubernetes) {
    let mut store = kubernetes.api.store();
    let used: Vec<String> = store
        .all(&Resource::pods())
        .filter_map(|(_, pod)| claim_of(pod))
        .collect();
    let free: Vec<Key> = store
        .all(&Resource::claims())
        .filter(|(key, claim)| !claim["metadata"]["deletionTimestamp"].is_null() && !used.contains(&key.1))
        .map(|(key, _)| key.clone())
        .collect();
    for key in free {
        store.remove(&Resource::claims(), &key);
    }
}

/// The claim that a pod's data lies in.
pub(super) fn claim_of(pod: &Value) -> Option<String> {
    let volumes = pod["spec"]["volumes"].as_array()?;
    let claim = volumes
        .iter()
        .find_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())?;
    Some(claim.to_owned())
}

/// Whether a pod's data lies in the pod itself.
pub(crate) fn has_own_volume(pod: &Value) -> bool {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let mut own = volumes.filter(|volume| volume["name"] == names::DATA_VOLUME);
    own.any(|volume| !volume["emptyDir"].is_null())
}

fn owned_by(object: &Value, owner: &Value) -> bool {
    object["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"]
}

fn sync_stateful_set(kubernetes: &Kubernetes, key: &Key, set: &Value) {
    let replicas = set["spec"]["replicas"].as_i64().unwrap_or(1);
    let (namespace, name) = key;
    let mut store = kubernetes.api.store();
    let surplus: Vec<Key> = store
        .all(&Resource::pods())
        .filter(|(_, pod)| owned_by(pod, set) && pod["metadata"]["deletionTimestamp"].is_null())
        .filter(|(pod, _)| {
            let ordinal = pod
                .1
                .rsplit('-')
                .next()
                .and_then(|number| number.parse::<i64>().ok());
            ordinal.is_some_and(|ordinal| ordinal >= replicas)
        })
        .map(|(pod, _)| pod.clone())
        .collect();
    let policy = &set["spec"]["persistentVolumeClaimRetentionPolicy"];
    for pod in surplus {
        // Their claims become the pods' own, and go with them.
        let claim = store.get(&Resource::pods(), &pod).and_then(|pod| claim_of(&pod));
        if let Some(claim) = claim.filter(|_| policy["whenScaled"] == "Delete") {
            let key = (pod.0.clone(), claim);
            store.edit(&Resource::claims(), &key, |claim| {
                claim["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            });
        }
        remove(&mut store, &Resource::pods(), &pod);
    }
    let template = &set["spec"]["volumeClaimTemplates"][0];
    let has_claims = !template.is_null();
    for ordinal in 0..replicas {
        let pod_key = (namespace.clone(), format!("{name}-{ordinal}"));
        let claim_key = (
            namespace.clone(),
            format!(
                "{}-{}",
                template["metadata"]["name"].as_str().unwrap_or("data"),
                pod_key.1
            ),
        );
        match store.get(&Resource::pods(), &pod_key) {
            // One that has ended is made anew.
            Some(pod) if matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded")) => {
                store.remove(&Resource::pods(), &pod_key);
                continue;
            }
            Some(_) => continue,
            None => {}
        }
        match store.get(&Resource::claims(), &claim_key) {
            _ if !has_claims => {}
            // It must go first.
            Some(claim) if !claim["metadata"]["deletionTimestamp"].is_null() => continue,
            Some(_) => {}
            None if kubernetes.withheld.borrow().contains(&pod_key.1) => continue,
            None => {
                let volume = kubernetes.new_volume();
                let claim = json!({
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "metadata": {"name": claim_key.1, "labels": template["metadata"]["labels"]},
                    "spec": {"volumeName": volume, "accessModes": ["ReadWriteOnce"]},
                    "status": {"phase": "Bound"},
                });
                let _ = store.create(&Resource::claims(), &claim_key, claim);
            }
        }
        let mut pod = pod_from(set, "StatefulSet", &pod_key);
        if let Some(volumes) = pod["spec"]["volumes"].as_array_mut().filter(|_| has_claims) {
            volumes.push(json!({
                "name": template["metadata"]["name"],
                "persistentVolumeClaim": {"claimName": claim_key.1},
            }));
        }
        let _ = store.create(&Resource::pods(), &pod_key, pod);
    }
    let generation = &set["metadata"]["generation"];
    if set["status"]["observedGeneration"] != *generation {
        store.edit(&Resource::stateful_sets(), key, |set| {
            set["status"]["observedGeneration"] = generation.clone();
        });
    }
}

fn sync_deployment(kubernetes: &Kubernetes, key: &Key, deployment: &Value) {
    let replicas = usize::try_from(deployment["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or_default();
    let mut store = kubernetes.api.store();
    let own: Vec<Key> = store
        .all(&Resource::pods())
        .filter(|(_, pod)| owned_by(pod, deployment) && pod["metadata"]["deletionTimestamp"].is_null())
        .map(|(pod, _)| pod.clone())
        .collect();
    for pod in own.iter().skip(replicas) {
        remove(&mut store, &Resource::pods(), pod);
    }
    for _ in own.len()..replicas {
        let suffix = kubernetes.chance(|chance| chance.u32(..));
        let pod_key = (key.0.clone(), format!("{}-{suffix:08x}", key.1));
        let pod = pod_from(deployment, "Deployment", &pod_key);
        let _ = store.create(&Resource::pods(), &pod_key, pod);
    }
}

fn pod_from(owner: &Value, kind: &str, key: &Key) -> Value {
    let template = &owner["spec"]["template"];
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": key.1,
            "labels": template["metadata"]["labels"],
            "annotations": template["metadata"]["annotations"],
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": kind, "controller": true,
                "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
            }],
        },
        "spec": template["spec"],
        "status": {"phase": "Pending"},
    })
}
