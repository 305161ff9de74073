//! Who may connect where, as the NetworkPolicies of a cluster have it.

use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyPeer},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::*;

/// A pod, with the namespace that it is in.
struct Pod {
    what: &'static str,
    namespace: &'static str,
    labels: Vec<(String, String)>,
}

fn pod(
    what: &'static str,
    namespace: &'static str,
    labels: impl IntoIterator<Item = (String, String)>,
) -> Pod {
    Pod {
        what,
        namespace,
        labels: labels.into_iter().collect(),
    }
}

fn other(what: &'static str, namespace: &'static str, label: (&str, &str)) -> Pod {
    pod(what, namespace, [(label.0.to_owned(), label.1.to_owned())])
}

fn own(what: &'static str, cluster: &str, component: &str) -> Pod {
    pod(what, "graphs", names::labels(cluster, component))
}

fn selects(selector: &LabelSelector, labels: &[(String, String)]) -> bool {
    assert!(selector.match_expressions.is_none(), "these policies have none");
    let mut wanted = selector.match_labels.iter().flatten();
    wanted.all(|(key, value)| labels.iter().any(|(k, v)| (k, v) == (key, value)))
}

fn lets_in(peer: &NetworkPolicyPeer, pod: &Pod) -> bool {
    let namespace = [("kubernetes.io/metadata.name".to_owned(), pod.namespace.to_owned())];
    let namespace_fits = match &peer.namespace_selector {
        Some(selector) => selects(selector, &namespace),
        None => pod.namespace == "graphs",
    };
    peer.ip_block.is_none()
        && namespace_fits
        && peer
            .pod_selector
            .as_ref()
            .is_none_or(|selector| selects(selector, &pod.labels))
}

/// What the API's documentation of NetworkPolicies says: whom no policy selects may be reached by all, and policies add up.
fn may_connect(policies: &[NetworkPolicy], from: &Pod, to: &Pod, port: u16) -> bool {
    let specs = policies.iter().map(|policy| policy.spec.as_ref().unwrap());
    let mut concerned = specs
        .filter(|spec| selects(spec.pod_selector.as_ref().unwrap(), &to.labels))
        .peekable();
    if concerned.peek().is_none() {
        return true;
    }
    let mut rules = concerned.flat_map(|spec| spec.ingress.iter().flatten());
    rules.any(|rule| {
        let port = IntOrString::Int(i32::from(port));
        let ports = rule.ports.as_ref().unwrap();
        ports.iter().any(|allowed| allowed.port.as_ref() == Some(&port))
            && rule
                .from
                .as_ref()
                .is_none_or(|peers| peers.iter().any(|peer| lets_in(peer, from)))
    })
}

fn policies(spec: MemgraphClusterSpec) -> Vec<NetworkPolicy> {
    let objects = built(spec).objects.into_iter();
    objects
        .filter(|object| object.key().kind == Kind::NetworkPolicy)
        .map(|object| serde_json::from_value(object.content()).unwrap())
        .collect()
}

/// Who may reach this port of this pod, out of everybody whom there is.
fn who_reaches(spec: MemgraphClusterSpec, to: &Pod, port: u16) -> Vec<&'static str> {
    let operators = ("app.kubernetes.io/name", "memgraph-operator");
    let everybody = [
        own("instance", "demo", names::INSTANCE),
        own("gateway", "demo", names::GATEWAY),
        own("neighbour's instance", "other", names::INSTANCE),
        own("neighbour's gateway", "other", names::GATEWAY),
        other("operator", "memgraph-operator-system", operators),
        other("who calls himself operator", "graphs", operators),
        other("client", "graphs", ("app", "client")),
        other("client elsewhere", "shop", ("app", "client")),
    ];
    let policies = policies(spec);
    let reaching = everybody
        .iter()
        .filter(|pod| may_connect(&policies, pod, to, port));
    reaching.map(|pod| pod.what).collect()
}

const EVERYBODY: [&str; 8] = [
    "instance",
    "gateway",
    "neighbour's instance",
    "neighbour's gateway",
    "operator",
    "who calls himself operator",
    "client",
    "client elsewhere",
];

#[test]
fn nobody_gets_past_the_gateways() {
    let instance = own("instance", "demo", names::INSTANCE);
    for port in [names::BOLT_PORT, names::REPLICATION_PORT] {
        assert_eq!(
            who_reaches(defaults(), &instance, port),
            ["instance", "gateway", "operator"]
        );
    }
    assert!(who_reaches(defaults(), &instance, 22).is_empty());
}

#[test]
fn gateways_are_reached_by_clients_and_led_by_operators_only() {
    let gateway = own("gateway", "demo", names::GATEWAY);
    for port in [names::BOLT_PORT, names::GATEWAY_READ_PORT, names::HTTP_PORT] {
        assert_eq!(who_reaches(defaults(), &gateway, port), EVERYBODY);
    }
    assert_eq!(
        who_reaches(defaults(), &gateway, names::CONTROL_PORT),
        ["operator"]
    );
}

#[test]
fn clients_may_be_named() {
    let mut spec = defaults();
    spec.network_policy.clients = serde_json::from_value(json!([
        {"podSelector": {"matchLabels": {"app": "client"}, "matchExpressions": []}},
    ]))
    .unwrap();
    let gateway = own("gateway", "demo", names::GATEWAY);
    assert_eq!(who_reaches(spec.clone(), &gateway, names::BOLT_PORT), ["client"]);
    assert_eq!(
        who_reaches(spec.clone(), &gateway, names::GATEWAY_READ_PORT),
        ["client"]
    );
    assert_eq!(
        who_reaches(spec.clone(), &gateway, names::CONTROL_PORT),
        ["operator"]
    );

    // Where there is no gateway they come to the instances themselves.
    spec.gateway.enabled = false;
    let instance = own("instance", "demo", names::INSTANCE);
    assert_eq!(
        who_reaches(spec.clone(), &instance, names::BOLT_PORT),
        ["instance", "operator", "client"]
    );
    assert_eq!(
        who_reaches(spec.clone(), &instance, names::REPLICATION_PORT),
        ["instance", "operator"]
    );
    spec.network_policy.clients.clear();
    assert_eq!(who_reaches(spec, &instance, names::BOLT_PORT), EVERYBODY);
}

#[test]
fn readers_of_metrics_may_be_named() {
    let mut spec = defaults();
    spec.network_policy.metrics =
        serde_json::from_value(json!([{"podSelector": {"matchLabels": {"app": "client"}}}])).unwrap();
    let gateway = own("gateway", "demo", names::GATEWAY);
    assert_eq!(who_reaches(spec.clone(), &gateway, names::HTTP_PORT), ["client"]);
    assert_eq!(who_reaches(spec, &gateway, names::BOLT_PORT), EVERYBODY);
}

#[test]
fn pods_of_others_are_left_alone() {
    let theirs = other("client", "graphs", ("app", "client"));
    assert_eq!(who_reaches(defaults(), &theirs, names::BOLT_PORT), EVERYBODY);
    let neighbour = own("instance", "other", names::INSTANCE);
    assert_eq!(who_reaches(defaults(), &neighbour, names::BOLT_PORT), EVERYBODY);
}

#[test]
fn switched_off_there_is_no_policy() {
    let mut spec = defaults();
    spec.network_policy.enabled = false;
    let absent: Vec<_> = built(spec)
        .absent
        .into_iter()
        .filter(|key| key.kind == Kind::NetworkPolicy)
        .map(|key| key.name)
        .collect();
    assert_eq!(absent, ["demo-instances", "demo-gateway"]);
}
