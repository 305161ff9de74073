//! Registrations are changed while clients write.

use std::{rc::Rc, time::Duration};

use memgraph_operator::api::names;
use serde_json::{Value, json};
use simulation::{
    memgraph::{Path, Trouble, WriteId},
    processes::Instance,
    world::World,
};
use tokio::{
    task::{JoinHandle, spawn_local},
    time::{Instant, sleep},
};

use crate::{play, play_with, secs};

/// What goes between two instances' replication ports takes longer by this, each way.
fn slow(world: &World, one: &Instance, other: &Instance, by: Duration) {
    let jitter = Duration::ZERO;
    for path in [
        Path::between(one.place, other.place),
        Path::between(other.place, one.place),
    ] {
        let path = path.on(names::REPLICATION_PORT);
        world.memgraphs.trouble(path, Trouble::Slow { by, jitter });
    }
}

fn modes(world: &World) -> Vec<&'static str> {
    let registrations = world.registrations(&world.main_name());
    let mut modes: Vec<_> = registrations
        .iter()
        .map(|registration| registration.mode)
        .collect();
    modes.sort_unstable();
    modes
}

#[test]
fn a_change_of_mode_changes_every_registration_that_main_waits_for() {
    play_with(json!({"replication": {"mode": "Sync"}}), async |world| {
        assert!(world.until(secs(30), |w| modes(w) == ["async", "sync"]).await);
        world.edit_spec(|spec| spec["replication"] = json!({"mode": "StrictSync"}));
        let strict = |w: &World| modes(w) == ["async", "strict_sync"];
        assert!(world.until(secs(60), strict).await, "{:?}", modes(&world));
        assert!(world.writes(5, secs(30)).await);
        world.edit_spec(|spec| spec["replication"] = json!({"mode": "Async"}));
        assert!(world.until(secs(60), |w| modes(w) == ["async", "async"]).await);
        assert!(world.writes(5, secs(30)).await);
    });
}

/// MAIN goes on alone where that is preferred: its member leaves the ledger before its registration goes.
#[test]
fn a_member_leaves_the_ledger_before_main_stops_waiting_for_it() {
    let spec = json!({"replicas": 2, "replication": {"dataDurability": "Preferred"}});
    play_with(spec, async |world| {
        assert!(world.settled(1, secs(60)).await);
        let node = world.node_of("demo-1").unwrap();
        node.set_power(false);
        assert!(
            world
                .until(secs(60), |w| w.ledger().unwrap().in_sync.is_empty())
                .await
        );
        assert!(world.writes(5, secs(30)).await);
        node.set_power(true);
        assert!(
            world
                .until(secs(120), |w| !w.ledger().unwrap().in_sync.is_empty())
                .await
        );
    });
}

/// A gateway does not say that it has cut its clients off: nothing is begun before it does.
#[test]
fn main_moves_while_clients_write_and_a_gateway_stands_still() {
    play(async |world| {
        for target in ["demo-1", "demo-0"] {
            let gateway = world.gateways.all().remove(0);
            gateway.life.freeze(Instant::now() + secs(3));
            world.edit_spec(|spec| {
                spec["switchover"] = json!({"requestId": target, "target": target});
            });
            assert!(
                world.until(secs(30), |w| w.is_open_to(target)).await,
                "{:?}",
                world.status()
            );
            assert!(world.writes(10, secs(30)).await);
            assert!(world.settled(1, secs(60)).await);
        }
    });
}

/// A client that tries the next write as soon as one has failed.
async fn write_without_a_pause(world: Rc<World>, first: u64) {
    let mut last = first;
    loop {
        match world.session(names::BOLT_PORT).await {
            Err(_) => sleep(Duration::from_millis(100)).await,
            Ok(mut client) => {
                while client.is_connected() {
                    last += 1;
                    client.write(WriteId(last), secs(40)).await;
                }
            }
        }
    }
}

/// One of two strict replicas is gone for good, and the other one is far away: each commit takes its time, and fails. Clients that try
/// again at once leave no moment without one.
#[test]
fn a_replica_is_replaced_although_failing_clients_leave_no_moment() {
    // Up to 3.9 MAIN lists those as ahead that have voted for what another one has refused.
    for release in ["3.12.0", "3.8.1"] {
        let image = format!("memgraph/memgraph:{release}");
        let spec = json!({"image": image, "replicas": 4, "replication": {"syncReplicas": 2}});
        is_replaced_although_clients_fail(spec);
    }
}

fn is_replaced_although_clients_fail(spec: Value) {
    play_with(spec, async |world| {
        assert!(world.settled(2, secs(60)).await);
        let main = world.main().unwrap();
        let [gone, far] = ["demo-1", "demo-2"].map(|name| world.instances.named(name).unwrap());
        slow(&world, &main, &far, Duration::from_millis(50));
        let clients = (1..=12).map(|client| write_without_a_pause(Rc::clone(&world), client * 1_000_000));
        let clients: Vec<_> = clients.map(spawn_local).collect();
        let node = world.node_of(&gone.name).unwrap();
        node.set_power(false);
        sleep(secs(5)).await;
        assert!(world.writes(5, secs(120)).await);
        clients.iter().for_each(JoinHandle::abort);
        world.memgraphs.mend_all();
        node.set_power(true);
        assert!(world.settled(2, secs(120)).await);
    });
}

/// Clients write without a pause, and the asynchronous replica is far away: whenever it has got what it lacks, MAIN has committed something
/// else, and never calls it `ready`.
#[test]
fn instances_are_updated_although_an_asynchronous_replica_never_catches_up() {
    play(async |world| {
        assert!(world.settled(1, secs(60)).await);
        let [main, far] = ["demo-0", "demo-2"].map(|name| world.instances.named(name).unwrap());
        slow(&world, &main, &far, Duration::from_millis(50));
        let clients = (1..=4).map(|client| write_without_a_pause(Rc::clone(&world), client * 1_000_000));
        let clients: Vec<_> = clients.map(spawn_local).collect();
        world.edit_spec(|spec| spec["config"] = json!({"query-execution-timeout-sec": "601"}));
        let updated = |w: &World| w.condition("UpToDate").0 == "True" && w.main_name() != "demo-0";
        assert!(world.until(secs(300), updated).await, "{:?}", world.status());
        clients.iter().for_each(JoinHandle::abort);
        world.memgraphs.mend_all();
        assert!(world.settled(1, secs(120)).await);
    });
}

/// MAIN lists a replica as ahead for a moment, which has answered while a slower one that MAIN waits for has not: nothing is wrong
/// with it.
#[test]
fn a_replica_that_answers_before_a_slower_one_keeps_its_data() {
    let spec = json!({"replicas": 4, "replication": {"mode": "Sync"}});
    play_with(spec, async |world| {
        world.edit_spec(|spec| spec["replication"]["syncReplicas"] = json!(2));
        assert!(
            world
                .until(secs(60), |w| modes(w) == ["async", "sync", "sync"])
                .await
        );
        assert!(world.settled(2, secs(60)).await);
        // The one that was registered last is asked last.
        let main = world.main().unwrap();
        let last = world.registrations(&main.name).pop().unwrap();
        assert_eq!(last.mode, "sync");
        let ordinal = last.name.split('_').nth(1).unwrap();
        let last = world.instances.named(&format!("demo-{ordinal}")).unwrap();
        slow(&world, &main, &last, Duration::from_millis(100));
        world.clients.set_pause(Duration::from_millis(20));
        let nothing_goes = |w: &World| w.ledger().unwrap().resets.is_empty();
        assert!(world.throughout(secs(30), nothing_goes).await);
        world.memgraphs.mend_all();
        assert!(world.settled(2, secs(60)).await);
    });
}
