//! The control channel: how operators and gateways talk to each other.
//!
//! An operator dials the gateways, whose pods it knows; a gateway dials nobody and needs no name service for it. Both show
//! certificates of an authority that the cluster has for itself ([`Authorities`]): an operator process signs its own in
//! memory, the gateways find theirs in a Secret that is mounted into their pods and is read anew while they run. What is
//! said is one question with one answer, as JSON over HTTP (see [`grants`](crate::grants)).

mod authority;
mod client;
mod keepsakes;
mod mounted;
mod secrets;
mod server;
#[cfg(test)]
mod tests;
mod tls;

pub use authority::{Authorities, Authority, IdentityError, Leaf, Role, is_of_use};
pub use client::TlsLink;
pub use mounted::Mounted;
pub use server::{Answer, UNKNOWN, serve};
pub use tls::{Credentials, TlsError};

/// The path of the one question.
pub(crate) const PATH: &str = "/v1/exchange";
/// No honest message is longer.
const MESSAGE_LIMIT: usize = 64 * 1024;
