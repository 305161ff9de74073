//! What clients of the gateway notice.

use memgraph_operator::api::{ledger::Route, names};
use serde_json::json;
use simulation::{memgraph::Client, script::is_alive, world::World};
use tokio::time::sleep;

use crate::{play, play_with, secs};

/// Elsewhere: a session's age counts as idleness, and every session is cut after five minutes.
#[test]
fn l06_neither_a_busy_session_nor_an_idle_one_is_cut() {
    play(async |world| {
        world.clients.set_quiet(true);
        let mut busy = world.session(names::BOLT_PORT).await.unwrap();
        let mut idle = world.session(names::BOLT_PORT).await.unwrap();
        for _ in 0..40 {
            sleep(secs(10)).await;
            assert!(is_alive(&mut busy).await);
        }
        assert!(is_alive(&mut idle).await);
    });
}

/// Elsewhere: the gateway opens only when every pod is ready.
#[test]
fn l07_an_instance_that_is_down_closes_nothing_also_under_a_new_leader() {
    play(async |world| {
        let mut session = world.session(names::BOLT_PORT).await.unwrap();
        let node = world.node_of("demo-2").unwrap();
        node.set_power(false);
        sleep(secs(1)).await;
        for operator in &world.operators {
            operator.crash();
        }
        let open = |w: &World| w.is_open_to("demo-0");
        assert!(world.throughout(secs(60), open).await);
        assert!(world.writes(10, secs(30)).await);
        assert!(is_alive(&mut session).await);
        // The only copy that is left to a new MAIN is the old one, which tries its replicas first when it starts.
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        assert!(world.until(secs(60), |w| w.is_open_to("demo-1")).await);
        assert!(world.writes(5, secs(20)).await);
    });
}

/// Elsewhere: whichever pod ends, the gateway is closed until all are ready again.
#[test]
fn l08_the_end_of_a_replicas_pod_closes_nothing() {
    play(async |world| {
        let mut session = world.session(names::BOLT_PORT).await.unwrap();
        for replica in ["demo-2", "demo-1"] {
            let before = world.pod(replica).unwrap()["metadata"]["uid"].clone();
            world.delete_pod(replica);
            let open = |w: &World| w.is_open_to("demo-0") && w.ledger().unwrap().term == 1;
            assert!(world.throughout(secs(15), open).await, "{replica}");
            assert_ne!(world.pod(replica).unwrap()["metadata"]["uid"], before);
            assert!(world.settled(1, secs(60)).await);
        }
        assert!(is_alive(&mut session).await);
        assert!(world.writes(10, secs(30)).await);
    });
}

async fn readers(world: &World, count: usize) -> Vec<Client> {
    let mut readers = Vec::new();
    for _ in 0..count {
        readers.push(world.session(names::GATEWAY_READ_PORT).await.unwrap());
    }
    readers
}

async fn alive(readers: &mut [Client]) -> usize {
    let mut count = 0;
    for reader in readers {
        count += usize::from(is_alive(reader).await);
    }
    count
}

/// Elsewhere: all readers are led to one pod, whatever it holds.
#[test]
fn l19_readers_are_spread_and_not_led_to_a_replica_that_lags() {
    play_with(json!({"replicas": 4}), async |world| {
        let both = |w: &World| {
            let instances = w.status().instances.into_iter();
            instances
                .filter(|i| i.data_status.as_deref() == Some("ready"))
                .count()
                == 3
        };
        assert!(world.until(secs(60), both).await);
        let others = world.others();
        assert_eq!(others.len(), 2);
        let named = |number: usize| world.instances.named(&others[number]).unwrap();
        let mut first = readers(&world, 6).await;
        world.memgraphs.kill(named(1).process.unwrap());
        sleep(secs(1)).await;
        assert_eq!(alive(&mut first).await, 3);
        assert!(world.until(secs(60), both).await);
        let (main, lagging) = (world.main().unwrap(), named(0));
        let _ = world.cut_replication(&main, &lagging);
        assert!(world.until(secs(60), |w| !both(w)).await);
        sleep(secs(1)).await;
        let mut second = readers(&world, 4).await;
        world.memgraphs.kill(lagging.process.unwrap());
        sleep(secs(1)).await;
        assert_eq!(alive(&mut second).await, 4);
    });
}

/// Elsewhere: the Service leads to the next MAIN before it is one, and to all pods before there is any.
#[test]
fn l38_nothing_is_acknowledged_before_a_main_is_promoted() {
    play(async |world| {
        for _ in 0..2 {
            assert!(world.writes(5, secs(30)).await);
            let (main, term) = (world.main().unwrap(), world.ledger().unwrap().term);
            world.memgraphs.kill(main.process.unwrap());
            assert!(
                world
                    .until(secs(5), |w| w.ledger().unwrap().route == Route::Closed)
                    .await
            );
            let before = world.clients.acknowledged();
            while !world.is_open_to(&world.main_name()) {
                assert_eq!(world.clients.acknowledged(), before);
                sleep(std::time::Duration::from_millis(2)).await;
            }
            assert!(world.ledger().unwrap().term > term);
            // Clients are let in only to one that says itself that it is MAIN.
            assert_eq!(world.mains(), [world.main_name()]);
        }
    });
}
