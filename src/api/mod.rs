//! The Kubernetes API of this operator: the `MemgraphCluster` resource and the names that go with it.

pub mod conditions;
mod duration;
mod failover;
pub mod ledger;
pub mod names;
mod replication;
mod reset_note;
mod spec;
mod status;

pub use duration::{DurationString, InvalidDuration};
pub use failover::*;
pub use replication::*;
pub use reset_note::*;
pub use spec::*;
pub use status::*;
