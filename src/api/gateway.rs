//! What a user may ask for of the gateway.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DurationString, GatewayPodTemplate, GatewayTlsSpec, Network, names, pod_template::label_value};

/// The TCP gateway in front of the instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.readWrite.service.nodePort) || !has(self.read.service.nodePort) || self.readWrite.service.nodePort != self.read.service.nodePort",
    "gateway: readWrite.service.nodePort and read.service.nodePort must differ"
))]
pub struct GatewaySpec {
    /// Whether there is a gateway.
    #[serde(default = "defaults::yes")]
    pub enabled: bool,

    /// Number of gateway pods. Each serves all clients; none leads.
    #[serde(default = "defaults::gateway_replicas")]
    #[schemars(range(min = 1, max = 50))]
    pub replicas: i32,

    /// The address that always leads to MAIN.
    #[serde(default)]
    pub read_write: ReadWriteSpec,

    /// The address that leads to replicas.
    #[serde(default)]
    pub read: ReadSpec,

    /// TLS with clients, which ends at the gateway; on both ports, and from version 1.2 on. Clients that speak none are refused
    /// then. A changed certificate counts for connections that begin after it has come into the pods, within two minutes; the
    /// others go on. Unset: what clients say is passed on as it is, be it TLS that ends at the instance or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<GatewayTlsSpec>,

    /// How long one attempt to connect to an instance lasts. For writers it is repeated within holdTimeout.
    #[serde(default = "defaults::connect_timeout")]
    #[x_kube(validation = (
        "duration(self) >= duration('100ms')",
        "connectTimeout: must be at least 100ms; an instance that is busy may take that long"
    ))]
    pub connect_timeout: DurationString,

    /// How long a session may pass no byte in either direction before it is cut. 0s: for ever. Nothing is passed either
    /// while Memgraph works at a query or a client thinks, so it must be longer than the longest query. A change counts for
    /// the sessions that there are, too.
    #[serde(default = "defaults::idle_timeout")]
    #[x_kube(validation = (
        "duration(self) == duration('0s') || duration(self) >= duration('1s')",
        "idleTimeout: must be at least 1s, or 0s, by which no session is cut"
    ))]
    pub idle_timeout: DurationString,

    /// How fast the clients of one address may connect to one port of one gateway pod; whoever is faster is refused. Unset: as
    /// fast as they like. The address is the one that reaches the gateway, or that `proxyProtocol` names: where a NAT or a load
    /// balancer puts its own in place of the clients', as Services of type NodePort and LoadBalancer do on most platforms, all
    /// clients behind it count as one.
    /// IPv6 addresses of one /64 network are one address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_rate_limit: Option<ConnectionRateLimit>,

    /// How long a client that connects while MAIN changes is held before it is refused. 0s: not at all.
    #[serde(default = "defaults::hold_timeout")]
    pub hold_timeout: DurationString,

    /// Clients that one gateway pod holds at the same time; further ones are refused.
    #[serde(default = "defaults::max_connections")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max_held_connections: i32,

    /// For how long a gateway may lead clients to MAIN after it last heard of the operator or of the API server. A gateway
    /// that runs but does not answer holds a failover up for at most so long. A change takes effect when MAIN changes next.
    #[serde(default = "defaults::grant_ttl", rename = "grantTTL")]
    #[x_kube(validation = (
        "duration(self) >= duration('1s') && duration(self) <= duration('4s')",
        "grantTTL: must be between 1s and 4s, because MAIN gives the second phase of a commit up after 5s where packets vanish and nothing that it says after that may reach a client"
    ))]
    pub grant_ttl: DurationString,

    /// Compute resources of each gateway pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// What the gateways' pods get besides what the operator gives them: labels, where they run, environment. A change
    /// replaces them, each new one before an old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<GatewayPodTemplate>,
}

impl Default for GatewaySpec {
    fn default() -> Self {
        Self {
            enabled: true,
            replicas: defaults::gateway_replicas(),
            read_write: ReadWriteSpec::default(),
            read: ReadSpec::default(),
            tls: None,
            connect_timeout: defaults::connect_timeout(),
            idle_timeout: defaults::idle_timeout(),
            connection_rate_limit: None,
            hold_timeout: defaults::hold_timeout(),
            max_held_connections: defaults::max_connections(),
            grant_ttl: defaults::grant_ttl(),
            resources: None,
            pod_template: None,
        }
    }
}

impl GatewaySpec {
    /// The name of the Service that leads to MAIN.
    #[must_use]
    pub fn read_write_service(&self, cluster: &str) -> String {
        let chosen = self.read_write.service.name.clone();
        chosen.unwrap_or_else(|| names::gateway(cluster))
    }

    /// The name of the Service that leads to replicas, where there is one.
    #[must_use]
    pub fn read_service(&self, cluster: &str) -> String {
        let chosen = self.read.service.name.clone();
        chosen.unwrap_or_else(|| names::read_gateway(cluster))
    }
}

/// How fast the clients of one address may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionRateLimit {
    /// New connections per second in the long run.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub per_second: i32,

    /// New connections at once, after a rest. Unset: twice `perSecond`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<i32>,
}

/// The address that always leads to MAIN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadWriteSpec {
    /// The Service in front.
    #[serde(default)]
    pub service: ServiceSpec,

    /// Sessions that one gateway pod carries at the same time; further ones are refused.
    #[serde(default = "defaults::max_connections")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_connections: i32,

    /// Networks whose clients the gateway serves, in CIDR notation; others are refused. Unset or empty: all. The address that
    /// counts is the one that reaches the gateway, or the one that `proxyProtocol` names: where a NAT or a load balancer puts
    /// its own in place of the clients', as Services of type NodePort and LoadBalancer do on most platforms, it tells nothing of
    /// them, and `service.externalTrafficPolicy: Local`, `service.loadBalancerSourceRanges` or `proxyProtocol` is the remedy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(validation = (
        "self.all(network, isCIDR(network))",
        "sourceRanges: each must be a network in CIDR notation, such as 10.0.0.0/8 or 2001:db8::/32"
    ))]
    pub source_ranges: Vec<Network>,

    /// Has a load balancer in front tell the addresses of its clients. Unset: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocolSpec>,
}

impl Default for ReadWriteSpec {
    fn default() -> Self {
        Self {
            service: ServiceSpec::default(),
            max_connections: defaults::max_connections(),
            source_ranges: Vec::new(),
            proxy_protocol: None,
        }
    }
}

/// The address that leads to replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadSpec {
    /// Whether there is one. Unset: yes without `auth`, and no with it, because replicas let in everybody who reaches them,
    /// without a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,

    /// Whether MAIN serves readers when no replica can.
    #[serde(default)]
    pub fallback_to_main: bool,

    /// The Service in front.
    #[serde(default)]
    pub service: ServiceSpec,

    /// Sessions that one gateway pod carries at the same time; further ones are refused.
    #[serde(default = "defaults::max_connections")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_connections: i32,

    /// Networks whose clients the gateway serves, in CIDR notation; others are refused. Unset or empty: all. The address that
    /// counts is the one that reaches the gateway, or the one that `proxyProtocol` names: where a NAT or a load balancer puts
    /// its own in place of the clients', as Services of type NodePort and LoadBalancer do on most platforms, it tells nothing of
    /// them, and `service.externalTrafficPolicy: Local`, `service.loadBalancerSourceRanges` or `proxyProtocol` is the remedy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(validation = (
        "self.all(network, isCIDR(network))",
        "sourceRanges: each must be a network in CIDR notation, such as 10.0.0.0/8 or 2001:db8::/32"
    ))]
    pub source_ranges: Vec<Network>,

    /// Has a load balancer in front tell the addresses of its clients. Unset: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocolSpec>,
}

impl Default for ReadSpec {
    fn default() -> Self {
        Self {
            enabled: None,
            fallback_to_main: false,
            service: ServiceSpec::default(),
            max_connections: defaults::max_connections(),
            source_ranges: Vec::new(),
            proxy_protocol: None,
        }
    }
}

/// Version 2 of the PROXY protocol, by which a load balancer tells the address of each client in a header in front of the
/// client's own bytes. It must be switched on at the load balancer, too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyProtocolSpec {
    /// Networks that the load balancer's connections come from, in CIDR notation. A connection from there that does not begin
    /// with a header is refused; one from elsewhere is a client's own and has none. Where the load balancer goes by the nodes'
    /// ports, the nodes' network is one of them. Whoever can connect from there can pretend to be anybody, so name no more
    /// than the load balancer needs.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = (
        "self.all(network, isCIDR(network))",
        "balancers: each must be a network in CIDR notation, such as 10.0.0.0/8 or 2001:db8::/32"
    ))]
    pub balancers: Vec<Network>,
}

/// A Service in front of the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "self.type == 'LoadBalancer' || !has(self.loadBalancerSourceRanges) || self.loadBalancerSourceRanges.size() == 0",
    "service.loadBalancerSourceRanges: needs type LoadBalancer; gateway.readWrite.sourceRanges and gateway.read.sourceRanges go with every type"
))]
#[x_kube(validation = (
    "self.type != 'ClusterIP' || !has(self.externalTrafficPolicy)",
    "service.externalTrafficPolicy: is about connections from outside, which type ClusterIP does not take; set type to NodePort or LoadBalancer, or remove it"
))]
#[x_kube(validation = (
    "self.type != 'ClusterIP' || !has(self.nodePort)",
    "service.nodePort: needs type NodePort or LoadBalancer"
))]
#[x_kube(validation = (
    "self.type == 'LoadBalancer' || !has(self.loadBalancerClass)",
    "service.loadBalancerClass: needs type LoadBalancer"
))]
#[x_kube(validation = (
    "self.type != 'LoadBalancer' || oldSelf.type != 'LoadBalancer' || (has(self.name) ? self.name : '') != (has(oldSelf.name) ? oldSelf.name : '') || (has(self.loadBalancerClass) ? self.loadBalancerClass : '') == (has(oldSelf.loadBalancerClass) ? oldSelf.loadBalancerClass : '')",
    "service.loadBalancerClass: Kubernetes lets nobody change it while type is LoadBalancer; set type to NodePort first, and back once the Service is of that type, or give the Service another name"
))]
#[x_kube(validation = (
    "!has(self.nodePort) || !has(oldSelf.nodePort) || self.nodePort != oldSelf.nodePort || (has(self.name) ? self.name : '') == (has(oldSelf.name) ? oldSelf.name : '')",
    "service.nodePort: the Service of the former name has it until the one of the new name is there; with name, change nodePort, too, or remove it before"
))]
pub struct ServiceSpec {
    /// The Service's name, and so the first part of the address that clients use. Unset: `<cluster>-gateway` for `readWrite` and
    /// `<cluster>-gateway-read` for `read`. A Service that is there already is not taken over. When the name is changed, the
    /// Service of the former name is deleted as soon as the new one is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = (
        "self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "service.name: must be the name of a Service: a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit"
    ))]
    pub name: Option<String>,

    /// How the Service is reached.
    #[serde(default, rename = "type")]
    pub type_: ServiceType,

    /// The Service's port.
    #[serde(default = "defaults::bolt_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,

    /// The port of each node. Only with the types NodePort and LoadBalancer; of which range, the API server says
    /// (`--service-node-port-range`), which by default has 30000 to 32767. Unset: Kubernetes chooses one, and one that is taken
    /// out of here stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,

    /// Further labels of the Service, as tools select it by. They go before those of `inheritedMetadata`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64, "additionalProperties" = label_value()))]
    #[x_kube(validation = (
        "!self.exists(k, k.startsWith('memgraph.dev/') || k in ['app.kubernetes.io/name', 'app.kubernetes.io/instance', 'app.kubernetes.io/component', 'app.kubernetes.io/managed-by'])",
        "service.labels: belong to the operator and cannot be set: memgraph.dev/*, app.kubernetes.io/name, instance, component and managed-by"
    ))]
    pub labels: BTreeMap<String, String>,

    /// Annotations of the Service, as load balancers ask for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,

    /// Which of the platform's load balancers serves the Service, where there are several. Only with the type LoadBalancer, and not
    /// to be changed as long as the Service has that type. Unset: the platform's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    #[schemars(regex(
        pattern = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
    ))]
    pub load_balancer_class: Option<String>,

    /// Networks that the platform's load balancer takes connections from, in CIDR notation. Unset or empty: all. It is up to
    /// the platform whether it heeds them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(validation = (
        "self.all(network, isCIDR(network))",
        "loadBalancerSourceRanges: each must be a network in CIDR notation, such as 10.0.0.0/8 or 2001:db8::/32"
    ))]
    pub load_balancer_source_ranges: Vec<Network>,

    /// Where connections from outside go that reach a node. Only with the types NodePort and LoadBalancer. Unset: Cluster, as
    /// Kubernetes has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
}

impl Default for ServiceSpec {
    fn default() -> Self {
        Self {
            name: None,
            type_: ServiceType::default(),
            port: defaults::bolt_port(),
            node_port: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            load_balancer_class: None,
            load_balancer_source_ranges: Vec::new(),
            external_traffic_policy: None,
        }
    }
}

/// Where connections from outside go that reach a node. Only with the types NodePort and LoadBalancer. Unset: Cluster, as
/// Kubernetes has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExternalTrafficPolicy {
    /// To any gateway pod. On most platforms the node puts its own address in place of the client's.
    Cluster,
    /// To gateway pods on this node only, which see the client's own address. A node without one answers nothing, and balancers
    /// leave it out by its health check.
    Local,
}

impl ExternalTrafficPolicy {
    /// The name in the Kubernetes API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        }
    }
}

/// How a Service is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Inside the Kubernetes cluster only.
    #[default]
    ClusterIP,
    /// On a port of every node.
    NodePort,
    /// Through the platform's load balancer.
    LoadBalancer,
}

impl ServiceType {
    /// The name in the Kubernetes API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// The values that the schema fills in.
mod defaults {
    use super::DurationString;

    pub(super) fn gateway_replicas() -> i32 {
        2
    }
    pub(super) fn yes() -> bool {
        true
    }
    pub(super) fn max_connections() -> i32 {
        1000
    }
    pub(super) fn bolt_port() -> i32 {
        i32::from(crate::api::names::BOLT_PORT)
    }
    pub(super) fn connect_timeout() -> DurationString {
        DurationString::from_millis(1_000)
    }
    pub(super) fn hold_timeout() -> DurationString {
        DurationString::from_millis(5_000)
    }
    pub(super) fn grant_ttl() -> DurationString {
        DurationString::from_millis(4_000)
    }
    pub(super) fn idle_timeout() -> DurationString {
        DurationString::from_millis(0)
    }
}
