//! Who is no operator of this cluster now, and what is said too late or to somebody else, changes neither the route nor a session.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    cluster::{Build, demo},
    harness::{Instance, POD, TestGateway, assert_connected, call, soon},
};
use crate::{
    api::{MemgraphCluster, ledger::Route},
    control_channel::{Authorities, Credentials, PATH, Role, TlsLink},
    controller::{GatewayLink, Unasked},
    grants::{Grant, Position, Request, Response, VERSION},
};

const CLUSTER: &str = "uid-1";
const TTL: u64 = 4_000;

/// A gateway with a session under a grant that an operator has given by the channel.
struct Scene {
    authorities: Authorities,
    gateway: TestGateway,
    operator: Credentials,
    cluster: MemgraphCluster,
    granted: Request,
    client: TcpStream,
    instance: TcpStream,
    report: serde_json::Value,
    _main: Instance,
}

fn credentials(authorities: &Authorities, role: Role, cluster: &str, at: Timestamp) -> Credentials {
    Credentials {
        leaf: authorities.sign(role, cluster, at).unwrap(),
        bundle: authorities.bundle(),
    }
}

fn authorities(cluster: &str, at: Timestamp) -> Authorities {
    Authorities::default().tended(cluster, at).unwrap().unwrap()
}

/// What the operator asks that knows of this ledger.
fn asking(cluster: &MemgraphCluster, nonce: Option<u64>) -> Request {
    let ledger = cluster.status.as_ref().unwrap().ledger.as_ref().unwrap();
    Request {
        version: VERSION,
        cluster: CLUSTER.to_owned(),
        position: Some(Position::of(ledger)),
        grant: nonce.map(|nonce| Grant {
            nonce,
            cluster: CLUSTER.to_owned(),
            term: ledger.term,
            main: ledger.main.clone(),
            address: ledger.main_address.clone(),
            pod_uid: POD.to_owned(),
            ttl_millis: TTL,
            failsafe: None,
        }),
        voucher: None,
    }
}

impl Scene {
    async fn begin() -> Self {
        let now = Timestamp::now();
        // So old that a certificate of it can have ended.
        let authorities = authorities(CLUSTER, now - SignedDuration::from_hours(24 * 40));
        let mut gateway = TestGateway::start().await;
        gateway.acquaint().await;
        let own = credentials(&authorities, Role::Gateway, CLUSTER, now);
        gateway
            .certificates
            .send_replace(Some(Arc::new(own.server().unwrap())));
        let operator = credentials(&authorities, Role::Operator, CLUSTER, now);
        let main = Instance::start().await;
        let cluster = demo().main_at("demo-0", main.address);
        let address = gateway.addresses.control;
        let first = ask(address, &operator, &asking(&cluster, None)).await.unwrap();
        let granted = asking(&cluster, Some(first.nonce));
        let second = ask(address, &operator, &granted).await.unwrap();
        assert_eq!((second.refusal, second.report.route), (None, Route::Open));
        let (client, instance) = gateway.session(&main).await;
        // Less of it is left than a new one would give.
        gateway.clock.advance(Duration::from_secs(1));
        let report = gateway.route().await;
        Self {
            authorities,
            gateway,
            operator,
            cluster,
            granted,
            client,
            instance,
            report,
            _main: main,
        }
    }

    /// The outcome of a question of somebody with these credentials.
    async fn ask(&self, who: &Credentials, what: &Request) -> Result<Response, Unasked> {
        ask(self.gateway.addresses.control, who, what).await
    }

    /// A question that would end the grant and every session.
    fn closing(&self) -> Request {
        asking(&self.cluster.clone().term(8).closed(), None)
    }

    /// Everything is as it was.
    async fn assert_unchanged(&mut self, after: &str) {
        assert_eq!(self.gateway.route().await, self.report, "{after}");
        assert_connected(&mut self.client, &mut self.instance).await;
    }
}

async fn ask(gateway: SocketAddr, who: &Credentials, what: &Request) -> Result<Response, Unasked> {
    let link = TlsLink::to_port(gateway.port());
    link.introduce(CLUSTER, who).unwrap();
    link.exchange(CLUSTER, gateway.ip(), what, Duration::from_secs(20))
        .await
}

/// What comes in answer to a question over this connection.
async fn post(mut stream: impl AsyncRead + AsyncWrite + Unpin, question: &Request) -> String {
    let body = serde_json::to_string(question).unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        PATH,
        body.len()
    );
    let mut answer = Vec::new();
    let _refused = soon(async {
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        stream.read_to_end(&mut answer).await
    })
    .await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Elsewhere: whoever reaches the port for statuses cuts all sessions.
#[tokio::test]
async fn l22_nothing_that_is_asked_without_a_certificate_changes_anything() {
    let mut scene = Scene::begin().await;
    let paths = [
        "/",
        "/livez",
        "/readyz",
        "/metrics",
        "/status",
        "/api/v1/status",
        "/route",
        PATH,
    ];
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        for path in paths {
            let (status, _) = call(scene.gateway.addresses.http, method, path).await;
            assert!(matches!(status, 404 | 405), "{method} {path}: {status}");
        }
    }
    let plain = TcpStream::connect(scene.gateway.addresses.http).await.unwrap();
    let answer = post(plain, &scene.closing()).await;
    assert!(answer.contains("HTTP/1.1 404"), "{answer}");
    scene
        .assert_unchanged("all that can be asked without a certificate")
        .await;
}

#[tokio::test]
async fn whoever_shows_no_certificate_is_not_heard() {
    let mut scene = Scene::begin().await;
    let plain = TcpStream::connect(scene.gateway.addresses.control).await.unwrap();
    let answer = post(plain, &scene.closing()).await;
    assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
    scene.assert_unchanged("a question without TLS").await;

    let mut roots = RootCertStore::empty();
    let bundle = scene.operator.bundle.as_bytes();
    roots
        .add(CertificateDer::from_pem_slice(bundle).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(scene.gateway.addresses.control).await.unwrap();
    let name = ServerName::try_from(Role::Gateway.name(CLUSTER)).unwrap();
    // In TLS 1.3 the client learns only afterwards that it was refused.
    let stream = soon(TlsConnector::from(Arc::new(config)).connect(name, stream))
        .await
        .unwrap();
    let answer = post(stream, &scene.closing()).await;
    assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
    scene.assert_unchanged("a question without a certificate").await;

    // The same words of the operator are heard.
    let closed = scene.ask(&scene.operator, &scene.closing()).await.unwrap();
    assert!(closed.report.confirms(CLUSTER, 8));
}

#[tokio::test]
async fn the_operator_of_another_cluster_is_not_heard() {
    let mut scene = Scene::begin().await;
    let now = Timestamp::now();
    for (what, cluster) in [("the same name", CLUSTER), ("its own name", "uid-2")] {
        let stranger = Credentials {
            // Otherwise it would not believe the gateway, and say nothing.
            bundle: scene.authorities.bundle(),
            ..credentials(&authorities(cluster, now), Role::Operator, cluster, now)
        };
        let refused = scene.ask(&stranger, &scene.closing()).await.unwrap_err();
        assert!(matches!(refused, Unasked::Failed(_)), "{refused}");
        scene.assert_unchanged(what).await;
    }
}

#[tokio::test]
async fn an_operator_whose_certificate_has_ended_is_not_heard() {
    let mut scene = Scene::begin().await;
    let then = Timestamp::now() - SignedDuration::from_hours(24 * 40);
    let former = credentials(&scene.authorities, Role::Operator, CLUSTER, then);
    let refused = scene.ask(&former, &scene.closing()).await.unwrap_err();
    assert!(matches!(refused, Unasked::Failed(_)), "{refused}");
    scene.assert_unchanged("a certificate of 40 days ago").await;
}

#[tokio::test]
async fn a_grant_that_is_replayed_is_worth_no_more_than_at_first() {
    let mut scene = Scene::begin().await;
    assert_eq!(scene.report["held"]["remainingMillis"], TTL - 1_000);
    let again = scene.ask(&scene.operator, &scene.granted).await.unwrap();
    assert_eq!(
        again.report.held.map(|held| held.remaining_millis),
        Some(TTL - 1_000)
    );
    scene.assert_unchanged("the same grant").await;

    // Once it has run out, it opens nothing.
    scene.gateway.clock.advance(Duration::from_millis(TTL));
    let late = scene.ask(&scene.operator, &scene.granted).await.unwrap();
    assert_eq!(late.refusal.as_deref(), Some("it came too late"));
    assert_eq!(late.report.route, Route::Closed);
}

#[tokio::test]
async fn a_lower_term_is_not_heard() {
    let mut scene = Scene::begin().await;
    let other = Instance::start().await;
    let older = scene.cluster.clone().term(6).main_at("demo-1", other.address);
    let nonce = scene.gateway.keeper.nonce().1;
    let answer = scene
        .ask(&scene.operator, &asking(&older, Some(nonce)))
        .await
        .unwrap();
    assert_eq!(answer.refusal.as_deref(), Some("its term is over"));
    scene.assert_unchanged("a grant of an older term").await;
    let closed = scene
        .ask(&scene.operator, &asking(&older.closed(), None))
        .await
        .unwrap();
    assert_eq!(closed.report.term, 7);
    scene.assert_unchanged("the end of an older term").await;
}

#[tokio::test]
async fn what_is_said_of_a_cluster_with_another_uid_is_not_heard() {
    let mut scene = Scene::begin().await;
    let elsewhere = |request: Request| Request {
        cluster: "uid-2".to_owned(),
        ..request
    };
    let answer = scene
        .ask(&scene.operator, &elsewhere(scene.closing()))
        .await
        .unwrap();
    assert!(!answer.report.confirms("uid-2", 8) && !answer.report.confirms(CLUSTER, 8));
    scene.assert_unchanged("the end of another cluster's route").await;

    let other = Instance::start().await;
    let moved = scene.cluster.clone().term(8).main_at("demo-1", other.address);
    let mut request = elsewhere(asking(&moved, Some(scene.gateway.keeper.nonce().1)));
    request.grant.as_mut().unwrap().cluster = "uid-2".to_owned();
    let answer = scene.ask(&scene.operator, &request).await.unwrap();
    assert_eq!(answer.refusal.as_deref(), Some("it is for another cluster"));
    scene.assert_unchanged("a grant for another cluster").await;
}
