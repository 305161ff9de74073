//! The Kubernetes API of this operator: the `MemgraphCluster` resource and the names that go with it.

mod auth;
mod bootstrap;
pub mod conditions;
mod duration;
mod failover;
mod gateway;
mod gateway_tls;
pub mod ledger;
pub mod names;
mod network;
mod network_policy;
mod pod_template;
mod replication;
mod reset_note;
mod spec;
mod status;
mod tls;
mod update_strategy;
mod volume_note;

pub use auth::*;
pub use bootstrap::*;
pub use duration::{DurationString, InvalidDuration};
pub use failover::*;
pub use gateway::*;
pub use gateway_tls::*;
pub use network::{InvalidNetwork, Network};
pub use network_policy::*;
pub use pod_template::*;
pub use replication::*;
pub use reset_note::*;
pub use spec::*;
pub use status::*;
pub use tls::*;
pub use update_strategy::*;
pub use volume_note::*;
