//! Who may connect to a cluster's pods.
//!
//! A client that got past the gateways could write to a MAIN that is deposed. Only what comes in is looked at: DNS, the API
//! server and whatever else a pod connects to stay as they are. The kubelet's probes always pass, and so does what it
//! forwards for `kubectl port-forward`.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{parent::Parent, pod};
use crate::api::names;

/// The label by which the API server names each namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// The pods of the operator's processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorPods {
    namespace: String,
    labels: BTreeMap<String, String>,
}

/// Text that does not say which labels the operator's pods have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} does not say which labels the operator's pods have; write key=value, several of them with commas in between"
)]
pub struct InvalidPodLabels(String);

impl OperatorPods {
    /// Those with these labels, as a label selector of equalities, in this namespace.
    ///
    /// # Errors
    /// When `selector` has no term, or one that is no equality: who may connect to the databases would be unclear.
    pub fn new(namespace: &str, selector: &str) -> Result<Self, InvalidPodLabels> {
        let invalid = || InvalidPodLabels(selector.to_owned());
        let equality = |term: &str| {
            let (key, value) = term.split_once('=').ok_or_else(invalid)?;
            let (key, value) = (key.trim(), value.strip_prefix('=').unwrap_or(value).trim());
            let plain = !key.is_empty() && !key.contains([' ', '!']) && !value.contains([' ', '=']);
            plain
                .then(|| (key.to_owned(), value.to_owned()))
                .ok_or_else(invalid)
        };
        Ok(Self {
            namespace: namespace.to_owned(),
            labels: selector.split(',').map(equality).collect::<Result<_, _>>()?,
        })
    }

    /// Their namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The label selector that finds them.
    #[must_use]
    pub fn selector(&self) -> String {
        let terms = self.labels.iter().map(|(key, value)| format!("{key}={value}"));
        terms.collect::<Vec<_>>().join(",")
    }

    fn peer(&self) -> NetworkPolicyPeer {
        let name = (NAMESPACE_NAME.to_owned(), self.namespace.clone());
        NetworkPolicyPeer {
            namespace_selector: Some(labelled(BTreeMap::from([name]))),
            pod_selector: Some(labelled(self.labels.clone())),
            ip_block: None,
        }
    }
}

/// Instances are reached over Bolt by gateways, by operators and, before one starts, by each other; at the port of
/// replication by each other, by gateways that look whether a replica still is one, and by operators that hasten a promotion.
pub(super) fn instances(parent: &Parent<'_>, operator: &OperatorPods) -> NetworkPolicy {
    let component = |component| NetworkPolicyPeer {
        pod_selector: Some(pod::selector(parent, component)),
        ..NetworkPolicyPeer::default()
    };
    let mut own = vec![component(names::INSTANCE)];
    if parent.spec.gateway.enabled {
        own.push(component(names::GATEWAY));
    }
    own.push(operator.peer());
    let mut rules = vec![rule(&[names::BOLT_PORT, names::REPLICATION_PORT], own)];
    if !parent.spec.gateway.enabled {
        rules.push(rule(
            &[names::BOLT_PORT],
            peers(&parent.spec.network_policy.clients),
        ));
    }
    ingress(
        parent,
        names::instances_policy(&parent.name),
        names::INSTANCE,
        rules,
    )
}

/// Gateways are reached by clients, by the operator over the control channel, and by whoever reads metrics.
pub(super) fn gateways(parent: &Parent<'_>, operator: &OperatorPods) -> NetworkPolicy {
    let asked = &parent.spec.network_policy;
    let rules = vec![
        rule(
            &[names::BOLT_PORT, names::GATEWAY_READ_PORT],
            peers(&asked.clients),
        ),
        rule(&[names::CONTROL_PORT], vec![operator.peer()]),
        rule(&[names::HTTP_PORT], peers(&asked.metrics)),
    ];
    ingress(parent, names::gateway(&parent.name), names::GATEWAY, rules)
}

fn ingress(
    parent: &Parent<'_>,
    name: String,
    component: &str,
    rules: Vec<NetworkPolicyIngressRule>,
) -> NetworkPolicy {
    NetworkPolicy {
        metadata: parent.metadata(name, component),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pod::selector(parent, component)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(rules),
            ..NetworkPolicySpec::default()
        }),
    }
}

/// These ports, for these peers; for everybody where there are none.
fn rule(ports: &[u16], from: Vec<NetworkPolicyPeer>) -> NetworkPolicyIngressRule {
    let port = |&port: &u16| NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(port))),
        // The API server's default.
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    NetworkPolicyIngressRule {
        from: Some(from).filter(|from| !from.is_empty()),
        ports: Some(ports.iter().map(port).collect()),
    }
}

/// Whom the spec lets in, without the empty lists and maps that the API server drops.
fn peers(given: &[NetworkPolicyPeer]) -> Vec<NetworkPolicyPeer> {
    let peers = given.iter().cloned().map(|mut peer| {
        let selectors = [&mut peer.pod_selector, &mut peer.namespace_selector];
        for selector in selectors.into_iter().flatten() {
            drop_empty(&mut selector.match_expressions, Vec::is_empty);
            drop_empty(&mut selector.match_labels, BTreeMap::is_empty);
            for expression in selector.match_expressions.iter_mut().flatten() {
                drop_empty(&mut expression.values, Vec::is_empty);
            }
        }
        if let Some(block) = &mut peer.ip_block {
            drop_empty(&mut block.except, Vec::is_empty);
        }
        peer
    });
    peers.collect()
}

fn drop_empty<T>(field: &mut Option<T>, is_empty: impl Fn(&T) -> bool) {
    if field.as_ref().is_some_and(is_empty) {
        *field = None;
    }
}

fn labelled(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_labels_are_read_from_a_selector_of_equalities() {
        let labels = |selector: &str| OperatorPods::new("system", selector).map(|pods| pods.labels);
        let wanted = |pairs: &[(&str, &str)]| {
            let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            Ok(pairs.iter().map(owned).collect::<BTreeMap<_, _>>())
        };
        assert_eq!(labels("app=operator"), wanted(&[("app", "operator")]));
        assert_eq!(labels("a/b==c, d=e"), wanted(&[("a/b", "c"), ("d", "e")]));
        for unclear in ["", "app", "!app", "app!=x", "app in (a, b)", "=x", "a=b,"] {
            assert!(labels(unclear).is_err(), "{unclear:?}");
        }
    }
}
