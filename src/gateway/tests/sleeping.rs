//! Sessions that say nothing for a while sleep, and nobody notices.

use std::{io::ErrorKind, time::Duration};

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use super::{
    cluster::{Build, demo, replica},
    harness::{Instance, TestGateway, assert_connected, assert_refused, assert_reset, read_now, soon, until},
};
use crate::{
    api::{DurationString, MemgraphCluster},
    gateway::Ending,
};

const SLEEP_AFTER: Duration = Duration::from_millis(20);

fn with_main(main: &Instance) -> MemgraphCluster {
    demo().main_at("demo-0", main.address)
}

/// A session that has passed something both ways, and sleeps.
async fn sleeping(gateway: &TestGateway, main: &Instance) -> (TcpStream, TcpStream) {
    let (mut client, mut instance) = gateway.session(main).await;
    assert_connected(&mut client, &mut instance).await;
    gateway.until_asleep(1).await;
    (client, instance)
}

#[tokio::test]
async fn whatever_comes_wakes_a_session_and_it_sleeps_again() {
    let main = Instance::start().await;
    let gateway = TestGateway::sleepy(SLEEP_AFTER, &with_main(&main)).await;
    let (mut client, mut instance) = sleeping(&gateway, &main).await;
    for _ in 0..3 {
        assert_connected(&mut client, &mut instance).await;
        gateway.until_asleep(1).await;
        // Now the client waits.
        client.write_all(b"?").await.unwrap();
        soon(instance.read_u8()).await.unwrap();
        gateway.until_asleep(0).await;
        instance.write_all(b"!").await.unwrap();
        soon(client.read_u8()).await.unwrap();
        gateway.until_asleep(1).await;
    }
    gateway.until_sessions(1, 0).await;
    assert_eq!(gateway.writers.begun(), 1);
}

async fn say(from: &mut TcpStream, to: &mut TcpStream, word: u8) {
    from.write_u8(word).await.unwrap();
    assert_eq!(soon(to.read_u8()).await.unwrap(), word);
}

/// Each session pauses for about as long as it takes to fall asleep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_is_lost_at_the_moment_of_falling_asleep() {
    const SESSIONS: usize = 40;
    const ROUNDS: u8 = 100;
    let main = Instance::start().await;
    let after = Duration::from_millis(8);
    let gateway = TestGateway::sleepy(after, &with_main(&main)).await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(gateway.session(&main).await);
    }
    let talks = sessions.into_iter().map(|(mut client, mut instance)| {
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                // The look at all of them comes a sixteenth later at most.
                let part = fastrand::u32(900..1_300);
                sleep(after * part / 1000).await;
                // The client asks and is answered, or the instance speaks by itself.
                if fastrand::bool() {
                    say(&mut client, &mut instance, round).await;
                }
                say(&mut instance, &mut client, round).await;
            }
            (client, instance)
        })
    });
    let sessions = join_all(talks).await;
    gateway.until_asleep(SESSIONS).await;
    drop(sessions);
    assert_eq!(gateway.writers.ended(Ending::ByClient), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_resets_those_that_sleep_like_all_others() {
    const ASLEEP: usize = 300;
    const AWAKE: usize = 20;
    static UNREAD: [u8; 50_000] = [1; 50_000];
    let main = Instance::start().await;
    let cluster = with_main(&main);
    let mut gateway = TestGateway::sleepy(SLEEP_AFTER, &cluster).await;
    let mut ends = Vec::new();
    for _ in 0..ASLEEP {
        let (mut client, mut instance) = gateway.session(&main).await;
        // Neither peer reads any of this. The instance has the last word, so nobody waits for it.
        client.write_all(&UNREAD).await.unwrap();
        let mut seen = UNREAD;
        soon(async {
            while instance.peek(&mut seen).await.unwrap() < UNREAD.len() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        instance.write_all(&UNREAD).await.unwrap();
        ends.extend([client, instance]);
    }
    gateway.until_asleep(ASLEEP).await;
    for _ in 0..AWAKE {
        let (mut client, mut instance) = gateway.session(&main).await;
        assert_connected(&mut client, &mut instance).await;
        client.write_all(b"a question").await.unwrap();
        ends.extend([client, instance]);
    }
    gateway.enforce(&cluster.term(8).closed()).await;
    let found: Vec<_> = ends.into_iter().map(read_now).collect();
    assert_eq!(found, vec![Err(ErrorKind::ConnectionReset); 2 * (ASLEEP + AWAKE)]);
    assert_eq!(
        gateway.route().await["sessions"],
        serde_json::json!({"readWrite": 0, "read": 0, "held": 0, "paused": 0})
    );
    gateway.until_asleep(0).await;
    assert_eq!(gateway.writers.ended(Ending::Cut), (ASLEEP + AWAKE) as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_escapes_a_fence_by_falling_asleep_or_waking() {
    const SESSIONS: usize = 32;
    let main = Instance::start().await;
    let cluster = with_main(&main);
    let mut gateway = TestGateway::sleepy(Duration::from_millis(2), &cluster).await;
    for term in 0..20 {
        let mut talks = Vec::new();
        for _ in 0..SESSIONS {
            let (mut client, mut instance) = gateway.session(&main).await;
            talks.push(tokio::spawn(async move {
                // Until the fence.
                while client.write_all(b"?").await.is_ok()
                    && instance.read_exact(&mut [0]).await.is_ok()
                    && instance.write_all(b"!").await.is_ok()
                    && client.read_exact(&mut [0]).await.is_ok()
                {
                    sleep(Duration::from_micros(fastrand::u64(1_800..2_600))).await;
                }
            }));
        }
        sleep(Duration::from_millis(fastrand::u64(5..15))).await;
        gateway
            .enforce(&cluster.clone().term(8 + 2 * term).closed())
            .await;
        assert_eq!(gateway.route().await["sessions"]["readWrite"], 0);
        for talk in talks {
            soon(talk).await.unwrap();
        }
        gateway.enforce(&cluster.clone().term(9 + 2 * term)).await;
    }
    until(20 * SESSIONS as u64, || gateway.writers.ended(Ending::Cut)).await;
}

#[tokio::test]
async fn a_session_whose_peer_leaves_in_its_sleep_ends_as_it_would_awake() {
    let main = Instance::start().await;
    let gateway = TestGateway::sleepy(SLEEP_AFTER, &with_main(&main)).await;

    let (mut client, mut instance) = sleeping(&gateway, &main).await;
    client.shutdown().await.unwrap();
    assert_eq!(soon(instance.read(&mut [0])).await.unwrap(), 0);
    instance.write_all(b"the rest").await.unwrap();
    instance.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon(client.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"the rest");
    until(1, || gateway.writers.ended(Ending::Finished)).await;

    for (ending, by_client) in [(Ending::ByClient, true), (Ending::ByInstance, false)] {
        let (client, instance) = sleeping(&gateway, &main).await;
        let (leaving, mut other) = match by_client {
            true => (client, instance),
            false => (instance, client),
        };
        leaving.set_zero_linger().unwrap();
        drop(leaving);
        assert_reset(&mut other).await;
        until(1, || gateway.writers.ended(ending)).await;
    }
    gateway.until_sessions(0, 0).await;
}

/// It would be forgotten that one half has ended, or that somebody waits.
#[tokio::test]
async fn neither_a_half_closed_session_sleeps_nor_one_that_waits_for_an_answer() {
    let main = Instance::start().await;
    let gateway = TestGateway::sleepy(SLEEP_AFTER, &with_main(&main)).await;
    let (mut half, mut of_half) = gateway.session(&main).await;
    assert_connected(&mut half, &mut of_half).await;
    half.shutdown().await.unwrap();
    assert_eq!(soon(of_half.read(&mut [0])).await.unwrap(), 0);
    let (mut waiting, mut of_waiting) = gateway.session(&main).await;
    waiting.write_all(b"?").await.unwrap();
    soon(of_waiting.read_u8()).await.unwrap();
    // Others, which have been silent for less long, fall asleep twice.
    let (mut client, mut instance) = sleeping(&gateway, &main).await;
    assert_connected(&mut client, &mut instance).await;
    gateway.until_asleep(1).await;

    of_waiting.write_all(b"!").await.unwrap();
    assert_eq!(soon(waiting.read_u8()).await.unwrap(), b'!');
    gateway.until_asleep(2).await;
    of_half.write_all(b"late").await.unwrap();
    of_half.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon(half.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"late");
}

#[tokio::test]
async fn a_session_that_sleeps_is_idle_when_it_would_be_awake() {
    let main = Instance::start().await;
    let cluster = with_main(&main);
    let timed = |millis| {
        let cluster = cluster.clone();
        cluster.spec(|s| s.gateway.idle_timeout = DurationString::from_millis(millis))
    };
    let mut gateway = TestGateway::sleepy(SLEEP_AFTER, &timed(300)).await;
    let begun = tokio::time::Instant::now();
    let (mut client, mut instance) = sleeping(&gateway, &main).await;
    assert_reset(&mut client).await;
    assert_reset(&mut instance).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    until(1, || gateway.writers.ended(Ending::Idle)).await;
    gateway.until_sessions(0, 0).await;

    gateway.show(&timed(0));
    let (mut client, _instance) = sleeping(&gateway, &main).await;
    gateway.show(&timed(50));
    assert_reset(&mut client).await;
    until(2, || gateway.writers.ended(Ending::Idle)).await;
}

#[tokio::test]
async fn a_session_that_sleeps_keeps_its_place_among_those_that_may_be() {
    let main = Instance::start().await;
    let cluster = with_main(&main).spec(|s| s.gateway.read_write.max_connections = 1);
    let gateway = TestGateway::sleepy(SLEEP_AFTER, &cluster).await;
    let (client, instance) = sleeping(&gateway, &main).await;
    gateway.until_sessions(1, 0).await;
    assert_refused(gateway.addresses.read_write).await;
    client.set_zero_linger().unwrap();
    drop((client, instance));
    gateway.until_sessions(0, 0).await;
    let freed = async {
        loop {
            let mut client = gateway.client().await;
            if client.write_all(b"?").await.is_ok() {
                tokio::select! {
                    instance = main.accept() => return (client, instance),
                    _ = client.read_u8() => {}
                }
            }
        }
    };
    soon(freed).await;
}

#[tokio::test]
async fn a_session_that_sleeps_is_waited_for_at_the_end_and_then_cut() {
    let main = Instance::start().await;
    let cluster = with_main(&main);
    let mut gateway = TestGateway::sleepy(SLEEP_AFTER, &cluster).await;
    let (mut client, mut instance) = sleeping(&gateway, &main).await;
    gateway.stop.cancel();
    assert_connected(&mut client, &mut instance).await;
    gateway.until_asleep(1).await;
    assert!(!gateway.served.is_finished());
    drop((client, instance));
    gateway.until_retired().await;
    gateway.end().await;

    let mut gateway = TestGateway::sleepy_with_drain(SLEEP_AFTER, Duration::from_millis(50)).await;
    gateway.enforce(&cluster).await;
    let (client, instance) = sleeping(&gateway, &main).await;
    gateway.stop.cancel();
    gateway.until_retired().await;
    assert_eq!(read_now(client), Err(ErrorKind::ConnectionReset));
    assert_eq!(read_now(instance), Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_reader_that_sleeps_is_cut_when_its_replica_leaves_and_no_other_one() {
    let (one, other) = (Instance::start().await, Instance::start().await);
    let both = [
        replica("demo-1", &one.address.to_string()),
        replica("demo-2", &other.address.to_string()),
    ];
    let cluster = demo().instances(both.clone());
    let [_, stays] = both;
    let mut gateway = TestGateway::sleepy(SLEEP_AFTER, &cluster).await;
    // The second goes where there are fewer.
    let (mut leaves, mut of_one) = gateway.read_session(&one).await;
    let (mut goes_on, mut of_other) = gateway.read_session(&other).await;
    assert_connected(&mut leaves, &mut of_one).await;
    assert_connected(&mut goes_on, &mut of_other).await;
    gateway.until_asleep(2).await;

    gateway.enforce(&cluster.term(8).instances([stays])).await;
    assert_eq!(read_now(leaves), Err(ErrorKind::ConnectionReset));
    assert_eq!(read_now(of_one), Err(ErrorKind::ConnectionReset));
    assert_connected(&mut goes_on, &mut of_other).await;
    gateway.until_sessions(0, 1).await;
}

#[tokio::test]
async fn one_that_wakes_passes_nothing_once_the_grant_has_run_out() {
    for by_client in [true, false] {
        let main = Instance::start().await;
        let gateway = TestGateway::sleepy(SLEEP_AFTER, &with_main(&main)).await;
        let (client, instance) = sleeping(&gateway, &main).await;
        // Only the clock goes on: nothing has told the session to end.
        gateway.clock.advance(Duration::from_secs(5));
        let (mut from, to) = match by_client {
            true => (client, instance),
            false => (instance, client),
        };
        from.write_all(b"too late").await.unwrap();
        assert_reset(&mut from).await;
        assert_eq!(read_now(to), Err(ErrorKind::ConnectionReset));
        until(1, || gateway.writers.ended(Ending::Expired)).await;
    }
}

#[tokio::test]
async fn bytes_of_a_session_that_sleeps_are_held_in_a_pause() {
    let main = Instance::start().await;
    let cluster = with_main(&main);
    let mut gateway = TestGateway::sleepy(SLEEP_AFTER, &cluster).await;
    let (mut client, mut instance) = sleeping(&gateway, &main).await;
    let cluster = cluster.paused();
    gateway.enforce(&cluster).await;
    client.write_all(b"COMMIT").await.unwrap();
    // It is awake, and has nothing passed on.
    gateway.until_asleep(0).await;
    let nothing = instance.try_read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    gateway.enforce(&cluster.resumed()).await;
    let mut got = [0; 6];
    soon(instance.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"COMMIT");
}
