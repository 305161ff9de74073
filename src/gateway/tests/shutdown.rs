//! The gateway ends in order.

use std::{io::ErrorKind, time::Duration};

use tokio::net::TcpStream;

use super::{
    cluster::{Build, demo},
    harness::{Instance, TestGateway, assert_connected, assert_reset, read_now, soon},
};

#[tokio::test]
async fn sessions_may_end_by_themselves_while_no_new_one_is_taken() {
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&demo().main_at("demo-0", main.address)).await;
    let (mut client, mut instance) = gateway.session(&main).await;

    gateway.stop.cancel();
    let (status, reason) = gateway.readyz().await;
    assert_eq!(status, 503);
    assert!(reason.contains("shutting down"), "{reason}");
    // The listener is closed by a task of its own; until then a client is still served.
    let mut early = Vec::new();
    soon(async {
        loop {
            match TcpStream::connect(gateway.addresses.read_write).await {
                Ok(stream) => early.push(stream),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => break,
                Err(_) => {}
            }
        }
    })
    .await;
    drop(early);

    assert_connected(&mut client, &mut instance).await;
    assert!(!gateway.served.is_finished());
    drop(client);
    drop(instance);
    drop(main);
    soon(gateway.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_left_after_the_grace_period_is_cut() {
    let main = Instance::start().await;
    let mut gateway = TestGateway::start_with_drain(Duration::from_millis(50)).await;
    gateway.enforce(&demo().main_at("demo-0", main.address)).await;
    let (client, instance) = gateway.session(&main).await;

    gateway.stop.cancel();
    soon(gateway.served).await.unwrap().unwrap();
    assert_eq!(read_now(client), Err(ErrorKind::ConnectionReset));
    assert_eq!(read_now(instance), Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_fence_is_still_obeyed_and_acknowledged_during_the_grace_period() {
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let mut gateway = TestGateway::serving(&cluster).await;
    let (mut client, _instance) = gateway.session(&main).await;

    gateway.stop.cancel();
    gateway.show(&cluster.term(8).closed());
    assert_reset(&mut client).await;
    // The last session is gone, so the gateway ends.
    soon(&mut gateway.served).await.unwrap().unwrap();
}
