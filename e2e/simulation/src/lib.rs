//! The operator and the gateway, as they are, in a simulated world: instances, API server, clients and faults on
//! virtual time, in one thread, everything from one seed.

pub mod announced;
pub mod api;
pub mod clients;
pub mod coverage;
pub mod demands;
pub mod faults;
pub mod invariants;
pub mod kubernetes;
pub mod life;
pub mod memgraph;
pub mod processes;
pub mod protocol;
pub mod regressions;
pub mod remedy;
pub mod run;
pub mod scenario;
pub mod script;
pub mod signal;
pub mod trace;
pub mod world;
