//! The API server is away for all, and with it every leader.

use std::time::Duration;

use memgraph_operator::api::{ledger::Route, names};
use simulation::{
    api::Conditions,
    memgraph::{Path, Trouble},
    script::is_alive,
    world::World,
};
use tokio::time::sleep;

use crate::{play, secs};

/// Longer than any grant lasts.
const LONG: Duration = secs(60);

/// Changes the ways of these to the API server.
fn ways<'a>(world: &World, names: impl IntoIterator<Item = &'a str>, change: impl Fn(&mut Conditions)) {
    for name in names {
        world.way(name).set(&change);
    }
}

fn everybody(world: &World) -> Vec<String> {
    let nodes = world.kubernetes.instance_nodes().iter();
    let nodes = nodes
        .chain(world.kubernetes.gateway_nodes())
        .map(|node| node.name());
    let operators = world.operators.iter().map(|operator| operator.name());
    nodes.chain(operators).map(str::to_owned).collect()
}

fn set_api(world: &World, there: bool, refuses: bool) {
    let names = everybody(world);
    ways(world, names.iter().map(String::as_str), |now| {
        now.refuses = !there && refuses;
        now.silent = !there && !refuses;
    });
}

/// Elsewhere all clusters were without a primary for as long as the API server was away.
#[test]
fn without_the_api_server_no_session_is_cut_and_writes_go_on() {
    for refuses in [true, false] {
        play(async |world| {
            let mut session = world.session(names::BOLT_PORT).await.unwrap();
            let before = world.ledger().unwrap();
            set_api(&world, false, refuses);
            for _ in 0..6 {
                assert!(world.writes(5, secs(10)).await, "refuses: {refuses}");
                sleep(secs(10)).await;
                assert!(is_alive(&mut session).await, "refuses: {refuses}");
            }
            set_api(&world, true, refuses);
            assert!(world.settled(1, LONG).await);
            assert!(is_alive(&mut session).await);
            let after = world.ledger().unwrap();
            assert_eq!((after.term, &after.main), (before.term, &before.main));
        });
    }
}

/// Whoever does not answer may be the one that goes on with another MAIN.
#[test]
fn without_the_api_server_and_an_operator_process_writers_are_cut() {
    play(async |world| {
        let mut session = world.session(names::BOLT_PORT).await.unwrap();
        set_api(&world, false, true);
        sleep(secs(10)).await;
        assert!(is_alive(&mut session).await);
        world.operators[1].freeze(LONG);
        sleep(secs(8)).await;
        assert!(!is_alive(&mut session).await);
        assert!(world.throughout(secs(20), nobody_writes).await);
        // Nobody but a leader lets them in again.
        set_api(&world, true, true);
        assert!(world.writes(5, secs(30)).await);
    });
}

fn nobody_writes(world: &World) -> bool {
    let routes = world.gateways.all().into_iter().map(|gateway| gateway.enforced());
    routes.into_iter().all(|routes| routes.read_write.is_none())
}

/// A replica that MAIN waits for and that cannot be reached could be another MAIN by now.
#[test]
fn without_the_api_server_and_an_in_sync_replica_nothing_is_passed_on() {
    play(async |world| {
        let mut session = world.session(names::BOLT_PORT).await.unwrap();
        set_api(&world, false, true);
        sleep(secs(10)).await;
        assert!(is_alive(&mut session).await);
        let member = world.instances.named(&world.member()).unwrap();
        for gateway in world.gateways.all() {
            world
                .memgraphs
                .trouble(Path::between(gateway.place, member.place), Trouble::Drop);
        }
        assert!(!is_alive(&mut session).await);
        sleep(secs(6)).await;
        assert!(nobody_writes(&world));
        world.memgraphs.mend_all();
        set_api(&world, true, true);
        assert!(world.writes(5, secs(30)).await);
    });
}

/// A leader that closes is waited for by nobody who asks it: its word is that it does *not* know of a closing. So a gateway
/// that hears the leader, and not the API server, is closed at once, and one that hears neither in time.
#[test]
fn a_gateway_that_is_cut_off_while_main_moves_is_waited_for() {
    play(async |world| {
        let gateway = world.gateways.all().remove(0);
        let leader = world.leader().unwrap();
        let place = world.memgraphs.place(leader.name());
        let node = world.node_of(&gateway.name).unwrap();
        ways(&world, [node.name()], |now| now.silent = true);
        sleep(secs(7)).await;
        assert!(gateway.enforced().read_write.is_some(), "the leader renews it");
        for path in [
            Path::between(place, gateway.place),
            Path::between(gateway.place, place),
        ] {
            world.memgraphs.trouble(path, Trouble::Drop);
        }
        let node = world.delete_by_force("demo-0").unwrap();
        assert!(
            world
                .until(secs(2), |w| w.ledger().unwrap().route == Route::Closed)
                .await
        );
        let begin = tokio::time::Instant::now();
        assert!(world.until(secs(20), |w| w.is_open_to("demo-1")).await);
        assert!(begin.elapsed() > secs(4), "{:?}", begin.elapsed());
        assert!(gateway.enforced().read_write.is_none());
        world.memgraphs.mend_all();
        node.set_connected(true);
        ways(&world, everybody(&world).iter().map(String::as_str), |now| {
            now.silent = false
        });
        assert!(world.settled(1, secs(90)).await);
    });
}
