//! What the pods of instances and of gateways have in common.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Affinity, Capabilities, ContainerPort, PodAffinityTerm, PodAntiAffinity, PodSecurityContext,
        ResourceRequirements, SeccompProfile, SecurityContext, WeightedPodAffinityTerm,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::LabelSelector},
};

use super::{Error, parent::Parent, quantity::Amount};
use crate::api::names;

/// The pod's part of the restricted Pod Security Standard.
pub(super) fn security(user: i64, group: i64) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(user),
        run_as_group: Some(group),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// The container's part of the restricted Pod Security Standard, and a file system that cannot be written to.
pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..Capabilities::default()
        }),
        ..SecurityContext::default()
    }
}

/// Pods of a component go to different nodes, and those to different zones where nodes tell theirs, as long as there are enough: a hard
/// rule would leave a cluster of three without its third instance whenever one of three nodes is away.
pub(super) fn spread(parent: &Parent<'_>, component: &str) -> Affinity {
    let apart = |weight, topology_key: &str| WeightedPodAffinityTerm {
        weight,
        pod_affinity_term: PodAffinityTerm {
            topology_key: topology_key.to_owned(),
            label_selector: Some(selector(parent, component)),
            ..PodAffinityTerm::default()
        },
    };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                apart(100, "kubernetes.io/hostname"),
                apart(50, "topology.kubernetes.io/zone"),
            ]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

/// What selects the pods of a component.
pub(super) fn selector(parent: &Parent<'_>, component: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(names::selector(&parent.name, component)),
        ..LabelSelector::default()
    }
}

/// Names of the ports in containers, to which probes and Services refer.
pub(super) const BOLT: &str = "bolt";
/// The gateway's second port, for sessions that only read.
pub(super) const BOLT_READ: &str = "bolt-read";
/// Where a replica takes the replication stream.
pub(super) const REPLICATION: &str = "replication";
/// Health of a gateway.
pub(super) const HTTP: &str = "http";

pub(super) fn port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        // The API server's default, but part of the key by which it merges ports.
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// Resources as the spec gives them at `field`, in the API server's spelling.
pub(super) fn resources(
    field: &str,
    given: &ResourceRequirements,
) -> Result<Option<ResourceRequirements>, Error> {
    let spelled = |amounts: &Option<BTreeMap<String, Quantity>>, part: &str| {
        let amounts = amounts.iter().flatten().map(|(resource, quantity)| {
            let amount = Amount::parse(&quantity.0).map_err(|source| Error::Quantity {
                field: format!("{field}.{part}.{resource}"),
                source,
            })?;
            Ok((resource.clone(), amount.in_thousandths().canonical()))
        });
        let amounts = amounts.collect::<Result<BTreeMap<_, _>, Error>>()?;
        Ok::<_, Error>(Some(amounts).filter(|amounts| !amounts.is_empty()))
    };
    let resources = ResourceRequirements {
        claims: given.claims.clone().filter(|claims| !claims.is_empty()),
        limits: spelled(&given.limits, "limits")?,
        requests: spelled(&given.requests, "requests")?,
    };
    Ok(Some(resources).filter(|resources| *resources != ResourceRequirements::default()))
}
