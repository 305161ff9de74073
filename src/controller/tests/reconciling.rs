//! Whole reconciliations.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use kube::{
    Api,
    runtime::{WatchStreamExt, reflector, watcher},
};
use serde_json::{Value, json};
use tokio::{sync::mpsc::unbounded_channel, time::Instant};

use super::{
    super::{
        Election, GatewayLink, Means, Operator, OperatorConfig, ReconcileInterval, RequestRate,
        act::ActError,
        fence::Gateway,
        reconcile::{ReconcileError, reconcile},
        stores::{Pokes, Stores},
    },
    fake_api::FakeApi,
    fake_gateways::FakeGateways,
    fake_memgraph::FakeMemgraph,
};
use crate::{
    api::{
        DurationString, MemgraphCluster, MemgraphClusterStatus, Phase, RegistrationMode,
        ledger::{GatewayEntry, Ledger, OperationKind, Route},
        names,
    },
    leader::{Leadership, Timing},
    resources::{OperatorImage, OperatorPods},
    scope::Scope,
    traces::Traces,
};

pub(super) const NAMESPACE: &str = "db";
pub(super) const VERSION: &str = "memgraph.dev/v1alpha1";

fn labels(component: &str) -> Value {
    json!(names::labels("demo", component))
}

pub(super) fn pod(name: &str, component: &str, container: &str, ip: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels(component), "uid": name},
        "status": {
            "phase": "Running",
            "podIP": ip,
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": container, "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
                "containerID": format!("containerd://{name}"),
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            }],
        },
    })
}

pub(super) fn claim(instance: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": names::data_claim(instance), "namespace": NAMESPACE, "labels": labels("instance")},
        "spec": {
            "volumeName": format!("pv-{instance}"),
            "resources": {"requests": {"storage": "10Gi"}},
        },
        "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}},
    })
}

pub(super) const GATEWAY: &str = "10.0.1.0";

/// The gateway of [`api`].
pub(super) fn gateways() -> FakeGateways {
    let gateways = FakeGateways::new();
    gateways.start(GATEWAY, "demo-gateway-x");
    gateways
}

/// A cluster of three whose pods run.
pub(super) fn api() -> FakeApi {
    let api = FakeApi::default();
    api.put(
        "memgraphclusters",
        json!({
            "apiVersion": VERSION, "kind": "MemgraphCluster",
            "metadata": {"name": "demo", "namespace": NAMESPACE, "uid": "0a1b-2c3d", "generation": 1},
            "spec": {},
        }),
    );
    for ordinal in 0..3 {
        let name = names::instance("demo", ordinal);
        api.put(
            "pods",
            pod(
                &name,
                names::INSTANCE,
                names::INSTANCE_CONTAINER,
                &format!("10.0.0.{ordinal}"),
            ),
        );
        api.put("persistentvolumeclaims", claim(&name));
    }
    api.put("pods", pod("demo-gateway-x", names::GATEWAY, "gateway", GATEWAY));
    api
}

pub(super) async fn operator(
    api: &FakeApi,
    memgraph: &FakeMemgraph,
) -> Arc<Operator<FakeMemgraph, FakeGateways>> {
    operator_with(api, memgraph, gateways(), Traces::default()).await
}

/// One that reaches its gateways like this, and tells there of changes of MAIN.
pub(super) async fn operator_with<G: GatewayLink>(
    api: &FakeApi,
    memgraph: &FakeMemgraph,
    gateways: G,
    traces: Traces,
) -> Arc<Operator<FakeMemgraph, G>> {
    process(api.client(), memgraph, gateways, traces).await
}

/// One with this client.
pub(super) async fn process<G: GatewayLink>(
    client: kube::Client,
    memgraph: &FakeMemgraph,
    gateways: G,
    traces: Traces,
) -> Arc<Operator<FakeMemgraph, G>> {
    let config = OperatorConfig { traces, ..config() };
    process_of(client, memgraph, gateways, config).await
}

/// One that sends no more requests than this.
pub(super) async fn limited(
    api: &FakeApi,
    memgraph: &FakeMemgraph,
    rate: RequestRate,
) -> Arc<Operator<FakeMemgraph, FakeGateways>> {
    let config = OperatorConfig {
        requests: Some(rate),
        ..config()
    };
    process_of(api.client(), memgraph, gateways(), config).await
}

/// One of the installation whose Lease is in this namespace.
pub(super) async fn installed(
    client: kube::Client,
    memgraph: &FakeMemgraph,
    gateways: FakeGateways,
    namespace: &str,
) -> Arc<Operator<FakeMemgraph, FakeGateways>> {
    let mut config = config();
    config.election.namespace = namespace.to_owned();
    process_of(client, memgraph, gateways, config).await
}

async fn process_of<G: GatewayLink>(
    client: kube::Client,
    memgraph: &FakeMemgraph,
    gateways: G,
    config: OperatorConfig,
) -> Arc<Operator<FakeMemgraph, G>> {
    let (pokes, _) = unbounded_channel();
    let stores = stores(&client, &pokes).await;
    let (cached, writer) = reflector::store();
    let clusters = Api::<MemgraphCluster>::all(client.clone());
    let watch = watcher(clusters, watcher::Config::default())
        .default_backoff()
        .reflect(writer);
    tokio::spawn(watch.for_each(|_| async {}));
    cached.wait_until_ready().await.unwrap();
    Arc::new(Operator::new(
        means(client.clone(), memgraph, gateways),
        Leadership::for_ever(),
        config,
        stores,
        cached,
        pokes,
        Arc::default(),
    ))
}

/// Filled caches.
async fn stores(client: &kube::Client, pokes: &Pokes) -> Stores {
    let stores = Stores::start(client, &config().scope, &config().pods, pokes);
    stores.wait_until_ready().await.unwrap();
    stores
}

/// A new process in the place of this one: it shares nothing with it but the world outside and the cached clusters.
pub(super) async fn successor(
    operator: &Operator<FakeMemgraph, FakeGateways>,
    memgraph: &FakeMemgraph,
    leadership: Leadership,
) -> Arc<Operator<FakeMemgraph, FakeGateways>> {
    let (pokes, _) = unbounded_channel();
    let stores = stores(operator.lanes.ordinary(), &pokes).await;
    Arc::new(Operator::new(
        means(
            operator.lanes.ordinary().clone(),
            memgraph,
            operator.fence.link().clone(),
        ),
        leadership,
        config(),
        stores,
        operator.cached.clone(),
        pokes,
        Arc::clone(&operator.vitals),
    ))
}

fn means<G>(client: kube::Client, memgraph: &FakeMemgraph, gateways: G) -> Means<FakeMemgraph, G, ()> {
    Means {
        client,
        bolt: memgraph.clone(),
        gateways,
        process: (),
    }
}

fn config() -> OperatorConfig {
    let millis = Duration::from_millis;
    OperatorConfig {
        scope: Scope::default(),
        image: OperatorImage {
            name: "operator:1".into(),
            pull_policy: None,
        },
        cluster_domain: "cluster.local".into(),
        http: ([127, 0, 0, 1], 0).into(),
        pods: OperatorPods::new(NAMESPACE, "app=operator").unwrap(),
        requests: None,
        interval: ReconcileInterval::default(),
        keepsakes: None,
        collector: None,
        traces: Traces::default(),
        election: Election {
            namespace: NAMESPACE.into(),
            lease: "operator".into(),
            name: "test".into(),
            timing: Timing::new(millis(2_000), millis(1_500), millis(500)).unwrap(),
        },
    }
}

pub(super) fn cluster(api: &FakeApi) -> MemgraphCluster {
    serde_json::from_value(api.get(VERSION, "memgraphclusters", NAMESPACE, "demo").unwrap()).unwrap()
}

/// Reconciles until nothing is left to do; what is not done by then is said by the test's own assertions.
pub(super) async fn settle(api: &FakeApi, operator: &Arc<Operator<FakeMemgraph, FakeGateways>>) {
    let settled = async {
        let done = |status: MemgraphClusterStatus| {
            let named = status.ledger.is_some_and(|ledger| !ledger.gateways.is_empty());
            named && status.phase == Some(Phase::Operational)
        };
        while !cluster(api).status.is_some_and(done) {
            reconcile(Arc::new(cluster(api)), Arc::clone(operator))
                .await
                .unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled)
        .await
        .expect("the cluster becomes operational");
}

/// Reconciles until what is in the way has been asked for once more; the error.
pub(super) async fn refused(
    api: &FakeApi,
    operator: &Arc<Operator<FakeMemgraph, FakeGateways>>,
) -> ReconcileError {
    let refused = async {
        loop {
            if let Err(error) = reconcile(Arc::new(cluster(api)), Arc::clone(operator)).await {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), refused)
        .await
        .expect("it is in the way still")
}

/// Reconciles until nothing is left to do but for what is in the way, and that was asked for once more; the error.
pub(super) async fn hindered(
    api: &FakeApi,
    operator: &Arc<Operator<FakeMemgraph, FakeGateways>>,
) -> ReconcileError {
    let hindered = async {
        loop {
            let error = refused(api, operator).await;
            let conditions = cluster(api).status.unwrap().conditions;
            if conditions
                .iter()
                .any(|c| c.type_ == "Stalled" && c.status == "True")
            {
                return error;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), hindered)
        .await
        .expect("the condition says what is in the way")
}

/// Kubelets tell of addresses late: one of the two has another one by now, and it is not known which.
#[tokio::test]
async fn nobody_is_registered_at_an_address_that_two_pods_claim() {
    let api = api();
    let at = |address| pod("demo-2", names::INSTANCE, names::INSTANCE_CONTAINER, address);
    api.put("pods", at("10.0.0.1"));
    let memgraph = FakeMemgraph::fresh(3);
    let operator = operator(&api, &memgraph).await;
    let refused = loop {
        if let Err(error) = reconcile(Arc::new(cluster(&api)), Arc::clone(&operator)).await {
            break error;
        }
        assert!(memgraph.roles().iter().all(|(_, replicas)| *replicas == 0));
    };
    assert!(
        matches!(refused, ReconcileError::Act(ActError::Moved { .. })),
        "{refused}"
    );
    assert!(memgraph.roles().iter().all(|(_, replicas)| *replicas == 0));
    api.put("pods", at("10.0.0.2"));
    let registered = async {
        while memgraph.roles()[0].1 < 2 {
            // The cache may not show it yet.
            let _ = reconcile(Arc::new(cluster(&api)), Arc::clone(&operator)).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), registered)
        .await
        .expect("each has an address of its own now");
}

#[tokio::test]
async fn a_new_cluster_becomes_operational() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let status = cluster(&api).status.unwrap();
    let ledger = status.ledger.unwrap();
    assert_eq!((ledger.term, ledger.opened, ledger.route), (1, true, Route::Open));
    assert_eq!(ledger.main_address, "10.0.0.0");
    assert_eq!(status.main.as_deref(), Some("demo-0"));
    assert_eq!(
        (status.replicas, status.ready_replicas, status.in_sync_replicas),
        (3, 3, 1)
    );
    let modes: Vec<_> = status.instances.iter().map(|instance| instance.mode).collect();
    assert_eq!(
        modes,
        [
            None,
            Some(RegistrationMode::StrictSync),
            Some(RegistrationMode::Async)
        ]
    );
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .unwrap();
    assert_eq!(ready.status, "True");
    let [bootstrap] = &status.history[..] else {
        panic!("{:?}", status.history)
    };
    assert_eq!(
        (bootstrap.kind, bootstrap.to.as_str()),
        (OperationKind::Bootstrap, "demo-0")
    );
    let steps: Vec<_> = bootstrap.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(
        steps,
        [
            "NoteVolumes",
            "Promote",
            "Mark",
            "Register",
            "ProbeCommit",
            "Confirm"
        ]
    );
    for (version, plural, name) in [
        ("apps/v1", "statefulsets", "demo"),
        ("apps/v1", "deployments", "demo-gateway"),
        ("v1", "services", "demo-gateway"),
        ("v1", "services", "demo-gateway-read"),
        ("v1", "services", "demo-instances"),
        ("policy/v1", "poddisruptionbudgets", "demo-instances"),
        ("policy/v1", "poddisruptionbudgets", "demo-gateway"),
    ] {
        assert!(
            api.get(version, plural, NAMESPACE, name).is_some(),
            "{plural}/{name}"
        );
    }
}

#[tokio::test]
async fn the_second_reconciliation_of_a_healthy_cluster_sends_no_request() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
        .await
        .unwrap();
    api.take_requests();
    for _ in 0..3 {
        reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
            .await
            .unwrap();
    }
    assert_eq!(api.take_requests(), Vec::<String>::new());
}

#[tokio::test]
async fn a_new_operator_process_changes_nothing_either() {
    let api = api();
    let memgraph = FakeMemgraph::fresh(3);
    let first = operator(&api, &memgraph).await;
    settle(&api, &first).await;
    let second = successor(&first, &memgraph, Leadership::for_ever()).await;
    api.take_requests();
    reconcile(Arc::new(cluster(&api)), second).await.unwrap();
    let mut requests = api.take_requests();
    // Before it grants anything, it reads the ledger itself.
    requests.retain(|request| !request.starts_with("GET"));
    assert_eq!(requests, Vec::<String>::new());
}

/// The CustomResourceDefinition is an older one, which does not have a field of the ledger: the API server drops it.
#[tokio::test]
async fn nothing_is_done_on_a_ledger_that_was_not_kept() {
    let api = api();
    api.prune("memgraphclusters", "/status/ledger", "operation");
    let memgraph = FakeMemgraph::fresh(3);
    let operator = operator(&api, &memgraph).await;
    reconcile(Arc::new(cluster(&api)), operator).await.unwrap();
    assert!(memgraph.roles().iter().all(|(main, _)| !main));
    let conditions = cluster(&api).status.unwrap().conditions;
    let stalled = conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
    assert_eq!(
        (stalled.status.as_str(), stalled.reason.as_str()),
        ("True", "UnfitDefinition")
    );
    assert!(
        stalled.message.contains("CustomResourceDefinition"),
        "{}",
        stalled.message
    );
}

/// The same where nothing is to be decided: what is only told was not kept either.
#[tokio::test]
async fn a_definition_that_does_not_fit_is_told_of_where_nothing_is_decided() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let mut paused = api.get(VERSION, "memgraphclusters", NAMESPACE, "demo").unwrap();
    paused["spec"]["paused"] = json!(true);
    api.put("memgraphclusters", paused);
    api.prune("memgraphclusters", "/status/ledger", "inSync");
    until(&api, &operator, || {
        let conditions = cluster(&api).status.unwrap().conditions;
        conditions
            .iter()
            .any(|c| c.type_ == "Stalled" && c.reason == "UnfitDefinition")
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_is_being_deleted_says_so_once() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let before = cluster(&api).status.unwrap();
    let mut leaving = api.get(VERSION, "memgraphclusters", NAMESPACE, "demo").unwrap();
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    api.put("memgraphclusters", leaving);
    api.take_requests();
    for _ in 0..2 {
        reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
            .await
            .unwrap();
    }
    assert_eq!(api.take_requests().len(), 1);
    let status = cluster(&api).status.unwrap();
    assert_eq!(status.phase, Some(Phase::Terminating));
    assert_eq!(status.ledger, before.ledger);
    assert_eq!(status.conditions.len(), before.conditions.len());
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", "Terminating")
    );
}

/// Services by name, with the port of the gateways that each leads to.
fn services(api: &FakeApi) -> Vec<(String, String)> {
    let services = api
        .objects()
        .into_iter()
        .filter(|((_, plural, _, _), _)| plural == "services");
    services
        .map(|(_, service)| {
            let text = |pointer: &str| {
                service
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            (
                text("/metadata/name").to_owned(),
                text("/spec/ports/0/targetPort").to_owned(),
            )
        })
        .collect()
}

#[tokio::test]
async fn the_services_of_former_names_are_deleted_when_the_new_ones_are_there() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    // One of another cluster, and one that somebody made like ours.
    for (name, cluster) in [("other-gateway", "other"), ("demo-like", "demo")] {
        let like = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": names::labels(cluster, names::GATEWAY)},
            "spec": {"selector": {"app": "other"}, "ports": [{"targetPort": "bolt"}]},
        });
        api.put("services", like);
    }
    let names = |write: &str, read: &str| {
        let mut named = api.get(VERSION, "memgraphclusters", NAMESPACE, "demo").unwrap();
        named["spec"]["gateway"] = json!({
            "readWrite": {"service": {"name": write}}, "read": {"service": {"name": read}},
        });
        api.put("memgraphclusters", named);
    };
    let expected = |write: &str, read: &str| {
        let mut all = [
            ("demo-instances", "bolt"),
            ("demo-like", "bolt"),
            ("other-gateway", "bolt"),
            (write, "bolt"),
            (read, "bolt-read"),
        ]
        .map(|(name, port)| (name.to_owned(), port.to_owned()));
        all.sort();
        all
    };
    // The last ones change places.
    for (write, read) in [
        ("graph", "graph-readers"),
        ("social", "graph-readers"),
        ("graph-readers", "social"),
    ] {
        names(write, read);
        let renamed = async {
            while services(&api) != expected(write, read) {
                reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
                    .await
                    .unwrap();
                tokio::task::yield_now().await;
            }
        };
        let within = tokio::time::timeout(Duration::from_secs(20), renamed).await;
        assert!(within.is_ok(), "{:?}", services(&api));
        let gateway = cluster(&api).status.unwrap().gateway.unwrap();
        assert_eq!(gateway.read_write, format!("{write}.db.svc.cluster.local:7687"));
        assert_eq!(gateway.read, Some(format!("{read}.db.svc.cluster.local:7687")));
    }
    // The name is taken: what is there goes on.
    names("demo-like", "social");
    let before = services(&api);
    let error = reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("Service demo-like"), "{error}");
    assert_eq!(services(&api), before);
}

#[tokio::test]
async fn an_object_of_somebody_else_is_left_alone_and_named() {
    let api = api();
    let foreign = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "demo-gateway", "namespace": NAMESPACE},
        "spec": {"selector": {"app": "other"}},
    });
    api.put("services", foreign);
    let before = api.get("v1", "services", NAMESPACE, "demo-gateway");
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    let error = hindered(&api, &operator).await;
    assert!(error.to_string().contains("Service demo-gateway"), "{error}");
    assert_eq!(api.get("v1", "services", NAMESPACE, "demo-gateway"), before);
    let status = cluster(&api).status.unwrap();
    let stalled = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Stalled")
        .unwrap();
    assert_eq!(
        (stalled.status.as_str(), stalled.reason.as_str()),
        ("True", "ForeignObject")
    );
}

#[tokio::test]
async fn a_write_by_somebody_else_is_met_by_reading_again() {
    let api = api();
    let memgraph = FakeMemgraph::fresh(3);
    let operator = operator(&api, &memgraph).await;
    let stale = cluster(&api);
    settle(&api, &operator).await;
    let ledger = cluster(&api).status.unwrap().ledger;
    // The cache shows the cluster as it was before anything was decided.
    let second = successor(&operator, &memgraph, Leadership::for_ever()).await;
    reconcile(Arc::new(stale), second).await.unwrap();
    assert_eq!(cluster(&api).status.unwrap().ledger, ledger);
}

#[tokio::test]
async fn a_process_that_does_not_lead_changes_nothing() {
    let api = api();
    let memgraph = FakeMemgraph::fresh(3);
    let leads = Arc::new(AtomicBool::new(true));
    let settled = operator(&api, &memgraph).await;
    let operator = successor(&settled, &memgraph, Leadership::while_true(Arc::clone(&leads))).await;
    // Leadership is lost after any number of steps; each time everything stays as it was then.
    for steps in 0..6 {
        for _ in 0..steps {
            reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
                .await
                .ok();
        }
        leads.store(false, Ordering::Release);
        let (roles, objects) = (memgraph.roles(), api.objects());
        reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
            .await
            .ok();
        assert_eq!(memgraph.roles(), roles, "after {steps} steps");
        assert_eq!(api.objects(), objects, "after {steps} steps");
        leads.store(true, Ordering::Release);
    }
}

/// Waits, while the cluster is reconciled again and again.
pub(super) async fn until(
    api: &FakeApi,
    operator: &Arc<Operator<FakeMemgraph, FakeGateways>>,
    holds: impl Fn() -> bool,
) {
    let waiting = async {
        while !holds() {
            reconcile(Arc::new(cluster(api)), Arc::clone(operator))
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .expect("not so in time");
}

fn ledger(api: &FakeApi) -> Ledger {
    cluster(api).status.unwrap().ledger.unwrap()
}

#[tokio::test]
async fn a_gateway_is_named_in_the_ledger_before_it_gets_its_first_grant() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let gateways = operator.fence.link().clone();
    until(&api, &operator, || gateways.term(GATEWAY) == Some(1)).await;
    assert_eq!(ledger(&api).grant_ttl, Some(DurationString::from_millis(4_000)));

    gateways.start("10.0.1.1", "demo-gateway-y");
    api.put(
        "pods",
        pod("demo-gateway-y", names::GATEWAY, "gateway", "10.0.1.1"),
    );
    until(&api, &operator, || gateways.term("10.0.1.1").is_some()).await;
    assert!(ledger(&api).grants_to("demo-gateway-y"));
}

#[tokio::test]
async fn a_gateway_that_is_gone_gets_nothing_more_and_is_forgotten_later() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    api.remove("v1", "pods", NAMESPACE, "demo-gateway-x");
    until(&api, &operator, || !ledger(&api).grants_to("demo-gateway-x")).await;
    let leaving = GatewayEntry {
        pod_uid: "demo-gateway-x".into(),
        leaving: true,
    };
    assert_eq!(ledger(&api).gateways, [leaving]);
    until(&api, &operator, || ledger(&api).gateways.is_empty()).await;
}

#[tokio::test]
async fn a_silent_gateway_holds_a_fence_up_until_what_it_held_has_run_out() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let gateways = operator.fence.link().clone();
    until(&api, &operator, || gateways.term(GATEWAY) == Some(1)).await;
    let mut closed = cluster(&api);
    let written = closed.status.as_mut().unwrap().ledger.as_mut().unwrap();
    (written.term, written.route) = (2, Route::Closed);
    let fence = |closed_for| {
        operator
            .fence
            .stand(operator.lanes.ordinary(), &closed, &[], 2, closed_for)
    };

    gateways.silence(GATEWAY, true);
    let begin = Instant::now();
    fence(Duration::from_millis(3_490)).await.unwrap();
    assert!(
        begin.elapsed() >= Duration::from_millis(550),
        "{:?}",
        begin.elapsed()
    );
    assert!(
        operator
            .fence
            .reach(operator.lanes.ordinary(), &closed)
            .await
            .is_err()
    );

    gateways.silence(GATEWAY, false);
    let begin = Instant::now();
    fence(Duration::ZERO).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(gateways.term(GATEWAY), None);
    operator
        .fence
        .reach(operator.lanes.ordinary(), &closed)
        .await
        .unwrap();

    // The API server says nothing of it any more, but it answers for itself where the cache has it.
    let pods = operator.inventory(&closed).gateways;
    let known: Vec<_> = pods.iter().filter_map(|pod| Gateway::of(pod)).collect();
    api.remove("v1", "pods", NAMESPACE, "demo-gateway-x");
    let begin = Instant::now();
    let stand = operator
        .fence
        .stand(operator.lanes.ordinary(), &closed, &known, 2, Duration::ZERO);
    stand.await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}
