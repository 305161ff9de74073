//! What a [`Session`](crate::Session) asks of the database behind it, and the answers it takes.

use std::{collections::BTreeMap, time::Duration};

use crate::{Map, Value};

/// Work for the database behind a session. Exactly one request is outstanding at a time; the session goes
/// on when [`Session::respond`](crate::Session::respond) is called with the answer named at each variant.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Check who the client is (HELLO up to Bolt 4.4, LOGON in 5.2). A client that is let in starts on the
    /// default database.
    ///
    /// Answer: [`Response::Authenticated`] or [`Response::AuthenticationRefused`].
    Authenticate(Authentication),
    /// Parse and plan a query (RUN), but execute nothing yet. The query can also be one of the texts
    /// `BEGIN`, `COMMIT`, `ROLLBACK`.
    ///
    /// Answer: [`Response::Prepared`], or [`Response::Failed`] for errors that Memgraph raises while it
    /// prepares (syntax, privileges, write on a replica, not allowed in an explicit transaction, ...).
    Prepare(Prepare),
    /// Execute the prepared query (its first PULL or DISCARD).
    ///
    /// Answer: [`Response::Executed`], or [`Response::Failed`] for errors of the execution or of the
    /// commit that ends it.
    Execute {
        /// How many rows the client takes now; `None` means all. When the result has no more rows than
        /// that, the execution ends with this request: an auto-committed query commits now, and the answer
        /// carries the summary. Otherwise the transaction stays open until [`Request::Finish`].
        take: Option<u64>,
    },
    /// The client has taken the last row of a result whose answer to [`Request::Execute`] had no summary:
    /// commit if it is auto-committed.
    ///
    /// Answer: [`Response::Finished`], or [`Response::Failed`] for errors of the commit.
    Finish,
    /// Open an explicit transaction (BEGIN).
    ///
    /// Answer: [`Response::Done`] or [`Response::Failed`].
    Begin(TransactionOptions),
    /// Commit the explicit transaction (COMMIT).
    ///
    /// Answer: [`Response::Committed`] or [`Response::Failed`].
    Commit,
    /// Roll the explicit transaction back (ROLLBACK).
    ///
    /// Answer: [`Response::Done`] or [`Response::Failed`].
    Rollback,
    /// Drop the open result and abort the open transaction, if any (RESET).
    ///
    /// Answer: [`Response::Done`] or [`Response::Failed`].
    Abort,
    /// Like [`Request::Abort`], and forget who the client is (LOGOFF).
    ///
    /// Answer: [`Response::Done`] or [`Response::Failed`].
    LogOff,
}

/// The credentials of a client. Missing ones are empty strings, as in Memgraph.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Authentication {
    /// The user's name.
    pub principal: String,
    /// The password.
    pub credentials: String,
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authentication")
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

/// A query that waits to be prepared.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prepare {
    /// The text as the client sent it.
    pub query: String,
    /// Values of `$name`, by name.
    pub parameters: Map,
    /// Options of the auto-committed transaction. Inside an explicit one Memgraph ignores them.
    pub options: TransactionOptions,
}

/// The extras of RUN and BEGIN that Memgraph reads.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TransactionOptions {
    /// `db`: the database to run on; `None` when the client leaves the choice to the server.
    pub database: Option<String>,
    /// `mode: "r"`: the client promises not to write.
    pub read_only: bool,
    /// `tx_timeout`: the client's limit on the transaction's run time.
    pub timeout: Option<Duration>,
    /// `tx_metadata`: shown by SHOW TRANSACTIONS.
    pub metadata: Map,
    /// `imp_user`: the user to impersonate (Enterprise).
    pub impersonated_user: Option<String>,
}

/// The database's answer to a [`Request`].
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// The client may go on.
    Authenticated,
    /// Name or password is wrong; the session tells the client and closes.
    AuthenticationRefused,
    /// The query is ready to be executed.
    Prepared(Prepared),
    /// The query was executed.
    Executed(Executed),
    /// The result was closed, and its transaction committed if it was auto-committed.
    Finished(Summary),
    /// The explicit transaction is committed. There are notifications only where a SYNC replica missed the
    /// commit (3.13-dev).
    Committed {
        /// What the client is told along with the success.
        notifications: Vec<Notification>,
    },
    /// BEGIN, ROLLBACK, RESET or LOGOFF is done.
    Done,
    /// The request failed. The session tells the client and ignores everything until RESET.
    Failed(Failure),
}

/// The answer to [`Request::Prepare`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prepared {
    /// Column names; none for a query that returns nothing.
    pub fields: Vec<String>,
    /// Inside an explicit transaction: how many queries were prepared in it before this one.
    pub query_id: Option<i64>,
}

/// The answer to [`Request::Execute`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Executed {
    /// All rows of the result, each with one value per column; the session pages them. A query without
    /// columns gives one empty row for each row that its plan produced: they are not sent, but Memgraph
    /// counts them when it pages.
    pub rows: Vec<Vec<Value>>,
    /// How the query ended, if it has ended (see [`Request::Execute`]). Without a summary the session asks
    /// for it with [`Request::Finish`] once the client has taken all rows.
    pub summary: Option<Summary>,
}

/// What the last SUCCESS of a result tells about it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Summary {
    /// Whether the plan reads, writes or both; administrative queries are [`QueryKind::ReadWrite`].
    pub kind: Option<QueryKind>,
    /// The database that it ran on; `None` for queries that run on none.
    pub database: Option<String>,
    /// Seconds spent on parsing.
    pub parsing_time: Option<f64>,
    /// Seconds spent on planning.
    pub planning_time: Option<f64>,
    /// The planner's cost; 0 for administrative queries.
    pub cost_estimate: Option<f64>,
    /// Only graph queries have this part.
    pub execution: Option<ExecutionSummary>,
    /// What the client is told along with the success.
    pub notifications: Vec<Notification>,
}

/// The part of a [`Summary`] that only graph queries have.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ExecutionSummary {
    /// Seconds spent on execution.
    pub seconds: f64,
    /// Relationships expanded.
    pub hops: i64,
    /// What changed; sent only when any counter is above zero.
    pub changes: ChangeCounters,
}

/// What a query changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChangeCounters {
    /// Nodes created.
    pub nodes_created: i64,
    /// Nodes deleted.
    pub nodes_deleted: i64,
    /// Relationships created.
    pub relationships_created: i64,
    /// Relationships deleted.
    pub relationships_deleted: i64,
    /// Labels added to nodes, including the labels of created ones.
    pub labels_added: i64,
    /// Labels removed from nodes.
    pub labels_removed: i64,
    /// Properties set, including those of created nodes and relationships.
    pub properties_set: i64,
}

impl ChangeCounters {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn into_map(self) -> Map {
        BTreeMap::from(
            [
                ("nodes-created", self.nodes_created),
                ("nodes-deleted", self.nodes_deleted),
                ("relationships-created", self.relationships_created),
                ("relationships-deleted", self.relationships_deleted),
                ("labels-added", self.labels_added),
                ("labels-removed", self.labels_removed),
                ("properties-set", self.properties_set),
            ]
            .map(|(key, count)| (key.to_owned(), Value::Integer(count))),
        )
    }
}

/// The `type` of a query in its summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKind {
    /// `r`
    Read,
    /// `w`
    Write,
    /// `rw`; Memgraph also calls a plan so that touches no data, such as `RETURN 1`.
    ReadWrite,
}

/// A remark to the client that is not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// How much it matters.
    pub severity: Severity,
    /// A stable name such as `RegisterReplica`.
    pub code: String,
    /// The message.
    pub title: String,
    /// More about it; mostly empty.
    pub description: String,
}

/// How much a [`Notification`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// `INFO`
    Info,
    /// `WARNING`
    Warning,
}

impl Notification {
    /// An informational notification without a description.
    pub fn info(code: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            severity: Severity::Info,
            code: code.into(),
            title: title.into(),
            description: String::new(),
        }
    }

    /// A warning without a description.
    pub fn warning(code: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::info(code, title)
        }
    }
}

/// Why a request failed, as the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of error; drivers retry by it.
    pub code: FailureCode,
    /// Memgraph's text.
    pub message: String,
}

/// The error codes that Memgraph gives to failed requests. Drivers retry only the transient one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureCode {
    /// The query is at fault.
    Client,
    /// The same query can succeed when it is tried again.
    Transient,
    /// The database is at fault.
    Database,
}

impl Failure {
    /// An error of the query.
    pub fn client(message: impl Into<String>) -> Self {
        Self {
            code: FailureCode::Client,
            message: message.into(),
        }
    }

    /// An error that drivers retry.
    pub fn transient(message: impl Into<String>) -> Self {
        Self {
            code: FailureCode::Transient,
            message: message.into(),
        }
    }
}
