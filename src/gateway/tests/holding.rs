//! Clients that come while MAIN changes wait for the new one.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::yield_now,
};

use super::{
    cluster::{Build, demo},
    harness::{
        BlackHole, Instance, Refusing, TestGateway, assert_connected, assert_refused, assert_reset, soon,
        until,
    },
};
use crate::{api::MemgraphCluster, gateway::statistics::Refusal};

/// With clients that are held for so long.
fn holding(millis: u64) -> MemgraphCluster {
    demo().spec(|s| s.gateway.hold_timeout = format!("{millis}ms").parse().unwrap())
}

/// Far longer than a test takes.
const LONG: u64 = 60_000;

#[tokio::test]
async fn a_client_that_comes_while_the_route_is_closed_is_led_to_the_next_main() {
    let main = Instance::start().await;
    let mut gateway = TestGateway::serving(&holding(LONG).term(8).closed()).await;
    let mut client = gateway.client().await;
    // It has spoken already, as Bolt clients do.
    client.write_all(b"hello").await.unwrap();
    gateway.until(|report| report["sessions"]["held"] == 1).await;

    gateway
        .enforce(&holding(LONG).term(8).main_at("demo-1", main.address))
        .await;
    let mut instance = main.accept().await;
    let mut greeting = [0; 5];
    soon(instance.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"hello");
    assert_connected(&mut client, &mut instance).await;
    let report = gateway.route().await;
    assert_eq!(
        report["sessions"],
        serde_json::json!({"readWrite": 1, "read": 0, "held": 0, "paused": 0})
    );
}

#[tokio::test]
async fn a_client_whose_main_refuses_it_is_led_to_the_next_one() {
    let refusing = Refusing::open();
    let main = Instance::start().await;
    let mut gateway = TestGateway::serving(&holding(LONG).main_at("demo-0", refusing.address)).await;
    let mut client = gateway.client().await;
    gateway.until(|report| report["sessions"]["held"] == 1).await;
    assert_eq!(
        gateway.route().await["sessions"]["readWrite"],
        0,
        "a fence need not wait for it"
    );

    gateway.enforce(&holding(LONG).term(8).closed()).await;
    gateway
        .enforce(&holding(LONG).term(8).main_at("demo-1", main.address))
        .await;
    let mut instance = main.accept().await;
    assert_connected(&mut client, &mut instance).await;
}

/// A client of a gateway whose MAIN does not answer has said something.
async fn greeted(main: &BlackHole) -> (TestGateway, TcpStream) {
    let cluster = holding(LONG)
        .main_at("demo-0", main.address)
        .spec(|s| s.gateway.connect_timeout = "20ms".parse().unwrap());
    let gateway = TestGateway::serving(&cluster).await;
    let mut client = gateway.client().await;
    client.write_all(b"hello").await.unwrap();
    (gateway, client)
}

#[tokio::test]
async fn a_client_whose_main_does_not_answer_at_first_is_led_to_it_later() {
    let hole = BlackHole::open();
    let (gateway, mut client) = greeted(&hole).await;
    soon(async {
        while gateway.writers.failed_connects() < 2 {
            yield_now().await;
        }
    })
    .await;

    let main = hole.answer();
    // Tries that were given up may be accepted first. They end without a word.
    let mut instance = soon(async {
        loop {
            let mut instance = main.accept().await;
            let mut greeting = [0; 5];
            if instance.read_exact(&mut greeting).await.is_ok() {
                assert_eq!(&greeting, b"hello");
                return instance;
            }
        }
    })
    .await;
    assert_connected(&mut client, &mut instance).await;
}

#[tokio::test]
async fn a_client_whose_main_cannot_be_reached_is_tried_for_again_without_haste() {
    // To nobody: each connect to it fails at once.
    let nowhere = "255.255.255.255:7687".parse().unwrap();
    let gateway = TestGateway::serving(&holding(LONG).main_at("demo-0", nowhere)).await;
    let begin = std::time::Instant::now();
    let client = gateway.client().await;
    until(true, || gateway.writers.failed_connects() >= 3).await;
    assert!(
        begin.elapsed() >= Duration::from_millis(150),
        "{:?}",
        begin.elapsed()
    );
    let report = gateway.route().await;
    assert_eq!(report["held"]["tainted"], false, "{report}");
    assert!(report["reach"]["silentMillisAgo"].is_number(), "{report}");
    drop(client);
    until(1, || gateway.writers.refused(Refusal::Gone)).await;
}

#[tokio::test]
async fn a_fence_does_not_wait_for_who_tries_again() {
    let nowhere = "255.255.255.255:7687".parse().unwrap();
    let main = Instance::start().await;
    let cluster = holding(LONG).main_at("demo-0", nowhere);
    let mut gateway = TestGateway::serving(&cluster).await;
    let mut client = gateway.client().await;
    until(true, || gateway.writers.failed_connects() >= 1).await;
    gateway.enforce(&cluster.clone().term(8).closed()).await;
    gateway
        .enforce(&cluster.term(8).main_at("demo-1", main.address))
        .await;
    let mut instance = main.accept().await;
    assert_connected(&mut client, &mut instance).await;
}

#[tokio::test]
async fn a_client_that_goes_while_main_does_not_answer_is_not_tried_for_any_more() {
    let hole = BlackHole::open();
    let (gateway, client) = greeted(&hole).await;
    gateway.until_sessions(1, 0).await;
    drop(client);
    until(1, || gateway.writers.refused(Refusal::Gone)).await;
}

#[tokio::test]
async fn a_client_is_held_for_no_longer_than_the_spec_says() {
    let gateway = TestGateway::serving(&holding(50).closed()).await;
    let begin = std::time::Instant::now();
    assert_refused(gateway.addresses.read_write).await;
    assert!(begin.elapsed() >= Duration::from_millis(50));
    gateway.until(|report| report["sessions"]["held"] == 0).await;
}

#[tokio::test]
async fn a_client_that_goes_while_it_is_held_makes_room() {
    let mut gateway = TestGateway::serving(
        &holding(LONG)
            .spec(|s| s.gateway.max_held_connections = 1)
            .closed(),
    )
    .await;
    for (speaks, resets) in [(false, false), (true, false), (true, true)] {
        let mut client = gateway.client().await;
        gateway.until(|report| report["sessions"]["held"] == 1).await;
        assert_refused(gateway.addresses.read_write).await;
        if speaks {
            client.write_all(b"hello").await.unwrap();
        }
        if resets {
            client.set_zero_linger().unwrap();
        }
        drop(client);
        gateway.until(|report| report["sessions"]["held"] == 0).await;
    }
    // The bound is the spec's.
    gateway
        .enforce(
            &holding(LONG)
                .spec(|s| s.gateway.max_held_connections = 0)
                .term(9)
                .closed(),
        )
        .await;
    assert_refused(gateway.addresses.read_write).await;
}

#[tokio::test]
async fn readers_are_not_held() {
    let gateway = TestGateway::serving(&holding(LONG).closed()).await;
    assert_refused(gateway.addresses.read).await;
}

#[tokio::test]
async fn held_clients_are_reset_when_the_gateway_ends() {
    let gateway = TestGateway::start_with_drain(Duration::from_millis(50)).await;
    gateway.grant(&holding(LONG).closed());
    gateway.until(|report| report["term"] == 7).await;
    let mut client = gateway.client().await;
    gateway.until(|report| report["sessions"]["held"] == 1).await;
    gateway.stop.cancel();
    assert_reset(&mut client).await;
    soon(gateway.served).await.unwrap().unwrap();
}
