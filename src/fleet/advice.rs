//! What to do next about a cluster: a pure function of its spec and status.

use kube::ResourceExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    MemgraphCluster, SwitchoverState,
    conditions::{ConditionType, Reason},
};

/// Something that a human should look at or do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Advice {
    /// The condition that it follows from, or the part of the status.
    pub about: String,
    /// Why, in one word.
    pub reason: String,
    /// Whether nothing goes on before somebody does it.
    pub needed: bool,
    /// What is missing, and the remedy where there is one.
    pub text: String,
    /// A command that does it, or shows more.
    pub command: Option<String>,
}

/// What to do next, the most urgent first. Empty where all is as the spec asks.
#[must_use]
pub fn advice(cluster: &MemgraphCluster) -> Vec<Advice> {
    // One that nobody has seen has what the definition gives it by default.
    let told = cluster
        .status
        .as_ref()
        .filter(|status| !status.conditions.is_empty());
    let Some(status) = told else {
        return vec![Advice {
            about: "status".to_owned(),
            reason: "NoStatus".to_owned(),
            needed: true,
            text: "no operator has reported on this cluster: is one running, and does it look after this namespace?"
                .to_owned(),
            command: Some("kubectl get pods -A -l app.kubernetes.io/name=memgraph-operator".to_owned()),
        }];
    };
    let of_interest = status.conditions.iter().filter_map(|condition| {
        let kind = ConditionType::ALL
            .into_iter()
            .find(|kind| kind.as_str() == condition.type_)?;
        let bad = match kind {
            ConditionType::Stalled | ConditionType::Paused | ConditionType::Hibernated => {
                condition.status == "True"
            }
            // It says no more than those that follow it.
            ConditionType::Reconciling => false,
            ConditionType::Ready
            | ConditionType::MainAvailable
            | ConditionType::Durable
            | ConditionType::ReplicationHealthy
            | ConditionType::GatewayAvailable
            | ConditionType::StorageReady
            | ConditionType::UpToDate => {
                let meant = [Reason::GatewayDisabled, Reason::Hibernated, Reason::NotRequired];
                condition.status != "True" && meant.iter().all(|meant| meant.as_str() != condition.reason)
            }
        };
        (bad && !condition.message.is_empty()).then(|| Advice {
            about: condition.type_.clone(),
            reason: condition.reason.clone(),
            needed: kind == ConditionType::Stalled,
            text: condition.message.clone(),
            command: command(cluster, kind, &condition.reason),
        })
    });
    let mut advice: Vec<_> = of_interest.collect();
    let refused = status.switchover.as_ref().filter(|record| {
        let asked = cluster.spec.switchover.as_ref();
        record.state == SwitchoverState::Refused && asked.is_some_and(|a| a.request_id == record.request_id)
    });
    advice.extend(refused.map(|record| Advice {
        about: "switchover".to_owned(),
        reason: "Refused".to_owned(),
        needed: false,
        text: record.message.clone(),
        command: Some(plugin(cluster, "switchover")),
    }));
    advice.sort_by_key(|advice| !advice.needed);
    // Several conditions that say the same are told once.
    let mut told = Vec::new();
    advice.retain(|advice| {
        let new = !told.contains(&advice.text);
        told.push(advice.text.clone());
        new
    });
    advice
}

fn plugin(cluster: &MemgraphCluster, command: &str) -> String {
    format!(
        "kubectl memgraph {command} {} -n {}",
        cluster.name_any(),
        cluster.namespace().unwrap_or_default()
    )
}

fn command(cluster: &MemgraphCluster, kind: ConditionType, reason: &str) -> Option<String> {
    let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_default());
    let pods = |component: &str| {
        format!(
            "kubectl describe pods -n {namespace} -l memgraph.dev/cluster={name},app.kubernetes.io/component={component}"
        )
    };
    let is = |wanted: Reason| wanted.as_str() == reason;
    if is(Reason::InvalidSpec) || is(Reason::AmbiguousState) {
        return Some(format!("kubectl edit memgraphcluster {name} -n {namespace}"));
    }
    if is(Reason::ManualFailover) {
        return Some(plugin(cluster, "switchover"));
    }
    if is(Reason::Paused) {
        return Some(plugin(cluster, "resume"));
    }
    if is(Reason::Hibernated) {
        return Some(format!(
            r#"kubectl patch memgraphcluster {name} -n {namespace} --type=merge -p '{{"spec": {{"hibernated": false}}}}'"#
        ));
    }
    match kind {
        ConditionType::Paused => Some(plugin(cluster, "resume")),
        ConditionType::Hibernated => None,
        ConditionType::GatewayAvailable => Some(pods("gateway")),
        ConditionType::UpToDate if is(Reason::WaitingForSwitchover) => Some(plugin(cluster, "switchover")),
        ConditionType::UpToDate => Some(pods("instance")),
        ConditionType::StorageReady => Some(format!(
            "kubectl describe persistentvolumeclaims -n {namespace} -l memgraph.dev/cluster={name}"
        )),
        _ if is(Reason::WaitingForInstances)
            || is(Reason::InstanceFailing)
            || is(Reason::MainUnreachable)
            || is(Reason::CrashLooping) =>
        {
            Some(pods("instance"))
        }
        ConditionType::Durable | ConditionType::ReplicationHealthy => Some(pods("instance")),
        ConditionType::Ready
        | ConditionType::Reconciling
        | ConditionType::Stalled
        | ConditionType::MainAvailable => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cluster(conditions: &[(&str, &str, &str, &str)]) -> MemgraphCluster {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(kind, status, reason, message)| {
                json!({
                    "type": kind, "status": status, "reason": reason, "message": message,
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                })
            })
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster",
            "metadata": {"name": "demo", "namespace": "graphs"},
            "spec": {"replicas": 3},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn a_healthy_cluster_needs_nothing() {
        let healthy = cluster(&[
            ("Ready", "True", "AsExpected", ""),
            ("Reconciling", "False", "AsExpected", ""),
            ("Stalled", "False", "AsExpected", ""),
            (
                "GatewayAvailable",
                "False",
                "GatewayDisabled",
                "the spec asks for none",
            ),
            (
                "Durable",
                "False",
                "NotRequired",
                "the spec asks for no in-sync replica",
            ),
        ]);
        assert_eq!(advice(&healthy), []);
    }

    #[test]
    fn what_a_human_must_decide_comes_first_and_nothing_is_told_twice() {
        let sick = cluster(&[
            ("Ready", "False", "ManualFailover", "MAIN is lost"),
            ("Stalled", "True", "ManualFailover", "promote somebody"),
            ("MainAvailable", "False", "MainUnreachable", "MAIN is lost"),
        ]);
        let advice = advice(&sick);
        let texts: Vec<_> = advice.iter().map(|a| (a.needed, a.text.as_str())).collect();
        assert_eq!(texts, [(true, "promote somebody"), (false, "MAIN is lost")]);
    }

    #[test]
    fn of_a_cluster_that_sleeps_it_is_said_how_it_wakes_up() {
        let asleep = cluster(&[
            ("Ready", "False", "Hibernated", "it sleeps"),
            ("Durable", "Unknown", "Hibernated", "demo-1 held all"),
            ("GatewayAvailable", "False", "Hibernated", "gateways end"),
            ("Hibernated", "True", "Hibernated", "it sleeps"),
        ]);
        let advice = advice(&asleep);
        let [only] = &advice[..] else { panic!("{advice:?}") };
        assert_eq!((only.about.as_str(), only.needed), ("Hibernated", false));
        assert!(
            only.command.as_ref().unwrap().contains("\"hibernated\": false"),
            "{only:?}"
        );
    }

    #[test]
    fn a_cluster_that_nobody_has_reported_on_says_so() {
        let mut unseen = cluster(&[]);
        assert_eq!(advice(&unseen)[0].reason, "NoStatus");
        unseen.status = None;
        assert_eq!(advice(&unseen)[0].reason, "NoStatus");
    }
}
