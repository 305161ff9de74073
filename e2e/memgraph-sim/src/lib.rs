//! A simulator of Memgraph Community: replication, durability and enough Cypher for honest tests.
//!
//! The heart is [`engine::Engine`]: one Memgraph instance as a deterministic state machine. [`Event`]s go in
//! (client requests, messages of other instances, disk results, the passage of time), [`Effect`]s come out
//! (answers, messages, disk operations). It has no threads, no clock, no I/O and no randomness but a
//! generator that is passed in, so a test can run a whole cluster on virtual time, and lose, delay or cut
//! whatever it likes. The server in [`server`] drives the same engine with real sockets and files.
//!
//! [`Event`]: engine::Event
//! [`Effect`]: engine::Effect

// The order of a hash map differs from process to process: what is done in it could not be repeated.
#![warn(clippy::iter_over_hash_type)]

pub mod config;
pub mod durability;
pub mod engine;
mod exec;
pub mod flags;

mod ident;
mod messages;
pub mod server;

mod storage;
mod temporal;
mod value;

pub use ident::Uuid;
