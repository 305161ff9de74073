//! Real processes of the server: what survives, and replication over TCP.

// The helpers below are test code, too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

// The cluster on virtual time; the tests of the engine use more of it.
mod certificates;
#[allow(dead_code)]
#[path = "../engine/disk.rs"]
mod disk;
mod faults;
mod instance;
mod metrics;
#[allow(dead_code)]
#[path = "../engine/network.rs"]
mod network;
mod ports;
mod schedules;
mod settings;
mod startup;
mod tls;
mod websocket;

use instance::Instance;

#[tokio::test]
async fn kill_9_keeps_what_was_written_and_a_lost_volume_loses_it() {
    let mut instance = Instance::new(&[]);
    for _ in 0..20 {
        instance.must("CREATE (:T)").await;
    }
    instance.kill();
    instance.start();
    assert_eq!(instance.count().await, 20);
    instance.demote().await;
    instance.kill();
    std::fs::remove_dir_all(instance.data()).unwrap();
    instance.start();
    assert_eq!(instance.count().await, 0);
    assert_eq!(instance.role().await, "main");
}

#[tokio::test]
async fn moving_the_data_away_keeps_the_role() {
    let mut instance = Instance::new(&[]);
    instance.must("CREATE (:T)").await;
    instance.must("CREATE SNAPSHOT").await;
    instance.demote().await;
    assert_eq!(instance.terminate().code(), Some(0));
    for folder in ["snapshots", "wal"] {
        std::fs::rename(instance.data().join(folder), instance.folder.path().join(folder)).unwrap();
    }
    instance.start();
    assert_eq!(instance.role().await, "replica");
    assert_eq!(instance.count().await, 0);
}

#[tokio::test]
async fn two_processes_replicate_in_all_modes() {
    for mode in ["ASYNC", "STRICT_SYNC", "SYNC"] {
        let (main, mut replica) = (Instance::new(&[]), Instance::new(&[]));
        main.must("UNWIND range(1, 1000) AS i CREATE (:T {i: i})").await;
        replica.demote().await;
        main.register("r", &replica, mode).await;
        main.until_ready("r").await;
        assert_eq!(replica.count().await, 1000);
        main.must("MATCH (n:T) WHERE n.i > 990 DELETE n").await;
        main.until_ready("r").await;
        assert_eq!(replica.count().await, 990);
        replica.kill();
        if mode == "STRICT_SYNC" {
            assert!(main.query("CREATE (:Lost)").await.is_err());
        }
        replica.start();
        assert_eq!(replica.role().await, "replica");
        // Where MAIN has not noticed the broken connection yet, the next commit does. After that the replica heals
        // without a query; it might never do so under writes without a pause.
        let noticed = main.query("CREATE (:T)").await;
        assert!(noticed.is_ok() || mode != "ASYNC");
        main.until_ready("r").await;
        main.must("CREATE (:T)").await;
        main.until_ready("r").await;
        assert_eq!(replica.count().await, main.count().await);
    }
}

#[tokio::test]
async fn a_replica_takes_over_and_the_old_main_joins_it() {
    let (mut a, b, c) = (Instance::new(&[]), Instance::new(&[]), Instance::new(&[]));
    b.demote().await;
    c.demote().await;
    a.register("b", &b, "STRICT_SYNC").await;
    a.register("c", &c, "ASYNC").await;
    a.must("CREATE (:T {by: 'a'})").await;
    a.until_ready("c").await;
    a.kill();
    b.must("SET REPLICATION ROLE TO MAIN").await;
    b.register("c", &c, "STRICT_SYNC").await;
    b.must("CREATE (:T {by: 'b'})").await;
    a.start();
    assert_eq!(a.role().await, "main", "nothing tells it better");
    a.demote().await;
    b.register("a", &a, "ASYNC").await;
    b.until_ready("a").await;
    for instance in [&a, &b, &c] {
        assert_eq!(instance.count().await, 2);
    }
}

#[tokio::test]
async fn a_replica_without_its_data_gets_a_snapshot_and_the_log() {
    let (main, mut replica) = (Instance::new(&[]), Instance::new(&[]));
    main.must("UNWIND range(1, 5000) AS i CREATE (:T {text: 'some text to make it larger', i: i})")
        .await;
    main.must("CREATE SNAPSHOT").await;
    main.must("CREATE (:T)-[:R {p: [1, 2]}]->(:U)").await;
    replica.demote().await;
    main.register("r", &replica, "ASYNC").await;
    main.until_ready("r").await;
    assert_eq!(replica.count().await, 5002);
    replica.kill();
    for folder in ["snapshots", "wal"] {
        let _ = std::fs::remove_dir_all(replica.data().join(folder));
    }
    replica.start();
    main.must("CREATE (:T)").await;
    main.until_ready("r").await;
    assert_eq!(replica.count().await, 5003);
}
