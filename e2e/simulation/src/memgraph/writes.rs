//! The record of all writes: who has them, and what their clients were told.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use memgraph_sim::engine::Time;

use super::Process;

/// Names a write. It is in the data, so that it can be seen which copies have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

impl WriteId {
    /// The label of the nodes that writes create.
    pub const LABEL: &str = "Write";
    /// The property that names the write.
    pub const KEY: &str = "write";

    pub(super) fn as_integer(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    pub(super) fn from_integer(value: i64) -> Self {
        Self(u64::try_from(value).unwrap_or_default())
    }
}

/// What the client knows of its write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// The success of its commit has reached the client: it must never be lost.
    Acknowledged,
    /// The server has refused it: it was not committed, or so the server says.
    Failed(String),
    /// No answer came: it may be committed or not.
    Unknown,
}

/// A write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Its name.
    pub id: WriteId,
    /// When its client sent it.
    pub sent: Time,
    /// The process that it came to.
    pub process: Option<Process>,
    /// When it came there.
    pub arrived: Option<Time>,
    /// The id of its node (`id(n)`), once the process has created that.
    pub node: Option<u64>,
    /// What the client knows.
    pub outcome: Outcome,
    /// When the client learnt that.
    pub ended: Option<Time>,
}

/// How many writes are looked at for those that are under way.
const NEWEST: usize = 64;

/// All writes, in order of their names. Shared with the clients.
#[derive(Debug, Clone, Default)]
pub(super) struct Writes(Rc<RefCell<BTreeMap<WriteId, Write>>>);

impl Writes {
    pub(super) fn sent(&self, id: WriteId, now: Time) {
        let write = Write {
            id,
            sent: now,
            process: None,
            arrived: None,
            node: None,
            outcome: Outcome::Pending,
            ended: None,
        };
        self.0.borrow_mut().insert(id, write);
    }

    pub(super) fn ended(&self, id: WriteId, outcome: Outcome, now: Time) {
        if let Some(write) = self.0.borrow_mut().get_mut(&id) {
            write.outcome = outcome;
            write.ended = Some(now);
        }
    }

    pub(super) fn arrived(&self, id: WriteId, process: Process, now: Time) {
        if let Some(write) = self.0.borrow_mut().get_mut(&id) {
            write.process = Some(process);
            write.arrived = Some(now);
        }
    }

    pub(super) fn placed(&self, id: WriteId, process: Process, node: Option<u64>) {
        if let Some(write) = self.0.borrow_mut().get_mut(&id) {
            write.process = Some(process);
            write.node = node;
        }
    }

    /// Whether a client waits for this process. The last writes are looked at: a client has one under way at a time.
    pub(super) fn are_under_way_at(&self, process: Process) -> bool {
        let writes = self.0.borrow();
        let mut newest = writes.values().rev().take(NEWEST);
        newest.any(|write| write.process == Some(process) && write.outcome == Outcome::Pending)
    }

    pub(super) fn get(&self, id: WriteId) -> Option<Write> {
        self.0.borrow().get(&id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Write> {
        self.0.borrow().values().cloned().collect()
    }

    pub(super) fn acknowledged(&self) -> Vec<WriteId> {
        let writes = self.0.borrow();
        let known = writes
            .values()
            .filter(|write| write.outcome == Outcome::Acknowledged);
        known.map(|write| write.id).collect()
    }
}
