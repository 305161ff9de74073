//! The operator against an API server and a Memgraph that live in memory.

mod fake_api;
mod fake_memgraph;
mod reconciling;
