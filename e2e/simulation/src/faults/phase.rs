//! The phases of a commit at which something can strike.

use crate::memgraph::Doing;

/// A phase of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// MAIN is about to send the transaction.
    Prepare,
    /// A replica is about to vote.
    Vote,
    /// MAIN has committed, and is about to tell a replica.
    Finalize,
    /// A replica is about to confirm that it has committed.
    Finalized,
    /// An instance waits for its disk.
    Sync,
    /// MAIN is about to tell the client.
    Acknowledge,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 6] = [
        Self::Prepare,
        Self::Vote,
        Self::Finalize,
        Self::Finalized,
        Self::Sync,
        Self::Acknowledge,
    ];

    /// The phase in which this is done.
    #[must_use]
    pub fn of(doing: Doing) -> Self {
        match doing {
            Doing::Prepare { .. } => Self::Prepare,
            Doing::Vote { .. } => Self::Vote,
            Doing::Finalize { .. } => Self::Finalize,
            Doing::Finalized => Self::Finalized,
            Doing::Sync => Self::Sync,
            Doing::Acknowledge { .. } => Self::Acknowledge,
        }
    }
}
