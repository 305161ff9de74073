//! MAIN goes, in one way or another.

use memgraph_operator::api::names;
use simulation::{
    memgraph::{Path, Trouble},
    script,
    world::{Options, World},
};
use tokio::time::sleep;

use crate::{play, secs, was_reset};

/// Elsewhere the gateway still led to a pod that was a replica by then.
#[test]
fn field_01_main_is_killed_and_clients_write_at_once() {
    let options = Options {
        writers: 12,
        ..Options::default()
    };
    script::play(&options, async |world| {
        sleep(secs(5)).await;
        let main = world.main().unwrap();
        world.memgraphs.kill(main.process.unwrap());
        // Whoever comes now is held, and led to the next MAIN.
        assert!(world.session(names::BOLT_PORT).await.is_ok());
        assert_ne!(world.main_name(), main.name);
        assert!(world.writes(20, secs(10)).await);
        assert!(world.settled(1, secs(30)).await);
        let lines = world.trace.lines();
        let misled = |line: &&String| line.contains("write [") && line.contains("replica");
        assert_eq!(lines.iter().find(misled), None);
    });
}

/// Elsewhere it fed a replica that the new MAIN had not registered yet.
#[test]
fn field_05_the_old_main_restarts_before_the_others_are_registered() {
    play(async |world| {
        let main = world.main().unwrap();
        let third = world.others().remove(0);
        let third = world.instances.named(&third).unwrap();
        // The operators cannot ask the third instance for a while, so that nobody registers it.
        for operator in &world.operators {
            let path = Path::between(world.memgraphs.place(operator.name()), third.place);
            world.memgraphs.trouble(path.on(names::BOLT_PORT), Trouble::Drop);
        }
        sleep(secs(3)).await;
        world.memgraphs.kill(main.process.unwrap());
        let serves = |w: &World| w.mains().contains(&main.name);
        assert!(world.throughout(secs(20), |w| !serves(w)).await);
        assert!(world.writes(5, secs(20)).await);
        world.memgraphs.mend_all();
        assert!(world.settled(1, secs(60)).await);
        assert!(!was_reset(&world), "it followed nobody meanwhile");
    });
}

/// Elsewhere what was written between the mark and the end of the process was lost.
#[test]
fn field_06_writes_flow_while_mains_pod_is_being_deleted() {
    let options = Options {
        writers: 12,
        ..Options::default()
    };
    script::play(&options, async |world| {
        sleep(secs(5)).await;
        let main = world.main_name();
        let uid = world.pod(&main).unwrap()["metadata"]["uid"].clone();
        world.delete_pod(&main);
        assert!(world.writes(30, secs(20)).await);
        let replaced = |w: &World| w.pod(&main).is_some_and(|pod| pod["metadata"]["uid"] != uid);
        assert!(world.until(secs(90), replaced).await);
        assert!(world.settled(1, secs(60)).await);
        assert!(!was_reset(&world));
    });
}

/// Elsewhere the replica branched off, and a human had to mend it.
#[test]
fn field_07_main_is_lost_while_its_replica_catches_up() {
    play(async |world| {
        let (main, strict) = (
            world.main().unwrap(),
            world.instances.named(&world.member()).unwrap(),
        );
        let cut = world.cut_replication(&main, &strict);
        let behind = |w: &World| {
            let registrations = w.registrations(&main.name);
            let prefix = format!("pod_{}_", strict.name.trim_start_matches("demo-"));
            registrations
                .iter()
                .any(|r| r.name.starts_with(&prefix) && r.status != "ready")
        };
        assert!(world.until(secs(60), behind).await);
        for cut in cut {
            world.memgraphs.mend(cut);
        }
        world.memgraphs.kill(main.process.unwrap());
        assert!(world.writes(5, secs(60)).await);
        assert!(world.settled(1, secs(60)).await);
        assert_ne!(world.condition("Stalled").0, "True");
    });
}

/// Elsewhere everything rested on a hook that runs before the end.
#[test]
fn field_09_no_hook_runs_before_mains_end() {
    // kill -9
    play(async |world| {
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        assert!(world.until(secs(3), |w| w.is_open_to("demo-1")).await);
        assert!(world.settled(1, secs(60)).await);
    });
    // kubectl delete --force --grace-period=0, and the process lives on.
    play(async |world| {
        let main = world.main().unwrap();
        let mut session = world.session(names::BOLT_PORT).await.unwrap();
        let node = world.delete_by_force(&main.name).unwrap();
        assert!(world.until(secs(10), |w| w.is_open_to("demo-1")).await);
        assert!(world.mains().contains(&main.name), "it lives on");
        assert!(!script::is_alive(&mut session).await, "and has no client");
        assert!(world.writes(5, secs(20)).await);
        node.set_connected(true);
        assert!(world.settled(1, secs(120)).await);
        assert_eq!(world.mains(), ["demo-1"]);
    });
    // The node is gone.
    play(async |world| {
        let node = world.node_of(&world.main_name()).unwrap();
        node.set_power(false);
        assert!(world.until(secs(10), |w| w.is_open_to("demo-1")).await);
        assert!(world.writes(5, secs(20)).await);
        node.set_power(true);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// Elsewhere it held the timeline of a MAIN before the last, and never came back.
#[test]
fn field_10_a_replica_sleeps_through_several_failovers() {
    play(async |world| {
        let third = world.others().remove(0);
        let node = world.node_of(&third).unwrap();
        node.set_power(false);
        for _ in 0..3 {
            let main = world.main().unwrap();
            world.memgraphs.kill(main.process.unwrap());
            let moved = |w: &World| w.main_name() != main.name && w.is_open_to(&w.main_name());
            assert!(world.until(secs(60), moved).await);
            assert!(world.writes(5, secs(20)).await);
        }
        node.set_power(true);
        assert!(world.settled(1, secs(60)).await);
        assert_ne!(world.condition("Stalled").0, "True");
        assert!(
            world
                .registrations(&world.main_name())
                .iter()
                .all(|r| r.status == "ready")
        );
    });
}

/// Elsewhere the candidate was promoted although it was behind what MAIN had acknowledged.
#[test]
fn field_12_the_only_candidate_is_behind() {
    play(async |world| {
        let (main, strict) = (world.main().unwrap(), world.member());
        let third = world.others().remove(0);
        let third = world.instances.named(&third).unwrap();
        let _ = world.cut_replication(&main, &third);
        assert!(world.writes(10, secs(30)).await);
        let nodes = [
            world.node_of(&main.name).unwrap(),
            world.node_of(&strict).unwrap(),
        ];
        nodes.iter().for_each(|node| node.set_power(false));
        assert!(world.until(secs(1), |w| w.mains().is_empty()).await);
        assert!(
            world
                .throughout(secs(120), |w| w.mains().is_empty() && w.main_name() != third.name)
                .await
        );
        assert_eq!(world.condition("Ready").0, "False");
        nodes.iter().for_each(|node| node.set_power(true));
        world.memgraphs.mend_all();
        assert!(world.settled(1, secs(120)).await);
        assert_ne!(world.main_name(), third.name);
    });
}
