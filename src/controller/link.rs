//! How the operator asks a gateway.

use std::{net::IpAddr, time::Duration};

use kube::Client;

use crate::{
    api::MemgraphCluster,
    grants::{Request, Response},
};

/// Why the gateways of a cluster cannot be talked to.
pub type Unprepared = Box<dyn std::error::Error + Send + Sync>;

/// Why a gateway told nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unasked {
    /// Nobody listens there.
    #[error("it refuses connections")]
    Refused,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Unasked {
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Asks gateways: the seam at which tests put something else than a network.
pub trait GatewayLink: Send + Sync + 'static {
    /// Sees to it that this process and the gateways of this cluster can know each other. To be called often.
    fn prepare(
        &self,
        client: &Client,
        cluster: &MemgraphCluster,
    ) -> impl Future<Output = Result<(), Unprepared>> + Send;

    /// There is no cluster with this UID any more.
    fn forget(&self, cluster: &str);

    /// Asks the gateway at this address, which should be one of this cluster's.
    fn exchange(
        &self,
        cluster: &str,
        gateway: IpAddr,
        request: &Request,
        deadline: Duration,
    ) -> impl Future<Output = Result<Response, Unasked>> + Send;
}
