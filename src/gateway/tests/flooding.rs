//! Clients that come too fast or in too great a number are refused, counted, and hurt nobody else.

use std::{
    future::pending,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::{
    cluster::{Build, demo, replica},
    harness::{
        BlackHole, Instance, Refusing, TestGateway, assert_connected, assert_refused, pattern, read_now,
        soon, until,
    },
};
use crate::{
    api::{ConnectionRateLimit, DurationString, MemgraphCluster, MemgraphClusterSpec},
    gateway::{Direction, Ending, Refusal},
};

/// So slow a rate that no test lasts long enough for one connection more.
fn bursts_of(burst: i32) -> impl FnOnce(&mut MemgraphClusterSpec) {
    move |spec| {
        spec.gateway.connection_rate_limit = Some(ConnectionRateLimit {
            per_second: 1,
            burst: Some(burst),
        });
    }
}

async fn connect_from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(IpAddr::from(source), 0)).unwrap();
    soon(socket.connect(to)).await.unwrap()
}

fn main_at(main: &Instance) -> MemgraphCluster {
    demo().main_at("demo-0", main.address)
}

#[tokio::test]
async fn an_address_that_connects_too_fast_is_refused_and_no_other_one() {
    let (main, replica_one) = (Instance::start().await, Instance::start().await);
    let cluster = main_at(&main)
        .instances([replica("demo-1", &replica_one.address.to_string())])
        .spec(bursts_of(3));
    let gateway = TestGateway::serving(&cluster).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(gateway.session(&main).await);
    }
    // At the rate of one per second this holds for the next few.
    let mut refused = 0;
    while refused < 5 {
        let client = gateway.client().await;
        tokio::select! {
            () = until(true, || gateway.writers.refused(Refusal::TooFast) > refused) => {
                refused += 1;
                drop(client);
            }
            served = main.accept() => sessions.push((client, served)),
        }
    }

    // Another address, and the other port.
    let other = connect_from([127, 0, 0, 2], gateway.addresses.read_write).await;
    sessions.push((other, main.accept().await));
    sessions.push(gateway.read_session(&replica_one).await);
    for (client, instance) in &mut sessions {
        assert_connected(client, instance).await;
    }
    assert_eq!(gateway.readers.refused(Refusal::TooFast), 0);
}

#[tokio::test]
async fn a_rate_may_be_set_and_taken_away_at_any_time() {
    let main = Instance::start().await;
    let cluster = main_at(&main);
    let mut gateway = TestGateway::serving(&cluster.clone().spec(bursts_of(1))).await;
    let _first = gateway.session(&main).await;
    assert_refused(gateway.addresses.read_write).await;

    // A new term cuts the first session.
    gateway.enforce(&cluster.term(8)).await;
    for _ in 0..20 {
        let (mut client, mut instance) = gateway.session(&main).await;
        assert_connected(&mut client, &mut instance).await;
    }
}

#[tokio::test]
async fn a_storm_at_the_limit_hurts_no_session_and_each_of_it_is_counted() {
    const STORM: u64 = 300;
    let main = Instance::start().await;
    let cluster = main_at(&main).spec(|s| s.gateway.read_write.max_connections = 2);
    let gateway = TestGateway::serving(&cluster).await;
    let mut sessions = [gateway.session(&main).await, gateway.session(&main).await];
    for round in 0..STORM {
        // Some are gone before they are accepted, some wait for their refusal, some are refused while they connect.
        let client = soon(TcpStream::connect(gateway.addresses.read_write)).await;
        if round % 3 == 0 {
            client
                .into_iter()
                .for_each(|client| client.set_zero_linger().unwrap());
        } else if round % 3 == 1 {
            assert_refused(gateway.addresses.read_write).await;
        }
        if round % 50 == 0 {
            for (client, instance) in &mut sessions {
                assert_connected(client, instance).await;
            }
        }
    }
    let refused = || {
        let counted = gateway.writers.refused(Refusal::TooMany) + gateway.writers.refused(Refusal::Gone);
        (gateway.writers.accepted(), counted)
    };
    until((STORM + STORM / 3 + 2, STORM + STORM / 3), refused).await;
    assert_eq!(gateway.writers.begun(), 2);
}

#[tokio::test]
async fn every_way_to_be_refused_and_to_end_has_its_counter() {
    let main = Instance::start().await;
    let cluster = main_at(&main);
    let mut gateway = TestGateway::serving(&cluster).await;
    let ended = |ending| {
        let writers = Arc::clone(&gateway.writers);
        async move { until(1, || writers.ended(ending)).await }
    };

    let (client, instance) = gateway.session(&main).await;
    client.set_zero_linger().unwrap();
    drop(client);
    ended(Ending::ByClient).await;
    drop(instance);

    let (mut client, mut instance) = gateway.session(&main).await;
    assert_connected(&mut client, &mut instance).await;
    drop(instance);
    assert_eq!(soon(client.read(&mut [0])).await.unwrap(), 0);
    drop(client);
    ended(Ending::ByInstance).await;

    let (client, mut instance) = gateway.session(&main).await;
    drop(client);
    assert_eq!(soon(instance.read(&mut [0])).await.unwrap(), 0);
    drop(instance);
    ended(Ending::Finished).await;
    assert_eq!(gateway.writers.bytes(Direction::Up), 4);
    assert_eq!(gateway.writers.bytes(Direction::Down), 4);

    let (client, _instance) = gateway.session(&main).await;
    gateway.enforce(&cluster.clone().closed().term(8)).await;
    assert_eq!(read_now(client), Err(ErrorKind::ConnectionReset));
    until(1, || gateway.writers.ended(Ending::Cut)).await;

    assert_refused(gateway.addresses.read_write).await;
    assert_refused(gateway.addresses.read).await;
    until(1, || gateway.writers.refused(Refusal::NoInstance)).await;
    until(1, || gateway.readers.refused(Refusal::NoInstance)).await;
    assert_eq!((gateway.writers.accepted(), gateway.writers.begun()), (5, 4));
}

#[tokio::test]
async fn held_clients_are_counted_by_what_becomes_of_them() {
    let holding = |held, millis| {
        move |spec: &mut MemgraphClusterSpec| {
            spec.gateway.max_held_connections = held;
            spec.gateway.hold_timeout = DurationString::from_millis(millis);
        }
    };
    let mut gateway = TestGateway::serving(&demo().closed().spec(holding(1, 60_000))).await;
    let first = gateway.client().await;
    until(1, || gateway.writers.accepted()).await;
    assert_refused(gateway.addresses.read_write).await;
    assert_eq!(gateway.writers.refused(Refusal::TooManyHeld), 1);
    drop(first);
    until(1, || gateway.writers.refused(Refusal::Gone)).await;

    gateway
        .enforce(&demo().closed().term(8).spec(holding(1, 20)))
        .await;
    assert_refused(gateway.addresses.read_write).await;
    assert_eq!(gateway.writers.refused(Refusal::NoInstance), 1);
}

#[tokio::test]
async fn connects_that_fail_are_counted() {
    let (refusing, silent) = (Refusing::open(), BlackHole::open());
    for address in [refusing.address, silent.address] {
        let cluster = demo()
            .main_at("demo-0", address)
            .spec(|s| s.gateway.connect_timeout = DurationString::from_millis(20));
        let gateway = TestGateway::serving(&cluster).await;
        assert_refused(gateway.addresses.read_write).await;
        assert_eq!(gateway.writers.failed_connects(), 1);
    }
}

/// Clients that begin no conversation, or hardly go on with one, take their own place only.
#[tokio::test]
async fn slow_and_silent_clients_hold_nobody_up() {
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&main_at(&main)).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(gateway.session(&main).await);
    }
    for (client, _) in &silent {
        client.try_write(b"\x60").unwrap();
    }
    let (mut client, mut instance) = gateway.session(&main).await;
    for _ in 0..100 {
        assert_connected(&mut client, &mut instance).await;
    }
}

/// MAIN, which sends everything back.
fn echo(main: Instance) {
    tokio::spawn(async move {
        loop {
            let mut stream = main.accept().await;
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _broken = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
}

/// One client that does, for ever, what no client should.
async fn behave_badly(how: usize, gateway: SocketAddr) {
    let noise = pattern(300_000);
    loop {
        let Ok(mut client) = TcpStream::connect(gateway).await else {
            continue;
        };
        match how % 6 {
            // Is gone at once.
            0 => drop(client),
            // Resets its connection in the middle of what is said both ways.
            1 => {
                let _broken = client.write_all(&noise).await;
                let _broken = client.read_u8().await;
                client.set_zero_linger().unwrap();
            }
            // Says very much and never reads.
            2 => while client.write_all(&noise).await.is_ok() {},
            // Ends its half and stays.
            3 => {
                let _broken = client.write_all(&noise[..1_000]).await;
                let _broken = client.shutdown().await;
                pending::<()>().await;
            }
            // A byte now and then.
            4 => {
                for byte in &noise {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    if client.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                }
            }
            // Says nothing.
            _ => pending().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_behave_badly_in_every_way_hurt_nobody() {
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&main_at(&main)).await;
    echo(main);
    let bad: Vec<_> = (0..60)
        .map(|how| tokio::spawn(behave_badly(how, gateway.addresses.read_write)))
        .collect();
    let good = (0..8_usize).map(|at| {
        let gateway = gateway.addresses.read_write;
        async move {
            let question = &pattern(2_000)[at..];
            for _ in 0..5 {
                let mut client = TcpStream::connect(gateway).await.unwrap();
                for _ in 0..20 {
                    client.write_all(question).await.unwrap();
                    let mut answer = vec![0; question.len()];
                    client.read_exact(&mut answer).await.unwrap();
                    assert!(answer == question);
                }
            }
        }
    });
    soon(join_all(good)).await;

    for bad in &bad {
        bad.abort();
    }
    let counted = || {
        let refused: u64 = Refusal::ALL
            .map(|refusal| gateway.writers.refused(refusal))
            .iter()
            .sum();
        let ended: u64 = Ending::ALL
            .map(|ending| gateway.writers.ended(ending))
            .iter()
            .sum();
        (gateway.writers.accepted() - refused, ended)
    };
    gateway.until_sessions(0, 0).await;
    until(true, || counted().0 == counted().1).await;
    assert!(gateway.writers.begun() >= 40);
}
