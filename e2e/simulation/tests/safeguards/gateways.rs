//! MAIN moves, and a gateway hears nothing of it, or is about to end.

use std::{cell::Cell, rc::Rc};

use memgraph_operator::api::ledger::{OperationKind, Route};
use simulation::{
    memgraph::{Deed, Doing, Fate, Outcome, Path, Trouble, WriteId},
    script::is_alive,
    world::World,
};
use tokio::{
    task::spawn_local,
    time::{Instant, sleep},
};

use crate::{forget_main, hide_from_operators, others_than, play, secs, session_through, set_operators};

/// The way of a gateway's node to the API server.
pub(crate) fn way_of(world: &World, gateway: &str) -> simulation::api::Way {
    world.way(world.node_of(gateway).unwrap().name())
}

pub(crate) async fn moves_on(world: &World) {
    assert!(world.until(secs(30), |w| w.is_open_to("demo-1")).await);
    assert!(world.writes(5, secs(30)).await);
}

#[test]
fn a_gateway_that_stands_still_is_waited_for_until_its_grant_has_run_out() {
    play(async |world| {
        let gateway = world.gateways.all().remove(0);
        let mut session = session_through(&world, &gateway).await;
        let node = forget_main(&world);
        gateway.life.freeze(Instant::now() + secs(4));
        moves_on(&world).await;
        assert!(!is_alive(&mut session).await);
        node.set_connected(true);
        assert!(world.settled(1, secs(120)).await);
    });
}

/// What a drained node takes with it at once. The gateway has a session, which the first closing of the switchover ends; the
/// second closing finds it all the same.
#[test]
fn main_moves_while_a_gateway_and_the_leader_go_with_it() {
    play(async |world| {
        let gateway = world.gateways.all().remove(0);
        let mut session = session_through(&world, &gateway).await;
        world.delete_pod(&gateway.name);
        world.delete_pod(&world.main_name());
        world.leader().unwrap().terminate();
        moves_on(&world).await;
        assert!(!is_alive(&mut session).await);
        has_moved_as_planned(&world).await;
    });
}

/// It waits for nothing but the end of its grant, and only the next leader asks it.
#[test]
fn main_moves_while_a_gateway_that_leads_nobody_any_more_goes() {
    play(async |world| {
        let gateway = world.gateways.all().remove(0);
        assert!(gateway.enforced().read_write.is_some());
        world.delete_pod(&gateway.name);
        let leads_nobody = |_: &World| gateway.enforced().read_write.is_none();
        assert!(world.until(secs(60), leads_nobody).await);
        world.delete_pod(&world.main_name());
        world.leader().unwrap().terminate();
        moves_on(&world).await;
        has_moved_as_planned(&world).await;
    });
}

async fn has_moved_as_planned(world: &World) {
    assert!(world.settled(1, secs(120)).await);
    let history = world.status().history;
    let kinds: Vec<_> = history.iter().map(|past| past.kind).collect();
    assert!(kinds.contains(&OperationKind::Switchover), "{history:?}");
    assert!(!kinds.contains(&OperationKind::Failover), "{history:?}");
}

/// It has neither operators nor the API server, and goes on to believe what it has seen last.
#[test]
fn a_gateway_that_is_cut_off_renews_nothing_by_what_it_has_seen() {
    play(async |world| {
        let gateway = world.gateways.all().remove(0);
        let mut session = session_through(&world, &gateway).await;
        hide_from_operators(&world, &gateway);
        way_of(&world, &gateway.name).set(|way| way.silent = true);
        let node = forget_main(&world);
        moves_on(&world).await;
        assert!(!is_alive(&mut session).await);
        way_of(&world, &gateway.name).set(|way| way.silent = false);
        world.memgraphs.mend_all();
        node.set_connected(true);
        assert!(world.settled(1, secs(120)).await);
    });
}

/// Its watch lags behind, so that nothing but its own question to the API server tells it of the change.
#[test]
fn a_gateway_that_reads_of_a_closed_route_renews_nothing() {
    play(async |world| {
        let gateway = world.gateways.all().remove(0);
        way_of(&world, &gateway.name).set(|way| way.lag = secs(60));
        let mut session = session_through(&world, &gateway).await;
        hide_from_operators(&world, &gateway);
        // Until no operator's grant is left.
        sleep(secs(6)).await;
        assert!(is_alive(&mut session).await);
        let node = forget_main(&world);
        moves_on(&world).await;
        assert!(!is_alive(&mut session).await);
        world.memgraphs.mend_all();
        node.set_connected(true);
        assert!(world.settled(1, secs(120)).await);
    });
}

/// Its pod is gone for Kubernetes, and nobody waits for it: it must have nothing by the time at which the ledger forgets it.
#[test]
fn a_gateway_that_the_ledger_has_forgotten_renews_nothing() {
    play(async |world| {
        let gateway = world.gateways.all().remove(0);
        let uid = world.pod(&gateway.name).unwrap()["metadata"]["uid"].clone();
        let way = way_of(&world, &gateway.name);
        way.set(|way| way.lag = secs(120));
        let node = world.delete_by_force(&gateway.name).unwrap();
        let forgotten = |w: &World| {
            let gateways = w.ledger().unwrap().gateways;
            gateways.iter().all(|entry| uid != entry.pod_uid.as_str())
        };
        assert!(world.until(secs(60), forgotten).await);
        let of_main = forget_main(&world);
        moves_on(&world).await;
        way.set(|way| way.lag = secs(0));
        node.set_connected(true);
        of_main.set_connected(true);
        assert!(world.settled(1, secs(120)).await);
    });
}

/// What the only operator said while MAIN was another one comes late, to a gateway that knows of nothing. Nobody else asks that
/// one, so that it still remembers what it sent.
#[test]
fn a_grant_that_comes_late_is_worth_nothing() {
    play(async |world| {
        for other in others_than(&world, &world.leader().unwrap()) {
            other.set_power(false);
        }
        let gateway = world.gateways.all().remove(0);
        let _session = session_through(&world, &gateway).await;
        let began = Instant::now();
        world.gateways.repeat(Some(secs(30)));
        sleep(secs(3)).await;
        world.gateways.repeat(None);
        hide_from_operators(&world, &gateway);
        way_of(&world, &gateway.name).set(|way| way.silent = true);
        let node = forget_main(&world);
        moves_on(&world).await;
        set_operators(&world, false);
        // What it has sent last is lost too.
        sleep(secs(2)).await;
        assert!(began.elapsed() < secs(29));
        world.memgraphs.mend_all();
        while began.elapsed() < secs(36) {
            let pod = world.pod(&gateway.name).unwrap();
            let address = pod["status"]["podIP"].as_str().unwrap().parse().unwrap();
            let mut client = world.memgraphs.client(world.memgraphs.place("application"));
            let _ = client
                .connect(std::net::SocketAddr::new(address, 7687), secs(1))
                .await;
            assert!(!is_alive(&mut client).await);
            sleep(secs(1)).await;
        }
        set_operators(&world, true);
        way_of(&world, &gateway.name).set(|way| way.silent = false);
        node.set_connected(true);
        assert!(world.settled(1, secs(120)).await);
    });
}

/// MAIN restarts where it was, and no operator is there: it is not the MAIN any more that the grant was for.
#[test]
fn no_client_is_led_to_a_main_that_has_refused_and_comes_back() {
    play(async |world| {
        let mut sessions = Vec::new();
        for gateway in world.gateways.all() {
            sessions.push(session_through(&world, &gateway).await);
        }
        set_operators(&world, false);
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        sleep(secs(20)).await;
        assert!(world.main().unwrap().process.is_some());
        assert!(world.session(7687).await.is_err());
        set_operators(&world, true);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// The answer of MAIN lies there when the gateway goes on, and its grant has run out meanwhile.
#[test]
fn a_gateway_that_stood_still_reads_its_clock_before_it_passes_anything() {
    play(async |world| {
        let struck = Rc::new(Cell::new(false));
        let (seen, gateways) = (Rc::clone(&struck), world.gateways.clone());
        world.memgraphs.on_step(move |step| {
            if matches!(step.doing, Doing::Acknowledge { .. }) && !seen.replace(true) {
                for gateway in gateways.all() {
                    gateway.life.freeze(Instant::now() + secs(10));
                }
            }
            Deed::default()
        });
        assert!(world.until(secs(30), |_| struck.get()).await);
        sleep(secs(12)).await;
        assert!(world.writes(5, secs(30)).await);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// MAIN and one gateway are cut off from all others in the middle of a commit, at any moment of the gateway's grant. MAIN gives
/// the second phase up after 10 s and says that all is well.
#[test]
fn what_main_says_when_it_gives_the_second_phase_up_reaches_no_client() {
    for second in 0..4 {
        cut_off_in_the_middle_of_a_commit(second);
    }
}

fn cut_off_in_the_middle_of_a_commit(second: u64) {
    play(async |world| {
        world.clients.set_quiet(true);
        sleep(secs(8 + second)).await;
        let main = world.main().unwrap();
        let gateways = world.gateways.all();
        let mut client = session_through(&world, &gateways[0]).await;
        let struck = Rc::new(Cell::new(false));
        let (seen, cut) = (Rc::clone(&struck), Rc::clone(&world));
        world.memgraphs.on_step(move |step| {
            if !matches!(step.doing, Doing::Finalize { commit: true }) || seen.replace(true) {
                return Deed::default();
            }
            let (world, alone, gateway) = (Rc::clone(&cut), main.clone(), gateways[0].clone());
            spawn_local(async move {
                let mut others = vec![world.gateways.all().remove(1).place];
                others.extend(world.operators.iter().map(|o| world.memgraphs.place(o.name())));
                let instances = world.instances.live();
                others.extend(
                    instances
                        .iter()
                        .map(|i| i.place)
                        .filter(|place| *place != alone.place),
                );
                for other in others {
                    for inside in [alone.place, gateway.place] {
                        for path in [Path::between(inside, other), Path::between(other, inside)] {
                            world.memgraphs.trouble(path, Trouble::Drop);
                        }
                    }
                }
                world.node_of(&alone.name).unwrap().set_connected(false);
                way_of(&world, &gateway.name).set(|way| way.silent = true);
            });
            Deed::fate(Fate::Late(secs(60)))
        });
        let outcome = client.write(WriteId(1_000_000), secs(40)).await;
        assert!(struck.get());
        assert_ne!(outcome, Outcome::Acknowledged);
        let moved = |w: &World| w.ledger().is_some_and(|l| l.term > 1 && l.route == Route::Open);
        assert!(world.until(secs(60), moved).await);
        let node = world.node_of("demo-0").unwrap();
        node.set_connected(true);
        way_of(&world, &world.gateways.all()[0].name).set(|way| way.silent = false);
        world.memgraphs.mend_all();
        assert!(world.settled(1, secs(120)).await);
    });
}
