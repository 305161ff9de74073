//! Clients whose address a load balancer names, and clients from where none may come.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use proxy_header::{ProxiedAddress, ProxyHeader, Tlv};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::{
    cluster::{Build, demo, replica},
    harness::{Instance, TestGateway, assert_connected, assert_refused, assert_reset, loopback, soon, until},
};
use crate::{
    api::{ConnectionRateLimit, MemgraphCluster, Network, ProxyProtocolSpec},
    gateway::{
        Refusal,
        proxied::{self, Unknown},
    },
};

/// What a Bolt client says first.
const HANDSHAKE: &[u8] = b"\x60\x60\xb0\x17\0\0\x04\x04\0\0\x03\x04\0\0\x01\x04\0\0\0\x04";

fn networks(texts: &[&str]) -> Vec<Network> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Connections from 127.0.0.1 are those of a load balancer.
fn behind_a_balancer(main: &Instance) -> MemgraphCluster {
    demo().main_at("demo-0", main.address).spec(|s| {
        s.gateway.read_write.proxy_protocol = Some(ProxyProtocolSpec {
            balancers: networks(&["127.0.0.1/32"]),
        });
    })
}

fn header(client: &str) -> Vec<u8> {
    let address = ProxiedAddress::stream(client.parse().unwrap(), client.parse().unwrap());
    encoded(&ProxyHeader::with_address(address))
}

fn encoded(header: &ProxyHeader<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.encode_v2(&mut bytes).unwrap();
    bytes
}

/// A header that begins as it should.
fn raw(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(rest);
    bytes
}

async fn connect_from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(IpAddr::from(source), 0)).unwrap();
    soon(socket.connect(to)).await.unwrap()
}

/// What MAIN gets first.
async fn heard(instance: &mut TcpStream) -> Vec<u8> {
    let mut got = vec![0; HANDSHAKE.len()];
    soon(instance.read_exact(&mut got)).await.unwrap();
    got
}

#[tokio::test]
async fn the_header_stays_at_the_gateway_and_no_byte_behind_it_is_lost() {
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&behind_a_balancer(&main)).await;
    let mut with_more = ProxyHeader::with_address(ProxiedAddress::stream(
        "[2001:db8::7]:40000".parse().unwrap(),
        "[2001:db8::1]:7687".parse().unwrap(),
    ));
    with_more.append_tlv(Tlv::Authority("graphs.example".into()));
    with_more.append_tlv(Tlv::Noop(3_000));
    for header in [header("192.0.2.7:40000"), encoded(&with_more)] {
        // In one segment.
        let mut client = gateway.client().await;
        client
            .write_all(&[header.as_slice(), HANDSHAKE].concat())
            .await
            .unwrap();
        let mut instance = main.accept().await;
        assert_eq!(heard(&mut instance).await, HANDSHAKE);
        assert_connected(&mut client, &mut instance).await;

        // In as many as there can be.
        let mut client = gateway.client().await;
        client.set_nodelay(true).unwrap();
        for byte in &header[..60.min(header.len())] {
            client.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        client.write_all(&header[60.min(header.len())..]).await.unwrap();
        client.write_all(HANDSHAKE).await.unwrap();
        let mut instance = main.accept().await;
        assert_eq!(heard(&mut instance).await, HANDSHAKE);
        assert_connected(&mut instance, &mut client).await;
    }
    assert_eq!(gateway.writers.begun(), 4);
}

#[tokio::test]
async fn a_balancer_that_does_not_name_the_client_is_refused() {
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&behind_a_balancer(&main)).await;
    let ends = [192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 0x1e, 0x07];
    let wrong = [
        ("no header", HANDSHAKE.to_vec()),
        ("one byte of none", b"\x60".to_vec()),
        (
            "version 1",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 7687\r\n".to_vec(),
        ),
        ("version 3", raw(0x31, 0x11, 12, &ends)),
        ("an unknown command", raw(0x22, 0x11, 12, &ends)),
        ("an unknown family", raw(0x21, 0x41, 12, &ends)),
        ("no address", raw(0x21, 0x00, 0, &[])),
        ("an address of another kind", raw(0x21, 0x31, 216, &[0; 216])),
        ("datagrams", raw(0x21, 0x12, 12, &ends)),
        ("too short for its addresses", raw(0x21, 0x11, 11, &ends[..11])),
        ("longer than any", raw(0x21, 0x11, 4_081, &ends)),
    ];
    for (refused, (what, bytes)) in (1..).zip(wrong) {
        let mut client = gateway.client().await;
        client.write_all(&bytes).await.unwrap();
        let mut rest = Vec::new();
        let error = soon(client.read_to_end(&mut rest)).await.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}");
        until(refused, || gateway.writers.refused(Refusal::NoHeader)).await;
    }
    assert_eq!(gateway.writers.begun(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_header_that_does_not_come_is_not_waited_for_long() {
    let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    for begun in [0, 1, 15, 20] {
        let mut balancer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut accepted, peer) = listener.accept().await.unwrap();
        balancer
            .write_all(&header("192.0.2.7:40000")[..begun])
            .await
            .unwrap();
        let begin = tokio::time::Instant::now();
        assert_eq!(proxied::client(&mut accepted, peer).await, Err(Unknown::NoHeader));
        assert!(begin.elapsed() >= proxied::DEADLINE, "{begun}");
    }
}

#[tokio::test]
async fn a_named_address_is_the_one_that_counts() {
    let main = Instance::start().await;
    let cluster = behind_a_balancer(&main).spec(|s| {
        s.gateway.read_write.source_ranges = networks(&["192.0.2.0/24", "127.0.0.2/32"]);
        s.gateway.connection_rate_limit = Some(ConnectionRateLimit {
            per_second: 1,
            burst: Some(2),
        });
    });
    let gateway = TestGateway::serving(&cluster).await;
    let come = async |client: &str| {
        let mut stream = gateway.client().await;
        stream.write_all(&header(client)).await.unwrap();
        stream
    };
    let mut sessions = Vec::new();
    for client in [
        "192.0.2.7:1",
        "192.0.2.7:2",
        "192.0.2.8:1",
        "[::ffff:192.0.2.9]:1",
    ] {
        sessions.push((come(client).await, main.accept().await));
    }
    assert_reset(&mut come("192.0.2.7:3").await).await;
    assert_eq!(gateway.writers.refused(Refusal::TooFast), 1);
    for stranger in ["198.51.100.1:1", "127.0.0.1:1", "[2001:db8::1]:1"] {
        assert_reset(&mut come(stranger).await).await;
    }
    assert_eq!(gateway.writers.refused(Refusal::Source), 3);

    // A client that does not come by the balancer says who it is by its own address, and nothing that it sends counts as a header.
    let mut direct = connect_from([127, 0, 0, 2], gateway.addresses.read_write).await;
    let mut instance = main.accept().await;
    direct.write_all(&header("192.0.2.1:1")).await.unwrap();
    let mut got = vec![0; header("192.0.2.1:1").len()];
    soon(instance.read_exact(&mut got)).await.unwrap();
    assert_eq!(got, header("192.0.2.1:1"));
    let mut elsewhere = connect_from([127, 0, 0, 3], gateway.addresses.read_write).await;
    assert_reset(&mut elsewhere).await;
    assert_eq!(gateway.writers.refused(Refusal::Source), 4);
    for (client, instance) in &mut sessions {
        assert_connected(client, instance).await;
    }
}

#[tokio::test]
async fn health_checks_of_a_balancer_reach_main_only_when_they_say_something() {
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&behind_a_balancer(&main)).await;
    // A mere connect, then one that says whose it is.
    drop(gateway.client().await);
    let mut check = gateway.client().await;
    check.write_all(&raw(0x20, 0x00, 0, &[])).await.unwrap();
    drop(check);
    until(2, || gateway.writers.refused(Refusal::Gone)).await;
    assert_eq!(gateway.writers.begun(), 0);

    // A proxy may well put the ends of its own connection there, which are to be ignored.
    let ends = [192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 0x1e, 0x07];
    for header in [raw(0x20, 0x00, 0, &[]), raw(0x20, 0x11, 12, &ends)] {
        let mut check = gateway.client().await;
        check
            .write_all(&[header.as_slice(), HANDSHAKE].concat())
            .await
            .unwrap();
        let mut instance = main.accept().await;
        assert_eq!(heard(&mut instance).await, HANDSHAKE);
        assert_connected(&mut instance, &mut check).await;
    }
}

#[tokio::test]
async fn whoever_is_still_to_be_named_has_a_place_and_no_more_are_waited_for_than_there_are() {
    let main = Instance::start().await;
    let cluster = behind_a_balancer(&main).spec(|s| s.gateway.read_write.max_connections = 2);
    let gateway = TestGateway::serving(&cluster).await;
    let unnamed = [gateway.client().await, gateway.client().await];
    until(2, || gateway.writers.accepted()).await;
    assert_refused(gateway.addresses.read_write).await;
    assert_eq!(gateway.writers.refused(Refusal::TooMany), 1);
    drop(unnamed);
    until(2, || gateway.writers.refused(Refusal::Gone)).await;
    let mut client = gateway.client().await;
    client.write_all(&header("192.0.2.7:1")).await.unwrap();
    let mut instance = main.accept().await;
    assert_connected(&mut client, &mut instance).await;
}

#[tokio::test]
async fn who_comes_before_the_cluster_was_read_is_looked_at_once_it_is() {
    let main = Instance::start().await;
    let cluster = behind_a_balancer(&main).spec(|s| {
        s.gateway.read_write.source_ranges = networks(&["192.0.2.0/24"]);
    });
    let mut gateway = TestGateway::start().await;
    gateway.grant(&cluster);
    let mut named = gateway.client().await;
    let said = [header("192.0.2.7:40000"), HANDSHAKE.to_vec()].concat();
    named.write_all(&said).await.unwrap();
    let mut stranger = connect_from([127, 0, 0, 3], gateway.addresses.read_write).await;
    gateway.until(|report| report["sessions"]["held"] == 2).await;

    gateway.show_only(&cluster);
    let mut instance = main.accept().await;
    assert_eq!(heard(&mut instance).await, HANDSHAKE);
    assert_connected(&mut named, &mut instance).await;
    assert_reset(&mut stranger).await;
    assert_eq!(gateway.writers.refused(Refusal::Source), 1);
}

#[tokio::test]
async fn the_end_of_the_gateway_does_not_wait_for_a_header() {
    let main = Instance::start().await;
    let mut gateway = TestGateway::start_with_drain(Duration::from_millis(50)).await;
    gateway.enforce(&behind_a_balancer(&main)).await;
    let mut unnamed = gateway.client().await;
    until(1, || gateway.writers.accepted()).await;
    gateway.stop.cancel();
    assert_reset(&mut unnamed).await;
    gateway.end().await;
    assert_eq!(gateway.writers.refused(Refusal::Ending), 1);
}

#[tokio::test]
async fn ranges_are_those_of_one_port_and_may_be_changed_at_any_time() {
    let (main, other) = (Instance::start().await, Instance::start().await);
    let cluster = demo()
        .main_at("demo-0", main.address)
        .instances([replica("demo-1", &other.address.to_string())]);
    let only = |ranges: &[&str]| {
        let ranges = networks(ranges);
        cluster
            .clone()
            .spec(|s| s.gateway.read_write.source_ranges = ranges)
    };
    let mut gateway = TestGateway::serving(&only(&["127.0.0.2/31"])).await;
    assert_refused(gateway.addresses.read_write).await;
    assert_eq!(gateway.writers.refused(Refusal::Source), 1);
    let mut admitted = connect_from([127, 0, 0, 3], gateway.addresses.read_write).await;
    let mut instance = main.accept().await;
    assert_connected(&mut admitted, &mut instance).await;
    let (mut reader, mut replica) = gateway.read_session(&other).await;
    assert_connected(&mut reader, &mut replica).await;

    // Who is there stays.
    gateway.show(&only(&["192.0.2.0/24"]));
    soon(async {
        while gateway.writers.refused(Refusal::Source) == 1 {
            let mut late = connect_from([127, 0, 0, 3], gateway.addresses.read_write).await;
            late.shutdown().await.unwrap();
            // Either it is refused, or MAIN gets it.
            tokio::select! {
                _ = late.read_u8() => {}
                _ = main.accept() => {}
            }
        }
    })
    .await;
    assert_connected(&mut admitted, &mut instance).await;
}
