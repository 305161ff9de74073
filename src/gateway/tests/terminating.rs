//! TLS that ends at the gateway.

use std::{
    io::{self, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::client::TlsStream;

use super::{
    certificates::{Authority, NAME},
    cluster::{Build, demo},
    harness::{
        Instance, TestClock, TestGateway, assert_refused, assert_reset, fill, get, loopback, pattern,
        read_now, soon, until,
    },
};
use crate::gateway::{
    Termination,
    attestation::Attestation,
    certificate::{Certificate, Pair},
    clearance::{Clearance, Now},
    gate::{Gate, Port},
    handshake::shake_hands,
    keeper::Keeper,
    patience::Patience,
    peer::Peer,
    relay::{Ended, Relay},
    statistics::{Direction, Ending, Refusal, Statistics},
    traffic::Traffic,
};

struct Scene {
    authority: Authority,
    certificate: Arc<Certificate>,
    gateway: TestGateway,
    main: Instance,
}

impl Scene {
    async fn open() -> Self {
        let authority = Authority::new();
        let termination = Termination::new("graphs", "demo");
        let certificate = Arc::clone(&termination.certificate);
        certificate.use_from_now_on(&authority.pair).unwrap();
        let main = Instance::start().await;
        let mut gateway = TestGateway::terminating(termination).await;
        gateway.enforce(&demo().main_at("demo-0", main.address)).await;
        Self {
            authority,
            certificate,
            gateway,
            main,
        }
    }

    /// A session, both ends of it.
    async fn session(&self) -> (TlsStream<TcpStream>, TcpStream) {
        let client = self.authority.client_of(&self.gateway).await.unwrap();
        (client, self.main.accept().await)
    }

    async fn fence(&mut self) {
        let closed = demo().main_at("demo-0", self.main.address).term(8).closed();
        self.gateway.enforce(&closed).await;
    }

    fn refused(&self, refusal: Refusal) -> u64 {
        self.gateway.writers.refused(refusal)
    }
}

async fn talk(client: &mut TlsStream<TcpStream>, instance: &mut TcpStream, question: &[u8], answer: &[u8]) {
    let (mut got_question, mut got_answer) = (vec![0; question.len()], vec![0; answer.len()]);
    soon(client.write_all(question)).await.unwrap();
    soon(instance.read_exact(&mut got_question)).await.unwrap();
    soon(instance.write_all(answer)).await.unwrap();
    soon(client.read_exact(&mut got_answer)).await.unwrap();
    assert!(got_question == question && got_answer == answer);
}

#[tokio::test]
async fn bytes_pass_in_both_directions_at_the_same_time_and_are_counted_as_they_were_said() {
    let scene = Scene::open().await;
    let (client, mut instance) = scene.session().await;
    let (question, answer) = (pattern(1_000_001), pattern(3_000_003));
    let (mut from_gateway, mut to_gateway) = tokio::io::split(client);
    let asking = async {
        to_gateway.write_all(&question).await.unwrap();
        to_gateway.shutdown().await.unwrap();
    };
    let (mut from_client, mut to_client) = instance.split();
    let answering = async {
        to_client.write_all(&answer).await.unwrap();
        to_client.shutdown().await.unwrap();
    };
    let (mut got_question, mut got_answer) = (Vec::new(), Vec::new());
    let (_, _, question_ended, answer_ended) = soon(async {
        tokio::join!(
            asking,
            answering,
            from_client.read_to_end(&mut got_question),
            from_gateway.read_to_end(&mut got_answer),
        )
    })
    .await;
    question_ended.unwrap();
    // By the word for it: without one this would be an error.
    answer_ended.unwrap();
    assert!(got_question == question && got_answer == answer);
    drop((from_gateway, to_gateway));
    scene.gateway.until_sessions(0, 0).await;
    let writers = &scene.gateway.writers;
    until(1, || {
        writers.ended(Ending::ByInstance) + writers.ended(Ending::Finished)
    })
    .await;
    assert_eq!(
        (writers.bytes(Direction::Up), writers.bytes(Direction::Down)),
        (1_000_001, 3_000_003)
    );
}

#[tokio::test]
async fn either_side_may_go_on_after_the_other_has_ended_its_half() {
    let scene = Scene::open().await;
    let (mut client, mut instance) = scene.session().await;
    client.write_all(b"last question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = String::new();
    soon(instance.read_to_string(&mut question)).await.unwrap();
    assert_eq!(question, "last question");
    let answer = pattern(300_000);
    let answering = async {
        instance.write_all(&answer).await.unwrap();
        drop(instance);
    };
    let mut got = Vec::new();
    let (_, received) = soon(async { tokio::join!(answering, client.read_to_end(&mut got)) }).await;
    received.unwrap();
    assert!(got == answer);
    drop(client);

    let (mut client, mut instance) = scene.session().await;
    instance.write_all(b"goodbye").await.unwrap();
    instance.shutdown().await.unwrap();
    let mut farewell = String::new();
    soon(client.read_to_string(&mut farewell)).await.unwrap();
    assert_eq!(farewell, "goodbye");
    client.write_all(b"one more thing").await.unwrap();
    // Without a word, as many drivers do.
    let (stream, _) = client.into_inner();
    drop(stream);
    let mut rest = String::new();
    soon(instance.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "one more thing");
    drop(instance);
    scene.gateway.until_sessions(0, 0).await;
}

#[tokio::test]
async fn a_cut_resets_both_ends_in_the_middle_of_a_big_answer() {
    let mut scene = Scene::open().await;
    let (mut client, mut instance) = scene.session().await;
    talk(&mut client, &mut instance, b"question", b"answer").await;
    fill(&instance).await;

    scene.fence().await;
    let (client, _) = client.into_inner();
    assert_eq!(read_now(client), Err(ErrorKind::ConnectionReset));
    assert_eq!(read_now(instance), Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn nothing_is_passed_once_the_leave_to_do_so_has_ended() {
    let scene = Scene::open().await;
    let (mut client, mut instance) = scene.session().await;
    talk(&mut client, &mut instance, b"question", b"answer").await;
    scene.gateway.clock.advance(Duration::from_secs(3_600));
    instance.write_all(b"too late").await.unwrap();
    let mut got = Vec::new();
    assert!(soon(client.read_to_end(&mut got)).await.is_err());
    assert_eq!(got, b"");
    assert_eq!(scene.gateway.writers.ended(Ending::Expired), 1);
}

/// A peer that takes all and sends nothing of it, and during whose first look an hour passes.
struct Unsent {
    stream: TcpStream,
    clock: TestClock,
    writes: AtomicUsize,
    unsent: AtomicBool,
}

impl Peer for Unsent {
    const CAN_SLEEP: bool = false;

    fn socket(&self) -> &TcpStream {
        &self.stream
    }

    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
        std::future::pending()
    }

    fn read_now(&self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn read_last(&self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.unsent.store(true, Ordering::SeqCst);
        self.clock.advance(Duration::from_secs(3_600));
        Ok(bytes.len())
    }

    fn has_unsent(&self) -> bool {
        self.unsent.load(Ordering::SeqCst)
    }

    fn say_end(&self) {}
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (one, listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn what_was_taken_in_time_and_is_unsent_is_not_sent_too_late() {
    let clock = TestClock::default();
    clock.advance(Duration::from_secs(1));
    let ((stream, _client), (upstream, mut instance)) = (pair().await, pair().await);
    let client = Unsent {
        stream,
        clock: clock.clone(),
        writes: AtomicUsize::default(),
        unsent: AtomicBool::default(),
    };
    let clearance = Clearance::ended(Now::of(clock.clone()), 7, Arc::<Attestation>::default());
    clearance.extend(7, Duration::from_secs(60), Duration::from_secs(60));
    let statistics = Statistics::new(Port::ReadWrite);
    let wait = Patience::new(Now::of(clock)).client();
    let traffic = Traffic::new(&statistics, &wait);
    let relay = Relay::new(&client, &upstream, &clearance, traffic);
    instance.write_all(b"committed").await.unwrap();
    assert!(matches!(soon(relay.run()).await, Ended::Expired));
    assert_eq!(client.writes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_that_has_come_is_passed_on_before_the_cut() {
    let mut scene = Scene::open().await;
    for _ in 0..20 {
        let (mut client, mut instance) = scene.session().await;
        talk(&mut client, &mut instance, b"COMMIT", b"done").await;
        instance.write_all(b"committed").await.unwrap();
        scene.fence().await;
        let mut got = Vec::new();
        assert!(soon(client.read_to_end(&mut got)).await.is_err(), "it was cut");
        assert_eq!(got, b"committed");
        scene = Scene::open().await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_come_to_an_agreement_holds_up_neither_others_nor_a_fence() {
    let mut scene = Scene::open().await;
    let mut slow = scene.gateway.client().await;
    // The beginning of a record.
    slow.write_all(&[22, 3, 1]).await.unwrap();
    let silent = scene.gateway.client().await;
    let (mut client, mut instance) = scene.session().await;
    talk(&mut client, &mut instance, b"question", b"answer").await;
    assert_eq!(scene.gateway.route().await["sessions"]["readWrite"], 1);
    scene.fence().await;
    assert_reset(client.get_mut().0).await;

    // Those two have been told nothing yet.
    scene.gateway.stop.cancel();
    scene.gateway.end().await;
    assert_eq!(read_now(slow), Err(ErrorKind::ConnectionReset));
    assert_eq!(read_now(silent), Err(ErrorKind::ConnectionReset));
    assert_eq!(scene.gateway.writers.refused(Refusal::Ending), 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_has_ten_seconds_to_agree() {
    let (mut client, accepted) = pair().await;
    client.write_all(&[22, 3, 1]).await.unwrap();
    let certificate = Certificate::default();
    certificate.use_from_now_on(&Authority::new().pair).unwrap();
    let gate = Gate::new(Keeper::new(TestClock::default(), String::new(), 1));
    let begin = tokio::time::Instant::now();
    let agreed = shake_hands(&gate, certificate.config(), accepted).await;
    assert_eq!(agreed.unwrap_err(), Refusal::Handshake);
    assert_eq!(begin.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn each_client_that_cannot_be_served_is_counted_by_the_reason() {
    let scene = Scene::open().await;
    // Bolt without TLS.
    let mut plain = scene.gateway.client().await;
    plain.write_all(&[0x60, 0x60, 0xB0, 0x17]).await.unwrap();
    assert_reset(&mut plain).await;
    assert_eq!(scene.refused(Refusal::PlainText), 1);

    // One that trusts somebody else.
    let error = Authority::new().client_of(&scene.gateway).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    until(1, || scene.refused(Refusal::Handshake)).await;

    // One that looks whether somebody listens.
    drop(scene.gateway.client().await);
    until(1, || scene.refused(Refusal::Gone)).await;
    assert_eq!(scene.gateway.writers.begun(), 0);
}

#[tokio::test]
async fn without_a_certificate_the_gateway_is_not_ready_and_refuses_clients() {
    let mut gateway = TestGateway::terminating(Termination::new("graphs", "demo")).await;
    gateway.enforce(&demo()).await;
    let (status, reason) = gateway.readyz().await;
    assert_eq!(status, 503);
    assert!(reason.contains("gateway.tls.secretRef"), "{reason}");
    assert_refused(gateway.addresses.read_write).await;
    assert_eq!(gateway.writers.refused(Refusal::NoCertificate), 1);
}

#[tokio::test]
async fn a_changed_certificate_counts_for_new_sessions_and_old_ones_go_on() {
    let scene = Scene::open().await;
    let (mut client, mut instance) = scene.session().await;
    talk(&mut client, &mut instance, b"question", b"answer").await;
    let other = Authority::new();
    scene.certificate.use_from_now_on(&other.pair).unwrap();
    talk(&mut client, &mut instance, b"question", b"answer").await;
    assert!(scene.authority.client_of(&scene.gateway).await.is_err());
    let mut next = other.client_of(&scene.gateway).await.unwrap();
    let mut instance = scene.main.accept().await;
    talk(&mut next, &mut instance, b"question", b"answer").await;

    let broken = Pair {
        certificate: other.pair.certificate.clone(),
        key: scene.authority.pair.key.clone(),
    };
    for useless in [
        broken,
        Pair {
            certificate: String::new(),
            ..other.pair.clone()
        },
        Pair {
            key: "no key".to_owned(),
            ..other.pair.clone()
        },
    ] {
        scene.certificate.use_from_now_on(&useless).unwrap_err();
    }
    let mut next = other.client_of(&scene.gateway).await.unwrap();
    let mut instance = scene.main.accept().await;
    talk(&mut next, &mut instance, b"question", b"answer").await;
}

#[tokio::test]
async fn mounted_files_are_used_when_they_come_and_change_and_their_end_is_told() {
    let folder = std::env::temp_dir().join(format!("tls-{:016x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    let write = |pair: &Pair| {
        std::fs::write(folder.join("tls.crt"), &pair.certificate).unwrap();
        std::fs::write(folder.join("tls.key"), &pair.key).unwrap();
    };
    let termination = Termination::new("graphs", "demo");
    let certificate = Arc::clone(&termination.certificate);
    let gateway = TestGateway::terminating(termination).await;
    tokio::time::pause();
    let following = Arc::clone(&certificate);
    let path = folder.clone();
    tokio::spawn(async move { following.follow(&path).await });
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(certificate.is_rejected() && certificate.config().is_none());

    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
    params.not_after = date_time_ymd(2100, 5, 1);
    write(&Pair {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    });
    tokio::time::sleep(Duration::from_secs(20)).await;
    let ends: Timestamp = "2100-05-01T00:00:00Z".parse().unwrap();
    assert!(!certificate.is_rejected());
    assert_eq!(certificate.ends(), Some(ends));

    std::fs::write(folder.join("tls.key"), "no key").unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(certificate.is_rejected());
    assert_eq!(certificate.ends(), Some(ends), "what was used goes on");
    tokio::time::resume();
    let (_, metrics) = get(gateway.addresses.http, "/metrics").await;
    for line in [
        "memgraph_gateway_certificate_rejected 1.0",
        "memgraph_gateway_certificate_expiry_timestamp_seconds 4112812800.0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_client_that_comes_while_main_changes_is_held_with_its_tls() {
    let holding = demo().spec(|s| s.gateway.hold_timeout = "60s".parse().unwrap());
    let mut scene = Scene::open().await;
    scene.gateway.enforce(&holding.clone().term(8).closed()).await;
    let mut client = scene.authority.client_of(&scene.gateway).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    scene
        .gateway
        .until(|report| report["sessions"]["held"] == 1)
        .await;
    scene
        .gateway
        .enforce(&holding.term(8).main_at("demo-1", scene.main.address))
        .await;
    let mut instance = scene.main.accept().await;
    let mut greeting = [0; 5];
    soon(instance.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"hello");
    talk(&mut client, &mut instance, b"question", b"answer").await;
}
