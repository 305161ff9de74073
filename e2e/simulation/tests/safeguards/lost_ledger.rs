//! The ledger is lost, and not everything is as it was.

use serde_json::json;
use simulation::{
    api::Resource,
    memgraph::Disk,
    world::{World, cluster_key},
};
use tokio::time::sleep;

use crate::{command, play, secs, set_operators};

/// Takes the cluster away; its volumes stay. Ends when none of its pods is left on a node that has power.
async fn delete_cluster(world: &World) {
    world.api.store().remove(&Resource::clusters(), &cluster_key());
    let gone = |w: &World| {
        let pods = ["demo-0", "demo-1", "demo-2"];
        pods.into_iter()
            .all(|name| w.pod(name).is_none() || !w.node_of(name).is_some_and(|node| node.has_power()))
    };
    assert!(world.until(secs(120), gone).await);
}

fn stalls(world: &World) -> bool {
    world.condition("Stalled") == ("True".into(), "AmbiguousState".into())
}

/// Gateways know a later term than the first one.
#[test]
fn a_new_ledger_begins_above_what_gateways_know() {
    play(async |world| {
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        sleep(secs(1)).await;
        assert!(world.settled(1, secs(60)).await);
        let term = world.ledger().unwrap().term;
        assert!(term > 1);
        set_operators(&world, false);
        world
            .api
            .store()
            .edit(&Resource::clusters(), &cluster_key(), |cluster| {
                cluster["status"] = json!({})
            });
        set_operators(&world, true);
        assert!(
            world
                .until(secs(60), |w| w.ledger().is_some_and(|l| l.opened))
                .await
        );
        assert!(world.writes(5, secs(60)).await);
        assert!(world.ledger().unwrap().term > term);
    });
}

/// The ledger is lost once more before clients are let in, after replicas were registered, and so are the registrations: nothing but
/// the notes on the volumes tells of the numbers that were used.
#[test]
fn a_set_up_that_was_broken_off_leaves_its_numbers_to_nobody() {
    play(async |world| {
        assert!(world.writes(5, secs(30)).await);
        world.clients.set_quiet(true);
        delete_cluster(&world).await;
        world.create_cluster(&json!({}));
        // One is registered when the next one is to be.
        for _ in 0..2 {
            command(&world, "REGISTER REPLICA", "").await;
        }
        set_operators(&world, false);
        assert!(!world.ledger().unwrap().opened);
        world
            .api
            .store()
            .edit(&Resource::clusters(), &cluster_key(), |cluster| {
                cluster["status"] = json!({})
            });
        for instance in world.instances.live() {
            world.memgraphs.kill(instance.process.unwrap());
        }
        set_operators(&world, true);
        world.clients.set_quiet(false);
        assert!(world.settled(1, secs(120)).await, "{:?}", world.status());
        assert!(world.writes(5, secs(30)).await);
    });
}

/// One copy has gone further than the others, on its own, and lacks what was acknowledged.
#[test]
fn a_choice_that_another_copy_refutes_is_left_to_a_human() {
    play(async |world| {
        assert!(world.writes(5, secs(30)).await);
        set_operators(&world, false);
        world.watchman.set_meddled(true);
        world
            .command("demo-2", "SET REPLICATION ROLE TO MAIN")
            .await
            .unwrap();
        assert!(world.writes(5, secs(60)).await);
        world.clients.set_quiet(true);
        for _ in 0..200 {
            world.command("demo-2", "CREATE (:Stray)").await.unwrap();
        }
        let demote = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000";
        world.command("demo-2", demote).await.unwrap();
        set_operators(&world, true);
        delete_cluster(&world).await;
        world.create_cluster(&json!({}));
        assert!(world.until(secs(180), stalls).await, "{:?}", world.status());
        assert!(world.throughout(secs(60), stalls).await);
        assert!(!world.trace.lines().iter().any(|line| line.contains("RESET")));
        for name in ["demo-0", "demo-1"] {
            let holds = world
                .memgraphs
                .committed(world.instances.named(name).unwrap().process.unwrap());
            let acknowledged = world.watchman.all_acknowledged();
            assert!(acknowledged.iter().all(|id| holds.contains(id)), "{name}");
        }
    });
}

/// The volumes say that MAIN and its strict replica held more than the one copy that is left.
#[test]
fn a_copy_that_was_not_in_sync_is_not_taken_for_all_there_was() {
    play(async |world| {
        let third = world.node_of("demo-2").unwrap();
        third.set_power(false);
        assert!(world.writes(20, secs(60)).await);
        world.clients.set_quiet(true);
        delete_cluster(&world).await;
        for name in ["demo-0", "demo-1"] {
            let volume = world.instances.volume(&volume_of(&world, name));
            world.memgraphs.disk(volume, |disk| *disk = Disk::default());
        }
        third.set_power(true);
        world.create_cluster(&json!({}));
        assert!(world.until(secs(180), stalls).await, "{:?}", world.status());
        assert!(world.throughout(secs(60), stalls).await);
        assert_eq!(world.protocol.without_ledger(), []);
    });
}

/// The volume that is bound to an instance's claim.
fn volume_of(world: &World, instance: &str) -> String {
    let key = (
        "db".to_owned(),
        memgraph_operator::api::names::data_claim(instance),
    );
    let claim = world.api.store().get(&Resource::claims(), &key).unwrap();
    claim["spec"]["volumeName"].as_str().unwrap().to_owned()
}

/// A quota keeps the third instance from having a volume: nobody can tell what it will hold.
#[test]
fn nothing_is_set_up_before_every_instance_was_seen() {
    play(async |world| {
        world.clients.set_quiet(true);
        delete_cluster(&world).await;
        for instance in ["demo-0", "demo-1", "demo-2"] {
            world.delete_claim(instance);
        }
        world.kubernetes.withhold_claim("demo-2", true);
        world.create_cluster(&json!({}));
        let two = |w: &World| {
            w.instances
                .live()
                .iter()
                .filter(|it| it.process.is_some())
                .count()
                == 2
        };
        assert!(world.until(secs(30), two).await);
        // Nor is anybody asked to decide without it.
        let waits = |w: &World| w.ledger().is_none() && w.condition("Stalled").0 != "True";
        assert!(world.throughout(secs(30), waits).await, "{:?}", world.status());
        world.kubernetes.withhold_claim("demo-2", false);
        // The controllers look again when anything changes.
        world.delete_pod("demo-1");
        assert!(world.settled(1, secs(120)).await, "{:?}", world.status());
    });
}
