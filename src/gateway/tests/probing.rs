//! The gateway's own handshakes with MAIN.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

use super::{
    cluster::{Build, demo},
    harness::{Instance, Refusing, TestGateway},
};
use crate::{gateway::probe, memgraph::Neo4rsBolt};

fn start(gateway: &TestGateway) -> JoinHandle<()> {
    tokio::spawn(probe(Arc::clone(&gateway.keeper), Neo4rsBolt::anonymous()))
}

#[tokio::test]
async fn a_main_that_completes_handshakes_is_reported_so() {
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&demo().main_at("demo-0", main.address)).await;
    start(&gateway);
    let mut asked = main.accept().await;
    let mut proposals = [0; 20];
    asked.read_exact(&mut proposals).await.unwrap();
    assert_eq!(proposals[..4], [0x60, 0x60, 0xB0, 0x17]);
    let reach = gateway
        .until(|report| report["reach"]["unansweredMillis"] == 0)
        .await["reach"]
        .clone();
    assert_eq!(
        (&reach["term"], &reach["handshakeMillisAgo"]),
        (&7.into(), &serde_json::Value::Null)
    );
    asked.write_all(&[0, 0, 3, 4]).await.unwrap();
    gateway
        .until(|report| report["reach"]["handshakeMillisAgo"] == 0)
        .await;
}

#[tokio::test]
async fn a_main_that_accepts_but_says_nothing_is_silent_although_its_grant_has_run_out() {
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&demo().main_at("demo-0", main.address)).await;
    start(&gateway);
    let _asked = main.accept().await;
    gateway.clock.advance(std::time::Duration::from_secs(5));
    gateway.keeper.wake();
    gateway.until(|report| report["route"] == "Closed").await;
    // It was held up, as far as its clock tells, and so begins anew.
    let _again = main.accept().await;
    gateway
        .until(|report| report["reach"]["unansweredMillis"] == 0)
        .await;
}

#[tokio::test]
async fn a_main_that_refuses_a_handshake_taints_the_grant_and_one_of_a_term_that_is_over_is_not_tried() {
    let refusing = Refusing::open();
    let cluster = demo().main_at("demo-0", refusing.address);
    let mut gateway = TestGateway::serving(&cluster).await;
    start(&gateway);
    let report = gateway.until(|report| report["held"]["tainted"] == true).await;
    assert!(report["reach"]["refusedMillisAgo"].is_number());
    gateway.enforce(&cluster.term(8).closed()).await;
    assert_eq!(*gateway.keeper.mains().borrow(), None);
}
