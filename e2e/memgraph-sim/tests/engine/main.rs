//! The engine on virtual time, against the numbered facts of Memgraph's behaviour (`j01_..` to `j40_..`).

// The helpers below are test code, too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin;
mod bolt;
mod changes;
mod clients;
mod commit_phases;
mod corpus;
mod disk;
mod divergence;
mod durability;
mod errors;
mod faults;
mod files;
mod literals;
mod locks;
mod network;
mod prevented;
mod promotion;
mod properties;
mod queries;
mod random;
mod recovery;
mod registration;
mod releases;
mod roles;
mod sessions;
mod starts;
mod surprises;
mod timeouts;
mod traps;
