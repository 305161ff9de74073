//! What the server says.

use bytes::BytesMut;

use super::{Session, State};
use crate::{
    BoltVersion, Failure, FailureCode, Map, Notification, Prepared, QueryKind, Severity, Summary, Value,
    framing::frame,
    packstream::{Encoder, Structures},
    result::{AfterPage, OpenResult},
};

mod signature {
    pub(super) const SUCCESS: u8 = 0x70;
    pub(super) const RECORD: u8 = 0x71;
    pub(super) const IGNORED: u8 = 0x7E;
    pub(super) const FAILURE: u8 = 0x7F;
}

/// The answer to ROUTE (`Interpreter::Route`).
pub(super) const NO_ROUTING_TABLE: &str =
    "You cannot fetch routing table from an instance which is not part of a cluster.";

impl Session {
    pub(super) fn structures(&self) -> Structures {
        match self.bolt {
            Some(BoltVersion::V5_2) => Structures::WithElementIds,
            _ => Structures::Legacy,
        }
    }

    /// The metadata of HELLO and LOGON. Memgraph has the same connection id for everybody.
    pub(super) fn greeting(&self) -> Map {
        let mut metadata = Map::from([("connection_id".to_owned(), "bolt-1".into())]);
        if !self.config.server_name.is_empty() {
            metadata.insert("server".to_owned(), self.config.server_name.as_str().into());
        }
        metadata
    }

    /// The metadata of RUN.
    pub(super) fn header(&self, prepared: &Prepared) -> Map {
        let fields: Vec<Value> = prepared
            .fields
            .iter()
            .map(|field| field.as_str().into())
            .collect();
        let mut metadata = Map::from([("fields".to_owned(), fields.into())]);
        if let Some(query_id) = prepared.query_id.filter(|_| self.bolt > Some(BoltVersion::V1)) {
            metadata.insert("qid".to_owned(), query_id.into());
        }
        metadata
    }

    /// The metadata of COMMIT: empty, unless there is something to tell.
    pub(super) fn commit_metadata(&self, notifications: &[Notification]) -> Map {
        let mut metadata = Map::new();
        if !notifications.is_empty() {
            metadata.insert("notifications".to_owned(), notification_list(notifications));
            metadata.insert("run_id".to_owned(), self.config.run_id.as_str().into());
        }
        metadata
    }

    /// Sends up to `take` rows, and what follows them.
    pub(super) fn send_page(&mut self, result: OpenResult, take: Option<u64>, discard: bool) {
        let structures = self.structures();
        let output = &mut self.output;
        let mut message = BytesMut::new();
        let after = result.take_page(take, |row| {
            if !discard {
                message.clear();
                let mut encoder = Encoder::new(&mut message, structures);
                encoder.structure(signature::RECORD, 1);
                encoder.list_header(row.len());
                row.iter().for_each(|value| encoder.value(value));
                frame(&message, output);
            }
        });
        match after {
            AfterPage::More(rest) => {
                let metadata = [
                    ("has_more", true.into()),
                    ("run_id", self.config.run_id.as_str().into()),
                ];
                self.send_success(&metadata.map(|(key, value)| (key.to_owned(), value)).into());
                self.state = State::Result(rest);
            }
            AfterPage::Ended(summary) => self.end_result(&summary),
            AfterPage::ToBeFinished => self.state = State::Finishing,
        }
    }

    /// Ends a result with its summary.
    pub(super) fn end_result(&mut self, summary: &Summary) {
        let mut metadata = summary_metadata(summary);
        metadata.insert("has_more".to_owned(), false.into());
        metadata.insert("run_id".to_owned(), self.config.run_id.as_str().into());
        self.send_success(&metadata);
        self.state = State::Idle;
    }

    pub(super) fn send_success(&mut self, metadata: &Map) {
        self.send_with_metadata(signature::SUCCESS, metadata);
    }

    pub(super) fn send_ignored(&mut self) {
        let mut message = BytesMut::new();
        Encoder::new(&mut message, self.structures()).structure(signature::IGNORED, 0);
        frame(&message, &mut self.output);
    }

    /// Tells the client that its request failed; what follows is ignored until RESET.
    pub(super) fn fail(&mut self, failure: &Failure) {
        self.send_failure(failure.code.as_str(), &failure.message);
        self.state = State::Failed;
    }

    /// Tells the client that it is not let in, and closes.
    pub(super) fn refuse_client(&mut self) {
        self.send_failure(
            "Memgraph.ClientError.Security.Unauthenticated",
            "Authentication failure",
        );
        self.state = State::Closed;
    }

    /// Closes as Memgraph does when a client breaks the protocol.
    pub(super) fn close_for_violation(&mut self) {
        self.send_failure(
            "Memgraph.ExecutionException",
            "Something went wrong while executing the query! Check the server logs for more details.",
        );
        self.state = State::Closed;
    }

    fn send_failure(&mut self, code: &str, text: &str) {
        let metadata = [("code", code.into()), ("message", text.into())];
        self.send_with_metadata(
            signature::FAILURE,
            &metadata.map(|(key, value)| (key.to_owned(), value)).into(),
        );
    }

    fn send_with_metadata(&mut self, signature: u8, metadata: &Map) {
        let mut message = BytesMut::new();
        let mut encoder = Encoder::new(&mut message, self.structures());
        encoder.structure(signature, 1);
        encoder.map(metadata);
        frame(&message, &mut self.output);
    }
}

impl FailureCode {
    /// The code on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "Memgraph.ClientError.MemgraphError.MemgraphError",
            Self::Transient => "Memgraph.TransientError.MemgraphError.MemgraphError",
            Self::Database => "Memgraph.DatabaseError.MemgraphError.MemgraphError",
        }
    }
}

fn summary_metadata(summary: &Summary) -> Map {
    let kind = summary.kind.map(|kind| match kind {
        QueryKind::Read => "r",
        QueryKind::Write => "w",
        QueryKind::ReadWrite => "rw",
    });
    let execution = summary.execution.as_ref();
    let stats = execution
        .map(|execution| execution.changes)
        .filter(|changes| !changes.is_empty());
    let notifications = Some(&summary.notifications).filter(|list| !list.is_empty());
    let entries = [
        ("type", kind.map(Value::from)),
        ("db", summary.database.as_deref().map(Value::from)),
        ("parsing_time", summary.parsing_time.map(Value::from)),
        ("planning_time", summary.planning_time.map(Value::from)),
        ("cost_estimate", summary.cost_estimate.map(Value::from)),
        (
            "plan_execution_time",
            execution.map(|execution| execution.seconds.into()),
        ),
        ("number_of_hops", execution.map(|execution| execution.hops.into())),
        ("stats", stats.map(|changes| changes.into_map().into())),
        ("notifications", notifications.map(|list| notification_list(list))),
    ];
    entries
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

fn notification_list(notifications: &[Notification]) -> Value {
    let entry = |notification: &Notification| {
        let severity = match notification.severity {
            Severity::Info => "INFO",
            Severity::Warning => "WARNING",
        };
        let entries = [
            ("severity", severity),
            ("code", &notification.code),
            ("title", &notification.title),
            ("description", &notification.description),
        ];
        Value::Map(entries.map(|(key, text)| (key.to_owned(), text.into())).into())
    };
    Value::List(notifications.iter().map(entry).collect())
}
