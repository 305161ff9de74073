//! A MAIN that answers queries, and whose commits do not end.

use std::{rc::Rc, time::Duration};

use memgraph_operator::api::ledger::Route;
use simulation::{
    memgraph::Volume,
    script,
    world::{Options, World},
};

use crate::{play, secs};

/// What is written to MAIN's disk from now on is there only after so long.
fn slow_down(world: &World, time: u64) -> Volume {
    let volume = world.main().unwrap().volume;
    world.memgraphs.set_disk_speed(volume, secs(time), secs(1));
    volume
}

/// MAIN's disk does not answer any more. Returns it.
async fn moves(world: &Rc<World>) -> Volume {
    let volume = slow_down(world, 100_000);
    let moved = |w: &World| {
        w.ledger()
            .is_some_and(|l| l.route == Route::Open && l.main.instance != "demo-0")
    };
    assert!(world.until(secs(240), moved).await, "{:?}", world.status());
    let history = world.status().history;
    assert_eq!(history[0].cause, "demo-0 answers, but does not end commits");
    assert!(world.writes(5, secs(60)).await);
    volume
}

#[test]
fn a_main_whose_disk_does_not_answer_is_followed_and_comes_back_as_a_replica() {
    play(async |world| {
        let volume = moves(&world).await;
        let fast = Duration::from_millis(1);
        world.memgraphs.set_disk_speed(volume, fast, fast);
        assert!(world.settled(1, secs(300)).await);
    });
}

/// A slow MAIN is not dead. One client writes: the commits of several would wait for each other, for longer than any one takes. One that
/// it has given up does so, too.
#[test]
fn a_main_whose_commits_take_twenty_seconds_stays() {
    let options = Options {
        writers: 1,
        ..Options::default()
    };
    script::play(&options, async |world| {
        slow_down(&world, 10);
        let stays = |w: &World| w.is_open_to("demo-0");
        assert!(world.throughout(secs(300), stays).await);
        assert_eq!(world.ledger().unwrap().term, 1);
    });
}
