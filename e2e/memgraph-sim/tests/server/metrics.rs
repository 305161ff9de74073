//! Numbers over HTTP.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{instance::Instance, ports::ReservedPort};

/// Status line and body of an answer.
async fn get(port: &ReservedPort, path: &str) -> (String, String) {
    let mut stream = Instance::connect(port.number()).await;
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

fn measured(version: &str, extra: &[&str]) -> (Instance, ReservedPort) {
    let port = ReservedPort::new();
    let flag = format!("--metrics-port={}", port.number());
    let flags: Vec<&str> = extra.iter().copied().chain([flag.as_str()]).collect();
    let instance = Instance::with_environment(&flags, &[("MEMGRAPH_SIM_VERSION", version)]);
    (instance, port)
}

#[tokio::test]
async fn up_to_3_10_metrics_need_a_licence() {
    let (_instance, port) = measured("3.10", &[]);
    let (status, body) = get(&port, "/metrics").await;
    assert!(status.contains("400 Bad Request"), "{status}");
    assert_eq!(
        body,
        r#"{"error":"Memgraph must have an Enterprise License for providing metrics! Check your license status by running SHOW LICENSE INFO."}"#
    );
}

#[tokio::test]
async fn numbers_are_those_of_the_instance() {
    let (main, port) = measured("3.12", &[]);
    let replica = Instance::new(&[]);
    main.must("UNWIND range(1, 10) AS i CREATE (:T {i: i})-[:R]->(:U)")
        .await;
    main.must("CREATE INDEX ON :T").await;
    assert!(main.query("MATCH (n").await.is_err());
    replica.demote().await;
    main.register("r", &replica, "ASYNC").await;
    main.until_ready("r").await;
    let (status, body) = get(&port, "/any/path").await;
    assert!(status.contains("200 OK"), "{status}");
    let shown: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(shown["General"]["vertex_count"], 20);
    assert_eq!(shown["General"]["edge_count"], 10);
    assert_eq!(shown["General"]["average_degree"], 1.0);
    assert!(shown["General"]["memory_usage"].as_u64().unwrap() > 0);
    assert!(shown["General"]["disk_usage"].as_u64().unwrap() > 0);
    assert_eq!(shown["Index"]["ActiveLabelIndices"], 1);
    assert_eq!(shown["Transaction"]["FailedPrepare"], 1);
    assert!(shown["Transaction"]["CommitedTransactions"].as_u64().unwrap() >= 2);
    assert_eq!(shown["HighAvailability"]["ReplicaRecoverySuccess"], 1);
}

#[tokio::test]
async fn open_metrics_are_there_for_those_who_ask() {
    let (instance, port) = measured("3.12", &["--metrics-format=OpenMetrics"]);
    instance.must("CREATE (:T)").await;
    let (status, body) = get(&port, "/metrics").await;
    assert!(status.contains("200 OK"), "{status}");
    assert!(
        body.contains(
            "# TYPE memgraph_vertex_count gauge\nmemgraph_vertex_count{database=\"memgraph\",uuid=\""
        )
    );
    assert!(body.contains("\nmemgraph_replica_recovery_success_total 0\n"));
    assert!(body.ends_with("# EOF\n"));
    let (status, body) = get(&port, "/other").await;
    assert!(status.contains("404 Not Found"), "{status}");
    assert_eq!(body, "Not Found");
}
