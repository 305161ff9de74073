//! Writes the status: the report, and the ledger by compare-and-swap.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    certificates::takes_tls,
    claims::smallest,
    observe::{Inventory, init_note},
};
use crate::{
    api::{
        DurationString, FailoverRecord, GatewayStatus, InstanceStatus, MemgraphCluster,
        MemgraphClusterStatus, OperationRecord, Phase, StepRecord,
        conditions::{self, ConditionType, Reason, Truth, Verdict},
        ledger::{Ledger, OperationKind, Route},
        names,
    },
    instance_init::memory_maps,
    plan::report::Report,
};

/// Why the status was not written.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Somebody else has written in between: read again, and decide again.
    #[error("the status of {cluster} has changed since it was read")]
    Conflict {
        /// The cluster.
        cluster: String,
    },
    /// The API server did not keep, or did not take, what was to be written.
    #[error(
        "the CustomResourceDefinition does not fit this operator: the API server {said} of {cluster}; apply the one that \
         came with this operator"
    )]
    Unfit {
        /// The cluster.
        cluster: String,
        /// What the API server did.
        said: String,
    },
    /// Any other failure.
    #[error("cannot write the status of {cluster}")]
    Write {
        /// The cluster.
        cluster: String,
        /// Why not.
        source: kube::Error,
    },
}

/// So many operations are told of.
const HISTORY: usize = 10;

/// Where clients connect to.
fn gateway(cluster: &MemgraphCluster, cluster_domain: &str) -> Option<GatewayStatus> {
    let spec = &cluster.spec.gateway;
    let namespace = cluster.namespace()?;
    let address = |service: String, port: i32| format!("{service}.{namespace}.svc.{cluster_domain}:{port}");
    spec.enabled.then(|| GatewayStatus {
        read_write: address(
            spec.read_write_service(&cluster.name_any()),
            spec.read_write.service.port,
        ),
        read: cluster
            .spec
            .has_read_gateway()
            .then(|| address(spec.read_service(&cluster.name_any()), spec.read.service.port)),
    })
}

/// What a status has that neither the spec nor the report says.
pub(super) struct Surroundings<'a> {
    pub(super) inventory: &'a Inventory,
    /// Whether what is told is about the spec as it is now: all that it asks for was applied, or why not is told.
    pub(super) observed: bool,
    /// What `status.image` is to be.
    pub(super) image: String,
    /// How long each step of the operation took that this status ends, if it ends one.
    pub(super) steps: &'a [(&'static str, Duration)],
    pub(super) cluster_domain: &'a str,
}

/// The status that says `report`, with `ledger` as it is to be from now on.
pub(super) fn compose(
    cluster: &MemgraphCluster,
    surroundings: Surroundings<'_>,
    ledger: Option<Ledger>,
    report: Report,
    now: &Time,
) -> MemgraphClusterStatus {
    let Surroundings {
        inventory,
        observed,
        image,
        steps,
        cluster_domain,
    } = surroundings;
    let before = cluster.status.clone().unwrap_or_default();
    let generation = match observed {
        true => cluster.metadata.generation,
        false => before.observed_generation,
    };
    let selector = names::selector(&cluster.name_any(), names::INSTANCE);
    let selector: Vec<_> = selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let finished = before
        .ledger
        .as_ref()
        .zip(ledger.as_ref())
        .and_then(|(old, new)| record(old, new, steps, now));
    let mut history = before.history;
    if let Some(record) = &finished {
        history.insert(0, record.clone());
        history.truncate(HISTORY);
    }
    let failover = finished.as_ref().and_then(failover);
    MemgraphClusterStatus {
        observed_generation: generation,
        phase: Some(report.phase),
        // Only a claim changes it. Whoever writes this holds the Lease: nobody else is to go on in its place.
        operator: before.operator,
        next_operator: None,
        main: ledger
            .as_ref()
            .filter(|l| l.route == Route::Open && !report.ends_pods)
            .map(|l| l.main.instance.clone()),
        replicas: i32::try_from(inventory.instances.len()).unwrap_or(i32::MAX),
        ready_replicas: report.ready_replicas,
        in_sync_replicas: report.in_sync_replicas,
        selector: Some(selector.join(",")),
        image: Some(image),
        version: report.version.or(before.version),
        instances: told_by_pods(
            with_former_data(report.instances, &before.instances),
            &before.instances,
            inventory,
        ),
        switchover: report.switchover,
        gateway: gateway(cluster, cluster_domain),
        volume_size: smallest(cluster, inventory).map(|size| size.canonical().0),
        last_failover: failover.or(before.last_failover),
        history,
        conditions: conditions::merge(&before.conditions, &report.verdicts, generation, now),
        ledger,
    }
}

/// The status of a cluster that this installation begins to look after: that it does, and if nothing has been told of the cluster yet, that
/// somebody looks at it. That is written before anything is made for it.
pub(super) fn claimed(cluster: &MemgraphCluster, installation: &str, now: &Time) -> MemgraphClusterStatus {
    let before = cluster.status.clone().unwrap_or_default();
    let told = match before.conditions.is_empty() {
        true => first_sight(cluster, now),
        false => before,
    };
    MemgraphClusterStatus {
        operator: Some(installation.to_owned()),
        next_operator: None,
        ..told
    }
}

/// The status of a cluster of which nothing has been told yet.
pub(super) fn first_sight(cluster: &MemgraphCluster, now: &Time) -> MemgraphClusterStatus {
    let before = cluster.status.clone().unwrap_or_default();
    let verdict = |condition| Verdict {
        condition,
        status: match condition {
            ConditionType::Reconciling => Truth::True,
            _ => Truth::Unknown,
        },
        reason: Reason::WaitingForInstances,
        message: "the operator has seen the cluster; nothing is known of it yet".to_owned(),
    };
    let verdicts = ConditionType::ALL.map(verdict);
    let generation = cluster.metadata.generation;
    MemgraphClusterStatus {
        observed_generation: generation,
        phase: Some(Phase::Pending),
        conditions: conditions::merge(&[], &verdicts, generation, now),
        ..before
    }
}

/// The status of a cluster that is being deleted: nothing is looked at any more, so what was seen last stays as it is.
pub(super) fn terminating(cluster: &MemgraphCluster, now: &Time) -> MemgraphClusterStatus {
    let before = cluster.status.clone().unwrap_or_default();
    let verdict = |condition, status| Verdict {
        condition,
        status,
        reason: Reason::Terminating,
        message: "the cluster is being deleted".to_owned(),
    };
    let verdicts = [
        verdict(ConditionType::Ready, Truth::False),
        verdict(ConditionType::Reconciling, Truth::True),
        verdict(ConditionType::Stalled, Truth::False),
    ];
    let generation = cluster.metadata.generation;
    let mut conditions = conditions::merge(&before.conditions, &verdicts, generation, now);
    let told = |old: &Condition| conditions.iter().any(|new| new.type_ == old.type_);
    let (_, untold): (Vec<_>, Vec<_>) = before.conditions.into_iter().partition(told);
    conditions.extend(untold);
    MemgraphClusterStatus {
        observed_generation: generation,
        phase: Some(Phase::Terminating),
        conditions,
        ..before
    }
}

/// The same instances, with what was told last of the data of each that is registered and of which MAIN says nothing, as in a storage mode
/// without replication: readers are led to who followed before. Of one of which nothing was told, nothing is.
fn with_former_data(mut instances: Vec<InstanceStatus>, before: &[InstanceStatus]) -> Vec<InstanceStatus> {
    for instance in &mut instances {
        if instance.mode.is_some() && instance.data_status.is_none() {
            let told = before.iter().find(|told| told.name == instance.name);
            instance.data_status = told.and_then(|told| told.data_status.clone());
        }
    }
    instances
}

/// The same instances, with who takes TLS only, and whose node lacks something. Of one that has no pod at the moment the first is not
/// known, and stays as it was told.
fn told_by_pods(
    mut instances: Vec<InstanceStatus>,
    before: &[InstanceStatus],
    inventory: &Inventory,
) -> Vec<InstanceStatus> {
    for instance in &mut instances {
        let pod = inventory
            .instances
            .iter()
            .find(|pod| pod.metadata.name.as_deref() == Some(&instance.name));
        let note = pod.and_then(|pod| init_note(pod));
        instance.warning = note.and_then(|note| memory_maps::shortage(note.max_map_count?));
        let told = before.iter().find(|told| told.name == instance.name);
        instance.tls = match pod {
            Some(pod) => takes_tls(pod),
            None => told.is_some_and(|told| told.tls),
        };
    }
    instances
}

/// The entry for an operation that this write ends.
fn record(
    old: &Ledger,
    new: &Ledger,
    steps: &[(&'static str, Duration)],
    now: &Time,
) -> Option<OperationRecord> {
    let operation = old.operation.as_ref().filter(|_| new.route == Route::Open)?;
    Some(OperationRecord {
        term: new.term,
        kind: operation.kind,
        from: operation.from.clone(),
        to: new.main.instance.clone(),
        cause: operation.cause.clone(),
        started_at: operation.started_at.clone(),
        finished_at: now.0.to_string(),
        steps: steps
            .iter()
            .map(|(step, took)| StepRecord {
                step: (*step).to_owned(),
                took: DurationString(*took),
            })
            .collect(),
    })
}

/// The same, where it was a change of MAIN that nobody had planned. One that a human has decided on is none the less a loss of MAIN.
fn failover(record: &OperationRecord) -> Option<FailoverRecord> {
    let unasked = matches!(record.kind, OperationKind::Failover | OperationKind::Restart);
    unasked.then(|| FailoverRecord {
        term: record.term,
        kind: record.kind,
        from: record.from.clone(),
        to: record.to.clone(),
        started_at: record.started_at.clone(),
        finished_at: record.finished_at.clone(),
    })
}

/// What of all that must be kept the API server has not kept.
fn lost(kept: Option<&MemgraphClusterStatus>, sent: &MemgraphClusterStatus) -> Option<&'static str> {
    let custodians = |status: &MemgraphClusterStatus| (status.operator.clone(), status.next_operator.clone());
    if kept.and_then(|kept| kept.ledger.as_ref()) != sent.ledger.as_ref() {
        Some("the whole ledger")
    } else if kept.map(custodians).unwrap_or_default() != custodians(sent) {
        Some("who looks after it")
    } else {
        None
    }
}

/// Writes the status, unless the object has changed since `cluster` was read. Returns the object as it is now.
///
/// The API server drops fields that the CustomResourceDefinition does not have, and says nothing. Nothing may be done on a
/// ledger that is not there as it was decided, nor where it is not kept who looks after the cluster.
pub(super) async fn write(
    client: &Client,
    cluster: &MemgraphCluster,
    status: &MemgraphClusterStatus,
) -> Result<MemgraphCluster, StatusError> {
    let name = cluster.name_any();
    let api = Api::<MemgraphCluster>::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": MemgraphCluster::api_version(&()),
        "kind": MemgraphCluster::kind(&()),
        "metadata": {
            "name": name,
            "uid": cluster.metadata.uid,
            "resourceVersion": cluster.metadata.resource_version,
        },
        "status": status,
    });
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    match api.patch_status(&name, &params, &Patch::Apply(&patch)).await {
        Ok(written) => match lost(written.status.as_ref(), status) {
            None => Ok(written),
            Some(what) => Err(StatusError::Unfit {
                cluster: name,
                said: format!("did not keep {what}"),
            }),
        },
        Err(kube::Error::Api(answer)) if answer.code == 409 => Err(StatusError::Conflict { cluster: name }),
        Err(kube::Error::Api(answer)) if answer.code == 422 => Err(StatusError::Unfit {
            cluster: name,
            said: format!("refused the status ({})", answer.message),
        }),
        Err(source) => Err(StatusError::Write {
            cluster: name,
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Health, InstanceRole, RegistrationMode};

    #[test]
    fn what_main_said_last_of_a_replica_that_it_says_nothing_of_stays_in_the_status() {
        let instance = |name: &str, mode, data: Option<&str>| InstanceStatus {
            name: name.to_owned(),
            address: None,
            role: InstanceRole::Replica,
            mode,
            health: Health::Up,
            in_sync: false,
            data_status: data.map(str::to_owned),
            tls: false,
            obstacle: None,
            warning: None,
        };
        let registered = Some(RegistrationMode::Async);
        let before = [
            instance("demo-1", registered, Some("ready")),
            instance("demo-2", registered, Some("recovery")),
            instance("demo-3", registered, Some("ready")),
        ];
        let now = vec![
            instance("demo-1", registered, None),
            instance("demo-2", registered, Some("ready")),
            instance("demo-3", None, None),
            instance("demo-4", registered, None),
        ];
        let told = with_former_data(now, &before).into_iter();
        let told: Vec<_> = told.map(|instance| instance.data_status).collect();
        let ready = Some("ready".to_owned());
        assert_eq!(told, [ready.clone(), ready, None, None]);
    }
}
