//! The operator's processes, and which of them leads.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};

use crate::node::{Node, OPERATOR_NAMESPACE};
use crate::wait::until;

/// The operator's Lease, and its Deployment.
pub const LEASE: &str = "memgraph-operator";

fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let mut conditions = status
        .into_iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether the kubelet waits before it starts a container again.
fn is_held_back(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let containers = status
        .into_iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let mut waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    waiting.any(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
}

impl Node {
    /// Who leads: the name of its pod and the number of its process. None while nobody does.
    ///
    /// # Errors
    /// When the Lease cannot be read.
    pub async fn leader(&self) -> Result<Option<String>> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        let lease = leases.get_opt(LEASE).await?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity);
        Ok(holder.filter(|holder| !holder.is_empty()))
    }

    /// The pod of the process that leads.
    ///
    /// # Errors
    /// When nobody leads, or its pod is gone.
    pub async fn leading_pod(&self) -> Result<Pod> {
        let holder = self.leader().await?.context("no operator leads")?;
        let (pod, _) = holder
            .rsplit_once('_')
            .with_context(|| format!("{holder} is no pod and process"))?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        Ok(pods.get(pod).await?)
    }

    /// Waits until all of the operator's processes are ready. The pod of one that the kubelet lets wait, because it was killed
    /// often, is made anew.
    ///
    /// # Errors
    /// When they are not within `limit`.
    pub async fn operators_are_ready(&self, limit: Duration) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        until("all operator processes to be ready", limit, async || {
            let wanted = deployments.get(LEASE).await?.spec.and_then(|spec| spec.replicas);
            let all = pods.list(&ListParams::default()).await?.items;
            let (ready, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_ready);
            for pod in others.iter().filter(|pod| is_held_back(pod)) {
                pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
                    .await?;
            }
            let all_are = others.is_empty() && i32::try_from(ready.len()).ok() == wanted;
            Ok(all_are.then_some(()))
        })
        .await
    }

    /// Waits until another process than `before` leads, and returns it.
    ///
    /// # Errors
    /// When none does within `limit`.
    pub async fn next_leader(&self, before: &str, limit: Duration) -> Result<String> {
        until("another operator process to lead", limit, async || {
            Ok(self.leader().await?.filter(|now| now != before))
        })
        .await
    }
}
