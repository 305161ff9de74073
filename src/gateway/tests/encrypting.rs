//! TLS with instances, where TLS with clients ends at the gateway.

use std::io::ErrorKind;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{client, server};

use super::{
    certificates::Authority,
    cluster::{Build, demo, replica},
    harness::{Instance, TestGateway, assert_reset, fill, pattern, read_now, soon},
};
use crate::{
    api::MemgraphCluster,
    gateway::{
        Termination,
        statistics::{Ending, Refusal},
    },
    memgraph::Trust,
};

const INSTANCE: &str = "demo-0.demo-instances.graphs.svc";

/// MAIN takes TLS only.
fn encrypted(main: &Instance) -> MemgraphCluster {
    let mut status = replica("demo-0", &main.address.to_string());
    status.tls = true;
    demo().main_at("demo-0", main.address).instances([status])
}

/// A gateway at which TLS ends, before a MAIN with TLS.
struct Scene {
    clients: Authority,
    gateway: TestGateway,
    main: Instance,
}

impl Scene {
    async fn trusting(instances: &Authority) -> Self {
        let clients = Authority::new();
        let termination = Termination::new("graphs", "demo");
        termination.certificate.use_from_now_on(&clients.pair).unwrap();
        let trust = Trust::of(instances.pair.certificate.as_bytes()).unwrap();
        termination.instances.trust_from_now_on(trust);
        let main = Instance::start().await;
        let mut gateway = TestGateway::terminating(termination).await;
        gateway.enforce(&encrypted(&main)).await;
        Self {
            clients,
            gateway,
            main,
        }
    }

    async fn session(
        &self,
        instance: &Authority,
    ) -> (client::TlsStream<TcpStream>, server::TlsStream<TcpStream>) {
        let client = self.clients.client_of(&self.gateway).await.unwrap();
        let instance = instance.accept(self.main.accept().await).await.unwrap();
        (client, instance)
    }
}

#[tokio::test]
async fn what_a_client_says_is_encrypted_for_the_instance_and_what_it_answers_for_the_client() {
    let authority = Authority::of(INSTANCE);
    let scene = Scene::trusting(&authority).await;
    let (client, instance) = scene.session(&authority).await;
    let (question, answer) = (pattern(700_001), pattern(900_003));
    let (mut from_gateway, mut to_gateway) = tokio::io::split(client);
    let (mut from_client, mut to_client) = tokio::io::split(instance);
    let asking = async {
        to_gateway.write_all(&question).await.unwrap();
        to_gateway.shutdown().await.unwrap();
    };
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
    answer_ended.unwrap();
    assert!(got_question == question && got_answer == answer);
    drop((from_gateway, to_gateway, from_client, to_client));
    scene.gateway.until_sessions(0, 0).await;
}

#[tokio::test]
async fn a_cut_passes_on_what_has_come_and_resets_both_ends() {
    let authority = Authority::of(INSTANCE);
    for much in [false, true] {
        let mut scene = Scene::trusting(&authority).await;
        let (mut client, mut instance) = scene.session(&authority).await;
        client.write_all(b"COMMIT").await.unwrap();
        let mut question = [0; 6];
        soon(instance.read_exact(&mut question)).await.unwrap();
        instance.write_all(b"committed").await.unwrap();
        instance.flush().await.unwrap();
        if much {
            fill(instance.get_ref().0).await;
        }
        scene
            .gateway
            .enforce(&encrypted(&scene.main).term(8).closed())
            .await;
        if much {
            assert_eq!(read_now(client.into_inner().0), Err(ErrorKind::ConnectionReset));
        } else {
            let mut got = Vec::new();
            assert!(soon(client.read_to_end(&mut got)).await.is_err(), "it was cut");
            assert_eq!(got, b"committed");
        }
        assert_eq!(read_now(instance.into_inner().0), Err(ErrorKind::ConnectionReset));
    }
}

#[tokio::test]
async fn an_instance_that_is_not_trusted_gets_nothing_and_is_not_taken_for_dead() {
    let (trusted, other) = (Authority::of(INSTANCE), Authority::of(INSTANCE));
    let misnamed = Authority::of("demo-1.demo-instances.graphs.svc");
    for (trusted, shown) in [(&trusted, &other), (&misnamed, &misnamed)] {
        let scene = Scene::trusting(trusted).await;
        let mut client = scene.clients.client_of(&scene.gateway).await.unwrap();
        client.write_all(b"secret").await.unwrap();
        assert!(shown.accept(scene.main.accept().await).await.is_err());
        assert_reset(client.get_mut().0).await;
        let writers = &scene.gateway.writers;
        assert_eq!(
            (writers.failed_connects(), writers.refused(Refusal::NoInstance)),
            (1, 1)
        );
        assert_eq!((writers.begun(), writers.ended(Ending::ByInstance)), (0, 0));
        let held = &scene.gateway.route().await["held"];
        assert_eq!(held["tainted"], false, "{held}");
    }
}

#[tokio::test]
async fn a_main_that_ends_a_handshake_taints_the_grant() {
    for reset in [true, false] {
        let authority = Authority::of(INSTANCE);
        let scene = Scene::trusting(&authority).await;
        let mut client = scene.clients.client_of(&scene.gateway).await.unwrap();
        let mut instance = scene.main.accept().await;
        let mut hello = vec![0; 16 * 1024];
        assert!(soon(instance.read(&mut hello)).await.unwrap() > 0);
        assert_eq!(scene.gateway.route().await["held"]["tainted"], false);
        if reset {
            instance.set_zero_linger().unwrap();
        }
        drop(instance);
        assert_reset(client.get_mut().0).await;
        scene
            .gateway
            .until(|report| report["held"]["tainted"] == true)
            .await;
    }
}

#[tokio::test]
async fn a_client_whose_main_ends_a_handshake_is_led_to_it_later() {
    let authority = Authority::of(INSTANCE);
    let mut scene = Scene::trusting(&authority).await;
    let holding = encrypted(&scene.main).spec(|s| s.gateway.hold_timeout = "60s".parse().unwrap());
    scene.gateway.enforce(&holding.term(8)).await;
    let mut client = scene.clients.client_of(&scene.gateway).await.unwrap();
    client.write_all(b"question").await.unwrap();
    client.flush().await.unwrap();
    for reset in [true, false] {
        let mut instance = scene.main.accept().await;
        // Before the handshake has begun it would be a refusal.
        let mut hello = vec![0; 16 * 1024];
        assert!(soon(instance.read(&mut hello)).await.unwrap() > 0);
        if reset {
            instance.set_zero_linger().unwrap();
        }
    }
    let mut instance = authority.accept(scene.main.accept().await).await.unwrap();
    let mut got = [0; 8];
    soon(instance.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"question");
    assert_eq!(scene.gateway.writers.failed_connects(), 2);
}

#[tokio::test]
async fn where_tls_does_not_end_at_the_gateway_it_ends_at_the_instance() {
    let authority = Authority::of(INSTANCE);
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&encrypted(&main)).await;
    let server = async { authority.accept(main.accept().await).await.unwrap() };
    let (client, mut instance) = tokio::join!(authority.client_of(&gateway), server);
    let mut client = client.unwrap();
    client.write_all(b"question").await.unwrap();
    let mut got = [0; 8];
    soon(instance.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"question");
}
