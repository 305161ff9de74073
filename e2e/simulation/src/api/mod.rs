//! An API server: objects with versions, optimistic concurrency, server-side apply, lists and watches; and the way to
//! it, which may be slow, lose answers, or be cut.

pub mod apply;
mod connection;
pub mod request;
pub mod selector;
mod server;
mod store;
mod watching;

pub use connection::{Conditions, Connection, Outage, Way, Ways};
pub use request::{Key, Resource};
pub use server::ApiServer;
pub use store::{Object, Refusal, Store};
