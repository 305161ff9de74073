//! The gateway ends in order.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use tokio::net::TcpStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    cluster::{Build, demo, replica},
    controlled::{self, CLUSTER, ask},
    harness::{
        Instance, POD, TTL, TestClock, TestGateway, assert_connected, assert_reset, loopback, read_now, soon,
    },
};
use crate::{
    api::ledger::Route,
    gateway::{Gate, Grace, Keeper, Port, Statistics, accept::Door, socket},
};

#[tokio::test]
async fn sessions_may_end_by_themselves_while_no_new_one_is_taken() {
    let main = Instance::start().await;
    let mut gateway = TestGateway::serving(&demo().main_at("demo-0", main.address)).await;
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
    gateway.until_retired().await;
    gateway.end().await;
}

#[tokio::test]
async fn one_that_is_to_end_takes_sessions_until_all_have_heard_of_it() {
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let long = Duration::from_secs(60);
    let grace = Grace {
        notice: long,
        drain: long,
    };
    let mut gateway = TestGateway::ending(grace).await;
    gateway.enforce(&cluster).await;

    gateway.stop.cancel();
    assert_eq!(gateway.readyz().await.0, 503);
    // It has its grant, and gets further ones: a switchover meanwhile is like any other.
    let (mut client, mut instance) = gateway.session(&main).await;
    assert_connected(&mut client, &mut instance).await;
    gateway.enforce(&cluster.clone().term(8).closed()).await;
    assert_reset(&mut client).await;
    let next = Instance::start().await;
    gateway
        .enforce(&cluster.term(8).main_at("demo-1", next.address))
        .await;
    let (mut client, mut instance) = gateway.session(&next).await;
    assert_connected(&mut client, &mut instance).await;
    gateway.served.abort();
}

#[tokio::test]
async fn all_that_wait_to_be_accepted_as_the_notice_ends_are_taken_in() {
    /// More than the runtime lets a task do in one turn.
    const WAITING: usize = 300;
    let gate = Arc::new(Gate::new(Keeper::new(TestClock::default(), POD.to_owned(), 1)));
    let statistics = Arc::new(Statistics::new(Port::ReadWrite));
    let sessions = TaskTracker::new();
    let door = Door::new(Port::ReadWrite, gate, Arc::clone(&statistics), sessions, None);
    let listener = socket::listen_for_sessions(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        waiting.push(soon(TcpStream::connect(address)).await.unwrap());
    }
    let stop = CancellationToken::new();
    stop.cancel();
    door.accept(listener, stop).await;
    assert_eq!(statistics.accepted(), WAITING as u64);
}

#[tokio::test]
async fn the_time_of_notice_ends_and_is_part_of_the_grace_period() {
    let main = Instance::start().await;
    let instant = Duration::from_millis(50);
    let mut gateway = TestGateway::ending(Grace::of(instant)).await;
    gateway.enforce(&demo().main_at("demo-0", main.address)).await;
    let (client, _instance) = gateway.session(&main).await;

    gateway.stop.cancel();
    gateway.until_retired().await;
    let error = TcpStream::connect(gateway.addresses.read_write)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(read_now(client), Err(ErrorKind::ConnectionReset));
    gateway.end().await;

    let generous = Grace::of(Duration::from_secs(20));
    assert!(generous.notice < generous.drain, "{generous:?}");
}

#[tokio::test]
async fn what_is_left_after_the_grace_period_is_cut() {
    let main = Instance::start().await;
    let mut gateway = TestGateway::start_with_drain(Duration::from_millis(50)).await;
    gateway.enforce(&demo().main_at("demo-0", main.address)).await;
    let (client, instance) = gateway.session(&main).await;

    gateway.stop.cancel();
    // To give the grant back is to say so.
    gateway.until_retired().await;
    assert_eq!(read_now(client), Err(ErrorKind::ConnectionReset));
    assert_eq!(read_now(instance), Err(ErrorKind::ConnectionReset));
    assert!(!gateway.served.is_finished());
    gateway.end().await;
}

#[tokio::test]
async fn a_fence_is_still_obeyed_and_acknowledged_during_the_grace_period() {
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let mut gateway = TestGateway::serving(&cluster).await;
    let (mut client, _instance) = gateway.session(&main).await;

    gateway.stop.cancel();
    let cluster = cluster.term(8).closed();
    gateway.enforce(&cluster).await;
    assert_reset(&mut client).await;
    // The last session is gone, but a switchover closes the route twice.
    gateway.enforce(&cluster.term(9)).await;
    assert!(!gateway.served.is_finished());
    gateway.end().await;
}

#[tokio::test]
async fn one_that_has_given_its_grant_back_answers_for_the_time_of_one_more() {
    let main = Instance::start().await;
    let (mut gateway, link) = controlled::start().await;
    gateway.acquaint().await;
    let cluster = demo().main_at("demo-0", main.address);
    let first = ask(&gateway, &link, &cluster, None).await.unwrap();
    let second = ask(&gateway, &link, &cluster, Some(first.nonce)).await.unwrap();
    assert_eq!(second.report.route, Route::Open);
    let (client, instance) = gateway.session(&main).await;

    gateway.stop.cancel();
    drop((client, instance));
    gateway.until_retired().await;
    assert_eq!(gateway.readyz().await.0, 503);
    let error = TcpStream::connect(gateway.addresses.read_write)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

    // What was on its way comes to nothing, and what is new as well.
    let late = ask(&gateway, &link, &cluster, Some(second.nonce)).await.unwrap();
    let refusal = "this gateway ends, and takes no grant any more";
    assert_eq!(late.refusal.as_deref(), Some(refusal));
    let closed = cluster.clone().term(8).closed();
    let fenced = ask(&gateway, &link, &closed, None).await.unwrap();
    assert!(fenced.report.confirms(CLUSTER, 8), "{fenced:?}");
    let opened = cluster.term(8);
    let next = ask(&gateway, &link, &opened, Some(fenced.nonce)).await.unwrap();
    assert_eq!(next.refusal.as_deref(), Some(refusal));
    assert_eq!((next.report.route, next.report.held), (Route::Closed, None));

    gateway.clock.advance(TTL - Duration::from_nanos(1));
    gateway.keeper.wake();
    let again = ask(&gateway, &link, &closed.term(9), None).await.unwrap();
    assert!(again.report.confirms(CLUSTER, 9), "{again:?}");
    gateway.clock.advance(Duration::from_nanos(1));
    gateway.keeper.wake();
    soon(&mut gateway.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn one_that_nobody_has_to_ask_ends_with_its_last_session() {
    let replica_at = Instance::start().await;
    let cluster = demo()
        .closed()
        .instances([replica("demo-1", &replica_at.address.to_string())]);
    let gateway = TestGateway::serving(&cluster).await;
    let (client, instance) = gateway.read_session(&replica_at).await;
    gateway.stop.cancel();
    drop((client, instance));
    soon(gateway.served).await.unwrap().unwrap();

    // It had a grant once.
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let gateway = TestGateway::serving(&cluster).await;
    gateway.clock.advance(TTL);
    gateway.stop.cancel();
    soon(gateway.served).await.unwrap().unwrap();
}
