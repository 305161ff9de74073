//! The trace of a failover, as it reaches a collector outside of the cluster.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use e2e_node::database::SETTLE_LIMIT;
use e2e_node::node::{OPERATOR_NAMESPACE, wait_for_operator};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use kube::ResourceExt;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use warp::Filter;

/// By which the collector tells who sends.
const HEADER: &str = "x-sender";

/// A span, and who has sent it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Taken {
    trace: Vec<u8>,
    service: String,
    pod: String,
    name: String,
    sender: String,
}

type Spans = Arc<Mutex<BTreeSet<Taken>>>;

/// Takes spans on this machine, where pods reach it.
struct Collector {
    address: SocketAddr,
    spans: Spans,
    serving: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Collector {
    async fn listen(scene: &Scene) -> Result<Self> {
        let host = scene.node.cluster.spec().addresses.host();
        let listener = TcpListener::bind((host, 0)).await?;
        let address = listener.local_addr()?;
        let spans = Spans::default();
        let taking = Arc::clone(&spans);
        let route = warp::path!("v1" / "traces")
            .and(warp::header::optional(HEADER))
            .and(warp::body::bytes())
            .and_then(move |sender: Option<String>, body: Bytes| {
                let taken = taken(&body, &sender.unwrap_or_default());
                lock(&taking).extend(taken.unwrap_or_default());
                async { Ok::<_, Infallible>("") }
            });
        let serving = tokio::spawn(warp::serve(route).incoming(listener).run());
        Ok(Self {
            address,
            spans,
            serving,
        })
    }

    /// The spans of the trace of a failover, once there is one.
    fn failover(&self) -> Option<Vec<Taken>> {
        let spans = lock(&self.spans);
        let whole = spans.iter().find(|span| span.name == "Failover")?;
        Some(
            spans
                .iter()
                .filter(|span| span.trace == whole.trace)
                .cloned()
                .collect(),
        )
    }
}

fn lock(spans: &Mutex<BTreeSet<Taken>>) -> MutexGuard<'_, BTreeSet<Taken>> {
    spans.lock().unwrap_or_else(PoisonError::into_inner)
}

fn taken(body: &[u8], sender: &str) -> Result<Vec<Taken>> {
    let request = ExportTraceServiceRequest::decode(body)?;
    let mut all = Vec::new();
    for told in request.resource_spans {
        let attributes = told.resource.unwrap_or_default().attributes;
        let text = |key: &str| {
            let value = attributes.iter().find(|it| it.key == key)?.value.clone()?.value?;
            match value {
                Value::StringValue(text) => Some(text),
                _ => None,
            }
        };
        let service = text("service.name").context("a service without a name")?;
        let pod = text("service.instance.id").context("a service of no pod")?;
        all.extend(
            told.scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
                .map(|span| Taken {
                    trace: span.trace_id,
                    service: service.clone(),
                    pod: pod.clone(),
                    name: span.name,
                    sender: sender.to_owned(),
                }),
        );
    }
    Ok(all)
}

fn set_variables(scene: &Scene, variables: &[&str]) -> Result<()> {
    let mut args = vec![
        "--namespace",
        OPERATOR_NAMESPACE,
        "set",
        "env",
        "deployment/memgraph-operator",
    ];
    args.extend(variables);
    scene.node.kubectl(&args)?;
    tokio::task::block_in_place(|| wait_for_operator(&scene.node.cluster))
}

pub async fn of_a_failover_are_told_by_operator_and_gateways(scene: Arc<Scene>) -> Result<()> {
    // Every gateway is replaced that another test has left.
    scene.alone().await?;
    let collector = Collector::listen(&scene).await?;
    let endpoint = format!("OTEL_EXPORTER_OTLP_ENDPOINT=http://{}", collector.address);
    let headers = format!("OTEL_EXPORTER_OTLP_HEADERS={HEADER}=operator");
    set_variables(&scene, &[&endpoint, &headers])?;
    let told = told(&scene, &collector).await;
    let restored = set_variables(
        &scene,
        &["OTEL_EXPORTER_OTLP_ENDPOINT-", "OTEL_EXPORTER_OTLP_HEADERS-"],
    );
    told.and(restored)
}

async fn told(scene: &Arc<Scene>, collector: &Collector) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "collector"},
        "stringData": {"headers": format!("{HEADER}=gateway")},
    });
    scene.apply(&secret.to_string())?;
    let from_secret = json!({"secretKeyRef": {"name": "collector", "key": "headers"}});
    let env = json!([{"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": from_secret}]);
    let spec = json!({"gateway": {"podTemplate": {"container": {"env": env}}}});
    let database = scene.start("demo", spec).await?;
    database.write("before").await?;
    let term = database.ledger().await?.term;
    let gateways: Vec<_> = scene
        .gateways()
        .await?
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    let leader = scene.node.leading_pod().await?.name_any();
    scene.node.kill(&database.pod("demo-0").await?)?;
    database.write("after").await?;
    database.settled_after(term).await?;

    let spans = until("the trace of the failover, of all", SETTLE_LIMIT, async || {
        let spans = collector.failover().unwrap_or_default();
        let has = |pod: &String| {
            spans
                .iter()
                .any(|span| span.pod == *pod && span.name == "Writers wait")
        };
        Ok(gateways.iter().all(has).then_some(spans))
    })
    .await?;
    let by = |service: &str, pod: &str, sender: &str| -> Vec<String> {
        let by = |span: &&Taken| span.service == service && span.pod == pod && span.sender == sender;
        spans.iter().filter(by).map(|span| span.name.clone()).collect()
    };
    for gateway in &gateways {
        let told = by("memgraph-gateway", gateway, "gateway");
        ensure!(
            told == ["Sessions are cut", "Writers wait"],
            "{gateway}: {spans:?}"
        );
    }
    let steps = by("memgraph-operator", &leader, "operator");
    for step in ["Failover", "Fence", "Promote", "ProbeCommit"] {
        ensure!(steps.iter().any(|told| told == step), "{step}: {spans:?}");
    }
    eprintln!(
        "          one trace of {} spans: {steps:?} and {} gateways",
        spans.len(),
        gateways.len()
    );
    Ok(())
}
