//! From the spec to what decisions depend on.

use crate::{
    api::{
        DataDurability, DivergedInstances, FailoverCandidates, FailoverMode, MemgraphClusterSpec,
        ReplicationMode,
    },
    plan::{
        lacks_strict_sync,
        observation::{Recovery, Settings, SwitchoverRequest},
    },
    resources::{Amount, volume_size},
};

/// The part of the spec that decisions depend on, with every default made explicit. `image`: what the instances are to have.
/// `version`: what MAIN has said that it runs, when it was seen last.
pub(super) fn settings(spec: &MemgraphClusterSpec, image: String, version: Option<&str>) -> Settings {
    let unset = match spec.replication.mode {
        ReplicationMode::Async => 0,
        ReplicationMode::StrictSync | ReplicationMode::Sync => 1,
    };
    let others = (spec.replicas - 1).max(0);
    let sync_replicas = match spec.replication.mode {
        ReplicationMode::Async => 0,
        _ => spec.replication.sync_replicas.unwrap_or(unset).clamp(0, others),
    };
    // MAIN would refuse each registration; what it has been told so far goes on.
    let strict = spec.replication.mode == ReplicationMode::StrictSync && sync_replicas > 0;
    let not_strict = version.filter(|version| strict && lacks_strict_sync(version));
    let mode = match not_strict {
        Some(_) => ReplicationMode::Sync,
        None => spec.replication.mode,
    };
    Settings {
        replicas: spec.replicas,
        mode,
        not_strict: not_strict.map(str::to_owned),
        sync_replicas: usize::try_from(sync_replicas).unwrap_or_default(),
        electable: spec.replication.electable_instances.unwrap_or(spec.replicas),
        preferred_main: spec.replication.preferred_main.clone(),
        unprotected: spec.replication.data_durability == DataDurability::Preferred,
        reset_diverged: spec.replication.diverged_instances == DivergedInstances::Reset,
        recovery: spec
            .bootstrap
            .as_ref()
            .and_then(|bootstrap| bootstrap.recover.as_ref())
            .map(|recover| Recovery {
                main: recover.main.clone(),
                state_id: recover.state_id.clone(),
            }),
        fenced: spec.fenced_instances.clone(),
        automatic_failover: spec.failover.mode == FailoverMode::Automatic,
        direct: !spec.gateway.enabled,
        most_recent: spec.failover.candidates == FailoverCandidates::MostRecent,
        detection_timeout: spec.failover.detection_timeout.0,
        hang_timeout: spec.failover.hang_timeout.0,
        failover_delay: spec.failover.delay.0,
        max_per_hour: usize::try_from(spec.failover.max_per_hour).unwrap_or_default(),
        switchover: spec.switchover.as_ref().map(|asked| SwitchoverRequest {
            id: asked.request_id.clone(),
            target: asked.target.clone(),
        }),
        paused: spec.paused,
        hibernated: spec.hibernated,
        image,
        main_update: spec.update_strategy.main_update,
        // What is no quantity is told when the objects are built.
        volume_size: volume_size(spec).map(Amount::whole).unwrap_or_default(),
        data_in_pods: spec.storage.empty_dir.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: serde_json::Value) -> Settings {
        settings(&serde_json::from_value(json).unwrap(), String::new(), None)
    }

    #[test]
    fn a_mode_that_the_release_lacks_is_not_decided_by() {
        let of = |json: serde_json::Value, version| {
            let seen = settings(
                &serde_json::from_value(json).unwrap(),
                String::new(),
                Some(version),
            );
            (seen.mode, seen.not_strict)
        };
        let three = || serde_json::json!({});
        let (sync, strict) = (ReplicationMode::Sync, ReplicationMode::StrictSync);
        assert_eq!(of(three(), "3.4.2"), (sync, Some("3.4.2".to_owned())));
        assert_eq!(of(three(), "3.5.0"), (strict, None));
        assert_eq!(of(serde_json::json!({"replicas": 1}), "3.4.2"), (strict, None));
    }

    #[test]
    fn an_empty_spec_asks_for_one_strict_replica_of_three_instances() {
        let seen = asked(serde_json::json!({}));
        assert_eq!((seen.replicas, seen.sync_replicas, seen.electable), (3, 1, 3));
        assert!(seen.automatic_failover);
    }

    #[test]
    fn a_single_instance_and_async_ask_for_no_sync_replica() {
        assert_eq!(asked(serde_json::json!({"replicas": 1})).sync_replicas, 0);
        let asynchronous = serde_json::json!({"replication": {"mode": "Async"}});
        assert_eq!(asked(asynchronous).sync_replicas, 0);
    }
}
