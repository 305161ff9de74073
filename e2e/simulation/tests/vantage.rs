//! A MAIN that says nothing to the operator, and what gateways know of it.

use std::{rc::Rc, time::Duration};

use simulation::{
    processes::Instance,
    script,
    world::{Options, World},
};
use tokio::time::{Instant, sleep};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A course of events after the cluster is whole. At its end nothing is in the way, and it becomes whole again.
fn play(script: impl AsyncFnOnce(&World, &Instance)) {
    script::play(&Options::default(), async |world: Rc<World>| {
        assert!(world.settled(1, secs(60)).await, "the cluster is not whole");
        let main = world.main();
        script(&world, main.as_ref().unwrap_or_else(|| panic!("no MAIN"))).await;
        world.memgraphs.mend_all();
        assert!(world.settled(1, secs(60)).await, "{:?}", world.status());
    });
}

/// Whether another instance takes writes in time.
async fn is_replaced(world: &World, main: &Instance, time: Duration) -> bool {
    let begin = Instant::now();
    let another = |w: &World| w.main().is_some_and(|now| now.name != main.name);
    world.until(time, another).await && world.writes(1, time.saturating_sub(begin.elapsed())).await
}

/// No operator reaches MAIN any more.
fn blind_operators(world: &World, main: &Instance) {
    for operator in &world.operators {
        let place = world.memgraphs.place(operator.name());
        world.memgraphs.cut(place, main.place);
    }
}

#[test]
fn a_main_that_stands_still_is_replaced_although_its_kernel_accepts_connections() {
    play(async |world, main| {
        let process = main.process.unwrap();
        world.memgraphs.freeze(process);
        assert!(is_replaced(world, main, secs(4)).await);
        world.memgraphs.thaw(process);
    });
}

#[test]
fn a_main_in_a_black_hole_is_replaced_before_kubernetes_notices() {
    play(async |world, main| {
        world.memgraphs.cut_off(main.place);
        assert!(is_replaced(world, main, secs(4)).await);
    });
}

#[test]
fn a_main_that_only_operators_cannot_reach_goes_on() {
    play(async |world, main| {
        blind_operators(world, main);
        assert!(!is_replaced(world, main, secs(90)).await);
        assert!(world.writes(20, secs(20)).await);
        assert_eq!(world.condition("MainAvailable").0, "Unknown");
    });
}

#[test]
fn gateways_that_stood_still_themselves_replace_nobody() {
    play(async |world, _| {
        let term = world.ledger().unwrap().term;
        for gateway in world.gateways.all() {
            gateway.life.freeze(Instant::now() + secs(30));
        }
        sleep(secs(60)).await;
        assert_eq!(world.ledger().unwrap().term, term);
    });
}

#[test]
fn one_gateway_that_alone_hears_nothing_replaces_nobody() {
    play(async |world, main| {
        let term = world.ledger().unwrap().term;
        let gateways = world.gateways.all();
        world.memgraphs.cut(gateways[0].place, main.place);
        sleep(secs(30)).await;
        // Nor when operators cannot reach MAIN either, as long as another gateway does.
        blind_operators(world, main);
        sleep(secs(30)).await;
        assert_eq!(world.ledger().unwrap().term, term);
    });
}

#[test]
fn an_instance_that_is_dark_holds_nothing_up() {
    play(async |world, main| {
        let node = world.node_of("demo-2").unwrap();
        node.set_power(false);
        sleep(secs(60)).await;
        let term = world.ledger().unwrap().term;
        world.memgraphs.kill(main.process.unwrap());
        assert!(world.until(secs(1), |w| w.ledger().unwrap().term > term).await);
        // The instance that was killed is the only other copy. When it starts again, it tries its own replicas first, twice 5 s.
        assert!(world.writes(1, secs(13)).await);
        node.set_power(true);
    });
}
