//! A pod's status, as its node tells it.

use std::{net::IpAddr, rc::Rc, time::Duration};

use memgraph_operator::api::names;
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use super::{Kubernetes, nodes::Node};
use crate::api::{ApiServer, Key, Resource};

/// What becomes of a pod's container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Container {
    /// It was not started yet, or waits to be started again.
    #[default]
    Waiting,
    /// It runs.
    Running,
    /// It has ended.
    Ended,
    /// It has ended again, and is not started at once.
    BackOff,
}

/// What a node tells of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodStatus {
    pub(super) address: Option<IpAddr>,
    pub(super) container: Container,
    pub(super) container_id: String,
    pub(super) restarts: u32,
    /// What it has ended with the last time.
    pub(super) exit_code: i32,
    pub(super) ready: bool,
    /// The last word of the init container.
    pub(super) prepared: Option<String>,
}

impl PodStatus {
    fn terminated(&self) -> Value {
        json!({"terminated": {"exitCode": self.exit_code, "containerID": self.container_id}})
    }

    fn json(&self, name: &str) -> Value {
        let state = match self.container {
            Container::Waiting => json!({"waiting": {"reason": "ContainerCreating"}}),
            Container::Running => json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}),
            Container::Ended => self.terminated(),
            Container::BackOff => json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        };
        let phase = if self.container_id.is_empty() {
            "Pending"
        } else {
            "Running"
        };
        let mut status = json!({
            "phase": phase,
            "conditions": [{"type": "Ready", "status": if self.ready { "True" } else { "False" }}],
            "containerStatuses": [{
                "name": name, "image": "i", "imageID": "i", "ready": self.ready,
                "restartCount": self.restarts, "state": state,
            }],
        });
        if self.restarts > 0 {
            status["containerStatuses"][0]["lastState"] = self.terminated();
        }
        if !self.container_id.is_empty() {
            status["containerStatuses"][0]["containerID"] = json!(self.container_id);
        }
        if let Some(word) = &self.prepared {
            status["initContainerStatuses"] = json!([{
                "name": names::INIT_CONTAINER, "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
                "state": {"terminated": {"exitCode": 0, "message": word}},
            }]);
        }
        if let Some(address) = self.address {
            status["podIP"] = json!(address.to_string());
            status["podIPs"] = json!([{"ip": address.to_string()}]);
        }
        status
    }
}

/// Writes what a node tells of a pod, later than it happens, and only while the node has power and reaches the API server.
pub(super) async fn tell(
    api: ApiServer,
    key: Key,
    uid: String,
    node: Node,
    mut status: watch::Receiver<PodStatus>,
) {
    loop {
        sleep(node.reporting_delay()).await;
        node.reachable().await;
        let now = status.borrow_and_update().clone();
        {
            let mut store = api.store();
            match store.get(&Resource::pods(), &key) {
                Some(pod) if pod["metadata"]["uid"] == *uid => {}
                _ => return,
            }
            store.edit(&Resource::pods(), &key, |pod| {
                let name = pod["spec"]["containers"][0]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                pod["status"] = now.json(&name);
            });
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// After how long Kubernetes takes the pods of a node that says nothing for unready (`--node-monitor-grace-period`).
const GRACE: Duration = Duration::from_secs(40);

/// Marks a node's pods as unready while it says nothing.
pub(super) async fn monitor(kubernetes: Rc<Kubernetes>, node: Node) {
    loop {
        node.unreachable().await;
        // Who hears nothing himself waits.
        kubernetes.with_api().await;
        tokio::select! {
            biased;
            () = node.reachable() => continue,
            () = sleep(GRACE) => {}
        }
        if !kubernetes.has_api() {
            continue;
        }
        mark_unready(&kubernetes.api, &node);
        node.reachable().await;
    }
}

fn mark_unready(api: &ApiServer, node: &Node) {
    let mut store = api.store();
    let pods: Vec<Key> = store
        .all(&Resource::pods())
        .filter(|(_, pod)| pod["spec"]["nodeName"] == *node.name())
        .map(|(key, _)| key.clone())
        .collect();
    for pod in pods {
        store.edit(&Resource::pods(), &pod, |pod| {
            pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
        });
    }
}
