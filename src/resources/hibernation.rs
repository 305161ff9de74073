//! What becomes of the StatefulSet and the gateways' Deployment of a cluster that is put to sleep or wakes up.
//!
//! Asleep, a StatefulSet asks for no instance, and is otherwise as it was. In the very write that says so it keeps volumes, and
//! in the very write that asks for instances again it does what the spec says about volumes: its controller never sees that
//! instances are gone for good whose volumes are to be deleted. What becomes of volumes with the StatefulSet itself is as the spec
//! says all the time. (It marks a volume claim as its pod's own only for a pod beyond
//! `replicas` while `whenScaled` is `Delete`, both of one version of the StatefulSet, and takes the mark off when it meets the pod with
//! another policy: `updateClaimOwnerRefForSetAndPod`.)

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::object::{Kind, Object};
use crate::plan::Stage;

/// For how long fewer pods may be there than a StatefulSet asks for before it becomes what the spec asks for all the same: nobody may be
/// able to make them as they were.
const IN_VAIN: Duration = Duration::from_secs(60);

/// What to do about an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Rest {
    /// What is done about any object.
    Apply,
    /// Nothing, not even what the spec asks for: it stays as it was when the cluster was to sleep.
    Hold,
    /// Merge this into it.
    Change(Value),
}

impl Rest {
    /// What to do about `live`, which is to be `wanted` in a cluster that is awake. `pods`: those of instances.
    ///
    /// Instances come back as they were, each from its earlier configuration; only then a StatefulSet becomes what the spec asks
    /// for, which reaches them one after the other, as in a cluster that was never asleep.
    #[must_use]
    pub fn of(
        stage: Stage,
        wanted: &Object,
        live: Option<&DynamicObject>,
        pods: impl Fn() -> Vec<Arc<Pod>>,
    ) -> Self {
        match (wanted.key().kind, stage, live) {
            (Kind::Deployment, Stage::Finishing, Some(_)) => Self::Hold,
            (Kind::StatefulSet, Stage::Awake, _) => Self::Apply,
            (Kind::StatefulSet, Stage::Returning | Stage::Waking, None) => Self::Apply,
            // What is left of one that was deleted without its pods ends with the next one.
            (Kind::StatefulSet, _, None) if pods().iter().all(ends) => Self::Hold,
            (Kind::StatefulSet, _, None) => Self::Apply,
            (Kind::StatefulSet, _, Some(live)) if live.metadata.deletion_timestamp.is_some() => Self::Hold,
            (Kind::StatefulSet, Stage::Finishing | Stage::Gateways, Some(_)) => Self::Hold,
            (Kind::StatefulSet, Stage::Instances | Stage::Asleep, Some(live)) => {
                scale(live, &json!(0), &keeping(policy(&wanted.content())))
            }
            (Kind::StatefulSet, Stage::Returning, Some(live)) if asks_for_none(live) => {
                let wanted = wanted.content();
                scale(live, &wanted["spec"]["replicas"], policy(&wanted))
            }
            (Kind::StatefulSet, Stage::Returning, Some(_)) => Self::Hold,
            _ => Self::Apply,
        }
    }
}

/// Has a StatefulSet ask for so many instances, and treat volumes so, in one write.
fn scale(live: &DynamicObject, replicas: &Value, volumes: &Value) -> Rest {
    if live.data["spec"]["replicas"] == *replicas && policy(&live.data) == volumes {
        return Rest::Hold;
    }
    Rest::Change(json!({
        "metadata": {"uid": live.metadata.uid, "resourceVersion": live.metadata.resource_version},
        "spec": {"replicas": replicas, POLICY: volumes},
    }))
}

/// Whether pods are still to be made from a StatefulSet as it is, once it asks for any. `lacked_for`: for how long it has been without
/// as many as it asks for ([`lacks_pods`]).
#[must_use]
pub fn is_being_carried_out(live: &DynamicObject, pods: &[Arc<Pod>], lacked_for: Duration) -> bool {
    let observed = live.data["status"]["observedGeneration"].as_i64();
    asks_for_none(live)
        || observed.is_none()
        || observed != live.metadata.generation
        || pods.iter().any(ends)
        || lacks_pods(live, pods) && lacked_for < IN_VAIN
}

/// Whether fewer pods are there than a StatefulSet asks for.
#[must_use]
pub fn lacks_pods(live: &DynamicObject, pods: &[Arc<Pod>]) -> bool {
    let asked = live.data["spec"]["replicas"].as_u64();
    usize::try_from(asked.unwrap_or_default()).is_ok_and(|asked| pods.len() < asked)
}

fn ends(pod: &Arc<Pod>) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

const POLICY: &str = "persistentVolumeClaimRetentionPolicy";

fn policy(set: &Value) -> &Value {
    &set["spec"][POLICY]
}

/// The same for a StatefulSet whose instances are gone for now.
fn keeping(policy: &Value) -> Value {
    let mut policy = policy.clone();
    policy["whenScaled"] = json!("Retain");
    policy
}

/// Whether volumes are to stay when their StatefulSet goes.
#[must_use]
pub fn outlive_their_set(set: &Value) -> bool {
    policy(set)["whenDeleted"] == "Retain"
}

/// Whether a StatefulSet asks for no instance, as that of a cluster does which sleeps, and no other one.
#[must_use]
pub fn asks_for_none(set: &DynamicObject) -> bool {
    set.data["spec"]["replicas"] == 0
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};

    use super::*;
    use crate::plan::Stage::{Asleep, Awake, Finishing, Gateways, Instances, Returning, Waking};

    fn volumes(when_scaled: &str) -> Value {
        json!({"whenDeleted": "Retain", "whenScaled": when_scaled})
    }

    fn set(replicas: i32, when_scaled: &str) -> Value {
        json!({
            "metadata": {"name": "demo", "uid": "u1", "resourceVersion": "7", "generation": 3},
            "spec": {"replicas": replicas, POLICY: volumes(when_scaled)},
            "status": {"observedGeneration": 3},
        })
    }

    fn wanted() -> Object {
        let spec: StatefulSetSpec = serde_json::from_value(json!({
            "replicas": 5, "selector": {}, "template": {},
            POLICY: volumes("Delete"),
        }))
        .unwrap();
        Object::new(&StatefulSet {
            spec: Some(spec),
            ..StatefulSet::default()
        })
        .unwrap()
    }

    fn pod(ending: bool) -> Arc<Pod> {
        let end = ending.then_some("2026-01-01T00:00:00Z");
        let pod = json!({"metadata": {"name": "demo-0", "deletionTimestamp": end}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn of(stage: Stage, live: Option<&Value>, pods: &[Arc<Pod>]) -> Rest {
        let live: Option<DynamicObject> = live.map(|live| serde_json::from_value(live.clone()).unwrap());
        Rest::of(stage, &wanted(), live.as_ref(), || pods.to_vec())
    }

    fn scaled(replicas: i32, when_scaled: &str) -> Rest {
        Rest::Change(json!({
            "metadata": {"uid": "u1", "resourceVersion": "7"},
            "spec": {"replicas": replicas, POLICY: volumes(when_scaled)},
        }))
    }

    #[test]
    fn instances_go_in_the_write_that_keeps_their_volumes_and_come_back_in_the_one_that_does_not() {
        for stage in [Instances, Asleep] {
            for (replicas, policy) in [(3, "Delete"), (3, "Retain"), (0, "Delete")] {
                assert_eq!(of(stage, Some(&set(replicas, policy)), &[]), scaled(0, "Retain"));
            }
            assert_eq!(of(stage, Some(&set(0, "Retain")), &[]), Rest::Hold);
        }
        assert_eq!(of(Returning, Some(&set(0, "Retain")), &[]), scaled(5, "Delete"));
        // What becomes of volumes with the StatefulSet itself is as the spec says at any time.
        let mut until_now = set(0, "Retain");
        until_now["spec"][POLICY]["whenDeleted"] = json!("Delete");
        assert_eq!(of(Asleep, Some(&until_now), &[]), scaled(0, "Retain"));
        assert!(!outlive_their_set(&until_now) && outlive_their_set(&set(0, "Retain")));
    }

    #[test]
    fn what_instances_are_made_from_stays_until_all_of_them_are_back() {
        for stage in [Finishing, Gateways] {
            assert_eq!(of(stage, Some(&set(3, "Delete")), &[pod(false)]), Rest::Hold);
        }
        let live = set(5, "Delete");
        assert_eq!(of(Returning, Some(&live), &[pod(false)]), Rest::Hold);
        for stage in [Waking, Awake] {
            assert_eq!(of(stage, Some(&live), &[pod(false)]), Rest::Apply);
        }
    }

    #[test]
    fn pods_are_still_to_be_made_until_their_number_is_there_or_nobody_makes_them() {
        let returns = |set: &Value, pods: &[Arc<Pod>], lacked_for| {
            let live: DynamicObject = serde_json::from_value(set.clone()).unwrap();
            is_being_carried_out(&live, pods, lacked_for)
        };
        let (all, live) = ([pod(false), pod(false)], set(2, "Delete"));
        assert!(!returns(&live, &all, Duration::ZERO));
        assert!(
            returns(&set(0, "Retain"), &[], Duration::ZERO),
            "nobody has asked for them yet"
        );
        let mut unseen = live.clone();
        unseen["status"]["observedGeneration"] = json!(2);
        assert!(returns(&unseen, &all, Duration::ZERO));
        // One that ended when sleep was called off.
        assert!(returns(&live, &[pod(false), pod(true)], IN_VAIN));
        for pods in [&all[..1], &[]] {
            assert!(returns(&live, pods, IN_VAIN - Duration::from_secs(1)));
            assert!(
                !returns(&live, pods, IN_VAIN),
                "what is asked for may be what can be made"
            );
        }
    }

    #[test]
    fn a_set_is_made_for_pods_that_are_left_of_another_one_and_for_nobody_else() {
        for stage in [Gateways, Instances, Asleep] {
            assert_eq!(of(stage, None, &[]), Rest::Hold);
            assert_eq!(of(stage, None, &[pod(true)]), Rest::Hold);
            assert_eq!(of(stage, None, &[pod(true), pod(false)]), Rest::Apply);
        }
        for stage in [Returning, Waking] {
            assert_eq!(of(stage, None, &[]), Rest::Apply);
        }
        let mut leaving = set(3, "Delete");
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(of(Instances, Some(&leaving), &[pod(false)]), Rest::Hold);
    }
}
