//! A route that is closed for a moment, with the same MAIN before and after: sessions stay, and nothing passes meanwhile.

use std::{io::ErrorKind, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    cluster::{Build, demo},
    harness::{
        Instance, Refusing, TestGateway, assert_connected, assert_refused, assert_reset, read_now, soon,
    },
};
use crate::api::{DurationString, MemgraphCluster};

fn with_main(main: &Instance) -> MemgraphCluster {
    demo().main_at("demo-0", main.address)
}

async fn receive(stream: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    soon(stream.read_exact(&mut got)).await.unwrap();
    assert_eq!(got, expected);
}

/// Whether nothing is to be read. What was passed on would be there at once.
fn is_empty(stream: &TcpStream) -> bool {
    let found = stream.try_read(&mut [0]);
    matches!(found, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[tokio::test]
async fn sessions_outlive_pauses_and_nothing_passes_while_the_route_is_told_to_be_closed() {
    let main = Instance::start().await;
    let mut cluster = with_main(&main).spec(|s| s.gateway.hold_timeout.0 = Duration::from_secs(60));
    let mut gateway = TestGateway::serving(&cluster).await;
    let (mut client, mut instance) = gateway.session(&main).await;
    assert_connected(&mut client, &mut instance).await;
    for _ in 0..3 {
        cluster = cluster.paused();
        gateway.enforce(&cluster).await;
        let report = gateway.route().await;
        assert_eq!(
            (&report["sessions"]["readWrite"], &report["sessions"]["paused"]),
            (&1.into(), &1.into())
        );
        client.write_all(b"COMMIT").await.unwrap();
        instance.write_all(b"SUCCESS").await.unwrap();
        // Whoever comes now waits for MAIN.
        let mut late = gateway.client().await;
        gateway.until(|report| report["sessions"]["held"] == 1).await;
        assert!(is_empty(&client) && is_empty(&instance));

        cluster = cluster.resumed();
        gateway.enforce(&cluster).await;
        receive(&mut client, b"SUCCESS").await;
        receive(&mut instance, b"COMMIT").await;
        assert_connected(&mut client, &mut instance).await;
        let mut of_late = main.accept().await;
        assert_connected(&mut late, &mut of_late).await;
        drop((late, of_late));
        gateway.until_sessions(1, 0).await;
    }
    assert_eq!(gateway.route().await["term"], 10);
}

#[tokio::test]
async fn readers_who_are_led_to_main_are_paused_like_writers() {
    let main = Instance::start().await;
    let cluster = with_main(&main).spec(|s| s.gateway.read.fallback_to_main = true);
    let mut gateway = TestGateway::serving(&cluster).await;
    let (mut reader, mut instance) = gateway.read_session(&main).await;
    assert_connected(&mut reader, &mut instance).await;
    let cluster = cluster.paused();
    gateway.enforce(&cluster).await;
    instance.write_all(b"SUCCESS").await.unwrap();
    assert_eq!(gateway.route().await["sessions"]["paused"], 1);
    assert!(is_empty(&reader));
    // The operator's word comes before the API server's.
    let resumed = cluster.resumed();
    assert_eq!(gateway.grant(&resumed), None);
    receive(&mut reader, b"SUCCESS").await;
    gateway.show_only(&resumed);
    gateway.until(|report| report["route"] == "Open").await;
    assert_connected(&mut reader, &mut instance).await;
}

/// The pause ends before anything has begun to wait for its end.
#[tokio::test]
async fn a_pause_that_has_ended_by_the_time_at_which_its_end_is_waited_for_cuts_the_sessions() {
    let main = Instance::start().await;
    let cluster = with_main(&main);
    let gateway = TestGateway::serving(&cluster).await;
    let (mut client, _instance) = gateway.session(&main).await;
    assert_eq!(gateway.grant(&cluster.paused()), None);
    gateway.clock.advance(Duration::from_secs(1));
    assert_reset(&mut client).await;
}

/// MAIN is lost in the pause.
#[tokio::test]
async fn a_pause_that_another_main_ends_cuts_the_sessions_and_what_was_held_reaches_nobody() {
    let (main, next) = (Instance::start().await, Instance::start().await);
    let cluster = with_main(&main);
    let mut gateway = TestGateway::serving(&cluster).await;
    let (mut client, mut instance) = gateway.session(&main).await;
    assert_connected(&mut client, &mut instance).await;
    let paused = cluster.paused();
    gateway.enforce(&paused).await;
    client.write_all(b"COMMIT").await.unwrap();
    instance.write_all(b"SUCCESS").await.unwrap();
    let moved = paused.term(9).main_at("demo-1", next.address).resumed();
    gateway.enforce(&moved).await;
    assert_reset_unread(&mut client).await;
    assert_reset_unread(&mut instance).await;
    let (mut client, mut instance) = gateway.session(&next).await;
    assert_connected(&mut client, &mut instance).await;
}

async fn assert_reset_unread(stream: &mut TcpStream) {
    let error = soon(stream.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_pause_that_lasts_too_long_cuts_the_sessions() {
    let main = Instance::start().await;
    let cluster = with_main(&main);
    let mut gateway = TestGateway::serving(&cluster).await;
    let (mut client, instance) = gateway.session(&main).await;
    let paused = cluster.paused();
    gateway.enforce(&paused).await;
    gateway.clock.advance(Duration::from_secs(1));
    // What ends it is a timer, which runs by another clock.
    gateway.keeper.wake();
    assert_reset(&mut client).await;
    assert_eq!(read_now(instance), Err(ErrorKind::ConnectionReset));
    gateway.until_sessions(0, 0).await;
    gateway.enforce(&paused.resumed()).await;
    let (mut client, mut instance) = gateway.session(&main).await;
    assert_connected(&mut client, &mut instance).await;
}

/// It has come so far by the time at which it learns of the pause that its sessions are over.
#[tokio::test]
async fn a_gateway_whose_grant_has_run_out_pauses_nothing() {
    let main = Instance::start().await;
    let cluster = with_main(&main);
    let mut gateway = TestGateway::serving(&cluster).await;
    let (mut client, _instance) = gateway.session(&main).await;
    gateway.clock.advance(Duration::from_secs(5));
    gateway.enforce(&cluster.paused()).await;
    assert_reset(&mut client).await;
}

/// A gateway that starts in a pause knows nobody.
#[tokio::test]
async fn a_gateway_that_starts_in_a_pause_leads_nobody_before_its_end() {
    let main = Instance::start().await;
    let paused = with_main(&main).paused();
    let mut gateway = TestGateway::serving(&paused).await;
    assert_refused(gateway.addresses.read_write).await;
    gateway.enforce(&paused.resumed()).await;
    let (mut client, mut instance) = gateway.session(&main).await;
    assert_connected(&mut client, &mut instance).await;
}

/// MAIN that resets a session after a pause is no less to be doubted than before it.
#[tokio::test]
async fn after_a_pause_a_main_that_resets_a_session_is_doubted() {
    let main = Instance::start().await;
    let paused = with_main(&main).paused();
    let cluster = with_main(&main);
    let mut gateway = TestGateway::serving(&cluster).await;
    let (mut client, instance) = gateway.session(&main).await;
    gateway.enforce(&paused).await;
    gateway.enforce(&paused.resumed()).await;
    instance.set_zero_linger().unwrap();
    drop(instance);
    assert_reset(&mut client).await;
    gateway.until(|report| report["held"]["tainted"] == true).await;
}

/// A new session after a pause that MAIN refuses says the same.
#[tokio::test]
async fn after_a_pause_a_main_that_refuses_a_session_is_doubted() {
    let nobody = Refusing::open();
    let cluster = demo().main_at("demo-0", nobody.address);
    let mut gateway = TestGateway::serving(&cluster).await;
    let paused = cluster.paused();
    gateway.enforce(&paused).await;
    gateway.enforce(&paused.resumed()).await;
    assert_refused(gateway.addresses.read_write).await;
    gateway.until(|report| report["held"]["tainted"] == true).await;
}

/// Nobody is idle for being held up.
#[tokio::test]
async fn a_pause_does_not_count_as_idleness() {
    let main = Instance::start().await;
    let cluster = with_main(&main).spec(|s| s.gateway.idle_timeout = DurationString::from_millis(100));
    let mut gateway = TestGateway::serving(&cluster).await;
    let (mut client, mut instance) = gateway.session(&main).await;
    let paused = cluster.paused();
    gateway.enforce(&paused).await;
    // Too short a time only makes the test see less.
    tokio::time::sleep(Duration::from_millis(300)).await;
    gateway.enforce(&paused.resumed()).await;
    assert_connected(&mut client, &mut instance).await;
}
