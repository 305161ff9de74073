//! How many of a cluster's pods a drain of nodes may take at a time.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::parent::Parent;
use crate::api::names;

/// One instance at a time: in-sync replica and MAIN do not go together. None where there is one instance only, which a
/// drain may always take. An instance that is not ready counts as gone, so that none is taken beside one that recovers.
pub(super) fn instances(parent: &Parent<'_>) -> Option<PodDisruptionBudget> {
    let name = names::instances_budget(&parent.name);
    (parent.spec.replicas > 1).then(|| one_at_a_time(parent, name, names::INSTANCE, None))
}

/// One gateway at a time, while there is more than one. A gateway that serves nobody does not keep its node from being
/// drained.
pub(super) fn gateways(parent: &Parent<'_>) -> Option<PodDisruptionBudget> {
    let name = names::gateway(&parent.name);
    let unready = "AlwaysAllow".to_owned();
    (parent.spec.gateway.replicas > 1).then(|| one_at_a_time(parent, name, names::GATEWAY, Some(unready)))
}

fn one_at_a_time(
    parent: &Parent<'_>,
    name: String,
    component: &str,
    unhealthy_pod_eviction_policy: Option<String>,
) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: parent.metadata(name, component),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
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
