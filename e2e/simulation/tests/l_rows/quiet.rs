//! What is done while nothing happens, or nothing that concerns the cluster.

use serde_json::json;
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

/// Elsewhere: a new image restarts any pod, MAIN among them, whatever is in sync.
#[test]
fn l37_a_new_image_restarts_nobody_by_surprise() {
    play(async |world| {
        let pods = |w: &World| -> Vec<_> {
            let store = w.api.store();
            let pods = store
                .all(&Resource::pods())
                .map(|(key, pod)| (key.1.clone(), pod["metadata"]["uid"].clone()));
            pods.filter(|(name, _)| !name.contains("gateway")).collect()
        };
        let before = pods(&world);
        world.edit_spec(|spec| spec["image"] = json!("memgraph/memgraph:3.11.0"));
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
