//! The session seen from the outside: bytes from a client, answers of a database, bytes to the client.

#![allow(
    clippy::unwrap_used,
    reason = "clippy allows it only inside of test functions"
)]

#[path = "../../examples/fixed_answers/backend.rs"]
mod backend;
mod client;
mod drivers;
mod failed;
mod login;
mod properties;
mod queries;
mod transactions;
mod violations;
