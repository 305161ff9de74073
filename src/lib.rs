//! Kubernetes operator for Memgraph: replication, automatic failover and a fencing gateway for the
//! Community Edition.

// The reconciliation is one future of many nested ones.
#![recursion_limit = "256"]

pub mod api;
pub mod control_channel;
pub mod controller;
mod deadline;
mod exhaustion;
pub mod fleet;
pub mod gateway;
pub mod grants;
pub mod http;
pub mod instance_init;
pub mod kubectl;
pub mod leader;
pub mod memgraph;
pub mod metrics;
mod mounted;
mod newest;
pub mod plan;
pub mod probe;
pub mod reference;
pub mod resources;
pub mod scope;
pub mod telemetry;
pub mod traces;
mod validity;
