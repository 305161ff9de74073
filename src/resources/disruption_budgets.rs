//! How many of a cluster's pods a drain of nodes may take at a time.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::parent::Parent;
use crate::api::{
    MemgraphCluster,
    conditions::{ConditionType, Truth},
    names,
};

/// How many instances a drain of nodes may take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evictions {
    /// One at a time.
    OneAtATime,
    /// None: what it holds would go with it, and another one is still to be filled.
    None,
}

impl Evictions {
    /// As the cluster says of itself. An instance whose data goes with its pod is soon there again, and filled much later: until all
    /// follow MAIN no further one may go.
    #[must_use]
    pub fn of(cluster: &MemgraphCluster) -> Self {
        let told = cluster.status.iter().flat_map(|status| &status.conditions);
        let healthy = ConditionType::ReplicationHealthy.as_str();
        let mut told = told.filter(|told| told.type_ == healthy);
        // Where nothing was told yet nothing is there to be lost.
        let all_follow = told.next().is_none_or(|told| told.status == Truth::True.as_str());
        if cluster.spec.storage.empty_dir.is_none() || all_follow {
            Self::OneAtATime
        } else {
            Self::None
        }
    }
}

/// One instance at a time: in-sync replica and MAIN do not go together. None where there is one instance only, which a
/// drain may always take. An instance that is not ready counts as gone, so that none is taken beside one that recovers.
pub(super) fn instances(parent: &Parent<'_>, evictions: Evictions) -> Option<PodDisruptionBudget> {
    let name = names::instances_budget(&parent.name);
    let most = match evictions {
        Evictions::OneAtATime => 1,
        Evictions::None => 0,
    };
    (parent.spec.replicas > 1).then(|| at_a_time(most, parent, name, names::INSTANCE, None))
}

/// One gateway at a time, while there is more than one. A gateway that serves nobody does not keep its node from being
/// drained.
pub(super) fn gateways(parent: &Parent<'_>) -> Option<PodDisruptionBudget> {
    let name = names::gateway(&parent.name);
    let unready = "AlwaysAllow".to_owned();
    (parent.spec.gateway.replicas > 1).then(|| at_a_time(1, parent, name, names::GATEWAY, Some(unready)))
}

fn at_a_time(
    most: i32,
    parent: &Parent<'_>,
    name: String,
    component: &str,
    unhealthy_pod_eviction_policy: Option<String>,
) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: parent.metadata(name, component),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(most)),
            selector: Some(LabelSelector {
                match_labels: Some(names::selector(&parent.name, component)),
                ..LabelSelector::default()
            }),
            unhealthy_pod_eviction_policy,
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
