//! Memgraph instances on virtual time.
