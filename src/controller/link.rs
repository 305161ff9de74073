//! How the operator asks a gateway.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use kube::Client;
use serde::{Deserialize, Serialize};

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

/// A cluster with its gateways, as far as a process must know them that does not lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acquaintance {
    /// UID of the cluster.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// By the UID of its pod: where each gateway is.
    pub gateways: BTreeMap<String, IpAddr>,
}

/// Asks gateways: the seam at which tests put something else than a network.
pub trait GatewayLink: Send + Sync + 'static {
    /// Sees to it that this process and the gateways of this cluster can know each other. To be called often.
    fn prepare(
        &self,
        client: &Client,
        cluster: &MemgraphCluster,
    ) -> impl Future<Output = Result<(), Unprepared>> + Send;

    /// Sees to it that the gateways of this cluster can know this process, without changing anything. To be called often.
    fn acquaint(
        &self,
        client: &Client,
        cluster: &Acquaintance,
    ) -> impl Future<Output = Result<(), Unprepared>> + Send;

    /// Keeps this for the process that starts over in the place of this one: the API server may be away then.
    fn remember(&self, cluster: &Acquaintance);

    /// What an earlier process in this place has kept. Its gateways can be asked.
    fn recall(&self) -> Vec<Acquaintance>;

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
