//! A collector in the test, and what reaches it.

use std::{convert::Infallible, time::UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value,
};
use prost::Message;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use warp::Filter;

use super::*;

fn record() -> OperationRecord {
    serde_json::from_value(json!({
        "term": 7, "kind": "Failover", "from": "demo-0", "to": "demo-1", "cause": "MAIN is gone",
        "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:02Z",
        "steps": [{"step": "Fence", "took": "200ms"}],
    }))
    .unwrap()
}

#[test]
fn a_trace_is_known_by_cluster_and_term() {
    assert_eq!(Trace::of("u", 1), Trace::of("u", 1));
    assert_ne!(Trace::of("u", 1).id, Trace::of("u", 2).id);
    assert_ne!(Trace::of("u", 1).id, Trace::of("v", 1).id);
    let trace = Trace::of("u", 1);
    assert!(trace.id != TraceId::INVALID && trace.root != SpanId::INVALID);
}

#[test]
fn a_change_is_a_span_over_its_steps() {
    let step = StepTime {
        kind: "Fence",
        began: UNIX_EPOCH + Duration::from_secs(1_767_225_600),
        took: Duration::from_millis(200),
    };
    let spans = change(("u", "graphs", "demo"), &record(), &[step]);
    let [fence, whole] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!((fence.name.as_ref(), whole.name.as_ref()), ("Fence", "Failover"));
    assert_eq!(fence.parent_span_id, whole.span_context.span_id());
    assert_eq!(fence.span_context.trace_id(), whole.span_context.trace_id());
    let length = |span: &SpanData| span.end_time.duration_since(span.start_time).unwrap();
    assert_eq!((length(fence).as_millis(), length(whole).as_secs()), (200, 2));
    assert_eq!(fence.start_time, whole.start_time);
}

/// A collector, and what it takes.
pub(crate) fn collector() -> (
    std::net::SocketAddr,
    impl Future<Output = ()>,
    UnboundedReceiver<ExportTraceServiceRequest>,
) {
    let (taken, received) = unbounded_channel();
    let traces = warp::path!("v1" / "traces")
        .and(warp::body::bytes())
        .and_then(move |body: bytes::Bytes| {
            let taken = taken.clone();
            async move {
                let sent = ExportTraceServiceRequest::decode(body).unwrap();
                // The test may be over.
                let _ = taken.send(sent);
                Ok::<_, Infallible>("")
            }
        });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    (address, warp::serve(traces).incoming(listener).run(), received)
}

/// A span as it has reached the collector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Taken {
    pub(crate) trace: Vec<u8>,
    /// What tells it, and which of several.
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) name: String,
}

/// The spans of a request.
pub(crate) fn taken(request: ExportTraceServiceRequest) -> Vec<Taken> {
    let mut all = Vec::new();
    for told in request.resource_spans {
        let attributes = told.resource.unwrap().attributes;
        let text = |key: &str| {
            let attribute = attributes.iter().find(|it| it.key == key).unwrap();
            match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
                Value::StringValue(text) => text.clone(),
                other => panic!("{other:?}"),
            }
        };
        let (service, instance) = (text("service.name"), text("service.instance.id"));
        all.extend(
            told.scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
                .map(|span| Taken {
                    trace: span.trace_id,
                    service: service.clone(),
                    instance: instance.clone(),
                    name: span.name,
                }),
        );
    }
    all
}

#[tokio::test]
async fn spans_reach_the_collector_with_who_tells_them() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (address, serving, mut received) = collector();
    let service = Service {
        name: "memgraph-operator",
        instance: "pod".to_owned(),
    };
    let (traces, sending) = Traces::to(Collector::at(&format!("http://{address}/"), &service).unwrap());
    let telling = async {
        assert!(traces.wanted());
        traces.tell(|| change(("u", "graphs", "demo"), &record(), &[]));
        taken(received.recv().await.unwrap())
    };
    let found = tokio::select! {
        () = serving => panic!("the collector has ended"),
        () = sending => panic!("nothing is sent any more"),
        found = telling => found,
    };
    let expected = Taken {
        trace: Trace::of("u", 7).id.to_bytes().to_vec(),
        service: "memgraph-operator".to_owned(),
        instance: "pod".to_owned(),
        name: "Failover".to_owned(),
    };
    assert_eq!(found, [expected]);
}

#[test]
fn without_a_collector_nothing_is_even_made() {
    let traces = Traces::default();
    assert!(!traces.wanted() && traces.moment().is_none());
    traces.tell(|| panic!("nobody wants it"));
}

#[test]
fn an_address_that_is_none_is_refused() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let service = Service {
        name: "memgraph-operator",
        instance: "pod".to_owned(),
    };
    let refused = Collector::at("no address", &service).unwrap_err();
    assert!(refused.to_string().contains("must be a URL"), "{refused}");
}
