//! The server side of the Bolt protocol as Memgraph speaks it: bytes in, requests out; answers in, bytes
//! out.
//!
//! There is no I/O here, no clock, no thread and no randomness: a [`Session`] is a state machine, and the
//! same bytes and answers always give the same output. Which protocol versions, messages and errors exist
//! follows Memgraph's source (`src/communication/bolt/v1`), release by release (see [`Version`]).

mod exchange;
mod framing;
mod handshake;
pub mod packstream;
mod result;
mod session;
mod value;
mod version;

pub use exchange::{
    Authentication, ChangeCounters, Executed, ExecutionSummary, Failure, FailureCode, Notification, Prepare,
    Prepared, QueryKind, Request, Response, Severity, Summary, TransactionOptions,
};
pub use handshake::BoltVersion;
pub use session::{Session, SessionConfig, UnexpectedResponse};
pub use value::{Map, Node, Path, Relationship, Temporal, UnboundRelationship, Value};
pub use version::{UnknownVersion, Version};
