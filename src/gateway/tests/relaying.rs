//! Bytes arrive as they were sent, and ends as they were meant.

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::{
    cluster::{Build, demo},
    harness::{Instance, TestGateway, assert_reset, pattern, read_now, soon},
};

/// More than all socket buffers on the way hold.
const MUCH: usize = 48 << 20;

async fn session() -> (TestGateway, Instance, TcpStream, TcpStream) {
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&demo().main_at("demo-0", main.address)).await;
    let (client, instance) = gateway.session(&main).await;
    (gateway, main, client, instance)
}

#[tokio::test]
async fn bytes_pass_in_both_directions_at_the_same_time() {
    let (gateway, _main, client, instance) = session().await;
    let talk = |mut stream: TcpStream, sent: Vec<u8>, expected: Vec<u8>| async move {
        let (mut read, mut write) = stream.split();
        let sending = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let (_, received) = tokio::join!(sending, read.read_to_end(&mut got));
        received.unwrap();
        assert!(
            got == expected,
            "{} of {} bytes, or other ones",
            got.len(),
            expected.len()
        );
    };
    let (question, answer) = (pattern(5_000_001), pattern(7_000_003));
    let asking = talk(client, question.clone(), answer.clone());
    let answering = talk(instance, answer, question);
    soon(async { tokio::join!(asking, answering) }).await;
    gateway.until_sessions(0, 0).await;
}

/// A look at what is there takes for granted that nothing is left: no byte may be overlooked that comes in that very moment, on
/// another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_message_is_overlooked_whatever_moment_it_comes_in() {
    let (_gateway, _main, client, instance) = session().await;
    let (mut from_instance, mut to_instance) = client.into_split();
    let (mut from_client, mut to_client) = instance.into_split();
    let sent = pattern(20_000);
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        for byte in sent {
            to_instance.write_u8(byte).await.unwrap();
        }
        // The end comes together with the last byte.
        drop(to_instance);
    });
    let answering = tokio::spawn(async move {
        let mut buffer = [0; 3];
        loop {
            match from_client.read(&mut buffer).await.unwrap() {
                0 => break,
                read => to_client.write_all(&buffer[..read]).await.unwrap(),
            }
        }
    });
    let mut got = Vec::new();
    soon(from_instance.read_to_end(&mut got)).await.unwrap();
    soon(sending).await.unwrap();
    soon(answering).await.unwrap();
    assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
}

#[tokio::test]
async fn an_end_that_comes_with_the_last_bytes_is_passed_on() {
    let (gateway, main, ..) = session().await;
    for _ in 0..50 {
        let (mut client, mut instance) = gateway.session(&main).await;
        client.write_all(b"last words").await.unwrap();
        drop(client);
        let mut words = String::new();
        soon(instance.read_to_string(&mut words)).await.unwrap();
        assert_eq!(words, "last words");
    }
}

#[tokio::test]
async fn an_instance_may_answer_after_the_client_has_ended_its_half() {
    let (gateway, _main, mut client, mut instance) = session().await;
    client.write_all(b"last question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = String::new();
    soon(instance.read_to_string(&mut question)).await.unwrap();
    assert_eq!(question, "last question");

    let answer = pattern(1_000_000);
    let mut got = Vec::new();
    let answering = async {
        instance.write_all(&answer).await.unwrap();
        drop(instance);
    };
    let (_, received) = soon(async { tokio::join!(answering, client.read_to_end(&mut got)) }).await;
    received.unwrap();
    assert!(got == answer);
    gateway.until_sessions(0, 0).await;
}

#[tokio::test]
async fn a_client_may_go_on_after_the_instance_has_ended_its_half() {
    let (gateway, _main, mut client, mut instance) = session().await;
    instance.write_all(b"goodbye").await.unwrap();
    instance.shutdown().await.unwrap();
    let mut farewell = String::new();
    soon(client.read_to_string(&mut farewell)).await.unwrap();
    assert_eq!(farewell, "goodbye");

    client.write_all(b"one more thing").await.unwrap();
    drop(client);
    let mut rest = String::new();
    soon(instance.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "one more thing");
    gateway.until_sessions(0, 0).await;
}

#[tokio::test]
async fn a_reset_by_one_side_reaches_the_other() {
    for broken_side in ["client", "instance"] {
        let (gateway, _main, client, instance) = session().await;
        let (broken, mut other) = match broken_side {
            "client" => (client, instance),
            _ => (instance, client),
        };
        broken.set_zero_linger().unwrap();
        drop(broken);
        assert_reset(&mut other).await;
        gateway.until_sessions(0, 0).await;
    }
}

/// Writes as much as is taken, and says how much that was when nothing has been taken for a while.
async fn write_until_held_up(stream: &TcpStream, written: &AtomicUsize, bytes: &[u8]) {
    while written.load(Ordering::SeqCst) < bytes.len() {
        // Nothing tells that no more will be taken. Too short a wait only makes the test see less.
        let Ok(ready) = tokio::time::timeout(Duration::from_millis(300), stream.writable()).await else {
            return;
        };
        ready.unwrap();
        match stream.try_write(&bytes[written.load(Ordering::SeqCst)..]) {
            Ok(n) => {
                written.fetch_add(n, Ordering::SeqCst);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_its_instance_and_loses_nothing() {
    let (gateway, _main, mut client, instance) = session().await;
    let bytes: Arc<[u8]> = pattern(MUCH).into();
    let written = AtomicUsize::new(0);
    write_until_held_up(&instance, &written, &bytes).await;
    let held_up_at = written.load(Ordering::SeqCst);
    assert!(
        held_up_at < MUCH,
        "the gateway took everything for a client that does not read"
    );

    let sending = async {
        let mut instance = instance;
        instance.write_all(&bytes[held_up_at..]).await.unwrap();
        drop(instance);
    };
    let mut got = Vec::with_capacity(MUCH);
    let (_, received) = soon(async { tokio::join!(sending, client.read_to_end(&mut got)) }).await;
    received.unwrap();
    assert!(got == *bytes);
    drop(client);
    gateway.until_sessions(0, 0).await;
}

#[tokio::test]
async fn a_session_lasts_until_its_last_byte_is_acknowledged_and_can_be_cut_until_then() {
    for cut in [false, true] {
        let main = Instance::start().await;
        let cluster = demo().main_at("demo-0", main.address);
        let mut gateway = TestGateway::serving(&cluster).await;
        // So small a window that the end of the answer stays with the gateway until it is asked for.
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(4096).unwrap();
        let mut client = soon(client.connect(gateway.addresses.read_write)).await.unwrap();
        let mut instance = main.accept().await;

        // Neither side has anything more to say, but the client has not read what was said.
        client.shutdown().await.unwrap();
        let answer = pattern(300_000);
        soon(instance.write_all(&answer)).await.unwrap();
        drop(instance);
        assert_eq!(gateway.route().await["sessions"]["readWrite"], 1);

        if cut {
            gateway.enforce(&cluster.term(8).closed()).await;
            assert_eq!(read_now(client), Err(ErrorKind::ConnectionReset));
        } else {
            let mut got = Vec::new();
            soon(client.read_to_end(&mut got)).await.unwrap();
            assert!(got == answer);
            gateway.until_sessions(0, 0).await;
        }
    }
}
