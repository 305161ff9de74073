//! Replicas come, go, branch off and come back.

use memgraph_operator::api::names;
use serde_json::json;
use simulation::{
    memgraph::Disk,
    world::{Options, World},
};
use tokio::time::sleep;

use crate::{play, play_with, secs};

/// The mode in which an instance is registered on MAIN.
fn mode(world: &World, ordinal: usize) -> Option<&'static str> {
    let prefix = format!("pod_{ordinal}_");
    let registrations = world.registrations(&world.main_name());
    let found: Vec<_> = registrations
        .iter()
        .filter(|r| r.name.starts_with(&prefix) && r.attached)
        .collect();
    assert!(found.len() < 2, "{found:?}");
    found.first().map(|registration| registration.mode)
}

/// Has an instance branch off: while no operator runs, a human makes it MAIN and writes to it.
async fn branch_off(world: &World, instance: &str) {
    world.watchman.set_meddled(true);
    for operator in &world.operators {
        operator.set_power(false);
    }
    world
        .command(instance, "SET REPLICATION ROLE TO MAIN")
        .await
        .unwrap();
    world.command(instance, "CREATE (:Stray)").await.unwrap();
    sleep(secs(2)).await;
    for operator in &world.operators {
        operator.set_power(true);
    }
}

/// Elsewhere: an instance that was removed stays among those that must be ready, and its registration forbids failovers.
#[test]
fn l05_a_removed_instance_leaves_no_registration_behind() {
    play_with(json!({"replicas": 4}), async |world| {
        assert!(world.until(secs(30), |w| mode(w, 3).is_some()).await);
        world.edit_spec(|spec| spec["replicas"] = json!(3));
        assert!(
            world
                .until(secs(30), |w| w.pod("demo-3").is_none()
                    && w.registrations("demo-0").len() == 2)
                .await
        );
        assert!(world.settled(1, secs(30)).await);
        assert_eq!(world.condition("ReplicationHealthy").0, "True");
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        assert!(world.until(secs(5), |w| w.is_open_to("demo-1")).await);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// Elsewhere: a replica that was once registered in the wrong mode stays so, and failover is refused for ever.
#[test]
fn l16_a_registration_in_the_wrong_mode_is_made_anew() {
    play(async |world| {
        world.watchman.set_meddled(true);
        let name = world.ledger().unwrap().in_sync[0].generation;
        let host = world.instances.named("demo-1").unwrap().address;
        world
            .command("demo-0", &format!("DROP REPLICA pod_1_g{name}"))
            .await
            .unwrap();
        let register = format!("REGISTER REPLICA pod_1_g{name} ASYNC TO \"{host}:10000\"");
        world.command("demo-0", &register).await.unwrap();
        assert_eq!(mode(&world, 1), Some("async"));
        let strict = |w: &World| {
            [1, 2]
                .into_iter()
                .any(|ordinal| mode(w, ordinal) == Some("strict_sync"))
        };
        assert!(
            world
                .until(secs(20), |w| strict(w) && w.is_open_to("demo-0"))
                .await
        );
        assert!(world.settled(1, secs(30)).await);
        world.watchman.set_meddled(false);
        assert!(world.writes(5, secs(20)).await);
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        assert!(
            world
                .until(secs(5), |w| w.main_name() != "demo-0"
                    && w.is_open_to(&w.main_name()))
                .await
        );
    });
}

/// Elsewhere: a replica whose data has branched off waits for a human, for ten hours.
#[test]
fn l20_a_replica_that_has_branched_off_is_filled_anew_without_a_human() {
    play(async |world| {
        branch_off(&world, "demo-2").await;
        let volume = world.instances.named("demo-2").unwrap().volume;
        let aside = |w: &World| {
            w.memgraphs
                .disk(volume, |disk| !disk.list(names::SET_ASIDE).is_empty())
        };
        assert!(
            world
                .until(secs(60), |w| w
                    .trace
                    .lines()
                    .iter()
                    .any(|line| line.contains("RESET")))
                .await
        );
        assert!(world.settled(1, secs(60)).await);
        world.watchman.set_meddled(false);
        assert_ne!(world.condition("Stalled").0, "True");
        assert!(aside(&world), "what it held is kept");
        assert_eq!(mode(&world, 2), Some("async"));
    });
}

/// Elsewhere: after a registration that was refused its name stays, is taken for a replica, and the replica never comes back.
#[test]
fn l25_a_replica_with_an_empty_disk_rejoins_and_leaves_no_ghost() {
    play(async |world| {
        for name in ["demo-2", "demo-1"] {
            let instance = world.instances.named(name).unwrap();
            world.memgraphs.kill(instance.process.unwrap());
            world
                .memgraphs
                .disk(instance.volume, |disk| *disk = Disk::default());
            sleep(secs(5)).await;
            assert!(world.settled(1, secs(60)).await, "{name}");
            let registrations = world.registrations("demo-0");
            assert_eq!(registrations.len(), 2, "{registrations:?}");
            assert!(
                registrations.iter().all(|r| r.attached && r.status == "ready"),
                "{registrations:?}"
            );
        }
        assert!(world.writes(5, secs(20)).await);
    });
}

/// Elsewhere: a replica that is not ready loses its registration, also if MAIN must wait for it; then MAIN writes alone.
#[test]
fn l29_a_strict_replica_keeps_its_registration_until_another_one_is_strict() {
    play(async |world| {
        let strict = world.instances.named("demo-1").unwrap();
        let since = world.protocol.statements();
        world.memgraphs.freeze(strict.process.unwrap());
        assert!(world.until(secs(60), |w| mode(w, 2) == Some("strict_sync")).await);
        assert!(world.writes(5, secs(60)).await);
        let sent = world.sent_to("demo-0", since);
        let at = |what: &str, mode: &str| sent.iter().position(|s| s.starts_with(what) && s.contains(mode));
        let registered = at("REGISTER REPLICA pod_2", "STRICT_SYNC").unwrap();
        let dropped = at("DROP REPLICA pod_1", "");
        assert!(dropped.is_none_or(|dropped| dropped > registered), "{sent:?}");
        world.memgraphs.thaw(strict.process.unwrap());
        assert!(world.settled(1, secs(60)).await);
    });
}

/// Elsewhere: a dead replica counts as healthy, because its name is registered.
#[test]
fn l43_what_does_not_follow_main_is_never_reported_as_healthy() {
    let keep = json!({"replication": {"divergedInstances": "Keep"}});
    play_with(keep, async |world| {
        assert_eq!(world.condition("ReplicationHealthy").0, "True");
        branch_off(&world, "demo-2").await;
        let stalled = |w: &World| w.condition("Stalled") == ("True".into(), "DivergedInstance".into());
        assert!(
            world.until(secs(60), stalled).await,
            "{:?}",
            world.status().conditions
        );
        assert_eq!(world.condition("ReplicationHealthy").0, "False");
        // The clients are not concerned.
        assert_eq!(world.condition("Ready").0, "True");
        assert!(world.writes(5, secs(20)).await);
        assert!(world.throughout(secs(30), stalled).await);
        // And if every replica has branched off, nothing is well.
        branch_off(&world, "demo-1").await;
        let unready = |w: &World| w.condition("Ready").0 == "False";
        assert!(world.until(secs(60), unready).await);
        assert_eq!(world.condition("Durable").0, "False");
        assert!(world.throughout(secs(20), unready).await);
    });
}

/// Elsewhere: a lower number of replicas takes MAIN away without handing over, and registrations are dropped too late.
#[test]
fn l45_main_moves_before_its_instance_is_removed() {
    play(async |world| {
        world.edit_spec(|spec| spec["switchover"] = json!({"requestId": "up", "target": "demo-2"}));
        assert!(world.until(secs(30), |w| w.is_open_to("demo-2")).await);
        assert!(world.settled(1, secs(60)).await);
        assert!(world.writes(10, secs(30)).await);
        world.edit_spec(|spec| spec["replicas"] = json!(2));
        let stays = |w: &World| {
            w.pod("demo-2")
                .is_some_and(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        };
        // Its pod is there for as long as it is MAIN.
        let moved = |w: &World| w.main_name() != "demo-2" && w.is_open_to(&w.main_name());
        assert!(world.until(secs(60), |w| !stays(w) || moved(w)).await);
        assert!(moved(&world) && stays(&world));
        assert!(world.until(secs(60), |w| w.pod("demo-2").is_none()).await);
        assert!(world.settled(1, secs(60)).await);
        assert_eq!(world.registrations(&world.main_name()).len(), 1);
        assert!(world.writes(10, secs(30)).await);
    });
}

#[test]
fn l45_one_instance_becomes_three_and_one_again() {
    let options = Options {
        spec: json!({"replicas": 1}),
        ..Options::default()
    };
    simulation::script::play(&options, async |world| {
        assert!(world.writes(10, secs(30)).await);
        world.edit_spec(|spec| spec["replicas"] = json!(3));
        let grown = |w: &World| w.status().replicas == 3;
        assert!(world.until(secs(30), grown).await);
        assert!(world.settled(1, secs(60)).await);
        assert_eq!(
            (mode(&world, 1), mode(&world, 2)),
            (Some("strict_sync"), Some("async"))
        );
        assert!(world.writes(10, secs(30)).await);
        world.edit_spec(|spec| spec["replicas"] = json!(1));
        let alone = |w: &World| {
            w.registrations("demo-0").is_empty() && w.pod("demo-1").is_none() && w.pod("demo-2").is_none()
        };
        assert!(world.until(secs(60), alone).await);
        assert!(world.writes(10, secs(30)).await);
        assert_eq!(world.ledger().unwrap().term, 1);
    });
}
