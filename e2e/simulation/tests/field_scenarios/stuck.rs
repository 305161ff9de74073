//! A MAIN that answers queries, and whose commits do not end.

use std::rc::Rc;

use memgraph_operator::api::ledger::Route;
use simulation::world::World;

use crate::{play, secs};

/// The disk of MAIN answers no more, from one moment to the other.
fn stick(world: &World, instance: &str, time: u64) {
    let volume = world.instances.named(instance).unwrap().volume;
    world.memgraphs.set_disk_speed(volume, secs(time), secs(1));
}

async fn moves(world: &Rc<World>) {
    stick(world, "demo-0", 100_000);
    let moved = |w: &World| w.ledger().is_some_and(|l| l.route == Route::Open && l.main.instance != "demo-0");
    assert!(world.until(secs(240), moved).await, "{:?}", world.status());
    let history = world.status().history;
    assert_eq!(history[0].cause, "demo-0 answers, but does not end commits");
    assert!(world.writes(5, secs(60)).await);
}

#[test]
fn a_main_whose_disk_does_not_answer_is_followed_and_comes_back_as_a_replica() {
    play(async |world| {
        moves(&world).await;
        let volume = world.instances.volume(&memgraph_operator::api::names::data_claim("demo-0"));
        world.memgraphs.set_disk_speed(volume, secs(0), secs(0));
        assert!(world.settled(1, secs(300)).await);
    });
}

/// A slow MAIN is not dead.
#[test]
fn a_main_whose_commits_take_half_a_minute_stays() {
    play(async |world| {
        stick(&world, "demo-0", 15);
        let stays = |w: &World| w.is_open_to("demo-0");
        assert!(world.throughout(secs(300), stays).await);
        assert_eq!(world.ledger().unwrap().term, 1);
    });
}
