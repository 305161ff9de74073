//! The engine on virtual time, against the numbered facts of Memgraph's behaviour (`j01_..` to `j40_..`).

mod disk;
mod durability;
mod faults;
mod network;
mod registration;
mod roles;
mod sessions;
