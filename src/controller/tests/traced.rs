//! One failover, by the operator's own reconciliation and two gateways as they run in their pods, in the eyes of a collector.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    super::reconcile::reconcile,
    fake_api::FakeApi,
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, api, cluster, operator_with, pod},
};
use crate::{
    api::{ledger::Route, names},
    control_channel::TlsLink,
    controller::GatewayLink,
    gateway::{self, Addresses, GatewayConfig},
    grants::{Request, VERSION},
    traces::{
        Collector, Service, Traces,
        tests::{Taken, collector, taken},
    },
};

/// UID of the cluster of [`api`].
const CLUSTER: &str = "0a1b-2c3d";

const GATEWAYS: [(&str, [u8; 4]); 2] = [
    ("demo-gateway-x", [127, 0, 2, 1]),
    ("demo-gateway-y", [127, 0, 2, 2]),
];

/// Tells the collector at this address.
fn traces(collector: SocketAddr, name: &'static str, instance: &str) -> Traces {
    let service = Service {
        name,
        instance: instance.to_owned(),
    };
    let (traces, sending) = Traces::to(Collector::at(&format!("http://{collector}"), &service).unwrap());
    tokio::spawn(sending);
    traces
}

/// The cluster of [`api`] on loopback addresses, where gateways really listen and nobody else does.
fn on_loopback() -> FakeApi {
    let api = api();
    for ordinal in 0..3 {
        let address = format!("127.0.1.{ordinal}");
        let name = names::instance("demo", ordinal);
        api.put(
            "pods",
            pod(&name, names::INSTANCE, names::INSTANCE_CONTAINER, &address),
        );
    }
    for (name, address) in GATEWAYS {
        let address = IpAddr::from(address).to_string();
        api.put("pods", pod(name, names::GATEWAY, "gateway", &address));
    }
    api
}

/// A folder with what the kubelet mounts for the control channel.
struct Mount(PathBuf);

impl Mount {
    fn of(api: &FakeApi) -> Self {
        let name = names::control_certificates("demo");
        let secret: Secret =
            serde_json::from_value(api.get("v1", "secrets", NAMESPACE, &name).unwrap()).unwrap();
        let folder =
            std::env::temp_dir().join(format!("traced-{}-{:x}", std::process::id(), fastrand::u64(..)));
        fs::create_dir(&folder).unwrap();
        for (key, value) in secret.data.unwrap() {
            fs::write(folder.join(key), value.0).unwrap();
        }
        Self(folder)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start_gateway(
    api: &FakeApi,
    mount: &Mount,
    (name, address): (&str, [u8; 4]),
    port: u16,
    traces: Traces,
) -> AbortOnDropHandle<()> {
    let anywhere = SocketAddr::from((address, 0));
    let config = GatewayConfig {
        client: api.client(),
        namespace: NAMESPACE.to_owned(),
        cluster: "demo".to_owned(),
        pod_uid: name.to_owned(),
        certificates: mount.0.clone(),
        tls: None,
        instances_ca: None,
        addresses: Addresses {
            read_write: anywhere,
            read: anywhere,
            http: anywhere,
            control: SocketAddr::from((address, port)),
        },
        drain: Duration::ZERO,
        traces,
    };
    let run = gateway::run_until(config, CancellationToken::new());
    AbortOnDropHandle::new(tokio::spawn(async move {
        let ended = run.await;
        panic!("a gateway has ended: {ended:?}")
    }))
}

/// Waits until it holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    waited.unwrap_or_else(|_| panic!("{what}: not in time"));
}

/// Whether a gateway leads writers to MAIN.
async fn leads(link: &TlsLink, address: [u8; 4]) -> bool {
    let question = Request {
        version: VERSION,
        cluster: CLUSTER.to_owned(),
        position: None,
        grant: None,
        voucher: None,
    };
    let answer = link.exchange(CLUSTER, address.into(), &question, Duration::from_secs(5));
    answer
        .await
        .is_ok_and(|answer| answer.report.route == Route::Open)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_one_trace_of_the_operators_steps_and_each_gateways_fence() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (collector, collecting, mut received) = collector();
    let _collecting = AbortOnDropHandle::new(tokio::spawn(collecting));
    let (api, memgraph) = (on_loopback(), FakeMemgraph::fresh_in([127, 0, 1], 3));
    let free = std::net::TcpListener::bind(SocketAddr::from((GATEWAYS[0].1, 0))).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let link = TlsLink::to_port(port);
    let told = traces(collector, "memgraph-operator", "operator-0");
    let operator = operator_with(&api, &memgraph, link.clone(), told).await;
    let _reconciling = AbortOnDropHandle::new(tokio::spawn({
        let (api, operator) = (api.clone(), Arc::clone(&operator));
        async move {
            loop {
                // What has failed is tried again, as the controller does.
                let _ = reconcile(Arc::new(cluster(&api)), Arc::clone(&operator)).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }));

    let certificates = names::control_certificates("demo");
    until("the gateways' certificates", async || {
        api.get("v1", "secrets", NAMESPACE, &certificates).is_some()
    })
    .await;
    let mount = Mount::of(&api);
    let _gateways = GATEWAYS.map(|gateway| {
        let told = traces(collector, "memgraph-gateway", gateway.0);
        start_gateway(&api, &mount, gateway, port, told)
    });
    until("the gateways to be open", async || {
        leads(&link, GATEWAYS[0].1).await && leads(&link, GATEWAYS[1].1).await
    })
    .await;

    memgraph.stop(0);
    api.remove("v1", "pods", NAMESPACE, "demo-0");
    until("another MAIN", async || {
        let ledger = cluster(&api).status.and_then(|status| status.ledger).unwrap();
        ledger.route == Route::Open && ledger.main.instance == "demo-1"
    })
    .await;

    let mut spans: Vec<Taken> = Vec::new();
    let of_failover = |spans: &[Taken]| {
        let whole = spans.iter().find(|span| span.name == "Failover")?.trace.clone();
        let parts = spans.iter().filter(|span| span.trace == whole);
        Some(parts.cloned().collect::<BTreeSet<_>>())
    };
    let complete = |spans: &[Taken]| {
        let parts = of_failover(spans)?;
        let waits = |gateway: &str| {
            let mut parts = parts.iter();
            parts.any(|part| part.instance == gateway && part.name == "Writers wait")
        };
        GATEWAYS.iter().all(|(name, _)| waits(name)).then_some(parts)
    };
    let collected = async {
        loop {
            spans.extend(taken(received.recv().await.unwrap()));
            if let Some(parts) = complete(&spans) {
                return parts;
            }
        }
    };
    let parts = tokio::time::timeout(Duration::from_secs(60), collected).await;
    let parts = parts.expect("a trace to which each gateway adds");
    let told = |service: &str, instance: &str| -> Vec<&str> {
        let by = |part: &&Taken| part.service == service && part.instance == instance;
        parts.iter().filter(by).map(|part| part.name.as_str()).collect()
    };
    for (gateway, _) in GATEWAYS {
        assert_eq!(
            told("memgraph-gateway", gateway),
            ["Sessions are cut", "Writers wait"]
        );
    }
    let steps = told("memgraph-operator", "operator-0");
    for step in ["Failover", "Fence", "Promote", "ProbeCommit", "Register"] {
        assert!(steps.contains(&step), "{step}: {steps:?}");
    }
}
