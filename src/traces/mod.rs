//! One trace for each change of MAIN, told to a collector by OTLP over HTTP. Off unless a collector is named.
//!
//! Its identity follows from the cluster and the term in which MAIN leads, which operator and gateways know anyway: nothing has to
//! be carried between them, and an operator process that takes over in the middle goes on with the same trace. The operator tells
//! of the change and its steps when the route is open again, a gateway of its own part when it has opened.

mod export;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    hash::Hasher,
    time::{Duration, SystemTime},
};

use fnv::FnvHasher;
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tokio::sync::mpsc;

pub use export::{Collector, CollectorError, Service};

use crate::api::{OperationRecord, ledger::OperationKind};

/// The variable with the collector's address, as OpenTelemetry names it.
pub const ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Spans that wait for the collector. Further ones are dropped: nobody waits for it.
const WAITING: usize = 1_024;

/// Where a process hands its spans over. The default one wants none.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    sink: Option<mpsc::Sender<SpanData>>,
}

impl Traces {
    /// What is handed over is sent to this collector for as long as the future goes on, which ends when nobody can hand over
    /// anything any more.
    pub fn to(collector: Collector) -> (Self, impl Future<Output = ()> + Send) {
        let (sink, spans) = mpsc::channel(WAITING);
        (Self { sink: Some(sink) }, collector.take(spans))
    }

    /// Whether anybody wants spans.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| !sink.is_closed())
    }

    /// The time, if anybody wants spans.
    #[must_use]
    pub fn moment(&self) -> Option<SystemTime> {
        self.wanted().then(SystemTime::now)
    }

    /// Hands spans over, if anybody wants them. Never waits.
    pub fn tell(&self, make: impl FnOnce() -> Vec<SpanData>) {
        let Some(sink) = self.sink.as_ref().filter(|sink| !sink.is_closed()) else {
            return;
        };
        for span in make() {
            if sink.try_send(span).is_err() {
                tracing::debug!("the collector of traces is slow: a span is dropped");
            }
        }
    }
}

/// The trace of one change of MAIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    id: TraceId,
    root: SpanId,
}

/// From when to when something lasted.
pub type Lasted = (SystemTime, SystemTime);

impl Trace {
    /// That of the change after which MAIN leads in this term. `cluster`: its UID.
    #[must_use]
    pub fn of(cluster: &str, term: i64) -> Self {
        let hash = |part: u8| {
            let mut hasher = FnvHasher::default();
            hasher.write_u8(part);
            hasher.write(cluster.as_bytes());
            hasher.write_i64(term);
            hasher.finish().to_be_bytes()
        };
        let mut id = [0; 16];
        id[..8].copy_from_slice(&hash(0));
        id[8..].copy_from_slice(&hash(1));
        Self {
            id: TraceId::from_bytes(id),
            root: SpanId::from_bytes(hash(2)),
        }
    }

    /// A part of the change.
    #[must_use]
    pub fn part(self, name: &'static str, lasted: Lasted, attributes: Vec<KeyValue>) -> SpanData {
        let id = SpanId::from_bytes(fastrand::u64(1..).to_be_bytes());
        self.span(id, Some(self.root), name, lasted, attributes)
    }

    /// The change itself.
    #[must_use]
    pub fn whole(self, name: &'static str, lasted: Lasted, attributes: Vec<KeyValue>) -> SpanData {
        self.span(self.root, None, name, lasted, attributes)
    }

    fn span(
        self,
        id: SpanId,
        parent: Option<SpanId>,
        name: &'static str,
        (start_time, end_time): Lasted,
        attributes: Vec<KeyValue>,
    ) -> SpanData {
        SpanData {
            span_context: SpanContext::new(self.id, id, TraceFlags::SAMPLED, false, TraceState::default()),
            parent_span_id: parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time,
            end_time,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("memgraph-operator").build(),
        }
    }
}

/// A step of a change as it was carried out.
#[derive(Clone, Copy, Debug)]
pub struct StepTime {
    /// Its kind.
    pub kind: &'static str,
    /// When it began.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
}

/// What the operator tells of a change that is over. `name` and `namespace` are the cluster's.
#[must_use]
pub fn change(
    (uid, namespace, name): (&str, &str, &str),
    record: &OperationRecord,
    steps: &[StepTime],
) -> Vec<SpanData> {
    let trace = Trace::of(uid, record.term);
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok().map(SystemTime::from);
    let cluster = || {
        vec![
            KeyValue::new("k8s.namespace.name", namespace.to_owned()),
            KeyValue::new("memgraph.cluster", name.to_owned()),
            KeyValue::new("memgraph.term", record.term),
        ]
    };
    let mut spans: Vec<_> = steps
        .iter()
        .map(|step| trace.part(step.kind, (step.began, step.began + step.took), cluster()))
        .collect();
    if let Some(lasted) = time(&record.started_at).zip(time(&record.finished_at)) {
        let mut attributes = cluster();
        let from = record.from.clone();
        attributes.extend(from.map(|from| KeyValue::new("memgraph.main.from", from)));
        attributes.push(KeyValue::new("memgraph.main.to", record.to.clone()));
        attributes.push(KeyValue::new("memgraph.cause", record.cause.clone()));
        let name = match record.kind {
            OperationKind::Bootstrap => "Bootstrap",
            OperationKind::Failover => "Failover",
            OperationKind::Restart => "Restart",
            OperationKind::Repair => "Repair",
            OperationKind::Switchover => "Switchover",
        };
        spans.push(trace.whole(name, lasted, attributes));
    }
    spans
}
