//! Bytes pass under a grant, and not a moment longer; without an operator the ledger itself renews it.

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use kube::{Api, Client, client::Body};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
};

use super::{
    cluster::{Build, demo, replica, unset},
    harness::{
        Instance, POD, Refusing, TTL, TestClock, TestGateway, assert_connected, assert_refused, assert_reset,
        read_now, soon,
    },
};
use crate::{
    api::{
        MemgraphCluster,
        ledger::{GatewayEntry, Route},
    },
    gateway::{keeper::Keeper, reach::Incident, routes::Routes},
    grants::{Grant, Position, VERSION},
    leader::BootClock,
};

#[tokio::test]
async fn a_gateway_that_only_knows_where_main_is_leads_nobody_there() {
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let mut gateway = TestGateway::serving(&demo().closed()).await;
    gateway.show_only(&cluster.term(8));
    gateway.until(|report| report["term"] == 8).await;
    assert_eq!(gateway.route().await["route"], "Closed");
    assert_refused(gateway.addresses.read_write).await;
    let (status, reason) = gateway.readyz().await;
    assert_eq!(status, 503);
    assert!(reason.contains("no right to lead"), "{reason}");
}

#[tokio::test]
async fn no_byte_passes_in_either_direction_once_the_grant_has_run_out() {
    for from in ["client", "instance"] {
        let main = Instance::start().await;
        let gateway = TestGateway::serving(&demo().main_at("demo-0", main.address)).await;
        let (mut client, mut instance) = gateway.session(&main).await;
        assert_connected(&mut client, &mut instance).await;
        // Only the clock goes on, as for a process that was frozen: nothing has told the session to end.
        gateway.clock.advance(TTL);
        let (mut from, to) = match from {
            "client" => (client, instance),
            _ => (instance, client),
        };
        from.write_all(b"too late").await.unwrap();
        assert_reset(&mut from).await;
        assert_eq!(read_now(to), Err(ErrorKind::ConnectionReset));
        gateway.until_sessions(0, 0).await;
    }
}

#[tokio::test]
async fn a_moment_before_its_end_a_grant_is_as_good_as_ever() {
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let gateway = TestGateway::serving(&cluster).await;
    let (mut client, mut instance) = gateway.session(&main).await;
    gateway.clock.advance(TTL - Duration::from_nanos(1));
    assert_connected(&mut client, &mut instance).await;
    assert_eq!(gateway.grant(&cluster), None);
    gateway
        .until(|report| report["held"]["remainingMillis"] == 4_000)
        .await;
    gateway.clock.advance(TTL - Duration::from_nanos(1));
    assert_connected(&mut client, &mut instance).await;
}

#[tokio::test]
async fn when_a_grant_runs_out_writers_are_reset_and_readers_stay() {
    let (main, other) = (Instance::start().await, Instance::start().await);
    let cluster = demo()
        .main_at("demo-0", main.address)
        .instances([replica("demo-1", &other.address.to_string())])
        .spec(|s| s.gateway.read.fallback_to_main = true);
    let gateway = TestGateway::serving(&cluster).await;
    let (mut writer, mut instance) = gateway.session(&main).await;
    let (mut reader, mut replica) = gateway.read_session(&other).await;

    gateway.clock.advance(TTL);
    // What ends it without a byte to pass is a timer, which runs by another clock.
    gateway.keeper.wake();
    assert_reset(&mut writer).await;
    assert_reset(&mut instance).await;
    assert_connected(&mut reader, &mut replica).await;
    assert_refused(gateway.addresses.read_write).await;
    let report = gateway.route().await;
    assert_eq!((&report["route"], &report["term"]), (&"Closed".into(), &7.into()));

    gateway
        .trouble
        .send_replace(Some("connection refused".to_owned()));
    let (status, reason) = gateway.readyz().await;
    assert_eq!(status, 503);
    assert!(reason.contains("the operator asked 4.0 s ago"), "{reason}");
    assert!(reason.contains("connection refused"), "{reason}");

    // The same MAIN again, with a new grant.
    assert_eq!(gateway.grant(&cluster), None);
    gateway.until(|report| report["route"] == "Open").await;
    let (mut writer, mut instance) = gateway.session(&main).await;
    assert_connected(&mut writer, &mut instance).await;
    assert_eq!(gateway.readyz().await.0, 200);
}

#[tokio::test]
async fn an_operator_alone_opens_and_closes_a_gateway_that_cannot_read_its_cluster_any_more() {
    let (old, new) = (Instance::start().await, Instance::start().await);
    let cluster = demo().main_at("demo-0", old.address);
    let mut gateway = TestGateway::start().await;
    gateway.acquaint().await;
    assert_eq!(gateway.grant(&cluster), None);
    gateway.until(|report| report["route"] == "Open").await;
    assert_eq!(gateway.readyz().await.0, 200);
    let (client, instance) = gateway.session(&old).await;

    assert_eq!(gateway.grant(&cluster.clone().term(8).closed()), None);
    gateway.until(|report| report["term"] == 8).await;
    assert_eq!(read_now(client), Err(ErrorKind::ConnectionReset));
    assert_eq!(read_now(instance), Err(ErrorKind::ConnectionReset));

    assert_eq!(
        gateway.grant(&cluster.term(8).main_at("demo-1", new.address)),
        None
    );
    gateway.until(|report| report["main"] == "demo-1").await;
    let (mut client, mut instance) = gateway.session(&new).await;
    assert_connected(&mut client, &mut instance).await;
}

#[tokio::test]
async fn a_gateway_that_has_never_read_its_cluster_leads_nobody_to_main_whatever_it_is_granted() {
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let mut gateway = TestGateway::start().await;
    assert_eq!(gateway.grant(&cluster), None);
    let report = gateway.until(|report| report["held"].is_object()).await;
    assert_eq!((&report["route"], &report["term"]), (&"Closed".into(), &7.into()));
    let (status, reason) = gateway.readyz().await;
    assert_eq!(status, 503);
    assert!(
        reason.contains("the MemgraphCluster has not been read"),
        "{reason}"
    );
    gateway.trouble.send_replace(Some("is forbidden".to_owned()));
    let (_, reason) = gateway.readyz().await;
    assert!(reason.contains("cannot be read: is forbidden"), "{reason}");
    assert_eq!(*gateway.keeper.mains().borrow(), None, "MAIN is tried");

    let mut client = gateway.client().await;
    client.write_all(b"hello").await.unwrap();
    gateway.until(|report| report["sessions"]["held"] == 1).await;
    assert_refused(gateway.addresses.read).await;
    gateway.show_only(&cluster);
    let mut instance = main.accept().await;
    let mut greeting = [0; 5];
    soon(instance.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"hello");
    assert_connected(&mut client, &mut instance).await;
    assert_eq!(gateway.readyz().await.0, 200);
    let tried = (7, main.address.to_string());
    assert_eq!(*gateway.keeper.mains().borrow(), Some(tried));
}

#[tokio::test]
async fn a_main_that_refuses_or_ends_a_session_taints_the_grant() {
    let refusing = Refusing::open();
    let gateway = TestGateway::serving(&demo().main_at("demo-0", refusing.address)).await;
    assert_refused(gateway.addresses.read_write).await;
    let report = gateway.until(|report| report["held"]["tainted"] == true).await;
    assert!(report["reach"]["refusedMillisAgo"].is_number());

    for reset in [true, false] {
        let main = Instance::start().await;
        let gateway = TestGateway::serving(&demo().main_at("demo-0", main.address)).await;
        let (mut client, instance) = gateway.session(&main).await;
        assert_eq!(gateway.route().await["held"]["tainted"], false);
        if reset {
            instance.set_zero_linger().unwrap();
        }
        drop(instance);
        let mut rest = Vec::new();
        let _end_or_reset = soon(client.read_to_end(&mut rest)).await;
        drop(client);
        gateway.until(|report| report["held"]["tainted"] == true).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_taints_nothing() {
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&demo().main_at("demo-0", main.address)).await;
    for reset in [true, false] {
        let (client, mut instance) = gateway.session(&main).await;
        if reset {
            client.set_zero_linger().unwrap();
        }
        drop(client);
        let mut rest = Vec::new();
        let _end_or_reset = soon(instance.read_to_end(&mut rest)).await;
        drop(instance);
        gateway.until_sessions(0, 0).await;
    }
    assert_eq!(gateway.route().await["held"]["tainted"], false);
}

#[tokio::test]
async fn an_answer_that_is_here_already_reaches_its_client_when_the_route_closes() {
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let mut gateway = TestGateway::serving(&cluster).await;
    let (mut client, mut instance) = gateway.session(&main).await;
    assert_connected(&mut client, &mut instance).await;
    // Both are known to the one thread of this test before the gateway gets its turn; it looks at the cut first.
    instance.try_write(b"committed").unwrap();
    gateway.enforce(&cluster.term(8).closed()).await;
    let mut got = Vec::new();
    let error = soon(client.read_to_end(&mut got)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(got, b"committed");
}

/// A keeper whose cluster can be read from an API server while `available`.
fn keeper(cluster: MemgraphCluster, available: Arc<AtomicBool>) -> (Arc<Keeper>, watch::Sender<Routes>) {
    let service = tower::service_fn(move |_: Request<Body>| {
        let text = serde_json::to_vec(&cluster).unwrap();
        let answer = available
            .load(Ordering::SeqCst)
            .then(|| Response::new(Body::from(text)));
        async move { answer.ok_or("connection refused") }
    });
    let clusters = Api::namespaced(Client::new(service, "default"), "default");
    let seen = Routes::derive(&unset());
    let (routes, view) = watch::channel(seen.clone());
    let keeper = Keeper::new(BootClock, POD.to_owned(), 1);
    keeper.see(seen);
    let kept = Arc::clone(&keeper);
    tokio::spawn(async move { kept.keep(view, clusters, "demo").await });
    (keeper, routes)
}

fn grant(keeper: &Keeper, cluster: &MemgraphCluster, ttl_millis: u64) {
    let ledger = cluster.status.as_ref().unwrap().ledger.as_ref().unwrap();
    let (pod_uid, nonce) = keeper.nonce();
    let grant = Grant {
        nonce,
        cluster: "uid-1".into(),
        term: ledger.term,
        main: ledger.main.clone(),
        address: ledger.main_address.clone(),
        pod_uid,
        ttl_millis,
        failsafe: None,
    };
    let refused = keeper.hear(&crate::grants::Request {
        version: VERSION,
        cluster: "uid-1".into(),
        position: Some(Position::of(ledger)),
        grant: Some(grant),
        voucher: None,
    });
    assert_eq!(refused, None);
}

fn listed(route: Route) -> MemgraphCluster {
    demo().ledger(|ledger| {
        ledger.route = route;
        ledger.gateways = vec![GatewayEntry {
            pod_uid: POD.into(),
            leaving: false,
        }];
    })
}

#[tokio::test]
async fn while_no_operator_answers_the_ledger_renews_the_grant() {
    let available = Arc::new(AtomicBool::new(true));
    let (keeper, _routes) = keeper(listed(Route::Open), Arc::clone(&available));
    grant(&keeper, &listed(Route::Open), 600);
    let mut wanted = keeper.wanted();
    let begin = std::time::Instant::now();
    let first = wanted.borrow_and_update().granted_until.unwrap();
    let much_later = |routes: &Routes| {
        routes
            .granted_until
            .is_none_or(|until| until > first + 2 * TTL / 5)
    };
    let routes = soon(wanted.wait_for(much_later)).await.unwrap().clone();
    assert!(routes.read_write.is_some());
    assert!(begin.elapsed() > Duration::from_secs(1));

    // The API server goes away too.
    available.store(false, Ordering::SeqCst);
    let routes = soon(wanted.wait_for(|routes| routes.read_write.is_none()))
        .await
        .unwrap();
    assert_eq!(routes.term, 7);
}

#[tokio::test]
async fn a_closed_ledger_ends_the_grant_of_a_gateway_that_reads_it() {
    let (keeper, _routes) = keeper(listed(Route::Closed).term(8), Arc::new(AtomicBool::new(true)));
    grant(&keeper, &listed(Route::Open), 4_000);
    let mut wanted = keeper.wanted();
    let begin = std::time::Instant::now();
    let routes = soon(wanted.wait_for(|routes| routes.term == 8)).await.unwrap();
    assert_eq!(routes.read_write, None);
    assert!(begin.elapsed() < TTL);
}

#[tokio::test]
async fn why_the_ledger_did_not_renew_a_grant_is_told() {
    let unlisted = demo().ledger(|ledger| ledger.route = Route::Open);
    let (keeper, _routes) = keeper(unlisted, Arc::new(AtomicBool::new(true)));
    let mut wanted = keeper.wanted();
    let mut lack = async |keeper: &Keeper| {
        let ended = soon(wanted.wait_for(|routes| routes.read_write.is_none()));
        let routes = ended.await.unwrap().clone();
        keeper.lack(&routes, None).unwrap()
    };
    grant(&keeper, &listed(Route::Open), 300);
    let unnamed = lack(&keeper).await;
    assert!(
        unnamed.ends_with("the ledger does not name this gateway"),
        "{unnamed}"
    );

    grant(&keeper, &listed(Route::Open), 300);
    keeper.note(7, Incident::Refused);
    let refused = lack(&keeper).await;
    assert!(
        refused.contains("MAIN has refused or reset a connection"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_grant_that_nobody_renews_ends_by_itself() {
    let (keeper, _routes) = keeper(listed(Route::Open), Arc::new(AtomicBool::new(false)));
    grant(&keeper, &listed(Route::Open), 300);
    let mut wanted = keeper.wanted();
    let begin = std::time::Instant::now();
    soon(wanted.wait_for(|routes| routes.read_write.is_none()))
        .await
        .unwrap();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn the_clock_of_a_test_stands_still() {
    use crate::leader::Clock;
    let clock = TestClock::default();
    assert_eq!(clock.now(), clock.now());
}
