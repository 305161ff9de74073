//! Volumes that were put back to an older state: who leads, and who is asked, where copies that were in sync disagree.

use memgraph_operator::api::ledger::Route;
use serde_json::{Value, json};
use simulation::{memgraph::Disk, world::World};
use tokio::time::sleep;

use crate::{play, play_with, secs};

fn two() -> Value {
    json!({"replicas": 2})
}

/// The replica restarts, and gets more afterwards: as MAIN it takes whoever has come further than it had by then for one that has
/// branched off.
async fn restart_member(world: &World) {
    let member = world.instances.named("demo-1").unwrap();
    world.memgraphs.kill(member.process.unwrap());
    sleep(secs(1)).await;
    assert!(world.settled(1, secs(120)).await);
    assert!(world.writes(10, secs(60)).await);
}

/// What an instance has on its volume now.
fn volume(world: &World, instance: &str) -> Disk {
    world
        .memgraphs
        .copy(world.instances.named(instance).unwrap().volume)
}

/// MAIN ends, and what is on its volume is exchanged for something older meanwhile.
fn put_main_back(world: &World, older: Disk) {
    let main = world.instances.named("demo-0").unwrap();
    world.memgraphs.kill(main.process.unwrap());
    world.memgraphs.disk(main.volume, |disk| *disk = older);
    world.watchman.put_back("demo-0");
}

/// It is chosen on the word of its volume, behind the closed route.
fn leads_behind_a_closed_route(world: &World, instance: &str) -> bool {
    world.ledger().is_some_and(|ledger| {
        ledger.main.instance == instance
            && ledger.route == Route::Closed
            && ledger.operation.is_some_and(|operation| operation.reversed)
    })
}

/// The member has more than MAIN's volume, which was put back. Ends when MAIN is tried on the word of that.
async fn an_older_main_is_tried(world: &World) {
    restart_member(world).await;
    let older = volume(world, "demo-0");
    assert!(world.writes(20, secs(60)).await);
    put_main_back(world, older);
    let tried = world.until(secs(60), |w| leads_behind_a_closed_route(w, "demo-0"));
    assert!(tried.await, "{:?}", world.ledger());
}

fn asks(world: &World) -> bool {
    world.condition("Stalled") == ("True".into(), "DivergedInstance".into())
}

/// Ends with the member as MAIN, and with everything.
#[test]
fn an_older_main_gives_the_lead_back_to_a_member_in_its_life() {
    play_with(two(), async |world| {
        an_older_main_is_tried(&world).await;
        assert!(
            world.until(secs(60), |w| w.is_open_to("demo-1")).await,
            "{:?}",
            world.status()
        );
        assert!(world.settled(1, secs(120)).await);
        assert!(world.writes(5, secs(30)).await);
    });
}

/// The member restarts as well while the older MAIN leads: nobody can tell any more which of the two is the older one.
#[test]
fn of_two_that_have_restarted_and_refuse_each_other_none_goes_on() {
    play_with(two(), async |world| {
        an_older_main_is_tried(&world).await;
        let member = world.instances.named("demo-1").unwrap();
        world.memgraphs.kill(member.process.unwrap());
        assert!(world.until(secs(180), asks).await, "{:?}", world.status());
        assert!(world.throughout(secs(60), asks).await);
    });
}

/// All nodes lose their power, and MAIN's volume is an older one afterwards. Ends when MAIN has its power back, and one that was
/// not in sync has.
async fn lose_power(world: &World) {
    let older = volume(world, "demo-0");
    assert!(world.writes(20, secs(60)).await);
    assert_eq!(world.member(), "demo-1");
    let nodes = ["demo-0", "demo-1", "demo-2"].map(|name| world.node_of(name).unwrap());
    let main = world.instances.named("demo-0").unwrap();
    for node in &nodes {
        node.set_power(false);
    }
    let dark = |w: &World| {
        w.instances
            .live()
            .iter()
            .all(|instance| instance.process.is_none())
    };
    assert!(world.until(secs(10), dark).await);
    world.memgraphs.disk(main.volume, |disk| *disk = older);
    world.watchman.put_back("demo-0");
    for node in [&nodes[0], &nodes[2]] {
        node.set_power(true);
    }
}

/// It shows that MAIN lacks something, and a third copy could be filled from MAIN.
#[test]
fn a_restarted_member_that_shows_an_older_main_is_asked_about() {
    play(async |world| {
        let member = world.node_of("demo-1").unwrap();
        lose_power(&world).await;
        member.set_power(true);
        assert!(world.until(secs(180), asks).await, "{:?}", world.status());
        assert!(world.throughout(secs(60), asks).await);
    });
}

/// It has no power for some time yet. The third copy, which MAIN refuses, is not filled from MAIN before it has shown what it holds.
#[test]
fn nothing_is_set_aside_while_a_member_is_away() {
    play(async |world| {
        let member = world.node_of("demo-1").unwrap();
        lose_power(&world).await;
        let closed = |w: &World| w.ledger().is_some_and(|ledger| ledger.route == Route::Closed);
        assert!(world.until(secs(30), closed).await);
        let kept = |w: &World| w.ledger().is_some_and(|ledger| ledger.resets.is_empty());
        let waits = world.throughout(secs(40), |w| closed(w) && kept(w));
        assert!(waits.await, "{:?}", world.ledger());
        member.set_power(true);
        assert!(world.until(secs(180), asks).await, "{:?}", world.status());
    });
}
