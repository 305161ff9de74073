//! A pod of the cluster from which applications speak.

use anyhow::Result;
use serde_json::json;

use crate::scene::Scene;

impl Scene {
    /// Starts the pod `client`, with Python and the official drivers, and waits until it is ready. Where it is there already,
    /// nothing happens.
    ///
    /// # Errors
    /// When the API server refuses it or it is not ready in time.
    pub fn start_client(&self) -> Result<()> {
        self.start_client_on(None)
    }

    /// As [`Self::start_client`], on the node of that name.
    ///
    /// # Errors
    /// As [`Self::start_client`].
    pub fn start_client_on(&self, node: Option<&str>) -> Result<()> {
        if !self
            .kubectl(&["get", "pod", "client", "--ignore-not-found"])?
            .is_empty()
        {
            return Ok(());
        }
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "client"},
            "spec": {
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "nodeSelector": node.map(|name| json!({"kubernetes.io/hostname": name})),
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "client",
                    "image": self.node.images.client,
                    "imagePullPolicy": "Never",
                    "args": ["-c", "import signal; signal.pause()"],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        });
        self.apply(&pod.to_string())?;
        self.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"])
            .map(drop)
    }
}
