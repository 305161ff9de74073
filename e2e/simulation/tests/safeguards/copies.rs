//! Copies that are not what they were when the ledger named them.

use simulation::{memgraph::Disk, protocol::Step, world::World};
use tokio::time::{sleep, timeout};

use crate::{play, secs};

/// Ends the process of an instance, and exchanges what is on its volume meanwhile.
fn exchange(world: &World, instance: &str, disk: Disk) {
    let instance = world.instances.named(instance).unwrap();
    world.memgraphs.kill(instance.process.unwrap());
    world.memgraphs.disk(instance.volume, |present| *present = disk);
}

fn was_promoted(world: &World, instance: &str) -> bool {
    let sent = world.sent_to(instance, 0);
    sent.iter().any(|statement| statement.contains("ROLE TO MAIN"))
}

/// The former MAIN comes back with nothing, the moment its successor is lost as well.
#[test]
fn a_candidate_that_has_lost_its_data_is_not_promoted() {
    play(async |world| {
        assert!(world.writes(10, secs(30)).await);
        let mut stand = world.protocol.stand();
        exchange(&world, "demo-0", Disk::default());
        let promoting = stand.wait_for(|stand| stand.operation.is_some() && stand.step == Step::Promoting);
        timeout(secs(20), promoting).await.unwrap().unwrap();
        let node = world.node_of("demo-1").unwrap();
        node.set_power(false);
        let since = world.protocol.statements();
        sleep(secs(60)).await;
        let sent = world.sent_to("demo-0", since);
        assert!(
            !sent.iter().any(|statement| statement.contains("ROLE TO MAIN")),
            "{sent:?}"
        );
        node.set_power(true);
        assert!(world.settled(1, secs(120)).await);
        assert!(world.writes(5, secs(30)).await);
    });
}

/// The strict replica comes back as it was some time ago when MAIN ends: it carries the right mark.
#[test]
fn a_member_in_another_life_does_not_follow_a_main_that_comes_back() {
    play(async |world| {
        assert!(world.writes(5, secs(30)).await);
        let volume = world.instances.named("demo-1").unwrap().volume;
        let older = world.memgraphs.copy(volume);
        assert!(world.writes(20, secs(60)).await);
        // It takes a moment to start.
        let gate = world.node_of("demo-0").unwrap();
        exchange(&world, "demo-1", older);
        let ready = |w: &World| {
            let instance = w.instances.named("demo-1").unwrap();
            instance
                .process
                .is_some_and(|process| w.memgraphs.look(process).is_some())
        };
        let main = world.main().unwrap();
        world.memgraphs.kill(main.process.unwrap());
        gate.set_power(false);
        assert!(world.until(secs(30), ready).await);
        sleep(secs(10)).await;
        assert!(!was_promoted(&world, "demo-1"));
        gate.set_power(true);
        assert!(world.settled(1, secs(120)).await);
        assert_eq!(world.main_name(), "demo-0");
    });
}

/// It stands still right when it is told to become MAIN, for longer than anybody waits.
#[test]
fn an_instance_that_does_not_become_main_is_passed_over() {
    play(async |world| {
        let mut stand = world.protocol.stand();
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        let promoting = stand.wait_for(|stand| stand.operation.is_some() && stand.step == Step::Promoting);
        timeout(secs(20), promoting).await.unwrap().unwrap();
        let process = world.instances.named("demo-1").unwrap().process.unwrap();
        world.memgraphs.freeze(process);
        assert!(world.until(secs(90), |w| w.is_open_to("demo-0")).await);
        world.memgraphs.thaw(process);
        assert!(world.settled(1, secs(120)).await);
    });
}
