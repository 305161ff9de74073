//! Talks to Memgraph over Bolt: the statements that this operator sends, and what their answers mean.
//!
//! Every call has a deadline. A call that ended without an answer says nothing about whether its statement was
//! carried out.

mod admin;
mod bolt;
mod credentials;
mod hurry;
mod led;
mod look;
mod marker;
mod rows;
mod signed_in;
mod snapshots;
pub mod tls;
mod tunnel;
mod usage;
mod users;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, future::Future, net::SocketAddr, time::Duration};

pub use admin::{
    AdminError, confirm, demote, drop_replica, ends_commit, keeps_commit_waiting, mark, probe_commit,
    promote, quiesced, register, show_missing, storage_mode,
};
pub use bolt::Neo4rsBolt;
pub use credentials::{Credentials, UnusableCredentials};
pub use led::Led;
pub use look::{Kept, Question, look, look_again};
pub use signed_in::{Keyring, Pool, SignedIn};
pub use snapshots::{position, settle_snapshots};
pub use tls::{Encryption, Trust, UnusableCertificate};
pub use usage::{Usage, usage};
pub use users::{Known, settle_users};

/// One row of an answer, by column name.
pub type Row = BTreeMap<String, serde_json::Value>;

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
pub enum BoltError {
    /// Nobody listens at the address: the connection was refused or reset.
    #[error("{at} refuses connections")]
    Refused {
        /// The server's address.
        at: SocketAddr,
    },
    /// No answer came in time.
    #[error("{at} did not answer within {} ms", .deadline.as_millis())]
    Deadline {
        /// The server's address.
        at: SocketAddr,
        /// How long was waited.
        deadline: Duration,
    },
    /// The server refused the statement, in its words.
    #[error("{message}")]
    Failure {
        /// Memgraph's error code.
        code: String,
        /// Memgraph's message.
        message: String,
    },
    /// The server lets nobody in with these credentials. The statement was not sent.
    #[error("{at} refuses the credentials")]
    Unauthenticated {
        /// The server's address.
        at: SocketAddr,
    },
    /// The server takes TLS only, and does not show that it is who it should be. The statement was not sent.
    #[error("the certificate of {at} cannot be trusted: {why}")]
    Untrusted {
        /// The server's address.
        at: SocketAddr,
        /// What is wrong with its certificate, or what is missing to tell.
        why: String,
    },
    /// It was not sent: another operator process may be leading by now.
    #[error("nothing was sent to {at}: this process does not lead any more")]
    NotLeading {
        /// The server's address.
        at: SocketAddr,
    },
    /// There was nothing left to connect with, which says nothing of the server.
    #[error(
        "no connection to {at} could be made, because this process or its node is short of something: {detail}"
    )]
    Exhausted {
        /// The server's address.
        at: SocketAddr,
        /// What the system says.
        detail: String,
    },
    /// The connection broke, or what came back was no Bolt.
    #[error("the connection to {at} failed: {detail}")]
    Broken {
        /// The server's address.
        at: SocketAddr,
        /// What the driver says.
        detail: String,
    },
}

/// A Bolt client: the seam at which tests put a simulator instead of a network.
pub trait Bolt: Send + Sync + 'static {
    /// A connection to one server.
    type Session: Session;

    /// A connection over which nothing is said. It ends when it is dropped.
    type Knock: Send;

    /// A session with the server at this address; connects at the first statement, and signs in with these credentials. None:
    /// with what this client has, or with none, which a server without users accepts.
    fn session_as(&self, at: SocketAddr, credentials: Option<&Credentials>) -> Self::Session;

    /// A session with the server at this address; connects at the first statement.
    fn session(&self, at: SocketAddr) -> Self::Session {
        self.session_as(at, None)
    }

    /// From now on, the server at this address is spoken to like this; without a word about it, in plain text. A client that
    /// has no wire has nothing to do here.
    fn encrypt(&self, _at: SocketAddr, _encryption: Encryption) {}

    /// Connects and completes a Bolt handshake, which a server answers even while its queries wait. Nothing is told to it, and
    /// its certificate, if it has one, is not looked at.
    fn handshake(
        &self,
        at: SocketAddr,
        deadline: Duration,
    ) -> impl Future<Output = Result<(), BoltError>> + Send;

    /// Connects and says nothing; None if that is refused, or does not come about in time.
    fn knock(&self, at: SocketAddr, deadline: Duration) -> impl Future<Output = Option<Self::Knock>> + Send;

    /// Whether something accepts connections at `host:port`.
    fn reaches(&self, address: &str, deadline: Duration) -> impl Future<Output = bool> + Send;
}

/// A connection to one server. Statements run one after the other, each in a transaction of its own.
pub trait Session: Send + 'static {
    /// Runs a statement and returns all its rows.
    fn run(
        &mut self,
        statement: &str,
        deadline: Duration,
    ) -> impl Future<Output = Result<Vec<Row>, BoltError>> + Send;

    /// Connects, completes a Bolt handshake within `deadline`, and waits until the server ends that connection or resets
    /// it: its kernel does so at once when its process ends, however that ends. Says nothing more, so that nothing else comes
    /// back. A host that has vanished ends nothing.
    ///
    /// # Errors
    /// When there is no connection to wait for.
    fn watch(&mut self, deadline: Duration) -> impl Future<Output = Result<(), BoltError>> + Send;
}
