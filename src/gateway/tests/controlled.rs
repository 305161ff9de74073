//! An operator at the other end of the control channel, by the sockets and certificates that both really use.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    cluster::{Build, demo},
    harness::{Instance, POD, TestGateway, assert_connected, fill, read_now},
};
use crate::{
    api::{MemgraphCluster, ledger::Route},
    control_channel::{Authorities, Credentials, Role, TlsLink},
    controller::{GatewayLink, Unasked},
    grants::{Grant, Position, Request, Response, VERSION},
};

pub(super) const CLUSTER: &str = "uid-1";

/// A gateway and an operator that know each other.
pub(super) async fn start() -> (TestGateway, TlsLink) {
    let now = Timestamp::now();
    let authorities = Authorities::default().tended(CLUSTER, now).unwrap().unwrap();
    let credentials = |role| Credentials {
        leaf: authorities.sign(role, CLUSTER, now).unwrap(),
        bundle: authorities.bundle(),
    };
    let gateway = TestGateway::start().await;
    let config = credentials(Role::Gateway).server().unwrap();
    gateway.certificates.send_replace(Some(Arc::new(config)));
    let link = TlsLink::to_port(gateway.addresses.control.port());
    link.introduce(CLUSTER, &credentials(Role::Operator)).unwrap();
    (gateway, link)
}

pub(super) async fn ask(
    gateway: &TestGateway,
    link: &TlsLink,
    cluster: &MemgraphCluster,
    nonce: Option<u64>,
) -> Result<Response, Unasked> {
    let ledger = cluster.status.as_ref().unwrap().ledger.as_ref().unwrap();
    let request = Request {
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
            ttl_millis: 4_000,
            failsafe: None,
        }),
        voucher: None,
    };
    let address = gateway.addresses.control.ip();
    link.exchange(CLUSTER, address, &request, Duration::from_secs(20))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_questions_open_a_gateway_and_one_closes_it_for_certain() {
    let main = Instance::start().await;
    let (mut gateway, link) = start().await;
    gateway.acquaint().await;
    let cluster = demo().main_at("demo-0", main.address);

    let first = ask(&gateway, &link, &cluster, None).await.unwrap();
    assert_eq!((first.pod_uid.as_str(), first.report.route), (POD, Route::Closed));
    assert_eq!(first.report.held, None);
    let second = ask(&gateway, &link, &cluster, Some(first.nonce)).await.unwrap();
    assert_eq!(second.refusal, None);
    // What the answer says is in force already.
    assert_eq!(
        (second.report.route, second.report.main.as_deref()),
        (Route::Open, Some("demo-0"))
    );
    assert_eq!(second.report.held.map(|held| held.remaining_millis), Some(4_000));

    let mut ends = Vec::new();
    for _ in 0..20 {
        let (mut client, mut instance) = gateway.session(&main).await;
        assert_connected(&mut client, &mut instance).await;
        fill(&client).await;
        fill(&instance).await;
        ends.extend([client, instance]);
    }
    let closed = cluster.clone().term(8).closed();
    let third = ask(&gateway, &link, &closed, None).await.unwrap();
    assert!(third.report.confirms(CLUSTER, 8), "{third:?}");
    let found: Vec<_> = ends.into_iter().map(read_now).collect();
    assert_eq!(found, vec![Err(ErrorKind::ConnectionReset); 40]);

    // The grant that was on its way all the time.
    let late = ask(&gateway, &link, &cluster, Some(second.nonce)).await.unwrap();
    assert_eq!(late.refusal.as_deref(), Some("its term is over"));
    assert!(late.report.confirms(CLUSTER, 8));
}

#[tokio::test]
async fn a_gateway_without_certificates_answers_nobody_and_serves_nothing_writable() {
    let (gateway, link) = start().await;
    gateway.certificates.send_replace(None);
    let refused = ask(&gateway, &link, &demo(), None).await.unwrap_err();
    assert!(matches!(refused, Unasked::Failed(_)), "{refused}");
    assert_eq!(gateway.route().await["route"], "Closed");
}

#[tokio::test]
async fn a_question_in_another_version_changes_nothing() {
    let (gateway, link) = start().await;
    let request = Request {
        version: VERSION + 1,
        cluster: CLUSTER.to_owned(),
        position: None,
        grant: None,
        voucher: None,
    };
    let address = gateway.addresses.control.ip();
    let response = link
        .exchange(CLUSTER, address, &request, Duration::from_secs(20))
        .await
        .unwrap();
    assert!(response.refusal.unwrap().contains("version 1"));
    assert_eq!(response.report.cluster, None);
}
