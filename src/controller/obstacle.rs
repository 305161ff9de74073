//! What keeps a pod from running, as Kubernetes says it: for people.
//!
//! Nothing in it counts or names what differs from one attempt to the next, because it stands in the status: that is written
//! again whenever it says something else.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

/// So many characters are told at most.
const LONGEST: usize = 200;

/// What the kubelet calls it when an image cannot be had. The first two take turns.
const IMAGE_REASONS: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
];

/// What is told of an instance that has had no pod for a while: its StatefulSet's controller reports that by events alone.
pub(super) const NO_POD: &str = "it has no pod: `kubectl describe statefulset` says why";

/// What every container waits for once.
const USUAL: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// What keeps it from running; none: it runs, is about to, or Kubernetes says nothing.
pub(super) fn obstacle(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let mut containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    let told = unschedulable(status)
        .or_else(|| first_is_ipv6(status))
        .or_else(|| containers.find_map(waiting))
        .or_else(|| failed(status))?;
    Some(shortened(&told))
}

/// "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b}. preemption: .." without the numbers.
fn unschedulable(status: &PodStatus) -> Option<String> {
    let conditions = status.conditions.iter().flatten();
    let refused = conditions
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .find(|condition| condition.reason.as_deref() != Some("SchedulerError"))?;
    let message = refused.message.as_deref().unwrap_or_default();
    let message = message.split(" preemption:").next().unwrap_or_default();
    let Some((_, reasons)) = message.split_once("nodes are available:") else {
        let reason = refused.reason.as_deref().unwrap_or("Unschedulable");
        return Some(format!("it gets no node ({reason})"));
    };
    let uncounted = |reason: &str| {
        let reason = reason.trim().trim_start_matches(|c: char| c.is_ascii_digit());
        reason.trim().trim_end_matches('.').to_owned()
    };
    let reasons: BTreeSet<_> = reasons.split(", ").map(uncounted).collect();
    let reasons: Vec<_> = reasons.into_iter().filter(|reason| !reason.is_empty()).collect();
    Some(format!("no node takes it: {}", reasons.join(", ")))
}

/// Memgraph listens on 0.0.0.0, as the gateways do, and takes no other address for a replica (`io/network/endpoint.cpp` splits it at its
/// only `:`). Kubernetes probes a pod at its first one.
fn first_is_ipv6(status: &PodStatus) -> Option<String> {
    let first: IpAddr = status.pod_ip.as_ref()?.parse().ok()?;
    first.is_ipv6().then(|| {
        "its first address is one of IPv6, at which nothing answers: Memgraph and the gateways need IPv4"
            .to_owned()
    })
}

fn waiting(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting
        .reason
        .as_deref()
        .filter(|reason| !USUAL.contains(reason))?;
    let message = waiting.message.as_deref().unwrap_or_default();
    if reason == "CrashLoopBackOff" {
        let last = container
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref());
        let code = last.map(|last| format!(", exit code {}", last.exit_code));
        let why = last
            .and_then(|last| last.reason.as_deref())
            .filter(|why| *why != "Error");
        let why = why.map(|why| format!(", {why}"));
        return Some(format!(
            "its container {} ends again and again ({reason}{}{})",
            container.name,
            code.unwrap_or_default(),
            why.unwrap_or_default()
        ));
    }
    if IMAGE_REASONS.contains(&reason) {
        let image = &container.image;
        let cause = cause(message).filter(|cause| !cause.starts_with("Back-off"));
        let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        return Some(format!("its image {image} cannot be pulled{cause}"));
    }
    let said = match reason {
        // It names the Secret or ConfigMap, or the key of it.
        "CreateContainerConfigError" => message.lines().next(),
        // The identity of each attempt stands before it.
        _ => cause(message),
    };
    let said = said.filter(|said| !said.is_empty());
    Some(match said {
        Some(said) => format!("{reason}: {said}"),
        None => reason.to_owned(),
    })
}

/// The end of a chain of errors, as programs in Go write it.
fn cause(message: &str) -> Option<&str> {
    let last = message.lines().next()?.rsplit(": ").next()?.trim();
    (!last.is_empty()).then_some(last)
}

/// A pod that Kubernetes has given up, such as one that was evicted.
fn failed(status: &PodStatus) -> Option<String> {
    let failed = status.phase.as_deref() == Some("Failed");
    status
        .reason
        .clone()
        .filter(|reason| failed && !reason.is_empty())
}

/// As much of a text as is told.
pub(super) fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let kept: String = text.chars().take(LONGEST).collect();
    format!("{kept}...")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(status: Value) -> Option<String> {
        obstacle(&serde_json::from_value(json!({"metadata": {"name": "demo-0"}, "status": status})).unwrap())
    }

    fn in_wait(reason: &str, message: &str) -> Option<String> {
        of(json!({"containerStatuses": [{
            "name": "memgraph", "image": "localhost/m:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
        }]}))
    }

    #[test]
    fn a_pod_whose_first_address_is_one_of_ipv6_is_told_of() {
        for addresses in [
            json!([{"ip": "fd00::2"}]),
            json!([{"ip": "fd00::2"}, {"ip": "10.0.0.2"}]),
        ] {
            let told = of(json!({"podIP": "fd00::2", "podIPs": addresses})).unwrap();
            assert!(told.starts_with("its first address is one of IPv6"), "{told}");
        }
        let both = json!({"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}, {"ip": "fd00::2"}]});
        assert_eq!(of(both), None);
    }

    #[test]
    fn an_image_that_is_not_there_is_told_in_the_same_words_at_each_attempt() {
        let pulled = r#"failed to pull and unpack image "localhost/m:1": failed to resolve reference: localhost/m:1: not found"#;
        let first = in_wait(
            "ErrImagePull",
            &format!("rpc error: code = NotFound desc = {pulled}"),
        );
        let later = format!(
            r#"Back-off pulling image "localhost/m:1": ErrImagePull: rpc error: code = NotFound desc = {pulled}"#
        );
        assert_eq!(
            first.as_deref(),
            Some("its image localhost/m:1 cannot be pulled: not found")
        );
        assert_eq!(in_wait("ImagePullBackOff", &later), first);
        let silent = in_wait("ImagePullBackOff", r#"Back-off pulling image "localhost/m:1""#);
        assert_eq!(
            silent.as_deref(),
            Some("its image localhost/m:1 cannot be pulled")
        );
    }

    #[test]
    fn a_process_that_ends_again_and_again_is_told_with_its_end_and_without_the_pause() {
        let message = "back-off 40s restarting failed container=memgraph pod=demo-0_graphs(9a4f)";
        let told = in_wait("CrashLoopBackOff", message).unwrap();
        assert_eq!(
            told,
            "its container memgraph ends again and again (CrashLoopBackOff, exit code 137, OOMKilled)"
        );
    }

    #[test]
    fn a_pod_that_no_node_takes_says_why_without_counting() {
        let of = |message: &str| {
            of(json!({"phase": "Pending", "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            }]}))
        };
        let told = of(
            "0/3 nodes are available: 1 Insufficient memory, 2 node(s) had untolerated taint {a: b}. preemption: 0/3 nodes \
             are available: 3 Preemption is not helpful for scheduling.",
        );
        let expected = "no node takes it: Insufficient memory, node(s) had untolerated taint {a: b}";
        assert_eq!(told.as_deref(), Some(expected));
        assert_eq!(of("").as_deref(), Some("it gets no node (Unschedulable)"));
    }

    #[test]
    fn what_every_pod_waits_for_is_no_obstacle_and_long_words_are_cut() {
        assert_eq!(in_wait("ContainerCreating", ""), None);
        assert_eq!(of(json!({"phase": "Running"})), None);
        let secret = in_wait("CreateContainerConfigError", r#"secret "x" not found"#);
        assert_eq!(
            secret.as_deref(),
            Some(r#"CreateContainerConfigError: secret "x" not found"#)
        );
        assert_eq!(
            of(json!({"phase": "Failed", "reason": "Evicted"})).as_deref(),
            Some("Evicted")
        );
        let long = in_wait("CreateContainerConfigError", &"long ".repeat(100)).unwrap();
        assert_eq!(long.chars().count(), LONGEST + 3);
    }
}
