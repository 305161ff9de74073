//! A changed route resets every session of the former one.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    cluster::{Build, demo, replica},
    harness::{
        BlackHole, Instance, Refusing, TestGateway, assert_connected, assert_refused, assert_reset, fill,
        read_now, soon,
    },
};

#[tokio::test]
async fn a_client_is_reset_while_there_is_no_route() {
    let gateway = TestGateway::serving(&demo().closed()).await;
    assert_refused(gateway.addresses.read_write).await;
    assert_refused(gateway.addresses.read).await;
}

#[tokio::test]
async fn a_client_is_reset_when_main_cannot_be_reached() {
    let refusing = Refusing::open();
    let gateway = TestGateway::serving(&demo().main_at("demo-0", refusing.address)).await;
    assert_refused(gateway.addresses.read_write).await;

    let hole = BlackHole::open();
    let cluster = demo()
        .term(8)
        .main_at("demo-0", hole.address)
        .spec(|s| s.gateway.connect_timeout = "50ms".parse().unwrap());
    let gateway = TestGateway::serving(&cluster).await;
    assert_refused(gateway.addresses.read_write).await;
}

#[tokio::test]
async fn a_cut_resets_both_ends_although_bytes_are_under_way_in_both_directions() {
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let mut gateway = TestGateway::serving(&cluster).await;
    let (client, instance) = gateway.session(&main).await;
    fill(&client).await;
    fill(&instance).await;

    gateway.enforce(&cluster.term(8).closed()).await;
    // At once, without waiting for anything: the fence has been acknowledged.
    assert_eq!(read_now(client), Err(ErrorKind::ConnectionReset));
    assert_eq!(read_now(instance), Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_cut_ends_a_session_that_is_still_dialing() {
    let hole = BlackHole::open();
    let cluster = demo()
        .main_at("demo-0", hole.address)
        .spec(|s| s.gateway.connect_timeout = "10m".parse().unwrap());
    let mut gateway = TestGateway::serving(&cluster).await;
    let mut client = gateway.client().await;
    client.write_all(b"not yet").await.unwrap();
    gateway.until_sessions(1, 0).await;

    gateway.enforce(&cluster.term(8).closed()).await;
    assert_eq!(read_now(client), Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_cut_ends_sessions_with_one_half_closed() {
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let mut gateway = TestGateway::serving(&cluster).await;
    let (mut client, mut instance) = gateway.session(&main).await;
    client.shutdown().await.unwrap();
    assert_eq!(soon(instance.read(&mut [0])).await.unwrap(), 0);

    gateway.enforce(&cluster.term(8).closed()).await;
    assert_eq!(read_now(client), Err(ErrorKind::ConnectionReset));
    let refused = instance.write_all(b"late answer").await.unwrap_err();
    assert!(
        matches!(refused.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_is_left_when_the_fence_is_acknowledged() {
    const SESSIONS: usize = 300;
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let mut gateway = TestGateway::serving(&cluster).await;
    let mut ends = Vec::new();
    for _ in 0..SESSIONS {
        let (mut client, mut instance) = gateway.session(&main).await;
        assert_connected(&mut client, &mut instance).await;
        // Something to pass on, up to the last moment.
        let _some = client.try_write(&[1; 100_000]).unwrap();
        let _some = instance.try_write(&[1; 100_000]).unwrap();
        ends.extend([client, instance]);
    }

    gateway.enforce(&cluster.term(8).closed()).await;
    let found: Vec<_> = ends.into_iter().map(read_now).collect();
    assert_eq!(found, vec![Err(ErrorKind::ConnectionReset); 2 * SESSIONS]);
    let report = gateway.route().await;
    assert_eq!((&report["uid"], &report["term"]), (&"uid-1".into(), &8.into()));
    assert_eq!(
        (&report["route"], &report["main"]),
        (&"Closed".into(), &serde_json::Value::Null)
    );
    assert_eq!(
        report["sessions"],
        serde_json::json!({"readWrite": 0, "read": 0, "held": 0, "paused": 0})
    );
}

#[tokio::test]
async fn after_a_change_of_main_new_sessions_lead_to_the_new_one() {
    let (old, new) = (Instance::start().await, Instance::start().await);
    let cluster = demo().main_at("demo-0", old.address);
    let mut gateway = TestGateway::serving(&cluster).await;
    let (mut before, _instance) = gateway.session(&old).await;

    let promoted = cluster.clone().term(8).main_at("demo-1", new.address);
    gateway.enforce(&promoted).await;
    assert_reset(&mut before).await;
    let (mut after, mut instance) = gateway.session(&new).await;
    assert_connected(&mut after, &mut instance).await;
    let report = gateway.route().await;
    assert_eq!((&report["uid"], &report["term"]), (&"uid-1".into(), &8.into()));
    assert_eq!(
        (&report["route"], &report["main"]),
        (&"Open".into(), &"demo-1".into())
    );
    assert_eq!(
        report["sessions"],
        serde_json::json!({"readWrite": 1, "read": 0, "held": 0, "paused": 0})
    );

    // A late event of the old term changes nothing.
    gateway.show(&cluster);
    assert_connected(&mut after, &mut instance).await;
    assert_eq!(gateway.route().await["term"], 8);
}

#[tokio::test]
async fn the_same_main_in_a_new_term_gets_none_of_the_old_sessions() {
    let main = Instance::start().await;
    let cluster = demo().main_at("demo-0", main.address);
    let mut gateway = TestGateway::serving(&cluster).await;
    let (client, instance) = gateway.session(&main).await;

    gateway.enforce(&cluster.term(8)).await;
    assert_eq!(read_now(client), Err(ErrorKind::ConnectionReset));
    assert_eq!(read_now(instance), Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn the_deletion_of_the_cluster_closes_every_route() {
    let (main, other) = (Instance::start().await, Instance::start().await);
    let cluster = demo()
        .main_at("demo-0", main.address)
        .instances([replica("demo-1", &other.address.to_string())]);
    let mut gateway = TestGateway::serving(&cluster).await;
    let (mut writer, _instance) = gateway.session(&main).await;
    let (mut reader, _replica) = gateway.read_session(&other).await;

    gateway.show_deletion(&cluster);
    assert_reset(&mut writer).await;
    assert_reset(&mut reader).await;
    gateway.until(|report| report["route"] == "Closed").await;
    let (status, reason) = gateway.readyz().await;
    assert_eq!(
        (status, reason.trim()),
        (503, "the MemgraphCluster does not exist")
    );
}

#[tokio::test]
async fn the_gateway_is_ready_once_it_knows_a_ledger_and_while_main_changes() {
    let mut gateway = TestGateway::start().await;
    assert_eq!(gateway.readyz().await.0, 503);
    gateway
        .trouble
        .send_replace(Some("connection refused".to_owned()));
    let (_, reason) = gateway.readyz().await;
    assert!(reason.contains("connection refused"), "{reason}");

    gateway.acquaint().await;
    let (status, reason) = gateway.readyz().await;
    assert_eq!(status, 503);
    assert!(reason.contains("no ledger"), "{reason}");

    gateway.enforce(&demo().closed()).await;
    assert_eq!(gateway.readyz().await, (200, "ok\n".to_owned()));
}
