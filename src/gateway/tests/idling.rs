//! Sessions that pass nothing are cut, and no other ones.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    cluster::{Build, demo},
    harness::{Instance, TestGateway, assert_reset, fill, soon, until},
};
use crate::{
    api::{DurationString, MemgraphCluster},
    gateway::Ending,
};

fn with_timeout(main: &Instance, millis: u64) -> MemgraphCluster {
    demo()
        .main_at("demo-0", main.address)
        .spec(|s| s.gateway.idle_timeout = DurationString::from_millis(millis))
}

#[tokio::test]
async fn a_session_without_traffic_is_reset_on_both_sides() {
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&with_timeout(&main, 100)).await;
    let begun = Instant::now();
    let (mut client, mut instance) = gateway.session(&main).await;
    assert_reset(&mut client).await;
    assert_reset(&mut instance).await;
    assert!(begun.elapsed() >= Duration::from_millis(100));
    until(1, || gateway.writers.ended(Ending::Idle)).await;
}

#[tokio::test]
async fn traffic_in_one_direction_keeps_a_session() {
    for from_client in [true, false] {
        let main = Instance::start().await;
        let gateway = TestGateway::serving(&with_timeout(&main, 1_000)).await;
        let (client, instance) = gateway.session(&main).await;
        let (mut from, mut to) = match from_client {
            true => (client, instance),
            false => (instance, client),
        };
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        while begun.elapsed() < Duration::from_millis(2_500) {
            ticks.tick().await;
            from.write_all(b"x").await.unwrap();
            soon(to.read_u8()).await.unwrap();
        }
        assert_eq!(gateway.writers.ended(Ending::Idle), 0);
        assert_reset(&mut from).await;
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_idle_however_much_waits_for_it() {
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&with_timeout(&main, 300)).await;
    let (_client, instance) = gateway.session(&main).await;
    // Until the gateway takes nothing more either.
    let pressing = async {
        loop {
            fill(&instance).await;
            if instance.writable().await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
            if gateway.writers.ended(Ending::Idle) == 1 {
                return;
            }
        }
    };
    tokio::select! {
        () = pressing => {}
        () = until(1, || gateway.writers.ended(Ending::Idle)) => {}
    }
}

#[tokio::test]
async fn a_timeout_that_is_set_later_counts_for_sessions_that_there_are() {
    let main = Instance::start().await;
    let mut gateway = TestGateway::serving(&with_timeout(&main, 0)).await;
    let (mut client, _instance) = gateway.session(&main).await;
    // The same term: the session goes on.
    gateway.show(&with_timeout(&main, 50));
    assert_reset(&mut client).await;
    assert_eq!(gateway.writers.ended(Ending::Idle), 1);
}
