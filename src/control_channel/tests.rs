//! Authorities over the years, and TLS on loopback sockets.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use rustls::ServerConfig;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    controller::{Acquaintance, GatewayLink, Unasked},
    grants::{Report, Request, Response, VERSION},
};

const CLUSTER: &str = "0a1b-2c3d";
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

fn authorities(now: Timestamp) -> Authorities {
    Authorities::default().tended(CLUSTER, now).unwrap().unwrap()
}

fn credentials(authorities: &Authorities, role: Role, now: Timestamp) -> Credentials {
    Credentials {
        leaf: authorities.sign(role, CLUSTER, now).unwrap(),
        bundle: authorities.bundle(),
    }
}

/// A gateway that answers each question with its own nonce.
struct Gateway {
    port: u16,
    certificates: watch::Sender<Option<Arc<ServerConfig>>>,
    stop: CancellationToken,
}

impl Gateway {
    async fn start(credentials: &Credentials) -> Self {
        let listener = TcpListener::bind(SocketAddr::new(LOCAL, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (certificates, used) = watch::channel(Some(Arc::new(credentials.server().unwrap())));
        let stop = CancellationToken::new();
        let answer: Answer = Arc::new(|request: Request| {
            async move {
                Response {
                    version: VERSION,
                    pod_uid: request.cluster,
                    nonce: 7,
                    report: Report::default(),
                    refusal: None,
                }
            }
            .boxed()
        });
        tokio::spawn(serve(listener, used, answer, stop.clone()));
        Self {
            port,
            certificates,
            stop,
        }
    }

    fn link(&self, credentials: &Credentials) -> TlsLink {
        let link = TlsLink::to_port(self.port);
        link.introduce(CLUSTER, credentials).unwrap();
        link
    }

    /// What an operator with these credentials gets.
    async fn ask(&self, credentials: &Credentials) -> Result<Response, Unasked> {
        ask(&self.link(credentials)).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn ask(link: &TlsLink) -> Result<Response, Unasked> {
    let request = Request {
        version: VERSION,
        cluster: CLUSTER.into(),
        position: None,
        grant: None,
        voucher: None,
    };
    link.exchange(CLUSTER, LOCAL, &request, Duration::from_secs(10))
        .await
}

fn refused(answer: Result<Response, Unasked>) -> String {
    match answer {
        Err(Unasked::Failed(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_operator_and_a_gateway_of_one_cluster_understand_each_other() {
    let now = Timestamp::now();
    let authorities = authorities(now);
    let gateway = Gateway::start(&credentials(&authorities, Role::Gateway, now)).await;
    let link = gateway.link(&credentials(&authorities, Role::Operator, now));
    for _ in 0..3 {
        let response = ask(&link).await.unwrap();
        assert_eq!((response.nonce, response.pod_uid.as_str()), (7, CLUSTER));
    }
}

#[tokio::test]
async fn peers_that_do_not_say_who_they_are_make_room_and_keep_no_operator_out() {
    let now = Timestamp::now();
    let authorities = authorities(now);
    let gateway = Gateway::start(&credentials(&authorities, Role::Gateway, now)).await;
    let link = gateway.link(&credentials(&authorities, Role::Operator, now));
    ask(&link).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..=UNKNOWN {
        silent.push(TcpStream::connect((LOCAL, gateway.port)).await.unwrap());
    }
    // Far sooner than the handshake's deadline, of which the clock of this test knows nothing.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    assert!(matches!(silent[0].read(&mut [0]).await, Ok(0) | Err(_)));
    assert_eq!(
        began.elapsed(),
        Duration::ZERO,
        "it left because its time was over"
    );
    tokio::time::resume();
    // Who has shown who it is stays, and others may come.
    ask(&link).await.unwrap();
    ask(&gateway.link(&credentials(&authorities, Role::Operator, now)))
        .await
        .unwrap();
}

#[tokio::test]
async fn who_was_signed_by_another_authority_is_refused_by_either_end() {
    let now = Timestamp::now();
    let (ours, theirs) = (authorities(now), authorities(now));
    let gateway = Gateway::start(&credentials(&ours, Role::Gateway, now)).await;
    // The operator does not believe the gateway.
    refused(gateway.ask(&credentials(&theirs, Role::Operator, now)).await);
    // The operator would believe the gateway, but the gateway does not believe the operator.
    let impostor = Credentials {
        bundle: ours.bundle(),
        ..credentials(&theirs, Role::Operator, now)
    };
    refused(gateway.ask(&impostor).await);
    gateway
        .ask(&credentials(&ours, Role::Operator, now))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_certificate_is_good_for_its_own_role_and_cluster_only() {
    let now = Timestamp::now();
    let authorities = authorities(now);
    let gateway = Gateway::start(&credentials(&authorities, Role::Gateway, now)).await;
    refused(gateway.ask(&credentials(&authorities, Role::Gateway, now)).await);
    let other = Credentials {
        leaf: authorities.sign(Role::Gateway, "another-cluster", now).unwrap(),
        bundle: authorities.bundle(),
    };
    let gateway = Gateway::start(&other).await;
    refused(gateway.ask(&credentials(&authorities, Role::Operator, now)).await);
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_refused() {
    let now = Timestamp::now();
    let then = now - days(40);
    let authorities = authorities(then);
    let operator = credentials(&authorities, Role::Operator, now);
    let gateway = Gateway::start(&credentials(&authorities, Role::Gateway, then)).await;
    refused(gateway.ask(&operator).await);
    let gateway = Gateway::start(&credentials(&authorities, Role::Gateway, now)).await;
    refused(
        gateway
            .ask(&credentials(&authorities, Role::Operator, then))
            .await,
    );
    gateway.ask(&operator).await.unwrap();
}

#[tokio::test]
async fn authorities_and_certificates_change_while_both_ends_talk() {
    let now = Timestamp::now();
    // Made so long ago that a successor is due.
    let old = authorities(now - days(300));
    let gateway = Gateway::start(&credentials(&old, Role::Gateway, now)).await;
    let link = gateway.link(&credentials(&old, Role::Operator, now));
    ask(&link).await.unwrap();

    let both = old.tended(CLUSTER, now).unwrap().unwrap();
    // Either end may learn of it first: the old one still signs.
    ask(&gateway.link(&credentials(&both, Role::Operator, now)))
        .await
        .unwrap();
    let replace = |credentials: Credentials| {
        gateway
            .certificates
            .send_replace(Some(Arc::new(credentials.server().unwrap())));
    };
    replace(credentials(&both, Role::Gateway, now));
    ask(&link).await.unwrap();
    ask(&gateway.link(&credentials(&old, Role::Operator, now)))
        .await
        .unwrap();

    // Two days later the new one signs, and everybody trusts it.
    let operator = credentials(&both, Role::Operator, now + days(2));
    assert_ne!(
        operator.leaf.certificate,
        credentials(&both, Role::Operator, now).leaf.certificate
    );
    // Its certificates begin an hour before they are made, so that a test cannot use them yet; what they show is who signs.
    let bundle = both.bundle();
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 2);
    ask(&link).await.unwrap();
}

#[tokio::test]
async fn nobody_who_listens_is_told_apart_from_somebody_who_does_not_answer() {
    let now = Timestamp::now();
    let authorities = authorities(now);
    let closed = TcpListener::bind(SocketAddr::new(LOCAL, 0)).await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let link = TlsLink::to_port(port);
    refused(ask(&link).await);
    link.introduce(CLUSTER, &credentials(&authorities, Role::Operator, now))
        .unwrap();
    assert!(matches!(ask(&link).await, Err(Unasked::Refused)));

    let mute = TcpListener::bind(SocketAddr::new(LOCAL, port)).await.unwrap();
    let request = Request {
        version: VERSION,
        cluster: CLUSTER.into(),
        position: None,
        grant: None,
        voucher: None,
    };
    let answer = link
        .exchange(CLUSTER, LOCAL, &request, Duration::from_millis(100))
        .await;
    assert!(refused(answer).contains("no answer in 100ms"));
    drop(mute);
}

#[test]
fn an_authority_gets_a_successor_long_before_its_end() {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let first = authorities(begin);
    assert_eq!(first.tended(CLUSTER, begin + days(244)).unwrap(), None);
    let second = first.tended(CLUSTER, begin + days(246)).unwrap().unwrap();
    assert_eq!(second.bundle().matches("BEGIN CERTIFICATE").count(), 2);
    assert!(second.bundle().starts_with(&first.bundle()));
    assert_eq!(second.tended(CLUSTER, begin + days(364)).unwrap(), None);
    // The first one has ended.
    let third = second.tended(CLUSTER, begin + days(366)).unwrap().unwrap();
    assert_eq!(third.bundle().matches("BEGIN CERTIFICATE").count(), 1);
}

#[test]
fn a_certificate_that_was_signed_under_a_clock_far_ahead_is_replaced() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let authorities = authorities(now);
    let renew = |ahead| {
        let signed = authorities.sign(Role::Gateway, CLUSTER, now + SignedDuration::from_hours(ahead));
        signed.unwrap().renew
    };
    assert!(is_of_use(renew(0), now) && is_of_use(renew(1), now));
    assert!(!is_of_use(renew(7), now), "it does not hold for six hours");
    assert!(!is_of_use(renew(0), now + days(20)));
}

#[test]
fn a_certificate_ends_with_its_authority_and_is_replaced_days_before() {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let authorities = authorities(begin);
    let renew = |at| authorities.sign(Role::Gateway, CLUSTER, at).unwrap().renew;
    assert_eq!(renew(begin), begin + days(20));
    // Of an authority that ends soon: later than now, or each look would make another one.
    assert_eq!(
        renew(begin + days(351)),
        begin + days(355) + SignedDuration::from_hours(16)
    );
    assert_eq!(renew(begin + days(362)), begin + days(363));
    assert!(
        authorities
            .sign(Role::Gateway, CLUSTER, begin + days(365))
            .is_err()
    );
}

#[test]
fn what_is_kept_survives_and_keys_are_not_logged() {
    let authorities = authorities(Timestamp::now());
    let text = serde_json::to_string(&authorities).unwrap();
    assert!(text.contains("PRIVATE KEY"));
    assert_eq!(serde_json::from_str::<Authorities>(&text).unwrap(), authorities);
    let now = Timestamp::now();
    let shown = format!(
        "{authorities:?} {:?}",
        credentials(&authorities, Role::Operator, now)
    );
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
}

#[tokio::test]
async fn mounted_files_are_used_once_they_are_complete_and_again_when_they_change() {
    let now = Timestamp::now();
    let folder = std::env::temp_dir().join(format!("control-{:016x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    let write = |credentials: &Credentials| {
        std::fs::write(folder.join("tls.crt"), &credentials.leaf.certificate).unwrap();
        std::fs::write(folder.join("tls.key"), &credentials.leaf.key).unwrap();
        std::fs::write(folder.join("ca.crt"), &credentials.bundle).unwrap();
    };
    tokio::time::pause();
    let (found, mut used) = watch::channel(None);
    tokio::spawn(Mounted::new(&folder).follow(found));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(used.borrow_and_update().is_none());

    let authorities = authorities(now);
    write(&credentials(&authorities, Role::Gateway, now));
    let first = used.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!used.has_changed().unwrap());
    write(&credentials(&authorities, Role::Gateway, now));
    used.changed().await.unwrap();
    assert!(!Arc::ptr_eq(&first, used.borrow().as_ref().unwrap()));
    // Half of a pair is of no use, and what was there stays.
    std::fs::write(folder.join("tls.key"), "no key").unwrap();
    used.borrow_and_update();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!used.has_changed().unwrap());
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn what_one_process_has_kept_lets_the_next_one_ask_without_the_api_server() {
    let now = Timestamp::now();
    let authorities = authorities(now);
    let gateway = Gateway::start(&credentials(&authorities, Role::Gateway, now)).await;
    let folder = std::env::temp_dir().join(format!("keepsakes-{:016x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    let link = || TlsLink::to_port(gateway.port).keeping(Some(folder.clone()));
    assert_eq!(link().recall(), []);

    let first = link();
    first
        .introduce(CLUSTER, &credentials(&authorities, Role::Operator, now))
        .unwrap();
    assert_eq!(link().recall(), [], "it would not know whom to ask");
    let cluster = Acquaintance {
        uid: CLUSTER.into(),
        namespace: "db".into(),
        name: "demo".into(),
        gateways: BTreeMap::from([("gateway-uid".to_owned(), LOCAL)]),
    };
    first.remember(&cluster);
    let file = folder.join("gateways.json");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let second = link();
    assert_eq!(second.recall(), [cluster]);
    assert_eq!(ask(&second).await.unwrap().nonce, 7);
    second.forget(CLUSTER);
    assert_eq!(link().recall(), []);
    std::fs::write(&file, "no JSON").unwrap();
    assert_eq!(link().recall(), []);
    std::fs::remove_dir_all(&folder).unwrap();
}
