//! What instances say to each other on the replication port.
//!
//! The messages are Memgraph's RPCs (`src/storage/v2/replication/rpc.hpp` and others) in an encoding of the
//! simulator's own.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{ident::Uuid, storage::Delta};

/// A message between two instances. Opaque to whoever carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerMessage(pub(crate) Message);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Message {
    Request(Request),
    Reply(Reply),
}

/// Sent by MAIN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// FrequentHeartbeat
    Ping,
    SwapMainUuid {
        main: Uuid,
    },
    /// Also says that the replica shall have no users: there is no licence that would let MAIN send them.
    SystemRecovery {
        main: Uuid,
        database: Uuid,
    },
    Heartbeat {
        main: Uuid,
        database: Uuid,
        /// MAIN's last durable timestamp.
        durable: u64,
    },
    PrepareCommit(Box<PrepareCommit>),
    FinalizeCommit {
        main: Uuid,
        database: Uuid,
        commit: bool,
        timestamp: u64,
    },
    Snapshot {
        main: Uuid,
        database: Uuid,
        name: String,
        #[serde(with = "serde_bytes")]
        content: Vec<u8>,
    },
    WalFiles {
        main: Uuid,
        database: Uuid,
        reset: bool,
        files: Vec<ByteBuf>,
    },
    CurrentWal {
        main: Uuid,
        database: Uuid,
        reset: bool,
        #[serde(with = "serde_bytes")]
        content: Vec<u8>,
    },
}

/// A transaction on its way to a replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PrepareCommit {
    pub(crate) main: Uuid,
    pub(crate) database: Uuid,
    pub(crate) epoch: Uuid,
    /// MAIN's last durable timestamp before this transaction.
    pub(crate) previous: u64,
    pub(crate) timestamp: u64,
    pub(crate) two_phase: bool,
    pub(crate) access: AccessKind,
    pub(crate) deltas: Vec<Delta>,
}

/// Which access to the storage a transaction needs, on MAIN as on a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AccessKind {
    Write,
    /// Creating an index or a constraint.
    ReadOnly,
    /// Changing an enum.
    Unique,
}

/// Sent by a replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Reply {
    Pong,
    /// The request takes long; the answer will come.
    InProgress,
    /// The answer to all requests that either work or do not.
    Success(bool),
    Heartbeat(Option<HeartbeatReply>),
    /// The replica's last durable timestamp after a recovery step; `None` when the step failed.
    Recovered(Option<u64>),
}

/// How far a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeartbeatReply {
    pub(crate) durable: u64,
    /// The last epoch with a commit (since 3.5), or the current one.
    pub(crate) epoch: Uuid,
}

/// The bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed replication message: {0}")]
pub struct MalformedMessage(String);

impl PeerMessage {
    /// The message as bytes. Framing is up to the carrier.
    ///
    /// # Errors
    ///
    /// The message cannot be encoded, which no message of an engine does.
    pub fn encode(&self) -> Result<Vec<u8>, MalformedMessage> {
        postcard::to_stdvec(self).map_err(|error| MalformedMessage(error.to_string()))
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    ///
    /// The bytes are no message.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        match postcard::take_from_bytes(bytes) {
            Ok((message, [])) => Ok(message),
            Ok((_, rest)) => Err(MalformedMessage(format!("{} bytes too many", rest.len()))),
            Err(error) => Err(MalformedMessage(error.to_string())),
        }
    }

    /// The name of the message, for logs and for tests that pick messages to lose.
    pub fn name(&self) -> &'static str {
        match &self.0 {
            Message::Request(request) => request.name(),
            Message::Reply(_) => "Reply",
        }
    }
}

impl Request {
    /// Memgraph's name of the RPC.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ping => "FrequentHeartbeatReq",
            Self::SwapMainUuid { .. } => "SwapMainUUIDReq",
            Self::SystemRecovery { .. } => "SystemRecoveryReq",
            Self::Heartbeat { .. } => "HeartbeatReq",
            Self::PrepareCommit(_) => "PrepareCommitReq",
            Self::FinalizeCommit { .. } => "FinalizeCommitReq",
            Self::Snapshot { .. } => "SnapshotReq",
            Self::WalFiles { .. } => "WalFilesReq",
            Self::CurrentWal { .. } => "CurrentWalReq",
        }
    }
}
