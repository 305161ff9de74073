//! MAIN is lost, or seems to be.

use memgraph_operator::api::{
    SwitchoverState,
    ledger::{OperationKind, Route},
    names,
};
use serde_json::json;
use simulation::{script::is_alive, world::World};
use tokio::time::sleep;

use crate::{play, play_with, secs};

/// Elsewhere: the prober can never cause a failover, so that a MAIN that is cut off stays MAIN.
#[test]
fn l01_a_main_that_is_cut_off_is_replaced() {
    play(async |world| {
        let main = world.main().unwrap();
        // Only the network to it is away: Kubernetes goes on to take it for ready.
        world.memgraphs.cut_off(main.place);
        assert!(world.until(secs(10), |w| w.main_name() != main.name).await);
        assert!(world.writes(5, secs(20)).await);
        // It lives, and is MAIN by its own word until it is reached again.
        assert!(world.mains().contains(&main.name));
        world.memgraphs.mend_all();
        assert!(world.settled(1, secs(60)).await);
        assert!(!world.mains().contains(&main.name));
    });
}

/// The same for a MAIN that takes connections and answers nothing: Kubernetes goes on to take it for ready.
#[test]
fn l01_a_main_that_stands_still_is_replaced_although_it_is_ready() {
    play(async |world| {
        let main = world.main().unwrap();
        world.memgraphs.freeze(main.process.unwrap());
        assert!(world.until(secs(10), |w| w.main_name() != main.name).await);
        assert!(world.writes(5, secs(20)).await);
        world.memgraphs.thaw(main.process.unwrap());
        assert!(world.settled(1, secs(60)).await);
        assert!(!world.mains().contains(&main.name));
    });
}

/// Elsewhere: a single replica that is not ready forbids every failover.
#[test]
fn l02_a_replica_that_lags_forbids_no_failover() {
    play(async |world| {
        let (main, lagging) = (world.main().unwrap(), world.instances.named("demo-2").unwrap());
        world.memgraphs.cut(main.place, lagging.place);
        let unwell = |w: &World| {
            let registrations = w.registrations("demo-0");
            registrations
                .iter()
                .any(|r| r.name.starts_with("pod_2") && r.status != "ready")
        };
        assert!(world.until(secs(60), unwell).await);
        world.memgraphs.kill(main.process.unwrap());
        assert!(world.until(secs(5), |w| w.main_name() == "demo-1").await);
        assert!(world.writes(3, secs(10)).await);
        world.memgraphs.mend_all();
        assert!(world.settled(1, secs(60)).await);
    });
}

/// Elsewhere: what is known of replicas is thrown away by each registration, and without it there is no failover.
#[test]
fn l09_main_may_die_the_moment_a_replica_is_registered() {
    play_with(json!({"replicas": 3}), async |world| {
        let main = world.main().unwrap();
        world.edit_spec(|spec| spec["replicas"] = json!(4));
        let registered = |w: &World| {
            w.registrations("demo-0")
                .iter()
                .any(|r| r.name.starts_with("pod_3"))
        };
        assert!(world.until(secs(60), registered).await);
        world.memgraphs.kill(main.process.unwrap());
        assert!(world.until(secs(5), |w| w.main_name() == "demo-1").await);
        assert!(world.writes(3, secs(10)).await);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// Elsewhere: the new MAIN takes writes without any replica that has them, and the next failure loses them.
#[test]
fn l15_a_new_main_acknowledges_nothing_before_a_replica_holds_it() {
    play(async |world| {
        let main = world.main().unwrap();
        let other = world.instances.named("demo-2").unwrap();
        world.memgraphs.cut_off(other.place);
        let old = world.node_of(&main.name).unwrap();
        old.set_power(false);
        assert!(world.until(secs(60), |w| w.main_name() == "demo-1").await);
        let before = world.clients.acknowledged();
        assert!(
            world
                .throughout(secs(60), |w| w.ledger().unwrap().route == Route::Closed
                    && w.clients.acknowledged() == before)
                .await
        );
        assert_ne!(world.condition("Ready").0, "True");
        world.memgraphs.mend_all();
        assert!(
            world
                .until(secs(20), |w| w.ledger().unwrap().route == Route::Open)
                .await
        );
        assert!(world.writes(5, secs(20)).await);
        // The second failure: demo-1 is lost as well.
        world.node_of("demo-1").unwrap().set_power(false);
        // Where its pod was replaced meanwhile, MAIN has to be away for `hangTimeout`.
        assert!(world.until(secs(90), |w| w.main_name() == "demo-2").await);
        old.set_power(true);
        assert!(
            world
                .until(secs(60), |w| w.ledger().unwrap().route == Route::Open)
                .await
        );
        world.check();
    });
}

/// Elsewhere: no usable replica at all counts as healthy, and MAIN steps down.
#[test]
fn l17_a_main_without_a_usable_replica_does_not_step_down() {
    play(async |world| {
        let main = world.main().unwrap();
        for name in ["demo-1", "demo-2"] {
            let replica = world.instances.named(name).unwrap();
            let _ = world.cut_replication(&main, &replica);
        }
        sleep(secs(10)).await;
        world.edit_spec(|spec| spec["switchover"] = json!({"requestId": "now"}));
        assert!(world.throughout(secs(60), |w| w.mains() == ["demo-0"]).await);
        assert_eq!(world.condition("ReplicationHealthy").0, "False");
        assert_eq!(world.condition("Durable").0, "False");
        assert_eq!(world.condition("Ready").0, "False");
        world.memgraphs.mend_all();
        assert!(world.settled(1, secs(60)).await);
        // It waits until somebody can follow, or has been given up by then.
        let request = world.status().switchover.unwrap();
        assert_ne!(request.state, SwitchoverState::Running, "{}", request.message);
    });
}

/// Elsewhere: a second change within two seconds is dropped, and waits for the next tick of half a minute.
#[test]
fn l18_a_second_loss_right_after_the_first_is_acted_on_at_once() {
    play(async |world| {
        for _ in 0..2 {
            let main = world.main().unwrap();
            world.memgraphs.kill(main.process.unwrap());
            let moved = |w: &World| w.main_name() != main.name && w.is_open_to(&w.main_name());
            assert!(world.until(secs(3), moved).await);
        }
        assert!(world.settled(1, secs(60)).await);
    });
}

/// Elsewhere: the first pod that is ready becomes MAIN, whatever it holds.
#[test]
fn l26_of_two_replicas_the_one_that_holds_everything_follows() {
    play(async |world| {
        // demo-0 comes back as the asynchronous replica, and has the lowest number.
        let first = world.node_of("demo-0").unwrap();
        first.set_power(false);
        let moved = |w: &World| w.main_name() == "demo-1";
        assert!(world.until(secs(60), moved).await);
        assert!(
            world
                .until(secs(60), |w| w.ledger().unwrap().route == Route::Open)
                .await
        );
        first.set_power(true);
        assert!(world.settled(1, secs(60)).await);
        assert_eq!(world.ledger().unwrap().in_sync[0].instance, "demo-2");
        let (main, behind) = (world.main().unwrap(), world.instances.named("demo-0").unwrap());
        world.memgraphs.cut(main.place, behind.place);
        assert!(world.writes(10, secs(30)).await);
        world.memgraphs.kill(main.process.unwrap());
        assert!(world.until(secs(5), |w| w.main_name() == "demo-2").await);
        world.memgraphs.mend_all();
        assert!(world.settled(1, secs(60)).await);
    });
}

/// Elsewhere: another instance is promoted although nobody asked for failover, at each restart of MAIN.
#[test]
fn l27_where_a_human_decides_a_restart_of_main_moves_nothing() {
    play_with(json!({"failover": {"mode": "Manual"}}), async |world| {
        let main = world.main().unwrap();
        world.memgraphs.kill(main.process.unwrap());
        sleep(secs(1)).await;
        assert!(world.settled(1, secs(60)).await);
        assert_eq!(world.main().unwrap().name, "demo-0");
        assert!(world.writes(5, secs(20)).await);
        // Not even when it stays away: that is told.
        let node = world.node_of("demo-0").unwrap();
        node.set_power(false);
        let stays = |w: &World| w.main_name() == "demo-0";
        assert!(world.throughout(secs(90), stays).await);
        assert_eq!(
            world.condition("Stalled"),
            ("True".into(), "ManualFailover".into())
        );
        node.set_power(true);
        assert!(world.settled(1, secs(60)).await);
        assert_eq!(world.ledger().unwrap().main.instance, "demo-0");
    });
}

/// Elsewhere: a human who decides has to promote by Cypher, at the old MAIN's side.
#[test]
fn l27_where_a_human_decides_a_request_to_move_main_replaces_one_that_is_lost() {
    play_with(json!({"failover": {"mode": "Manual"}}), async |world| {
        let node = world.node_of("demo-0").unwrap();
        node.set_power(false);
        let told = |w: &World| w.condition("Stalled") == ("True".into(), "ManualFailover".into());
        assert!(world.until(secs(60), told).await);
        world.edit_spec(|spec| spec["switchover"] = json!({"requestId": "now"}));
        assert!(world.until(secs(10), |w| w.main_name() == "demo-1").await);
        assert!(world.writes(5, secs(20)).await);
        node.set_power(true);
        assert!(world.settled(1, secs(60)).await);
        let status = world.status();
        assert_eq!(status.history[0].kind, OperationKind::Failover);
        let record = status.switchover.unwrap();
        assert_eq!(
            (record.state, record.target.as_deref()),
            (SwitchoverState::Succeeded, Some("demo-1"))
        );
    });
}

/// Elsewhere: the old MAIN starts as MAIN, with its replicas and its clients.
#[test]
fn l28_a_former_main_comes_back_with_neither_replicas_nor_clients() {
    play(async |world| {
        let mut session = world.session(names::BOLT_PORT).await.unwrap();
        let main = world.main().unwrap();
        world.memgraphs.kill(main.process.unwrap());
        let alone = |w: &World| !w.mains().contains(&main.name);
        assert!(world.throughout(secs(30), alone).await);
        assert!(world.settled(1, secs(30)).await);
        assert_eq!(world.registrations(&main.name), []);
        assert!(!is_alive(&mut session).await, "it has outlived its MAIN");
        let kind = world.status().history[0].kind;
        assert_eq!(kind, OperationKind::Failover);
    });
}

/// One that lives on, unknown to Kubernetes, has no client either once there is another MAIN: also not where a gateway hears
/// late of the change.
#[test]
fn l28_a_former_main_that_lives_on_has_no_client() {
    play(async |world| {
        for node in world.kubernetes.gateway_nodes() {
            world.way(node.name()).set(|way| way.lag = secs(30));
        }
        let mut sessions = Vec::new();
        for _ in 0..2 {
            sessions.push(world.session(names::BOLT_PORT).await.unwrap());
        }
        let main = world.main().unwrap();
        let node = world.delete_by_force(&main.name).unwrap();
        assert!(world.until(secs(10), |w| w.mains().len() == 2).await);
        for session in &mut sessions {
            assert!(!is_alive(session).await, "it is still led to the former MAIN");
        }
        assert!(world.writes(5, secs(20)).await);
        node.set_connected(true);
        assert!(world.settled(1, secs(120)).await);
        assert_ne!(world.mains(), [main.name]);
    });
}
