//! Kubernetes operator for Memgraph: replication, automatic failover and a fencing gateway for the
//! Community Edition.

pub mod api;
pub mod plan;
pub mod resources;
