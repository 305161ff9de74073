//! What is known of a transaction afterwards: how it came to its replicas, and what they made of it.

use std::collections::BTreeMap;

use memgraph_sim::engine::Time;

use super::Process;

/// What is known of a transaction at one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AtReplica {
    /// When MAIN sent it. For an ASYNC replica, that is after the commit.
    pub sent: Time,
    /// The replica is to wait for a decision.
    pub two_phase: bool,
    /// When it came to the replica.
    pub arrived: Option<Time>,
    /// What the replica answered: whether it has it.
    pub vote: Option<bool>,
    /// When MAIN learnt that.
    pub voted: Option<Time>,
    /// MAIN's decision, as it was sent.
    pub decision: Option<bool>,
    /// When the decision came to the replica.
    pub decided: Option<Time>,
    /// The replica has answered the decision: whether its data had the transaction by then.
    pub applied: Option<bool>,
    /// When MAIN learnt that.
    pub confirmed: Option<Time>,
}

/// What is known of a transaction that was sent to replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The MAIN that committed it, or was about to.
    pub main: Process,
    /// Its commit timestamp.
    pub timestamp: u64,
    /// The nodes that it creates (`id(n)`).
    pub nodes: Vec<u64>,
    /// By replica.
    pub replicas: BTreeMap<Process, AtReplica>,
}

impl Transaction {
    /// Replicas that had it prepared and were told to commit it, but do not have it as far as their answer tells: the
    /// second phase did not reach them, or found nothing to commit. MAIN acknowledges the transaction all the same.
    pub fn swallowed(&self) -> impl Iterator<Item = Process> {
        let lost = |part: &AtReplica| part.decision == Some(true) && part.applied != Some(true);
        self.replicas
            .iter()
            .filter(move |(_, part)| lost(part))
            .map(|(replica, _)| *replica)
    }

    /// Replicas that have confirmed to have it.
    pub fn held(&self) -> impl Iterator<Item = Process> {
        let has = |part: &AtReplica| {
            if part.two_phase {
                part.applied == Some(true)
            } else {
                part.vote == Some(true)
            }
        };
        self.replicas
            .iter()
            .filter(move |(_, part)| has(part))
            .map(|(replica, _)| *replica)
    }
}
