//! Operator processes that do not know what has become of the cluster meanwhile.

use std::time::Duration;

use memgraph_operator::api::names;
use serde_json::json;
use simulation::{api::Resource, script::is_alive};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::{
    command, forget_main,
    gateways::{moves_on, way_of},
    hide_from, hide_instance, others_than, play, secs, session_through, set_apart,
};

/// What the next leader has seen is a minute old: a route that was closed then, and a MAIN that was to be promoted. It does not act on
/// that, and asks the API server for nothing again and again.
#[test]
fn a_new_leader_does_not_act_on_what_was_a_minute_ago() {
    play(async |world| {
        let began = Instant::now();
        let leader = world.leader().unwrap();
        let other = world
            .operators
            .iter()
            .find(|o| o.name() != leader.name())
            .unwrap();
        world.way(other.name()).set(|way| way.lag = secs(60));
        // Nobody can be registered with the new MAIN for 15 s: the route stays closed.
        let nodes = ["demo-0", "demo-2"].map(|name| world.node_of(name).unwrap());
        for node in &nodes {
            node.set_power(false);
        }
        sleep(secs(15)).await;
        for node in &nodes {
            node.set_power(true);
        }
        assert!(world.until(secs(15), |w| w.is_open_to("demo-1")).await);
        assert!(world.until(secs(15), |w| w.is_settled(1)).await);
        world.edit_spec(|spec| {
            spec["switchover"] = json!({"requestId": "back", "target": "demo-0"});
        });
        assert!(world.until(secs(10), |w| w.is_open_to("demo-0")).await);
        // What the other one sees now was so ten seconds after the nodes went dark.
        sleep_until(began + secs(70)).await;
        let notes = || {
            let lines = world.trace.lines();
            let notes = lines
                .iter()
                .filter(|line| line.contains("PATCH /api/v1/namespaces/db/persistentvolumeclaims/"));
            notes.count()
        };
        let before = notes();
        leader.set_power(false);
        sleep(secs(30)).await;
        // Three claims, at most three times a second and a little.
        assert!(notes() - before < 400, "{}", notes() - before);
        leader.set_power(true);
        assert!(world.settled(1, secs(120)).await);
    });
}

/// The ledger names a further replica, but the answer to that write was lost, and the watch shows it a minute later: what was there
/// before it would have that replica's registration dropped.
#[test]
fn a_leader_drops_nothing_by_a_ledger_that_is_over() {
    play(async |world| {
        world.clients.set_quiet(true);
        let leader = world.leader().unwrap();
        let way = world.way(leader.name());
        way.set(|way| {
            way.lag = secs(60);
            way.delay = Duration::from_millis(50);
        });
        let [member, other] = ["demo-1", "demo-2"].map(|name| world.instances.named(name).unwrap());
        set_apart(&world, &member);
        command(&world, "REGISTER REPLICA pod_2", "STRICT_SYNC").await;
        let mut changes = world.api.store().changes(&Resource::clusters());
        let named = async {
            while world.ledger().unwrap().in_sync.len() < 2 {
                changes.changed().await;
                changes.get_and_see();
            }
        };
        timeout(secs(20), named).await.unwrap();
        way.set(|way| way.refuses = true);
        // From now on it knows of the further replica only by MAIN's word, and MAIN finds the first one again.
        world.memgraphs.mend_all();
        hide_instance(&world, &leader, &other);
        sleep(Duration::from_millis(60)).await;
        way.set(|way| way.refuses = false);
        sleep(secs(10)).await;
        world.check();
        way.set(|way| {
            way.lag = Duration::from_millis(10);
            way.delay = Duration::from_millis(3);
        });
        world.memgraphs.mend_all();
        world.clients.set_quiet(false);
        assert!(world.settled(1, secs(120)).await);
        assert!(world.writes(5, secs(30)).await);
    });
}

/// MAIN was replaced by another process while it stood still. It goes on for some milliseconds before it ends itself, and a gateway
/// that nobody else reaches asks for leave to lead clients to the old MAIN.
#[test]
fn a_leader_that_stood_still_grants_nothing() {
    play(async |world| {
        let leader = world.leader().unwrap();
        let gateway = world.gateways.all().remove(0);
        for other in others_than(&world, &leader) {
            hide_from(&world, &other, &gateway);
        }
        way_of(&world, &gateway.name).set(|way| way.silent = true);
        let mut session = session_through(&world, &gateway).await;
        let began = Instant::now();
        leader.freeze(secs(20));
        let node = forget_main(&world);
        moves_on(&world).await;
        assert!(began.elapsed() < secs(19));
        assert!(!is_alive(&mut session).await);
        let address = world.pod(&gateway.name).unwrap()["status"]["podIP"].clone();
        let at = (
            address.as_str().unwrap().parse::<std::net::IpAddr>().unwrap(),
            names::BOLT_PORT,
        );
        while began.elapsed() < secs(25) {
            let mut client = world.memgraphs.client(world.memgraphs.place("application"));
            let _ = client.connect(at.into(), secs(1)).await;
            assert!(!is_alive(&mut client).await);
            sleep(Duration::from_millis(100)).await;
        }
        world.memgraphs.mend_all();
        way_of(&world, &gateway.name).set(|way| way.silent = false);
        node.set_connected(true);
        assert!(world.settled(1, secs(120)).await);
    });
}

/// A machine with an API server has vanished: connections to it are dead, and the Lease goes over another one.
#[test]
fn requests_that_are_never_answered_hold_a_failover_up_for_seconds_only() {
    play(async |world| {
        let leader = world.leader().unwrap();
        world.way(leader.name()).set(|way| way.swallows = 3);
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        assert!(world.until(secs(20), |w| w.is_open_to("demo-1")).await);
        assert_eq!(
            world.leader().unwrap().name(),
            leader.name(),
            "another one has come to help"
        );
        assert!(world.settled(1, secs(60)).await);
    });
}
