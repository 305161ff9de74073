//! Replicas come and go.

use memgraph_operator::api::{ledger::Route, names};
use simulation::world::World;
use tokio::time::sleep;

use crate::{play, secs, was_reset};

/// Elsewhere an address was made of the empty field, and the wrong instance was demoted.
#[test]
fn field_03_a_restarting_pod_has_no_address_yet() {
    play(async |world| {
        let since = usize::try_from(world.protocol.statements()).unwrap();
        for replica in [world.others().remove(0), world.member()] {
            let node = world.node_of(&replica).unwrap();
            node.set_lag(Some(secs(8)));
            world.delete_pod(&replica);
            // An operator that has just begun remembers no address either.
            for operator in &world.operators {
                operator.crash();
            }
            assert!(
                world
                    .throughout(secs(20), |w| w.is_open_to("demo-0") && w.mains() == ["demo-0"])
                    .await
            );
            node.set_lag(None);
            assert!(world.settled(1, secs(60)).await);
        }
        let sent = world.protocol.sent();
        let roles: Vec<_> = sent
            .iter()
            .skip(since)
            .filter(|sent| sent.statement.contains("ROLE"))
            .collect();
        assert!(roles.is_empty(), "{roles:?}");
    });
}

/// Elsewhere the registration was dropped "to make writes flow", and they were on MAIN alone.
#[test]
fn field_04_every_replica_is_away_and_clients_want_to_write() {
    play(async |world| {
        let replicas = ["demo-1", "demo-2"].map(|name| world.instances.named(name).unwrap().process.unwrap());
        for replica in replicas {
            world.memgraphs.freeze(replica);
        }
        sleep(secs(1)).await;
        let before = world.clients.acknowledged();
        let protected = |w: &World| {
            let waits = |w: &World| {
                w.registrations("demo-0")
                    .iter()
                    .any(|r| r.attached && r.mode == "strict_sync")
            };
            w.clients.acknowledged() == before && (waits(w) || w.ledger().unwrap().route == Route::Closed)
        };
        assert!(world.throughout(secs(90), protected).await);
        assert_eq!(world.condition("Ready").0, "False");
        assert_eq!(world.main_name(), "demo-0");
        for replica in replicas {
            world.memgraphs.thaw(replica);
        }
        assert!(world.writes(5, secs(60)).await);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// Elsewhere everything waited for a registration whose name could not be resolved.
#[test]
fn field_08_a_name_vanishes_while_replicas_are_registered() {
    play(async |world| {
        let main = world.main().unwrap();
        let host = names::instance_host("demo", "db", &main.name, "cluster.local");
        world.memgraphs.set_name(&host, None);
        world.memgraphs.kill(main.process.unwrap());
        let moved = |w: &World| w.main_name() != main.name && w.is_open_to(&w.main_name());
        assert!(world.until(secs(20), moved).await);
        assert!(world.writes(10, secs(30)).await);
        assert!(world.throughout(secs(20), moved).await);
        world.memgraphs.set_name(&host, Some(main.address));
        assert!(world.settled(1, secs(60)).await);
    });
}

/// Elsewhere a snapshot on exit was older than the log, and the replica recovered what it held before.
#[test]
fn field_11_replicas_are_ended_gracefully_and_recover() {
    play(async |world| {
        for replica in [world.member(), world.others().remove(0)] {
            let arguments = world.instances.named(&replica).unwrap().setup.arguments;
            assert!(
                arguments.contains(&"--storage-snapshot-on-exit=false".to_owned()),
                "{arguments:?}"
            );
            assert!(world.writes(10, secs(30)).await);
            world.delete_pod(&replica);
            sleep(secs(10)).await;
            assert!(world.settled(1, secs(60)).await);
        }
        world.clients.set_quiet(true);
        sleep(secs(10)).await;
        let acknowledged = world.watchman.all_acknowledged();
        assert!(acknowledged.len() > 20);
        for instance in world.instances.live() {
            let holds = world.memgraphs.committed(instance.process.unwrap());
            let missing: Vec<_> = acknowledged.iter().filter(|id| !holds.contains(id)).collect();
            assert!(missing.is_empty(), "{}: {missing:?}", instance.name);
        }
        assert!(!was_reset(&world));
    });
}
