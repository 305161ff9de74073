//! The operator's processes, and which of them leads.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

use crate::node::{Node, OPERATOR_NAMESPACE};
use crate::wait::until;

/// The operator's Lease.
pub const LEASE: &str = "memgraph-operator";

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
