//! What is done while nothing happens, or nothing that concerns the cluster.

use std::collections::BTreeMap;

use memgraph_operator::api::{Phase, names};
use serde_json::{Value, json};
use simulation::{api::Resource, world::World};
use tokio::time::sleep;

use crate::{play, secs};

/// Elsewhere: each status write wakes the controller that wrote it, so that it never rests.
#[test]
fn l33_a_quiet_cluster_is_neither_written_nor_told_anything() {
    play(async |world| {
        world.clients.set_quiet(true);
        sleep(secs(30)).await;
        let writes = |w: &World| {
            let lines = w.trace.lines();
            lines
                .iter()
                .filter(|l| l.contains(" api operator") && !l.contains("/leases/"))
                .count()
        };
        let (before, version, sent) = (
            writes(&world),
            world.cluster_version(),
            world.protocol.statements(),
        );
        sleep(secs(120)).await;
        assert_eq!(writes(&world), before);
        assert_eq!(
            (world.cluster_version(), world.protocol.statements()),
            (version, sent)
        );
    });
}

/// What each instance's pod is, and what it was made of.
fn pods(world: &World) -> BTreeMap<String, (Value, Value)> {
    let store = world.api.store();
    let instances = store
        .all(&Resource::pods())
        .filter(|(key, _)| names::ordinal("demo", &key.1).is_some());
    let told = |pod: &Value| {
        let metadata = &pod["metadata"];
        (
            metadata["uid"].clone(),
            metadata["annotations"]["memgraph.dev/configuration"].clone(),
        )
    };
    instances.map(|(key, pod)| (key.1.clone(), told(pod))).collect()
}

/// Elsewhere: a new image restarts any pod, MAIN among them, whatever is in sync.
#[test]
fn l37_a_changed_configuration_reaches_replicas_first_and_moves_main() {
    play(async |world| {
        let before = pods(&world);
        world.edit_spec(|spec| spec["config"] = json!({"query-execution-timeout-sec": "601"}));
        let updated = |w: &World| {
            let now = pods(w);
            now.len() == 3 && now.iter().all(|(name, (_, made_of))| *made_of != before[name].1)
        };
        assert!(
            world
                .until(secs(60), |w| pods(w)["demo-0"].0 != before["demo-0"].0
                    || w.ledger().unwrap().main.instance != "demo-0")
                .await
        );
        let now = pods(&world);
        for replica in ["demo-1", "demo-2"] {
            assert_ne!(now[replica].0, before[replica].0, "{replica} comes before MAIN");
        }
        assert!(
            world
                .until(secs(120), |w| updated(w)
                    && w.status().phase == Some(Phase::Operational))
                .await,
            "{:?}",
            world.status().conditions
        );
        assert_ne!(world.ledger().unwrap().main.instance, "demo-0");
        assert!(world.writes(5, secs(20)).await);
    });
}

/// An older release could not read what a newer one has written.
#[test]
fn l37_an_older_image_restarts_nobody() {
    play(async |world| {
        let before = pods(&world);
        world.edit_spec(|spec| spec["image"] = json!("memgraph/memgraph:3.5.0"));
        assert!(
            world
                .throughout(secs(60), |w| w.is_open_to("demo-0")
                    && w.ledger().unwrap().term == 1)
                .await
        );
        assert_eq!(pods(&world), before);
        assert!(world.writes(5, secs(20)).await);
    });
}

/// Elsewhere: one hung instance keeps the operator from all clusters.
#[test]
fn l34_a_cluster_is_set_up_while_another_one_hangs() {
    play(async |world| {
        for instance in world.instances.live() {
            world.memgraphs.freeze(instance.process.unwrap());
        }
        sleep(secs(5)).await;
        world.create_neighbour("other", &json!({}));
        let phase = |w: &World, name: &str| {
            let cluster = w
                .api
                .store()
                .get(&Resource::clusters(), &("db".to_owned(), name.to_owned()));
            cluster
                .map(|cluster| cluster["status"]["phase"].clone())
                .unwrap_or_default()
        };
        assert!(
            world
                .until(secs(15), |w| phase(w, "other") == "Operational")
                .await
        );
        assert_ne!(phase(&world, "demo"), "Operational");
        for instance in world.instances.live() {
            world.memgraphs.thaw(instance.process.unwrap());
        }
        assert!(world.settled(1, secs(90)).await);
    });
}
