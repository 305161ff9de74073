//! Another StatefulSet in the place of one that makes volumes of another size.
//!
//! What new volume claims are made from can never be changed in a StatefulSet. So it is deleted, its pods stay, and the next one,
//! whose selector they fit, takes them over. Which step is next is read off the StatefulSet itself, whoever made the one before.

use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::quantity::Amount;

/// The next step towards a StatefulSet that makes volumes of the size that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// It makes volumes of the size that is wanted.
    Unneeded,
    /// It, or what it says of its volumes, is not yet what it was asked to be.
    Wait,
    /// See [`keeps_volumes`].
    KeepVolumes,
    /// It can be deleted without its pods.
    Delete,
}

impl Replacement {
    /// What is to be done about `live` so that it becomes `wanted`.
    ///
    /// Volumes must not belong to it any more when it goes: one that was marked as its own in the last moment would not be seen by
    /// whoever takes such marks off before the end, and be deleted after it. Its controller has taken them off, and sets none
    /// again, once it has observed a policy that keeps volumes.
    #[must_use]
    pub fn of(live: &DynamicObject, wanted: &Value) -> Self {
        if live.metadata.deletion_timestamp.is_some() {
            return Self::Wait;
        }
        let sizes = template_size(&live.data).zip(template_size(wanted));
        if sizes.is_none_or(|(live, wanted)| live.whole() == wanted.whole()) {
            return Self::Unneeded;
        }
        let policy = &live.data["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"];
        let observed = live.data["status"]["observedGeneration"].as_i64();
        if *policy == "Delete" {
            Self::KeepVolumes
        } else if observed.is_some() && observed == live.metadata.generation {
            Self::Delete
        } else {
            Self::Wait
        }
    }
}

/// What is merged into a StatefulSet so that its volumes stay when it goes.
#[must_use]
pub fn keeps_volumes(live: &DynamicObject) -> Value {
    json!({
        "metadata": {"uid": live.metadata.uid, "resourceVersion": live.metadata.resource_version},
        "spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"}},
    })
}

/// How large a StatefulSet makes volumes.
#[must_use]
pub fn template_size(set: &Value) -> Option<Amount> {
    let size = set.pointer("/spec/volumeClaimTemplates/0/spec/resources/requests/storage")?;
    Amount::parse(size.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(size: &str, policy: &str, observed: Option<i64>) -> DynamicObject {
        let set = json!({
            "metadata": {"name": "demo", "generation": 3},
            "spec": {
                "volumeClaimTemplates": [{"spec": {"resources": {"requests": {"storage": size}}}}],
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": policy},
            },
            "status": {"observedGeneration": observed},
        });
        serde_json::from_value(set).unwrap()
    }

    fn next(live: &DynamicObject) -> Replacement {
        Replacement::of(live, &set("2Gi", "Retain", None).data)
    }

    #[test]
    fn it_goes_once_its_controller_keeps_the_volumes() {
        for (size, policy, observed, expected) in [
            ("1Gi", "Delete", Some(3), Replacement::KeepVolumes),
            ("1Gi", "Retain", None, Replacement::Wait),
            ("1Gi", "Retain", Some(2), Replacement::Wait),
            ("1Gi", "Retain", Some(3), Replacement::Delete),
            ("2048Mi", "Delete", Some(3), Replacement::Unneeded),
            // What was asked for by mistake is no longer made, and no volume shrinks.
            ("3Gi", "Delete", Some(3), Replacement::KeepVolumes),
            ("3Gi", "Retain", Some(2), Replacement::Wait),
            ("3Gi", "Retain", Some(3), Replacement::Delete),
            ("much", "Retain", Some(3), Replacement::Unneeded),
        ] {
            assert_eq!(
                next(&set(size, policy, observed)),
                expected,
                "{size} {policy} {observed:?}"
            );
        }
    }

    #[test]
    fn one_that_is_being_deleted_is_waited_for() {
        let mut leaving = set("1Gi", "Delete", Some(3));
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        assert_eq!(next(&leaving), Replacement::Wait);
        leaving.data = set("2Gi", "Delete", Some(3)).data;
        assert_eq!(next(&leaving), Replacement::Wait);
    }
}
