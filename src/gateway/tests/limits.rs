//! The bounds on sessions hold exactly.

use std::io::ErrorKind;

use futures::future::join_all;
use tokio::net::TcpStream;

use super::{
    cluster::{Build, demo, replica},
    harness::{Instance, TestGateway, assert_connected, assert_refused, greeting},
};

/// Those of so many new clients that were greeted by MAIN; each of the others must have been reset.
async fn greeted(gateway: &TestGateway, clients: usize) -> Vec<TcpStream> {
    let outcomes = join_all((0..clients).map(|_| greeting(gateway.addresses.read_write)));
    let served = outcomes.await.into_iter().filter_map(|outcome| {
        outcome
            .map_err(|error| assert_eq!(error.kind(), ErrorKind::ConnectionReset))
            .ok()
    });
    served.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_clients_at_once_exactly_as_many_are_served_as_the_spec_allows() {
    let main = Instance::start().await;
    let cluster = demo()
        .main_at("demo-0", main.address)
        .spec(|s| s.gateway.read_write.max_connections = 50);
    let gateway = TestGateway::serving(&cluster).await;
    main.greet_everybody();

    let mut served = greeted(&gateway, 200).await;
    assert_eq!(served.len(), 50);

    // Whoever leaves makes room for exactly one. The instance keeps its half, so the clients leave by a reset.
    for leaving in served.drain(..7) {
        leaving.set_zero_linger().unwrap();
    }
    gateway.until_sessions(43, 0).await;
    while served.len() < 50 {
        served.extend(greeted(&gateway, 1).await);
    }
    assert_eq!(greeted(&gateway, 20).await.len(), 0);
}

#[tokio::test]
async fn writers_and_readers_are_counted_apart() {
    let (main, other) = (Instance::start().await, Instance::start().await);
    let cluster = demo()
        .main_at("demo-0", main.address)
        .instances([replica("demo-1", &other.address.to_string())])
        .spec(|s| {
            s.gateway.read_write.max_connections = 1;
            s.gateway.read.max_connections = 2;
        });
    let gateway = TestGateway::serving(&cluster).await;
    let (mut writer, mut instance) = gateway.session(&main).await;
    let first = gateway.read_session(&other).await;
    let second = gateway.read_session(&other).await;
    gateway.until_sessions(1, 2).await;
    assert_refused(gateway.addresses.read_write).await;
    assert_refused(gateway.addresses.read).await;

    drop(first);
    gateway.until_sessions(1, 1).await;
    assert_refused(gateway.addresses.read_write).await;
    assert_connected(&mut writer, &mut instance).await;
    drop(second);
}

#[tokio::test]
async fn a_lowered_bound_refuses_new_sessions_and_cuts_none() {
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let mut gateway = TestGateway::serving(&cluster).await;
    let mut sessions = [gateway.session(&main).await, gateway.session(&main).await];

    gateway
        .enforce(&cluster.spec(|s| s.gateway.read_write.max_connections = 1))
        .await;
    // The state is enforced when a new client is refused; before, it is served.
    let mut extra = Vec::new();
    loop {
        tokio::select! {
            refused = greeting(gateway.addresses.read_write) => {
                assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionReset);
                break;
            }
            served = main.accept() => extra.push(served),
        }
    }
    for (client, instance) in &mut sessions {
        assert_connected(client, instance).await;
    }
}
