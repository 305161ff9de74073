//! Instances that do not come back by themselves, and readers that keep the storage of a replica to themselves.

#![allow(clippy::unwrap_used)]

mod addresses;
mod sleep;

use std::time::Duration;

use bolt_server::Map;
use memgraph_operator::api::names;
use serde_json::json;
use simulation::{
    memgraph::{Path, Trouble},
    script::play,
    world::{Options, World},
};
use tokio::time::{Instant, sleep};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn has_told(world: &World, text: &str) -> bool {
    world.trace.lines().iter().any(|line| line.contains(text))
}

/// A reader holds up whatever needs a replica's storage alone, which nothing on the way to the next MAIN does.
#[test]
fn a_reader_on_each_replica_does_not_hold_a_failover_up() {
    play(&Options::default(), async |world| {
        let patience = secs(5);
        let mut readers = Vec::new();
        for name in ["demo-1", "demo-2"] {
            let at = (world.instances.named(name).unwrap().address, 7687).into();
            let mut client = world.memgraphs.client(world.memgraphs.place("analyst"));
            client.connect(at, patience).await.unwrap();
            client.begin(patience).await.unwrap();
            client.read(patience).await.unwrap();
            readers.push(client);
        }
        let began = Instant::now();
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        assert!(world.until(secs(3), |w| w.is_open_to("demo-1")).await);
        assert!(world.writes(5, secs(3)).await);
        assert!(began.elapsed() < secs(5), "{:?}", began.elapsed());
        drop(readers);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// It completes no handshake, and MAIN does not reach it either; Kubernetes takes it for running.
#[test]
fn a_replica_that_stands_still_for_ever_gets_a_new_pod() {
    play(&Options::default(), async |world| {
        let before = world.pod("demo-2").unwrap();
        let process = world.instances.named("demo-2").unwrap().process.unwrap();
        world.memgraphs.freeze(process);
        sleep(secs(50)).await;
        let uid = |pod: &simulation::api::Object| pod["metadata"]["uid"].clone();
        assert_eq!(uid(&world.pod("demo-2").unwrap()), uid(&before));
        let replaced = |w: &World| w.pod("demo-2").is_some_and(|pod| uid(&pod) != uid(&before));
        assert!(world.until(secs(120), replaced).await);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// A file of its log is missing: Memgraph ends at each start.
#[test]
fn a_replica_that_cannot_read_its_data_is_filled_anew() {
    play(&Options::default(), async |world| {
        let volume = world.instances.named("demo-2").unwrap().volume;
        let logs = |w: &World| w.memgraphs.disk(volume, |disk| disk.list("wal"));
        let kill = |w: &World| {
            w.memgraphs
                .kill(w.instances.named("demo-2").unwrap().process.unwrap())
        };
        // Each life begins a file of its own.
        for _ in 0..2 {
            assert!(world.writes(5, secs(20)).await);
            kill(&world);
            sleep(secs(1)).await;
            assert!(world.settled(1, secs(60)).await);
        }
        assert!(world.writes(5, secs(20)).await);
        let files = logs(&world);
        assert!(files.len() > 2, "{files:?}");
        kill(&world);
        world
            .memgraphs
            .disk(volume, |disk| disk.remove(&format!("wal/{}", files[1])));
        assert!(world.until(secs(60), |w| has_told(w, "Fatal")).await);
        assert!(
            world
                .until(secs(240), |w| has_told(w, "RESET: the data of demo-2"))
                .await
        );
        assert!(world.settled(1, secs(60)).await);
        assert_ne!(world.condition("Stalled").0, "True");
    });
}

/// MAIN fills it from its log, and its next start would take the UUID of its snapshot and pass over that.
#[test]
fn a_replica_that_was_empty_when_it_took_a_snapshot_takes_another_one() {
    let options = Options {
        spec: json!({"replication": {"syncReplicas": 2}}),
        ..Options::default()
    };
    play(&options, async |world| {
        assert!(world.settled(2, secs(60)).await);
        let before = world.instances.named("demo-2").unwrap().volume;
        for operator in &world.operators {
            operator.set_power(false);
        }
        world.delete_claim("demo-2");
        world.delete_pod("demo-2");
        let fresh = |world: &World| {
            let instance = world.instances.named("demo-2");
            instance.is_some_and(|instance| instance.volume != before)
        };
        assert!(world.until(secs(60), fresh).await);
        let volume = world.instances.named("demo-2").unwrap().volume;
        let newest = |world: &World| {
            let snapshots = world.memgraphs.disk(volume, |disk| disk.list("snapshots"));
            snapshots.into_iter().max().unwrap_or_default()
        };
        let deadline = Instant::now() + secs(20);
        while world.command("demo-2", "CREATE SNAPSHOT").await.is_err() {
            assert!(Instant::now() < deadline, "demo-2 does not answer");
            sleep(secs(1)).await;
        }
        assert!(newest(&world).ends_with("_timestamp_0"), "{}", newest(&world));
        for operator in &world.operators {
            operator.set_power(true);
        }
        // Nothing else has it take one before it has run for five minutes.
        let another = |world: &World| !newest(world).ends_with("_timestamp_0");
        assert!(world.until(secs(120), another).await, "{}", newest(&world));
        assert!(world.settled(2, secs(120)).await);
    });
}

/// It takes one every five minutes, which is among its transactions for as long as it takes.
#[test]
fn main_moves_while_it_takes_a_snapshot() {
    play(&Options::default(), async |world| {
        assert!(world.settled(1, secs(60)).await);
        assert!(world.writes(20, secs(30)).await);
        let main = world.main().unwrap();
        let sync = Duration::from_micros(400);
        world.memgraphs.set_disk_speed(main.volume, sync, secs(600));
        let address = (main.address, names::BOLT_PORT).into();
        let mut client = world.memgraphs.client(world.memgraphs.place("human"));
        client.connect(address, secs(5)).await.unwrap();
        let deadline = Instant::now() + secs(400);
        loop {
            let running = client
                .run("SHOW TRANSACTIONS", Map::new(), secs(5))
                .await
                .unwrap();
            if format!("{running:?}").contains("CREATE SNAPSHOT") {
                break;
            }
            assert!(Instant::now() < deadline, "it takes no snapshot");
            sleep(secs(5)).await;
        }
        world.edit_spec(|spec| spec["switchover"] = json!({"requestId": "away", "target": "demo-1"}));
        assert!(
            world.until(secs(10), |w| w.is_open_to("demo-1")).await,
            "{:?}",
            world.status()
        );
        assert_eq!(world.instances.named(&main.name).unwrap().process, main.process);
        assert!(world.writes(20, secs(30)).await);
    });
}

/// Two replicas are asked for, and the next MAIN cannot reach one of them: the other holds everything, or has to be filled first.
#[test]
fn the_route_opens_without_a_replica_that_main_cannot_reach() {
    let options = Options {
        spec: json!({"replication": {"syncReplicas": 2}}),
        ..Options::default()
    };
    for is_emptied in [false, true] {
        play(&options, async |world| {
            assert!(world.settled(2, secs(60)).await);
            assert!(world.writes(20, secs(30)).await);
            let place = |name: &str| world.instances.named(name).unwrap().place;
            let (one, other) = (place("demo-1"), place("demo-2"));
            for (from, to) in [(one, other), (other, one)] {
                let path = Path::between(from, to).on(names::REPLICATION_PORT);
                world.memgraphs.trouble(path, Trouble::Drop);
            }
            let main = world.main().unwrap();
            if is_emptied {
                world.delete_claim("demo-0");
                world.delete_pod("demo-0");
            }
            world.memgraphs.kill(main.process.unwrap());
            assert!(world.until(secs(10), |w| w.main_name() != "demo-0").await);
            assert!(world.writes(20, secs(90)).await, "{:?}", world.status());
            world.memgraphs.mend_all();
            assert!(world.settled(2, secs(120)).await);
        });
    }
}
