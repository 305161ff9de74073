//! Which sessions there are, and how the engine reaches them.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use bolt_server::{Failure, Map, Prepare, Request};
use futures::{StreamExt, channel::mpsc};

use super::{
    Node,
    event::{Effect, SessionId, Time},
    plans::Plans,
    session::Session,
};
use crate::config::Isolation;

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions {
    open: RefCell<BTreeMap<SessionId, SessionEntry>>,
    pub(super) last_transaction: Cell<u64>,
    pub(super) plans: Plans,
}

/// How the engine reaches a session.
pub(super) struct SessionEntry {
    /// None: the client is gone.
    queue: Option<mpsc::UnboundedSender<Request>>,
    info: Rc<SessionInfo>,
}

/// What others may know of a session.
#[derive(Default)]
pub(super) struct SessionInfo {
    pub(super) user: RefCell<Option<String>>,
    pub(super) running: RefCell<Option<RunningTransaction>>,
    /// TERMINATE TRANSACTIONS
    pub(super) terminated: Cell<bool>,
    /// SET SESSION TRANSACTION ISOLATION LEVEL
    pub(super) isolation: Cell<Option<Isolation>>,
    /// SET NEXT TRANSACTION ISOLATION LEVEL
    pub(super) next_isolation: Cell<Option<Isolation>>,
}

/// A transaction as SHOW TRANSACTIONS shows it.
#[derive(Debug, Clone)]
pub(super) struct RunningTransaction {
    pub(super) id: u64,
    pub(super) queries: Vec<String>,
    pub(super) metadata: Map,
    pub(super) started: Time,
    pub(super) committing: bool,
}

impl Sessions {
    pub(super) fn request(&self, id: SessionId, request: Request) {
        if let Some(session) = self.open.borrow().get(&id)
            && let Some(queue) = &session.queue
        {
            let _ = queue.unbounded_send(request);
        }
    }

    /// The client has gone. What it has begun goes on, and is shown until it is over: the worker has the session, which leaves the
    /// list only when it is destroyed (`~SessionHL` in `glue/SessionHL.cpp`).
    pub(super) fn close(&self, id: SessionId) {
        if let Some(session) = self.open.borrow_mut().get_mut(&id) {
            session.queue = None;
        }
    }

    /// The sessions with a transaction, but for one that was told to end (`ShowTransactions` in `query/interpreter.cpp` takes those only that
    /// can be verified).
    pub(super) fn running(&self) -> Vec<(String, RunningTransaction)> {
        let of = |entry: &SessionEntry| {
            if entry.info.terminated.get() {
                return None;
            }
            let user = entry.info.user.borrow().clone().unwrap_or_default();
            Some((user, entry.info.running.borrow().clone()?))
        };
        self.open.borrow().values().filter_map(of).collect()
    }

    /// Has a transaction aborted; `false` if there is none with this id, or it commits already (`TerminateTransactions` in
    /// `query/interpreter_context.cpp`).
    pub(super) fn terminate(&self, id: u64) -> bool {
        let open = self.open.borrow();
        let is_meant = |it: &RunningTransaction| it.id == id && !it.committing;
        let running = |entry: &&SessionEntry| {
            !entry.info.terminated.get() && entry.info.running.borrow().as_ref().is_some_and(is_meant)
        };
        let found = open.values().find(running);
        if let Some(entry) = found {
            entry.info.terminated.set(true);
        }
        found.is_some()
    }
}

impl Node {
    pub(super) fn open_session(self: &Rc<Self>, id: SessionId) {
        let (sender, mut receiver) = mpsc::unbounded();
        let info = Rc::new(SessionInfo::default());
        self.sessions.open.borrow_mut().insert(
            id,
            SessionEntry {
                queue: Some(sender),
                info: Rc::clone(&info),
            },
        );
        let node = Rc::clone(self);
        self.spawn(async move {
            let mut session = Session::new(Rc::clone(&node), info);
            while let Some(request) = receiver.next().await {
                let response = session.handle(request).await;
                node.io.effect(Effect::Respond(id, response));
            }
            session.abort();
            node.sessions.open.borrow_mut().remove(&id);
        });
    }

    /// Runs one statement on its own, as nobody in particular.
    pub(super) async fn run_alone(self: &Rc<Self>, text: &str) -> Result<(), Failure> {
        let mut session = Session::new(Rc::clone(self), Rc::default());
        let query = text.trim_end_matches(';').to_owned();
        session
            .prepare(Prepare {
                query,
                ..Prepare::default()
            })
            .await?;
        session.execute(None).await.map(drop)
    }
}
