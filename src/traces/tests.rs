//! A collector in the test, and what reaches it.

use std::{collections::BTreeMap, convert::Infallible, time::UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
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
fn collector() -> (
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

/// Of each trace: the names of its spans, each with who tells it.
async fn until(
    received: &mut UnboundedReceiver<ExportTraceServiceRequest>,
    count: usize,
) -> BTreeMap<Vec<u8>, Vec<(String, String)>> {
    let mut traces: BTreeMap<Vec<u8>, Vec<(String, String)>> = BTreeMap::new();
    while traces.values().map(Vec::len).sum::<usize>() < count {
        for told in received.recv().await.unwrap().resource_spans {
            let resource = told.resource.unwrap();
            let service = resource.attributes.iter().find(|it| it.key == "service.name");
            let service = format!("{:?}", service.unwrap().value);
            for span in told.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let spans = traces.entry(span.trace_id).or_default();
                spans.push((service.clone(), span.name));
            }
        }
    }
    traces
}

#[tokio::test]
async fn spans_of_two_services_make_one_trace() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (address, serving, mut received) = collector();
    let service = |name| Service {
        name,
        instance: "pod".to_owned(),
    };
    let endpoint = format!("http://{address}/");
    let (operator, spans) = mpsc::channel(8);
    let operating = Collector::at(&endpoint, &service("memgraph-operator"))
        .unwrap()
        .take(spans);
    let (gateway, spans) = mpsc::channel(8);
    let leading = Collector::at(&endpoint, &service("memgraph-gateway"))
        .unwrap()
        .take(spans);
    let telling = async {
        for span in change(("u", "graphs", "demo"), &record(), &[]) {
            operator.send(span).await.unwrap();
        }
        let lasted = (UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(1));
        let part = Trace::of("u", 7).part("Clients wait", lasted, Vec::new());
        gateway.send(part).await.unwrap();
        until(&mut received, 2).await
    };
    let traces = tokio::select! {
        () = serving => panic!("the collector has ended"),
        () = operating => panic!("the operator's part has ended"),
        () = leading => panic!("the gateway's part has ended"),
        traces = telling => traces,
    };
    let [spans] = &traces.into_values().collect::<Vec<_>>()[..] else {
        panic!("there is more than one trace")
    };
    for (service, name) in [
        ("memgraph-operator", "Failover"),
        ("memgraph-gateway", "Clients wait"),
    ] {
        let told = spans
            .iter()
            .any(|(by, what)| by.contains(service) && what == name);
        assert!(told, "{service} {name}: {spans:?}");
    }
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
