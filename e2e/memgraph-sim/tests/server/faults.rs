//! Faults that are asked for.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::Command,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    instance::{Folder, Instance},
    ports::ReservedPort,
};

/// The most common log setting of those who want no acknowledged write to get lost.
const SYNC_EACH: &str = "--storage-wal-file-flush-every-n-tx=1";

/// An instance and the port on which it can be asked for faults.
struct Sufferer {
    instance: Instance,
    port: ReservedPort,
}

impl Sufferer {
    fn new(extra: &[&str]) -> Self {
        let port = ReservedPort::new();
        let address = format!("127.0.0.1:{}", port.number());
        let instance = Instance::with_environment(extra, &[("MEMGRAPH_SIM_FAULTS", &address)]);
        Self { instance, port }
    }

    async fn try_ask(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, Bytes), hyper::Error> {
        let stream = TcpStream::connect(("127.0.0.1", self.port.number()))
            .await
            .unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "faults")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Bytes) {
        self.try_ask(method, path, body).await.unwrap()
    }

    /// Asks for a fault; its number.
    async fn suffer(&self, fault: Value) -> u64 {
        let (status, body) = self.ask(Method::POST, "/faults", &fault).await;
        assert_eq!(status, StatusCode::CREATED, "{body:?}");
        let listed: Value = serde_json::from_slice(&body).unwrap();
        listed["id"].as_u64().unwrap()
    }

    async fn list(&self) -> Value {
        let (status, body) = self.ask(Method::GET, "/faults", &Value::Null).await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_slice(&body).unwrap()
    }

    async fn clear(&self) {
        let (status, _) = self.ask(Method::DELETE, "/faults", &Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }

    /// Takes the power away.
    async fn lose_power(&mut self) {
        self.try_ask(Method::POST, "/faults", &json!({"fault": "power-loss"}))
            .await
            .expect_err("nobody is left to answer");
        assert_eq!(self.instance.wait().signal(), Some(9));
    }
}

/// Does as much as the fault's victim could do several times over if it were well; without the storage, for which
/// there is a wait while a commit waits for its replicas.
async fn long_enough(healthy: &Instance) {
    for _ in 0..50 {
        healthy.role().await;
    }
}

#[tokio::test]
async fn a_frozen_process_keeps_its_sockets_and_answers_later() {
    let (frozen, healthy) = (Sufferer::new(&[]), Instance::new(&[]));
    let id = frozen.suffer(json!({"fault": "freeze"})).await;
    assert_eq!(frozen.list().await, json!([{"id": id, "fault": "freeze"}]));
    let answer = frozen.instance.query("CREATE (:T)");
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => panic!("a frozen process answers: {answer:?}"),
        () = long_enough(&healthy) => {}
    }
    // New connections are accepted, by the kernel.
    TcpStream::connect(("127.0.0.1", frozen.instance.bolt))
        .await
        .unwrap();
    let path = format!("/faults/{id}");
    let (status, _) = frozen.ask(Method::DELETE, &path, &Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    answer.await.unwrap();
    let (status, _) = frozen.ask(Method::DELETE, &path, &Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_freeze_can_end_by_itself() {
    let frozen = Sufferer::new(&[]);
    let begin = Instant::now();
    frozen
        .suffer(json!({"fault": "freeze", "milliseconds": 300}))
        .await;
    frozen.instance.must("RETURN 1").await;
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert_eq!(frozen.list().await, json!([]));
}

#[tokio::test]
async fn a_frozen_sync_replica_stalls_writers() {
    let (main, replica) = (Instance::new(&[]), Sufferer::new(&[]));
    replica.instance.demote().await;
    main.register("r", &replica.instance, "STRICT_SYNC").await;
    main.until_ready("r").await;
    replica.suffer(json!({"fault": "freeze"})).await;
    let write = main.query("CREATE (:T)");
    tokio::pin!(write);
    tokio::select! {
        answer = &mut write => panic!("a write did not wait for its replica: {answer:?}"),
        () = long_enough(&main) => {}
    }
    replica.clear().await;
    write.await.unwrap();
    assert_eq!(replica.instance.count().await, 1);
}

#[tokio::test]
async fn slow_answers_are_slow_where_asked_for() {
    let (slow, replica) = (Sufferer::new(&[]), Instance::new(&[]));
    replica.demote().await;
    slow.instance.register("r", &replica, "SYNC").await;
    slow.instance.until_ready("r").await;
    let port = slow.instance.bolt;
    slow.suffer(json!({"fault": "slow", "milliseconds": 200, "connections": {"port": port}}))
        .await;
    let begin = Instant::now();
    slow.instance.must("RETURN 1").await;
    // At least the answers to HELLO and to the query.
    assert!(begin.elapsed() >= Duration::from_millis(400));
    slow.clear().await;
    let replication = json!({"direction": "out", "port": replica.replication});
    slow.suffer(json!({"fault": "slow", "milliseconds": 500, "connections": replication}))
        .await;
    let begin = Instant::now();
    slow.instance.must("CREATE (:T)").await;
    assert!(begin.elapsed() >= Duration::from_millis(500));
}

#[tokio::test]
async fn a_black_hole_to_one_replica_leaves_the_other_alone() {
    let (main, cut_off, other) = (Sufferer::new(&[]), Instance::new(&[]), Instance::new(&[]));
    for (name, replica) in [("cut_off", &cut_off), ("other", &other)] {
        replica.demote().await;
        main.instance.register(name, replica, "ASYNC").await;
        main.instance.until_ready(name).await;
    }
    let connections = json!({"direction": "out", "peer": "127.0.0.1", "port": cut_off.replication});
    main.suffer(json!({"fault": "blackhole", "connections": connections}))
        .await;
    main.instance.must("CREATE (:T)").await;
    main.instance.until_ready("other").await;
    assert_eq!(other.count().await, 1);
    assert_eq!(cut_off.count().await, 0);
    main.clear().await;
    main.instance.until_ready("cut_off").await;
    assert_eq!(cut_off.count().await, 1);
}

#[tokio::test]
async fn a_replica_in_a_black_hole_is_given_up_and_found_again() {
    let (main, replica) = (Instance::new(&[]), Sufferer::new(&[]));
    replica.instance.demote().await;
    let port = replica.instance.replication;
    replica
        .suffer(json!({"fault": "blackhole", "connections": {"direction": "in", "port": port}}))
        .await;
    // It listens, but answers nothing: the swap of the main UUID takes its 10 seconds.
    let begin = Instant::now();
    let registered = main
        .query(&format!("REGISTER REPLICA r ASYNC TO '127.0.0.1:{port}'"))
        .await;
    assert!(registered.unwrap_err().to_string().contains("Error: 5"));
    assert!(begin.elapsed() >= Duration::from_secs(10));
    replica.clear().await;
    main.must("DROP REPLICA r").await;
    main.register("r", &replica.instance, "ASYNC").await;
    main.until_ready("r").await;
}

#[tokio::test]
async fn clients_in_a_black_hole_do_not_keep_replication_from_going_on() {
    let (main, replica) = (Sufferer::new(&[]), Instance::new(&[]));
    replica.demote().await;
    let port = main.instance.bolt;
    let hole = main
        .suffer(json!({"fault": "blackhole", "connections": {"direction": "in", "port": port}}))
        .await;
    let write = main.instance.query("CREATE (:T)");
    tokio::pin!(write);
    tokio::select! {
        answer = &mut write => panic!("an answer came out of a black hole: {answer:?}"),
        () = long_enough(&replica) => {}
    }
    let (status, _) = main
        .ask(Method::DELETE, &format!("/faults/{hole}"), &Value::Null)
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    write.await.unwrap();
    main.instance.register("r", &replica, "ASYNC").await;
    main.instance.until_ready("r").await;
    assert_eq!(replica.count().await, 1);
}

#[tokio::test]
async fn memgraph_does_not_survive_a_failed_sync() {
    let mut victim = Sufferer::new(&[SYNC_EACH]);
    victim.instance.must("CREATE (:T)").await;
    victim.suffer(json!({"fault": "fail-sync"})).await;
    victim.instance.query("CREATE (:T)").await.unwrap_err();
    assert_eq!(victim.instance.wait().code(), Some(134));
    // The page cache still has it.
    victim.instance.start();
    assert_eq!(victim.instance.count().await, 2);
    assert_eq!(victim.list().await, json!([]));
    // With snapshots, it is the same, and with what is synced at the end.
    victim.suffer(json!({"fault": "fail-sync"})).await;
    victim.instance.query("CREATE SNAPSHOT").await.unwrap_err();
    assert_eq!(victim.instance.wait().code(), Some(134));
    victim.instance.start();
    victim.instance.must("CREATE (:T)").await;
    victim.suffer(json!({"fault": "fail-sync"})).await;
    assert_eq!(victim.instance.terminate().code(), Some(134));
}

#[tokio::test]
async fn a_power_loss_takes_what_was_not_synced() {
    let mut lax = Sufferer::new(&[]);
    lax.instance.must("UNWIND range(1, 10) AS i CREATE (:T)").await;
    lax.instance.must("CREATE SNAPSHOT").await;
    lax.instance.must("UNWIND range(1, 10) AS i CREATE (:T)").await;
    lax.lose_power().await;
    lax.instance.start();
    assert_eq!(lax.instance.count().await, 10, "the snapshot was synced");
    let mut strict = Sufferer::new(&[SYNC_EACH]);
    for _ in 0..10 {
        strict.instance.must("CREATE (:T)").await;
    }
    // Being frozen saves nobody from that.
    strict.suffer(json!({"fault": "freeze"})).await;
    strict.lose_power().await;
    strict.instance.start();
    assert_eq!(strict.instance.count().await, 10);
}

#[tokio::test]
async fn what_is_no_fault_is_refused() {
    let instance = Sufferer::new(&[]);
    for wrong in [json!({"fault": "none"}), json!({}), json!({"fault": "slow"})] {
        let (status, _) = instance.ask(Method::POST, "/faults", &wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
    let (status, _) = instance.ask(Method::GET, "/", &Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(instance.list().await, json!([]));
}

#[test]
fn an_address_that_cannot_be_used_stops_the_start() {
    let folder = Folder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for address in ["7999".to_owned(), taken.local_addr().unwrap().to_string()] {
        let output = Command::new(env!("CARGO_BIN_EXE_memgraph-sim"))
            .arg(format!(
                "--data-directory={}",
                folder.path().join("data").display()
            ))
            .env("MEMGRAPH_SIM_FAULTS", address)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("MEMGRAPH_SIM_FAULTS"));
    }
}
