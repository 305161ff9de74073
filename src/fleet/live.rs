//! What the leader sees of a cluster at the moment of the question: more than its status says, and newer.

use std::{collections::BTreeMap, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::{grants::Report, memgraph::Usage};

/// What the leader sees of one cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// The instances, by name.
    pub instances: BTreeMap<String, InstanceSight>,
    /// With `spec.tls`: when the certificate of the instances ends; none: it cannot be read.
    pub certificate_ends: Option<Timestamp>,
    /// What each gateway has answered last, by the name of its pod.
    pub gateways: BTreeMap<String, GatewayWord>,
}

/// What the leader sees of one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceSight {
    /// Whether it answered the last time.
    pub answers: bool,
    /// How long ago it answered for the last time; none: never in the time of this leader.
    pub answered_ago: Option<Duration>,
    /// Of a replica: how many transactions MAIN says that it is behind; none where MAIN does not say.
    pub behind: Option<u64>,
    /// What it holds and uses, as it told lately.
    pub usage: Option<Usage>,
}

/// What a gateway has answered.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayWord {
    /// How long ago it was asked.
    pub asked_ago: Duration,
    /// Its answer.
    pub report: Report,
}

/// Whoever looks at the clusters.
pub trait Eyes: Send + Sync {
    /// What is seen of the cluster with this UID; none: it is not known yet.
    fn live(&self, uid: &str) -> BoxFuture<'_, Option<Live>>;
}
