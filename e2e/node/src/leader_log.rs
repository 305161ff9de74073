//! What the leading operator process says, and its end in a chosen moment.

use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use futures::io::{AsyncBufRead, AsyncBufReadExt, Lines};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, LogParams};
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::node::{Node, OPERATOR_NAMESPACE};

/// The log of the process that leads, from some moment on.
pub struct LeaderLog<'a> {
    node: &'a Node,
    pod: Pod,
    lines: Lines<Pin<Box<dyn AsyncBufRead + Send>>>,
}

impl Node {
    /// The log of the process that leads, from now on.
    ///
    /// # Errors
    /// When nobody leads, or its log cannot be read.
    pub async fn leader_log(&self) -> Result<LeaderLog<'_>> {
        let pod = self.leading_pod().await?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        let from_now_on = LogParams {
            follow: true,
            tail_lines: Some(0),
            ..LogParams::default()
        };
        let log = pods.log_stream(&pod.name_any(), &from_now_on).await?;
        let log: Pin<Box<dyn AsyncBufRead + Send>> = Box::pin(log);
        Ok(LeaderLog {
            node: self,
            pod,
            lines: log.lines(),
        })
    }
}

impl LeaderLog<'_> {
    /// Kills the process as soon as it says that it has carried out an action of this kind for a cluster of this name: in
    /// the middle of what it does next. Its pod goes, too, since the kubelet would start a container that has ended often ever
    /// later.
    ///
    /// # Errors
    /// When it says nothing of the kind within `limit`, or cannot be killed.
    pub async fn kill_after(mut self, cluster: &str, action: &str, limit: Duration) -> Result<()> {
        let said = async {
            while let Some(line) = self.lines.try_next().await? {
                if says_done(&line, cluster, action) {
                    return Ok(());
                }
            }
            anyhow::bail!("the leader's log has ended")
        };
        tokio::time::timeout(limit, said)
            .await
            .with_context(|| format!("the leader has not said in {limit:?} that {action} is done"))??;
        self.node.kill(&self.pod)?;
        let pods: Api<Pod> = Api::namespaced(self.node.client.clone(), OPERATOR_NAMESPACE);
        pods.delete(&self.pod.name_any(), &DeleteParams::default().grace_period(0))
            .await?;
        Ok(())
    }
}

/// Whether a line of the operator's log says so.
fn says_done(line: &str, cluster: &str, action: &str) -> bool {
    let Ok(line) = serde_json::from_str::<Value>(line) else {
        return false;
    };
    let kind = line["action"]
        .as_str()
        .and_then(|text| text.split_whitespace().next());
    line["message"] == "done" && line["cluster"] == cluster && kind == Some(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_known_by_cluster_and_kind() {
        let line = r#"{"level":"INFO","message":"done","cluster":"demo","action":"Fence { term: 2 }","elapsed":"4ms"}"#;
        assert!(says_done(line, "demo", "Fence"));
        assert!(!says_done(line, "other", "Fence"));
        assert!(!says_done(line, "demo", "Promote"));
        let alone = line.replace("Fence { term: 2 }", "ReachGateways");
        assert!(says_done(&alone, "demo", "ReachGateways"));
        assert!(!says_done("no JSON", "demo", "Fence"));
    }
}
