//! Copies that are not what they were when the ledger named them.

use memgraph_operator::api::SwitchoverState;
use serde_json::json;
use simulation::{
    memgraph::{Deed, Disk, Doing, Fate, Outcome, WriteId},
    protocol::{OperationName, Step},
    world::World,
};
use tokio::time::{sleep, timeout};

use crate::{catch, command, play, play_with, secs, session_through, set_apart, set_operators};

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

/// MAIN has stepped down for it already: nobody else holds everything but the two.
#[test]
fn a_target_that_is_lost_is_followed_by_the_main_that_has_stepped_down() {
    play(async |world| {
        let mut stand = world.protocol.stand();
        world.edit_spec(|spec| {
            spec["switchover"] = json!({"requestId": "away", "target": "demo-1"});
        });
        let promoting = stand.wait_for(|stand| {
            stand.operation == Some(OperationName::Switchover) && stand.step == Step::Promoting
        });
        timeout(secs(30), promoting).await.unwrap().unwrap();
        let node = world.node_of("demo-1").unwrap();
        node.set_power(false);
        assert!(world.until(secs(60), |w| w.is_open_to("demo-0")).await);
        node.set_power(true);
        assert!(world.settled(1, secs(120)).await);
        assert!(world.writes(5, secs(30)).await);
    });
}

/// The target has restarted in MAIN's epoch: once it has been promoted it takes the old MAIN, which has come further, for branched off.
#[test]
fn a_request_is_carried_out_although_its_target_has_restarted_in_the_epoch_of_main() {
    play_with(json!({"replicas": 2}), async |world| {
        let member = world.instances.named("demo-1").unwrap();
        world.memgraphs.kill(member.process.unwrap());
        sleep(secs(1)).await;
        assert!(world.settled(1, secs(120)).await);
        assert!(world.writes(10, secs(60)).await);
        let term = world.ledger().unwrap().term;
        world.edit_spec(|spec| spec["switchover"] = json!({"requestId": "away", "target": "demo-1"}));
        let over = |w: &World| w.is_open_to("demo-1") && w.status().switchover.unwrap().request_id == "away";
        assert!(world.until(secs(60), over).await);
        assert_eq!(
            world.status().switchover.unwrap().state,
            SwitchoverState::Succeeded
        );
        // Closed, promoted, handed back; and then once more.
        assert!(world.ledger().unwrap().term > term + 3);
        assert!(world.settled(1, secs(60)).await);
        assert!(world.writes(10, secs(60)).await);
    });
}

/// It is registered so that MAIN waits for it, it votes for a write, and never hears that this is committed; another one does. MAIN
/// lists it as `ready` and behind. The other one is then set apart from MAIN, so that no commit can show what the first one lacks.
#[test]
fn a_replica_that_lacks_an_acknowledged_write_is_no_member() {
    play(async |world| {
        world.clients.set_quiet(true);
        let gateway = world.gateways.all().remove(0);
        let mut client = session_through(&world, &gateway).await;
        let [member, late] = ["demo-1", "demo-2"].map(|name| world.instances.named(name).unwrap());
        // The operators end as soon as MAIN waits for demo-2 too.
        set_apart(&world, &member);
        command(&world, "REGISTER REPLICA pod_2", "STRICT_SYNC").await;
        catch(&world, |w| {
            let registrations = w.registrations("demo-0");
            let strict = registrations
                .iter()
                .filter(|r| r.attached && r.mode == "strict_sync");
            strict.count() == 2
        })
        .await;
        set_operators(&world, false);
        world.memgraphs.mend_all();
        let status = |w: &World, index: &str| {
            let mut registrations = w.registrations("demo-0").into_iter();
            let found = registrations.find(|r| r.name.starts_with(index));
            found.map(|registration| registration.status)
        };
        let all_follow = |w: &World| ["pod_1", "pod_2"].map(|index| status(w, index)) == [Some("ready"); 2];
        assert!(world.until(secs(60), all_follow).await);
        let lost = late.process;
        world.memgraphs.on_step(move |step| {
            if step.doing == (Doing::Finalize { commit: true }) && step.peer == lost {
                Deed::fate(Fate::Reset)
            } else {
                Deed::default()
            }
        });
        let write = WriteId(1_000_000);
        assert_eq!(client.write(write, secs(40)).await, Outcome::Acknowledged);
        world.memgraphs.off_step();
        set_apart(&world, &member);
        assert!(
            world
                .until(secs(60), |w| status(w, "pod_1") == Some("invalid"))
                .await
        );
        assert_eq!(status(&world, "pod_2"), Some("ready"));
        set_operators(&world, true);
        let is_no_member = |w: &World| {
            w.ledger()
                .unwrap()
                .in_sync
                .iter()
                .all(|member| member.instance != "demo-2")
        };
        assert!(world.throughout(secs(20), is_no_member).await);
        let node = world.node_of("demo-0").unwrap();
        node.set_power(false);
        world.memgraphs.mend_all();
        assert!(world.until(secs(60), |w| w.is_open_to("demo-1")).await);
        let holds = world.memgraphs.committed(member.process.unwrap());
        assert!(holds.contains(&write));
        node.set_power(true);
        world.clients.set_quiet(false);
        assert!(world.settled(1, secs(120)).await);
    });
}

/// MAIN commits a write and its word of that is lost on the way to the replica that has voted for it: MAIN tells its client, lists the
/// replica as `ready` and behind, and does nothing more. Nobody writes after that; then MAIN is lost, and with it all that it alone has.
#[test]
fn what_a_replica_has_missed_reaches_it_although_nobody_writes() {
    play(async |world| {
        world.clients.set_quiet(true);
        let gateway = world.gateways.all().remove(0);
        let mut client = session_through(&world, &gateway).await;
        let member = world.instances.named("demo-1").unwrap();
        world.memgraphs.on_step(move |step| {
            if step.doing == (Doing::Finalize { commit: true }) && step.peer == member.process {
                Deed::fate(Fate::Reset)
            } else {
                Deed::default()
            }
        });
        let write = WriteId(1_000_000);
        assert_eq!(client.write(write, secs(40)).await, Outcome::Acknowledged);
        world.memgraphs.off_step();
        assert!(
            !world
                .memgraphs
                .committed(member.process.unwrap())
                .contains(&write)
        );
        let has_it = |w: &World| w.memgraphs.committed(member.process.unwrap()).contains(&write);
        assert!(world.until(secs(5), has_it).await);
        let node = world.node_of("demo-0").unwrap();
        node.set_power(false);
        assert!(world.until(secs(60), |w| w.is_open_to("demo-1")).await);
        node.set_power(true);
        world.clients.set_quiet(false);
        assert!(world.settled(1, secs(120)).await);
    });
}
