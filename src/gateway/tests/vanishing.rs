//! Peers that vanish without a word, as with a node that loses its power: no FIN and no RST tells of it.

use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    cluster::{Build, demo, replica},
    harness::{Instance, TestGateway, assert_connected, fill, read_now, soon, until},
};
use crate::gateway::{Ending, Statistics};

/// The program of a socket filter that lets nothing in: `BPF_RET | BPF_K` with the length 0 (`linux/filter.h`).
const NOTHING: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

/// Against hangs only. Without its options a connection would be taken for whole for more than ten minutes, or for ever.
const HANG: Duration = Duration::from_secs(120);

/// Whatever comes for this end is thrown away from now on, so that nothing answers there any more.
fn vanish(end: &TcpStream) {
    SockRef::from(end).attach_filter(&NOTHING).unwrap();
}

async fn wait_for_reset(end: &mut TcpStream) {
    let mut rest = Vec::new();
    let ended = timeout(HANG, end.read_to_end(&mut rest));
    let error = ended.await.expect("the session goes on").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

fn ended(statistics: &Statistics) -> (u64, u64) {
    let ended = |ending| statistics.ended(ending);
    (ended(Ending::ByClient), ended(Ending::ByInstance))
}

/// They take their time together: it is that of the system (`socket`).
#[tokio::test]
async fn who_vanishes_is_given_up_on_whichever_side_and_nobody_else_is() {
    let (main, replica_one) = (Instance::start().await, Instance::start().await);
    let cluster = demo()
        .main_at("demo-0", main.address)
        .instances([replica("demo-1", &replica_one.address.to_string())]);
    let mut gateway = TestGateway::serving(&cluster).await;

    let (mut bystander, mut served) = gateway.session(&main).await;
    let (silent_client, mut its_instance) = gateway.session(&main).await;
    let (mut client_of_silent, silent_instance) = gateway.session(&main).await;
    let (mut asking, asked) = gateway.session(&main).await;
    let (mut reader, silent_replica) = gateway.read_session(&replica_one).await;
    for end in [&silent_client, &silent_instance, &asked, &silent_replica] {
        vanish(end);
    }
    // On the way to an instance that is not there any more.
    asking.write_all(b"RETURN 1").await.unwrap();

    let all = async {
        tokio::join!(
            wait_for_reset(&mut its_instance),
            wait_for_reset(&mut client_of_silent),
            wait_for_reset(&mut asking),
            wait_for_reset(&mut reader),
        )
    };
    let meanwhile = async {
        loop {
            assert_connected(&mut bystander, &mut served).await;
            assert_connected(&mut served, &mut bystander).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        _ = all => {}
        () = meanwhile => {}
    }
    until((1, 2), || ended(&gateway.writers)).await;
    until((0, 1), || ended(&gateway.readers)).await;
    gateway.until_sessions(1, 0).await;
    assert_connected(&mut bystander, &mut served).await;
    gateway.enforce(&cluster.closed().term(8)).await;
}

#[tokio::test]
async fn a_main_that_takes_nothing_for_long_is_given_up_and_has_not_ended() {
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let gateway = TestGateway::serving(&cluster).await;
    // It is there, and its system answers. It reads nothing.
    let (mut client, _busy) = gateway.session(&main).await;
    while timeout(Duration::from_millis(200), client.writable())
        .await
        .is_ok()
    {
        fill(&client).await;
    }
    wait_for_reset(&mut client).await;
    until(1, || gateway.writers.ended(Ending::ByInstance)).await;
    let report = gateway.route().await;
    assert_eq!(report["held"]["tainted"], false, "{report}");
    assert!(report["reach"]["silentMillisAgo"].is_number(), "{report}");
}

/// How long the system tries to deliver what was sent is the node's setting (`net.ipv4.tcp_retries2`): some 15 minutes.
#[tokio::test]
async fn a_client_that_vanishes_while_an_answer_is_on_its_way_holds_up_neither_others_nor_a_fence() {
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let mut gateway = TestGateway::serving(&cluster).await;
    let (mut bystander, mut served) = gateway.session(&main).await;
    let (gone, instance) = gateway.session(&main).await;
    vanish(&gone);
    // Until the gateway takes no more of the answer.
    while timeout(Duration::from_millis(200), instance.writable())
        .await
        .is_ok()
    {
        fill(&instance).await;
    }
    for _ in 0..100 {
        assert_connected(&mut bystander, &mut served).await;
        assert_connected(&mut served, &mut bystander).await;
    }
    soon(gateway.enforce(&cluster.closed().term(8))).await;
    assert_eq!(read_now(instance), Err(std::io::ErrorKind::ConnectionReset));
    until(2, || gateway.writers.ended(Ending::Cut)).await;
}
