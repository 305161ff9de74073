//! One target while it may be used, and the right of a session to use it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture},
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use super::{
    clearance::Clearance,
    patience::{Patience, Wait},
    routes::Target,
};

/// One target while it may be used, and the sessions that use it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) target: Target,
    pub(super) clearance: Clearance,
    pub(super) patience: Patience,
    pub(super) cut: CancellationToken,
    pub(super) sessions: TaskTracker,
}

/// The right of one session to use one target. It must outlive the session's connections.
#[derive(Debug)]
pub struct Ticket {
    line: Arc<Line>,
    wait: Arc<Wait>,
    counted: TaskTrackerToken,
}

/// The same right while the session [sleeps](super::dormitory).
#[derive(Debug)]
pub struct Resting {
    line: Arc<Line>,
    /// When something was said last, as [`Wait::last`] tells it.
    last: u64,
    counted: TaskTrackerToken,
}

impl Ticket {
    /// That of one more session, which has said nothing yet.
    pub(super) fn of(line: &Arc<Line>) -> Self {
        Self {
            line: Arc::clone(line),
            wait: line.patience.client(),
            counted: line.sessions.token(),
        }
    }

    /// Where the session may lead to.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.line.target
    }

    /// The term in which the MAIN is MAIN now that it leads to; none for a replica.
    #[must_use]
    pub fn term(&self) -> Option<i64> {
        self.line.clearance.term()
    }

    /// By which each copy of bytes is allowed.
    #[must_use]
    pub fn clearance(&self) -> &Clearance {
        &self.line.clearance
    }

    /// To be told when the session passes bytes on. It tells the session when it is idle, or quiet.
    #[must_use]
    pub fn wait(&self) -> &Wait {
        &self.wait
    }

    /// Ends when the session must end.
    pub fn cut(&self) -> WaitForCancellationFuture<'_> {
        self.line.cut.cancelled()
    }

    /// The same right, in less memory, for a session whose client waits for no answer.
    pub(super) fn rest(self) -> Resting {
        Resting {
            last: self.wait.last(),
            line: self.line,
            counted: self.counted,
        }
    }
}

impl Resting {
    /// The right of a session that goes on.
    pub(super) fn resume(self) -> Ticket {
        Ticket {
            wait: self.line.patience.client_since(self.last),
            line: self.line,
            counted: self.counted,
        }
    }

    /// Whether the session must end.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.line.cut.is_cancelled()
    }

    /// Whether it is a right to use one of these.
    pub(super) fn is_of(&self, lines: &[Arc<Line>]) -> bool {
        lines.iter().any(|line| Arc::ptr_eq(line, &self.line))
    }

    /// When the session will be idle if so long is allowed; None: not while bytes are held.
    #[must_use]
    pub fn idle_at(&self, allowed: Duration) -> Option<Instant> {
        let is_held = self.line.clearance.flow().is_held();
        (!is_held).then(|| self.line.patience.idle_at(self.last, allowed))
    }
}
