//! What is answered, to whom.

mod page;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use warp::{Filter, Reply};

use super::*;
use crate::api::ledger::Route;
use crate::{
    grants::{Held, MainReach, Report, SessionCounts},
    memgraph::Usage,
    metrics::{ApiRequests, listed},
};

fn demo(name: &str) -> MemgraphCluster {
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "AsExpected", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let copy = |instance: &str| json!({"instance": instance, "incarnation": {"podUID": instance, "containerID": "c", "volume": "v"}, "generation": 1});
    let instance = |name: &str, role: &str, data: Option<&str>| json!({"name": name, "role": role, "health": "Up", "dataStatus": data, "inSync": role == "Replica"});
    let (main, replica) = (format!("{name}-0"), format!("{name}-1"));
    serde_json::from_value(json!({
        "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster",
        "metadata": {"name": name, "namespace": "graphs", "uid": format!("uid-{name}"), "generation": 1, "resourceVersion": "1"},
        "spec": {"replicas": 2},
        "status": {
            "observedGeneration": 1, "phase": "Operational", "main": main,
            "replicas": 2, "readyReplicas": 2, "inSyncReplicas": 1, "version": "3.12.0",
            "instances": [instance(&main, "Main", None), instance(&replica, "Replica", Some("ready"))],
            "gateway": {"readWrite": "demo-gateway.graphs.svc.cluster.local:7687"},
            "conditions": [condition("Ready", "True"), condition("Stalled", "False"), condition("Durable", "Unknown")],
            "lastFailover": {
                "term": 3, "kind": "Failover", "from": replica, "to": main,
                "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:02Z",
            },
            "history": [{
                "term": 3, "kind": "Failover", "from": replica, "to": main, "cause": "MAIN is gone",
                "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:02Z",
                "steps": [{"step": "Fence", "took": "200ms"}],
            }],
            "ledger": {
                "lineage": "l1", "term": 3, "opened": true, "main": copy(&main), "mainAddress": "10.0.0.1",
                "route": "Open", "inSync": [copy(&replica)], "generation": 9,
            },
        },
    }))
    .unwrap()
}

struct Sees;

impl Eyes for Sees {
    fn live(&self, _: &str) -> BoxFuture<'_, Option<Live>> {
        let sight = |behind| InstanceSight {
            answers: true,
            answered_ago: Some(Duration::from_millis(100)),
            behind,
            usage: behind.map(|_| Usage {
                vertices: Some(7),
                memory_tracked_bytes: Some(3 << 20),
                ..Usage::default()
            }),
        };
        let report = Report {
            cluster: Some("uid-demo".to_owned()),
            term: 3,
            route: Route::Open,
            main: Some("demo-0".to_owned()),
            sessions: SessionCounts {
                read_write: 7,
                read: 5,
                held: 1,
                paused: 0,
            },
            held: Some(Held {
                term: 3,
                remaining_millis: 4500,
                tainted: false,
                failsafe: false,
            }),
            reach: MainReach {
                term: 3,
                handshake_millis_ago: Some(300),
                ..MainReach::default()
            },
        };
        let word = GatewayWord {
            asked_ago: Duration::from_millis(500),
            report,
        };
        let live = Live {
            instances: BTreeMap::from([
                ("demo-0".to_owned(), sight(None)),
                ("demo-1".to_owned(), sight(Some(4))),
            ]),
            certificate_ends: "2026-12-24T18:00:00Z".parse().ok(),
            gateways: BTreeMap::from([("demo-gateway-x".to_owned(), word)]),
        };
        async move { Some(live) }.boxed()
    }
}

/// A process that knows one cluster.
fn fleet() -> Arc<Fleet> {
    let vitals = Arc::new(Vitals::default());
    vitals.set_ready();
    vitals.note_holder(Some("memgraph-operator-b_0123456789abcdef"));
    let fleet = Fleet::new(
        "memgraph-operator-a".to_owned(),
        "system/memgraph-operator".to_owned(),
        vitals,
        ApiRequests::default(),
    );
    fleet.see(demo("demo"));
    fleet
}

fn leading() -> (Arc<Fleet>, Arc<Sees>) {
    let (fleet, eyes) = (fleet(), Arc::new(Sees));
    let weak: std::sync::Weak<dyn Eyes> = Arc::<Sees>::downgrade(&eyes);
    fleet.vitals.lead(weak);
    (fleet, eyes)
}

async fn get(fleet: &Arc<Fleet>, path: &str) -> (u16, String) {
    let answers = Arc::clone(fleet).filter().map(Reply::into_response);
    let answer = warp::test::request().path(path).reply(&answers).await;
    let text = String::from_utf8(answer.body().to_vec()).unwrap();
    (answer.status().as_u16(), text)
}

async fn get_json(fleet: &Arc<Fleet>, path: &str) -> Value {
    let (code, text) = get(fleet, path).await;
    assert_eq!(code, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_leader_tells_what_it_sees_itself() {
    let (fleet, _eyes) = leading();
    let cluster = get_json(&fleet, "/api/v1/clusters/graphs/demo").await;
    let state = &cluster["cluster_state"];
    assert_eq!(state["main"], "demo-0");
    assert_eq!(state["instances"][1]["lag_transactions"], 4);
    assert_eq!(state["instances"][1]["in_sync"], true);
    assert_eq!(state["instances"][0]["answered_seconds_ago"], 0.1);
    assert_eq!(cluster["gateways"][0]["read_write_sessions"], 7);
    assert_eq!(cluster["gateways"][0]["main_answered_seconds_ago"], 0.8);
    let reached = json!([{"from": "operator", "reached": true}, {"from": "demo-gateway-x", "reached": true}]);
    assert_eq!(cluster["health"]["main_reached_by"], reached);
    assert_eq!(cluster["health"]["failovers"], 1);
    assert_eq!(cluster["advice"], json!([]));
}

/// Whoever follows changes is not told of each question for them.
#[tokio::test]
async fn figures_that_go_up_and_down_are_no_change() {
    let (fleet, _eyes) = leading();
    let told = fleet.cluster("graphs", "demo").await.unwrap();
    let mut later = told.clone();
    let usage = later.cluster_state.instances[1].usage.as_mut().unwrap();
    usage.vertices = Some(8);
    assert_ne!(told, later);
    assert_eq!(told.without_ages(), later.without_ages());
}

#[tokio::test]
async fn a_process_that_does_not_lead_answers_too_and_says_who_leads() {
    let fleet = fleet();
    let status = get_json(&fleet, "/status").await;
    assert_eq!(status, get_json(&fleet, "/api/v1/status").await);
    let operator = json!({
        "name": "memgraph-operator-a", "version": env!("CARGO_PKG_VERSION"), "ready": true, "leads": false,
        "leader": "memgraph-operator-b",
    });
    assert_eq!(status["operator"], operator);
    let cluster = &status["clusters"][0];
    assert_eq!(cluster["cluster_state"]["main"], "demo-0");
    assert_eq!(cluster["gateways"], Value::Null);
    assert_eq!(
        cluster["cluster_state"]["instances"][1]["lag_transactions"],
        Value::Null
    );
    let (_, metrics) = get(&fleet, "/metrics").await;
    assert!(metrics.contains("\nmemgraph_operator_leader 0.0\n"), "{metrics}");
    assert!(!metrics.contains("cluster=\"demo\""), "{metrics}");
}

#[tokio::test]
async fn answers_are_read_back_as_they_were_written() {
    let (fleet, _eyes) = leading();
    let answer = get_json(&fleet, "/api/v1/status").await;
    let read: FleetStatus = serde_json::from_value(answer.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), answer);
}

#[tokio::test]
async fn what_there_is_not_is_not_found() {
    let fleet = fleet();
    for path in [
        "/api/v1/clusters/graphs/other",
        "/api/v1/clusters/other/demo",
        "/api/v2/status",
    ] {
        assert_eq!(get(&fleet, path).await.0, 404, "{path}");
    }
    fleet.forget(&("graphs".to_owned(), "demo".to_owned()));
    assert_eq!(get(&fleet, "/api/v1/clusters/graphs/demo").await.0, 404);
}

/// What becomes of it is that one's to tell.
#[tokio::test]
async fn a_cluster_of_another_installation_is_counted_and_nothing_else_is_told_of_it() {
    let (fleet, _eyes) = leading();
    let mut cluster = demo("other");
    let number = async |expected: u8| {
        let (_, metrics) = get(&fleet, "/metrics").await;
        let line = format!("memgraph_operator_clusters_of_others {expected}.0");
        assert!(metrics.lines().any(|told| told == line), "{metrics}");
        metrics.contains("cluster=\"other\"")
    };
    cluster.status.as_mut().unwrap().operator = Some("elsewhere/memgraph-operator".to_owned());
    fleet.see(cluster.clone());
    assert!(!number(1).await);
    assert_eq!(get(&fleet, "/api/v1/clusters/graphs/other").await.0, 404);
    let all = get_json(&fleet, "/api/v1/status").await;
    assert_eq!(all["clusters"].as_array().unwrap().len(), 1);

    cluster.status.as_mut().unwrap().operator = Some("system/memgraph-operator".to_owned());
    fleet.see(cluster);
    assert!(number(0).await);
    assert_eq!(get(&fleet, "/api/v1/clusters/graphs/other").await.0, 200);
}

/// Elsewhere: an administration without a password, on by default.
#[tokio::test]
async fn l22_nothing_can_be_changed_over_http() {
    let (fleet, _eyes) = leading();
    let answers = Arc::clone(&fleet).filter().map(Reply::into_response);
    let description = get_json(&fleet, "/api/v1/openapi.json").await;
    let described = description["paths"].as_object().unwrap();
    for (path, methods) in described {
        assert_eq!(
            methods.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["get"],
            "{path}"
        );
    }
    let before = get_json(&fleet, "/api/v1/status").await;
    let paths = described
        .keys()
        .map(|path| path.replace("{namespace}", "graphs").replace("{name}", "demo"));
    for path in paths {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let request = warp::test::request().method(method).path(&path);
            assert_eq!(
                request.reply(&answers).await.status().as_u16(),
                405,
                "{method} {path}"
            );
        }
    }
    assert_eq!(get_json(&fleet, "/api/v1/status").await, before);
}

/// `UPDATE_GOLDEN=1 cargo test` writes it anew, as `make openapi` does.
#[tokio::test]
async fn the_description_is_the_one_in_the_documentation() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let answer = get_json(&fleet(), "/api/v1/openapi.json").await;
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{answer:#}\n")).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(format!("{answer:#}\n"), written, "run make openapi");
}

/// Every schema that is referred to is there, and each field of an answer is described.
#[tokio::test]
async fn every_field_of_an_answer_is_described() {
    let (fleet, _eyes) = leading();
    let document = openapi();
    let answer = get_json(&fleet, "/api/v1/status").await;
    let schema = json!({"$ref": "#/components/schemas/FleetStatus"});
    check(&document, &schema, &answer, "status");
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    if value.is_null() {
        return;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(&reference[1..]);
        return check(document, target.expect(reference), value, at);
    }
    for combined in ["allOf", "anyOf", "oneOf"] {
        if let Some(one) = schema[combined].as_array().and_then(|all| all.first()) {
            return check(document, one, value, at);
        }
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let field = &schema["properties"][name];
                assert!(!field.is_null(), "{at}.{name} is not described: {schema}");
                check(document, field, value, &format!("{at}.{name}"));
            }
            for name in schema["required"].as_array().into_iter().flatten() {
                let name = name.as_str().unwrap();
                assert!(fields.contains_key(name), "{at}.{name} is missing");
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| check(document, &schema["items"], item, at)),
        _ => assert!(schema.is_object(), "{at}"),
    }
}

#[tokio::test]
async fn the_metrics_are_those_that_alerts_and_dashboards_rest_on() {
    let (fleet, _eyes) = leading();
    fleet.vitals.reconciled(Duration::from_millis(20), Some("step"));
    fleet.vitals.took("Fence", Duration::from_millis(200));
    fleet.vitals.waited("urgent", Duration::from_millis(2));
    fleet.requests.note("list", "pods", Some(http::StatusCode::OK));
    let mut failed_over = demo("demo");
    let status = failed_over.status.as_mut().unwrap();
    let mut newer = status.history[0].clone();
    newer.term = 5;
    status.history.insert(0, newer);
    fleet.see(failed_over);
    let (code, text) = get(&fleet, "/metrics").await;
    assert_eq!(code, 200);
    let golden = include_str!("metrics.golden");
    assert_eq!(listed(&text).join("\n") + "\n", golden, "{text}");
    for sample in [
        r#"memgraph_cluster_ready{namespace="graphs",cluster="demo"} 1.0"#,
        r#"memgraph_cluster_unavailable{namespace="graphs",cluster="demo"} 0.0"#,
        r#"memgraph_cluster_condition{namespace="graphs",cluster="demo",condition="Stalled",reason="AsExpected"} 0.0"#,
        r#"memgraph_cluster_term{namespace="graphs",cluster="demo"} 3.0"#,
        r#"memgraph_cluster_operations_total{namespace="graphs",cluster="demo",kind="Failover"} 2.0"#,
        r#"memgraph_operator_operation_duration_seconds_sum{kind="Failover"} 2.0"#,
        r#"memgraph_operator_api_requests_total{verb="list",resource="pods",code="200"} 1"#,
        r#"memgraph_cluster_operation_step_seconds_total{namespace="graphs",cluster="demo",step="Fence"} 0.4"#,
        r#"memgraph_instance_lag_transactions{namespace="graphs",cluster="demo",pod="demo-1"} 4.0"#,
        r#"memgraph_instance_role{namespace="graphs",cluster="demo",pod="demo-0",role="main"} 1.0"#,
        r#"memgraph_instance_vertices{namespace="graphs",cluster="demo",pod="demo-1"} 7.0"#,
        r#"memgraph_instance_memory_tracked_bytes{namespace="graphs",cluster="demo",pod="demo-1"} 3145728.0"#,
        r#"memgraph_operator_reconcile_errors_total{reason="step"} 1"#,
        r#"memgraph_operator_step_duration_seconds_count{step="Fence"} 1"#,
        r#"memgraph_operator_api_request_wait_seconds_bucket{le="0.005",lane="urgent"} 1"#,
        r#"memgraph_cluster_certificate_expiry_timestamp_seconds{namespace="graphs",cluster="demo"} 1798135200.0"#,
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample}\n{text}");
    }
    assert!(!text.contains(r#"condition="Durable""#), "{text}");
    // One that has not told, and a figure that the other one does not tell.
    for missing in [
        r#"memgraph_instance_vertices{namespace="graphs",cluster="demo",pod="demo-0"}"#,
        "memgraph_instance_memory_limit_bytes{",
    ] {
        assert!(!text.contains(missing), "{missing}\n{text}");
    }
}

#[tokio::test]
async fn changes_are_told_as_they_come() {
    let fleet = fleet();
    let listener = crate::http::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let serving = tokio::spawn(crate::http::serve(
        listener,
        Arc::clone(&fleet).filter(),
        stop.clone(),
    ));

    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("/api/v1/events").header("host", "operator");
    let request = request
        .body(http_body_util::Empty::<hyper::body::Bytes>::new())
        .unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    let mut told = String::new();
    let mut until = async |wanted: &str| {
        while !told.contains(wanted) {
            let frame = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
            told.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
        std::mem::take(&mut told)
    };
    let first = until(r#""name":"demo""#).await;
    assert!(first.contains("event:operator"), "{first}");
    let mut changed = demo("demo");
    changed.status.as_mut().unwrap().main = Some("demo-1".to_owned());
    fleet.see(changed);
    until(r#""main":"demo-1""#).await;
    fleet.keep_only(&[]);
    until("event:gone").await;
    stop.cancel();
    serving.await.unwrap();
    connection.abort();
}
