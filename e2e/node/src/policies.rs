//! Enforces NetworkPolicies, which nothing on the test's nodes does by itself: a firewall table on each node has what the policies of
//! one namespace let into its pods, by the addresses that pods have now. It follows changes by looking again and again, so that a new
//! pod is unknown to the others for a moment, as with network plugins.
//!
//! Only what comes in is looked at. Connections that are there go on. What a node itself connects to its pods, such as probes, passes,
//! since it is not forwarded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e_cluster::process;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ListParams;
use kube::core::{Selector, SelectorExt};
use kube::{Api, ResourceExt};
use tokio::task::JoinHandle;

use crate::node::Node;
use crate::scene::Scene;

/// The table on each node.
const TABLE: &str = "policies";

/// How often it is looked whether something has changed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The policies of a namespace hold until this is dropped.
pub struct Enforcement {
    node: Arc<Node>,
    following: JoinHandle<()>,
}

impl Enforcement {
    /// Enforces the policies of a test's namespace, from now on.
    ///
    /// # Errors
    /// When they cannot be read or a node's firewall refuses them.
    pub async fn begin(scene: &Arc<Scene>) -> Result<Self> {
        let mut last = rules(scene).await?;
        install(&scene.node, &last)?;
        let followed = Arc::clone(scene);
        let following = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                // What cannot be read now stays as it was.
                let Ok(now) = rules(&followed).await else { continue };
                if now != last {
                    match install(&followed.node, &now) {
                        Ok(()) => last = now,
                        Err(error) => eprintln!("          policies: {error:#}"),
                    }
                }
            }
        });
        Ok(Self {
            node: Arc::clone(&scene.node),
            following,
        })
    }
}

impl Drop for Enforcement {
    fn drop(&mut self) {
        self.following.abort();
        if let Err(error) = install(&self.node, "") {
            eprintln!("          policies: cannot take the tables away: {error:#}");
        }
    }
}

/// Replaces the table on each node, in one step.
fn install(node: &Node, rules: &str) -> Result<()> {
    let script = format!("add table inet {TABLE}\ndelete table inet {TABLE}\n{rules}");
    for machine in node.cluster.running_nodes()? {
        let mut command = node.cluster.command_in(machine)?;
        command.args(["nft", "-f", "-"]);
        tokio::task::block_in_place(|| process::output_with_input(&mut command, &script))?;
    }
    Ok(())
}

/// The table for what there is now.
async fn rules(scene: &Scene) -> Result<String> {
    let client = || scene.node.client.clone();
    let all = ListParams::default();
    let policies = scene.api::<NetworkPolicy>().list(&all).await?.items;
    let pods = Api::<Pod>::all(client()).list(&all).await?.items;
    let namespaces = Api::<Namespace>::all(client()).list(&all).await?.items;
    table(&scene.namespace, &policies, &pods, &namespaces)
}

/// What the API's documentation of NetworkPolicies says: a pod that is selected takes what one of its policies lets in.
fn table(
    namespace: &str,
    policies: &[NetworkPolicy],
    pods: &[Pod],
    namespaces: &[Namespace],
) -> Result<String> {
    let (mut accepted, mut isolated) = (BTreeSet::new(), BTreeSet::new());
    for policy in policies {
        let spec = policy.spec.as_ref().context("a NetworkPolicy without spec")?;
        let selector = Selector::try_from(spec.pod_selector.clone().unwrap_or_default())?;
        let local = pods
            .iter()
            .filter(|pod| pod.namespace().as_deref() == Some(namespace));
        for pod in local.filter(|pod| selector.matches(pod.labels())) {
            let Some(address) = address(pod) else { continue };
            isolated.insert(address);
            for rule in spec.ingress.iter().flatten() {
                let ports = ports(pod, rule.ports.as_deref().unwrap_or_default())?;
                let sources = match rule.from.as_deref().unwrap_or_default() {
                    [] => vec![String::new()],
                    peers => peers
                        .iter()
                        .map(|peer| source(namespace, peer, pods, namespaces))
                        .collect::<Result<_>>()?,
                };
                for source in sources.iter().filter(|source| *source != NOBODY) {
                    accepted.insert(format!("    ip daddr {address} {source}{ports}accept\n"));
                }
            }
        }
    }
    let mut table = format!(
        "table inet {TABLE} {{\n  chain forward {{\n    type filter hook forward priority 10\n    \
         ct state established,related accept\n"
    );
    table.extend(accepted);
    if !isolated.is_empty() {
        let isolated: Vec<_> = isolated.into_iter().collect();
        writeln!(table, "    ip daddr {{ {} }} drop", isolated.join(", "))?;
    }
    table.push_str("  }\n}\n");
    Ok(table)
}

/// Stands for a peer whom no pod fits.
const NOBODY: &str = "nobody";

/// From where a peer's packets come, as a condition.
fn source(
    namespace: &str,
    peer: &NetworkPolicyPeer,
    pods: &[Pod],
    namespaces: &[Namespace],
) -> Result<String> {
    if let Some(block) = &peer.ip_block {
        let except = block.except.as_deref().unwrap_or_default();
        return Ok(match except {
            [] => format!("ip saddr {} ", block.cidr),
            except => format!("ip saddr {} ip saddr != {{ {} }} ", block.cidr, except.join(", ")),
        });
    }
    let fits = |selector: &Option<LabelSelector>, labels: &BTreeMap<String, String>| {
        let selector = selector.clone().map(Selector::try_from).transpose()?;
        Ok::<_, anyhow::Error>(selector.is_none_or(|selector| selector.matches(labels)))
    };
    let mut from = BTreeSet::new();
    for pod in pods {
        let theirs = pod.namespace().unwrap_or_default();
        let in_namespace = match &peer.namespace_selector {
            None => theirs == namespace,
            selector => {
                let found = namespaces.iter().find(|namespace| namespace.name_any() == theirs);
                found.map_or(Ok(false), |found| fits(selector, found.labels()))?
            }
        };
        if in_namespace && fits(&peer.pod_selector, pod.labels())? {
            from.extend(address(pod));
        }
    }
    let from: Vec<_> = from.into_iter().collect();
    Ok(if from.is_empty() {
        NOBODY.to_owned()
    } else {
        format!("ip saddr {{ {} }} ", from.join(", "))
    })
}

/// The ports of a rule, as a condition; ports of any number where the rule has none.
fn ports(pod: &Pod, ports: &[NetworkPolicyPort]) -> Result<String> {
    let mut numbers = BTreeSet::new();
    for port in ports {
        numbers.insert(match &port.port {
            Some(IntOrString::Int(number)) => *number,
            Some(IntOrString::String(name)) => {
                let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
                let mut named = containers.flat_map(|container| container.ports.iter().flatten());
                let found = named.find(|port| port.name.as_ref() == Some(name));
                found
                    .with_context(|| format!("no port is called {name}"))?
                    .container_port
            }
            None => bail!("a rule for all ports of a protocol"),
        });
    }
    let numbers: Vec<_> = numbers.iter().map(i32::to_string).collect();
    Ok(if numbers.is_empty() {
        String::new()
    } else {
        format!("tcp dport {{ {} }} ", numbers.join(", "))
    })
}

/// A pod's own address, while it has one.
fn address(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let on_node = pod
        .spec
        .as_ref()
        .is_some_and(|spec| spec.host_network == Some(true));
    let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    status.pod_ip.as_deref().filter(|_| !on_node && !over)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(namespace: &str, app: &str, address: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": app, "labels": {"app": app}},
            "spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 80}]}]},
            "status": {"podIP": address},
        }))
        .unwrap()
    }

    fn made(ingress: Value) -> String {
        let policy = serde_json::from_value(json!({
            "spec": {"podSelector": {"matchLabels": {"app": "a"}}, "ingress": ingress},
        }))
        .unwrap();
        let namespace = |name: &str| {
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {"name": name}}})).unwrap()
        };
        let pods = [
            pod("here", "a", "10.0.0.1"),
            pod("here", "b", "10.0.0.2"),
            pod("there", "a", "10.0.0.3"),
            pod("there", "b", "10.0.0.4"),
        ];
        let table = table("here", &[policy], &pods, &[namespace("here"), namespace("there")]).unwrap();
        let rules = table.lines().skip(4).map(str::trim);
        rules.filter(|line| *line != "}").collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_no_rule_lets_in_is_dropped() {
        assert_eq!(made(json!([])), "ip daddr { 10.0.0.1 } drop");
    }

    #[test]
    fn pods_come_from_the_same_namespace_unless_another_one_is_selected() {
        let b = json!({"matchLabels": {"app": "b"}});
        let there = json!({"matchLabels": {"name": "there"}});
        let from = |peer: Value| made(json!([{"from": [peer], "ports": [{"port": "web"}, {"port": 81}]}]));
        let rule = |address: &str| {
            format!(
                "ip daddr 10.0.0.1 ip saddr {{ {address} }} tcp dport {{ 80, 81 }} accept; ip daddr {{ 10.0.0.1 }} drop"
            )
        };
        assert_eq!(from(json!({"podSelector": b})), rule("10.0.0.2"));
        assert_eq!(
            from(json!({"podSelector": b, "namespaceSelector": there})),
            rule("10.0.0.4")
        );
        assert_eq!(
            from(json!({"namespaceSelector": there})),
            rule("10.0.0.3, 10.0.0.4")
        );
        let nobody = json!({"podSelector": {"matchLabels": {"app": "c"}}});
        assert_eq!(from(nobody), "ip daddr { 10.0.0.1 } drop");
    }

    #[test]
    fn addresses_and_everybody() {
        assert_eq!(
            made(json!([{"from": [{"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.1.2.0/24"]}}]}])),
            "ip daddr 10.0.0.1 ip saddr 10.1.0.0/16 ip saddr != { 10.1.2.0/24 } accept; ip daddr { 10.0.0.1 } drop"
        );
        assert_eq!(
            made(json!([{"ports": [{"port": 81}]}])),
            "ip daddr 10.0.0.1 tcp dport { 81 } accept; ip daddr { 10.0.0.1 } drop"
        );
    }
}
