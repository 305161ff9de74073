//! Clients' sessions: transactions, prepared queries and their results.

use std::rc::Rc;

use bolt_server::{
    ChangeCounters, Executed, ExecutionSummary, Failure, Map, Notification, Prepare, Prepared, QueryKind,
    Request, Response, Summary, TransactionOptions, Value as BoltValue, Version,
};
use cypher_subset::{
    Access as QueryAccess,
    ast::{Durability, Instance, Query, Statement, Transaction as Control},
};

use super::{
    Node,
    admin::AdminPlan,
    commit::CommitError,
    event::Time,
    lock::{Access, Exclusive, Guard, Shared},
    message::AccessKind,
    sessions::{RunningTransaction, SessionInfo},
};
use crate::{
    config::Isolation,
    exec::{self, Parameters},
    messages::{self, AccessName},
    storage::Transaction,
};

/// The name of the only database.
pub(super) const DATABASE: &str = "memgraph";

/// A transaction with its hold on the storage.
struct Open {
    transaction: Transaction,
    kind: AccessKind,
    _access: Guard<Access>,
}

/// What RUN has prepared.
struct Current {
    plan: Plan,
    /// The auto-committed transaction.
    open: Option<Open>,
    _system: Option<Guard<Exclusive>>,
    /// Set by the execution.
    done: Summary,
}

enum Plan {
    Graph {
        statement: Rc<Statement>,
        parameters: Parameters,
    },
    Admin(AdminPlan),
    Control(Control, TransactionOptions),
}

pub(super) struct Session {
    node: Rc<Node>,
    info: Rc<SessionInfo>,
    explicit: Option<Open>,
    /// When the transaction has run for too long. Only graph queries look at it, when they are executed.
    deadline: Option<Time>,
    /// Queries prepared in the explicit transaction.
    queries: i64,
    current: Option<Current>,
}

impl Session {
    pub(super) fn new(node: Rc<Node>, info: Rc<SessionInfo>) -> Self {
        Self {
            node,
            info,
            explicit: None,
            deadline: None,
            queries: 0,
            current: None,
        }
    }

    pub(super) async fn handle(&mut self, request: Request) -> Response {
        let result = match request {
            Request::Authenticate(who) => Ok(self.authenticate(&who.principal, &who.credentials)),
            Request::Prepare(prepare) => self.prepare(prepare).await.map(Response::Prepared),
            Request::Execute { take } => self.execute(take).await.map(Response::Executed),
            Request::Finish => self.finish().await.map(Response::Finished),
            Request::Begin(options) => self.begin(options).await.map(|()| Response::Done),
            Request::Commit => self
                .commit()
                .await
                .map(|notifications| Response::Committed { notifications }),
            Request::Rollback => self.rollback().map(|()| Response::Done),
            Request::Abort => {
                self.abort();
                Ok(Response::Done)
            }
            Request::LogOff => {
                self.abort();
                self.info.user.take();
                Ok(Response::Done)
            }
        };
        result.unwrap_or_else(|failure| {
            if self.explicit.is_none() {
                self.abort();
            }
            Response::Failed(failure)
        })
    }

    fn authenticate(&self, name: &str, password: &str) -> Response {
        let users = self.node.users.borrow();
        // Without users there is no access control.
        if users.0.is_empty() {
            return Response::Authenticated;
        }
        match users.0.get(name) {
            Some(hash) if hash.matches(password) => {
                *self.info.user.borrow_mut() = Some(name.to_owned());
                Response::Authenticated
            }
            _ => Response::AuthenticationRefused,
        }
    }

    pub(super) async fn prepare(&mut self, request: Prepare) -> Result<Prepared, Failure> {
        self.drop_current();
        let Prepare {
            query: text,
            parameters,
            options,
        } = request;
        if self.explicit.is_none() {
            check_database(&options)?;
            self.set_deadline(&options);
        }
        let statement = self.node.parse(&text)?;
        if self.node.broken.get() && self.explicit.is_none() && !works_while_broken(&statement) {
            return Err(messages::broken_database());
        }
        self.note_query(&text, &options);
        let (plan, fields, open, system) = match &*statement {
            Statement::Query(query) => {
                let parameters = exec::parameters(parameters)?;
                let fields = exec::check::query(query, &parameters)?;
                let open = self.prepare_query(query).await?;
                (
                    Plan::Graph {
                        statement: Rc::clone(&statement),
                        parameters,
                    },
                    fields,
                    open,
                    None,
                )
            }
            Statement::Transaction(control) => (Plan::Control(*control, options), Vec::new(), None, None),
            _ => {
                let system = match statement.is_system_query() {
                    true => Some(self.node.take_system_lock().await?),
                    false => None,
                };
                let plan = AdminPlan::new(&self.node, Rc::clone(&statement), self.explicit.is_some())?;
                let open = match plan.access() {
                    Some((access, kind)) if self.explicit.is_none() => Some(self.open(access, kind).await?),
                    _ => None,
                };
                if plan.writes()
                    && let Err(failure) = self.node.check_writable(true).await
                {
                    self.node.discard(open);
                    return Err(failure);
                }
                let fields = plan.fields();
                (Plan::Admin(plan), fields, open, system)
            }
        };
        self.current = Some(Current {
            plan,
            open,
            _system: system,
            done: Summary::default(),
        });
        let query_id = self.explicit.is_some().then_some(self.queries);
        self.queries += 1;
        Ok(Prepared { fields, query_id })
    }

    /// Opens the transaction of an auto-committed graph query.
    async fn prepare_query(&mut self, query: &Query) -> Result<Option<Open>, Failure> {
        let writes = query.access().writes();
        let open = if self.explicit.is_none() {
            let access = if writes { Access::Write } else { Access::Read };
            Some(self.open(access, AccessKind::Write).await?)
        } else {
            None
        };
        if let Err(failure) = self.node.check_writable(writes).await {
            self.node.discard(open);
            return Err(failure);
        }
        Ok(open)
    }

    async fn open(&self, access: Access, kind: AccessKind) -> Result<Open, Failure> {
        let guard = self.node.take_access(access).await?;
        let mut transaction = self.node.begin().await;
        transaction.view.isolation = self.next_isolation();
        Ok(Open {
            transaction,
            kind,
            _access: guard,
        })
    }

    /// The isolation level of a transaction that begins now. Analytical mode has none.
    fn next_isolation(&self) -> Isolation {
        let next = self.info.next_isolation.take().or(self.info.isolation.get());
        if self.node.database.borrow().analytical {
            return Isolation::ReadUncommitted;
        }
        next.unwrap_or(self.node.isolation.get())
    }

    pub(super) async fn execute(&mut self, take: Option<u64>) -> Result<Executed, Failure> {
        let Some(mut current) = self.current.take() else {
            return Err(messages::unsupported("PULL without a prepared query"));
        };
        if self.info.terminated.get() {
            self.node.discard(current.open.take());
            return Err(messages::terminated());
        }
        if matches!(current.plan, Plan::Graph { .. })
            && self
                .deadline
                .is_some_and(|deadline| deadline < self.node.io.now())
        {
            self.node.discard(current.open.take());
            return Err(messages::timed_out());
        }
        let rows = match &current.plan {
            Plan::Graph {
                statement,
                parameters,
            } => {
                let open = current.open.as_mut().or(self.explicit.as_mut());
                let (Statement::Query(query), Some(open)) = (&**statement, open) else {
                    return Err(messages::unsupported("a graph query without a transaction"));
                };
                let mut database = self.node.database.borrow_mut();
                open.transaction.changes = ChangeCounters::default();
                let version = self.node.config.version;
                let result = exec::execute(
                    query,
                    &mut database.graph,
                    &mut open.transaction,
                    parameters,
                    version,
                );
                drop(database);
                match result {
                    Ok(rows) => {
                        current.done = graph_summary(query, open.transaction.changes);
                        rows
                    }
                    Err(failure) => {
                        self.node.discard(current.open.take());
                        return Err(failure);
                    }
                }
            }
            Plan::Admin(plan) => {
                let open = current.open.as_mut().or(self.explicit.as_mut());
                let transaction = open.map(|open| &mut open.transaction);
                match plan.execute(&self.node, &self.info, transaction).await {
                    Ok(answer) => {
                        current.done = admin_summary(answer.notifications);
                        answer.rows
                    }
                    Err(failure) => {
                        self.node.discard(current.open.take());
                        return Err(failure);
                    }
                }
            }
            Plan::Control(control, options) => {
                let (control, options) = (*control, options.clone());
                current.done = Summary::default();
                current.done.notifications = self.control(control, options).await?;
                Vec::new()
            }
        };
        self.current = Some(current);
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let summary = if take.is_none_or(|take| count <= take) {
            Some(self.finish().await?)
        } else {
            None
        };
        Ok(Executed { rows, summary })
    }

    async fn finish(&mut self) -> Result<Summary, Failure> {
        let Some(mut current) = self.current.take() else {
            return Err(messages::unsupported("the end of a result that is not open"));
        };
        let mut summary = std::mem::take(&mut current.done);
        if let Some(open) = current.open.take() {
            summary.notifications.extend(self.commit_open(open, true).await?);
        } else if self.explicit.is_none() {
            self.forget_transaction();
        }
        Ok(summary)
    }

    /// Commits; a failure that 3.13 only mentions becomes a notification.
    async fn commit_open(&mut self, open: Open, autocommit: bool) -> Result<Vec<Notification>, Failure> {
        let node = Rc::clone(&self.node);
        node.counters.committed.add();
        if self.info.terminated.get() {
            node.discard(Some(open));
            self.forget_transaction();
            return Err(messages::terminated());
        }
        if let Some(running) = &mut *self.info.running.borrow_mut() {
            running.committing = true;
        }
        let Open {
            transaction,
            kind,
            _access,
        } = open;
        let result = node.commit(transaction, kind).await;
        self.forget_transaction();
        let version = node.config.version;
        match result {
            Ok(()) => Ok(Vec::new()),
            Err(CommitError::Replication {
                failures,
                committed: true,
            }) if version >= Version::Head => {
                let title = messages::sync_failure_title(version, &failures);
                Ok(vec![Notification::warning("SyncReplicationFailure", title)])
            }
            Err(error) => Err(messages::commit_error(version, &error, autocommit)),
        }
    }

    async fn begin(&mut self, options: TransactionOptions) -> Result<(), Failure> {
        check_database(&options)?;
        if self.explicit.is_some() {
            return Err(Failure::client("Nested transactions are not supported."));
        }
        if self.node.broken.get() {
            return Err(messages::broken_database());
        }
        let access = if options.read_only {
            Access::Read
        } else {
            Access::Write
        };
        self.explicit = Some(self.open(access, AccessKind::Write).await?);
        self.set_deadline(&options);
        self.queries = 0;
        self.note_transaction(&options.metadata);
        Ok(())
    }

    async fn commit(&mut self) -> Result<Vec<Notification>, Failure> {
        let Some(open) = self.explicit.take() else {
            return Err(Failure::client("No current transaction to commit."));
        };
        self.drop_current();
        self.commit_open(open, false).await
    }

    fn rollback(&mut self) -> Result<(), Failure> {
        let Some(open) = self.explicit.take() else {
            return Err(Failure::client("No current transaction to rollback."));
        };
        self.node.counters.rolled_back.add();
        self.drop_current();
        self.node.discard(Some(open));
        self.forget_transaction();
        Ok(())
    }

    async fn control(
        &mut self,
        control: Control,
        options: TransactionOptions,
    ) -> Result<Vec<Notification>, Failure> {
        match control {
            Control::Begin => self.begin(options).await.map(|()| Vec::new()),
            Control::Commit => self.commit().await,
            Control::Rollback => self.rollback().map(|()| Vec::new()),
        }
    }

    /// Takes everything back that is not committed.
    pub(super) fn abort(&mut self) {
        self.drop_current();
        let open = self.explicit.take();
        self.node.discard(open);
        self.forget_transaction();
    }

    fn drop_current(&mut self) {
        if let Some(mut current) = self.current.take() {
            self.node.discard(current.open.take());
        }
    }

    fn set_deadline(&mut self, options: &TransactionOptions) {
        let now = self.node.io.now();
        self.deadline = self.node.settings.deadline(now, options.timeout);
    }

    fn note_query(&self, text: &str, options: &TransactionOptions) {
        if self.explicit.is_none() {
            self.note_transaction(&options.metadata);
        }
        if let Some(running) = &mut *self.info.running.borrow_mut() {
            running.queries.push(text.to_owned());
        }
    }

    fn note_transaction(&self, metadata: &Map) {
        let ids = &self.node.sessions.last_transaction;
        ids.set(ids.get() + 1);
        self.info.terminated.set(false);
        *self.info.running.borrow_mut() = Some(RunningTransaction {
            // Memgraph's ids start at 2^63.
            id: (1 << 63) + ids.get(),
            queries: Vec::new(),
            metadata: metadata.clone(),
            started: self.node.io.now(),
            committing: false,
        });
    }

    fn forget_transaction(&self) {
        self.info.terminated.set(false);
        self.info.running.take();
    }
}

impl Node {
    /// Opens a transaction. As its timestamp is taken under the engine lock, it waits for a commit under way, and so
    /// for that commit's replicas (`InMemoryStorage::CreateTransaction`).
    pub(super) async fn begin(&self) -> Transaction {
        let _engine_lock = self.engine_lock.acquire(Exclusive).await;
        self.database.borrow_mut().begin()
    }

    /// Drops a transaction without a trace. In analytical mode there is no way back: what it has done stays.
    fn discard(&self, open: Option<Open>) {
        if let Some(open) = open {
            let mut database = self.database.borrow_mut();
            if database.analytical {
                let at = database.tick();
                let durable = database.durable;
                database.publish(open.transaction, at, durable);
            } else {
                database.graph.abort(open.transaction);
            }
        }
    }

    /// Refuses writes on a replica. Waits while an admin query holds the replication lock.
    async fn check_writable(&self, writes: bool) -> Result<(), Failure> {
        let _lock = self.replication_lock.acquire(Shared::Read).await;
        if writes && !self.is_main() {
            Err(messages::write_on_replica())
        } else {
            Ok(())
        }
    }

    async fn take_access(&self, access: Access) -> Result<Guard<Access>, Failure> {
        let waiting = self.access.acquire(access);
        self.io
            .timeout(self.settings.access_timeout(), waiting)
            .await
            .map_err(|_| {
                let name = match access {
                    Access::Read | Access::Write => AccessName::Shared,
                    Access::ReadOnly => AccessName::ReadOnly,
                    Access::Unique => AccessName::Unique,
                };
                messages::access_timeout(self.config.version, name)
            })
    }

    async fn take_system_lock(&self) -> Result<Guard<Exclusive>, Failure> {
        let waiting = self.system_lock.acquire(Exclusive);
        let patience = std::time::Duration::from_millis(100);
        self.io
            .timeout(patience, waiting)
            .await
            .map_err(|_| messages::concurrent_system_queries())
    }

    fn parse(&self, text: &str) -> Result<Rc<Statement>, Failure> {
        let parsed = self.sessions.plans.parse(text, self.config.version);
        parsed.map_err(|error| Failure::client(error.to_string()))
    }
}

/// Whether a statement is let through although the data could not be recovered: those that do not touch them, and
/// the one that replaces them (3.12, `src/query/interpreter.cpp`).
fn works_while_broken(statement: &Statement) -> bool {
    match statement {
        Statement::Durability(durability) => matches!(durability, Durability::RecoverSnapshot { .. }),
        Statement::Instance(instance) => !matches!(
            instance,
            Instance::DumpDatabase | Instance::SetStorageMode(_) | Instance::SetIsolationLevel { .. }
        ),
        Statement::Query(_)
        | Statement::Index { .. }
        | Statement::Constraint { .. }
        | Statement::Enum(_)
        | Statement::Trigger(_)
        | Statement::DatabaseInfo(_) => false,
        // BEGIN is looked at by itself.
        Statement::Transaction(_)
        | Statement::Auth(_)
        | Statement::Replication(_)
        | Statement::ReplicationInfo(_)
        | Statement::SystemInfo(_)
        | Statement::MultiDatabase(_)
        | Statement::TransactionQueue(_)
        | Statement::Settings(_) => true,
    }
}

/// Only one database exists without a licence.
fn check_database(options: &TransactionOptions) -> Result<(), Failure> {
    match options.database.as_deref() {
        None | Some("" | DATABASE) => Ok(()),
        Some(other) => Err(messages::unknown_database(other)),
    }
}

fn graph_summary(query: &Query, changes: ChangeCounters) -> Summary {
    Summary {
        kind: Some(match query.access() {
            QueryAccess::Read => QueryKind::Read,
            QueryAccess::Write => QueryKind::Write,
            QueryAccess::None | QueryAccess::ReadWrite => QueryKind::ReadWrite,
        }),
        database: Some(DATABASE.to_owned()),
        // There is no clock that could measure these.
        parsing_time: Some(0.0),
        planning_time: Some(0.0),
        cost_estimate: Some(0.0),
        execution: Some(ExecutionSummary {
            seconds: 0.0,
            hops: 0,
            changes,
        }),
        notifications: Vec::new(),
    }
}

fn admin_summary(notifications: Vec<Notification>) -> Summary {
    Summary {
        kind: Some(QueryKind::ReadWrite),
        database: Some(DATABASE.to_owned()),
        parsing_time: Some(0.0),
        planning_time: Some(0.0),
        cost_estimate: Some(0.0),
        execution: None,
        notifications,
    }
}

/// What an administrative query gives.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) rows: Vec<Vec<BoltValue>>,
    pub(super) notifications: Vec<Notification>,
}
