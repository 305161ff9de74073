//! Pods that come back elsewhere, and others that get the addresses which they had.

use std::net::IpAddr;

use serde_json::json;
use simulation::{
    run::Outcome,
    script::{is_alive, play},
    world::{Options, World},
};
use tokio::time::sleep;

use super::{has_told, secs};

/// Three instances, of which the last one is never in sync.
fn two_electable(script: impl AsyncFnOnce(&World)) -> Outcome {
    let mut options = Options::default();
    options.spec["replication"]["electableInstances"] = json!(2);
    play(&options, async |world| {
        assert_eq!(
            (world.main_name().as_str(), world.member().as_str()),
            ("demo-0", "demo-1")
        );
        script(&world).await;
    })
}

/// MAIN would feed it as the in-sync replica that had the address, and take its votes for that one's.
#[test]
fn a_pod_that_gets_the_address_of_an_in_sync_replica_does_not_start_there() {
    two_electable(async |world| {
        let former = world.instances.named("demo-1").unwrap().address;
        let node = world.delete_by_force("demo-1").unwrap();
        node.set_power(false);
        world.kubernetes.intend("demo-2", former);
        world.kubernetes.give_back(former);
        world.delete_pod("demo-2");
        let refused = format!("demo-2 does not start: {former} is the address of demo-1");
        assert!(world.until(secs(20), |w| has_told(w, &refused)).await);
        let elsewhere = |w: &World| {
            let instance = w.instances.named("demo-2");
            instance.is_some_and(|i| i.address != former && i.process.is_some())
        };
        assert!(world.until(secs(20), elsewhere).await);
        let before = world.clients.acknowledged();
        sleep(secs(10)).await;
        assert_eq!(world.clients.acknowledged(), before, "nobody votes for demo-1");
        node.set_connected(true);
        node.set_power(true);
        assert!(world.writes(5, secs(30)).await);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// Its registration leads nowhere. Another one is made beside it before it goes, so that MAIN never waits for nobody.
#[test]
fn the_only_in_sync_replica_comes_back_at_another_address_and_no_session_is_cut() {
    two_electable(async |world| {
        world.clients.set_quiet(true);
        // A commit that is under way when the replica is lost keeps registrations waiting for as long as it waits itself.
        sleep(secs(1)).await;
        let mut session = world.session(7687).await.unwrap();
        let (term, former) = (
            world.ledger().unwrap().term,
            world.instances.named("demo-1").unwrap().address,
        );
        let node = world.node_of("demo-1").unwrap();
        node.set_power(false);
        sleep(secs(3)).await;
        let other = IpAddr::from([10, 1, 200, 1]);
        world.kubernetes.give_back(other);
        world.kubernetes.intend("demo-1", other);
        node.set_power(true);
        let moved = |w: &World| {
            let ledger = w.ledger().unwrap();
            let elsewhere = ledger
                .in_sync
                .iter()
                .any(|member| !member.address.starts_with(&format!("{former}:")));
            elsewhere && w.registrations("demo-0").len() == 2
        };
        assert!(world.until(secs(60), moved).await);
        assert!(is_alive(&mut session).await);
        assert_eq!(world.ledger().unwrap().term, term);
        world.clients.set_quiet(false);
        assert!(world.writes(5, secs(10)).await);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// Clients whose writes fail try again and again, and leave MAIN no moment to register anybody in.
#[test]
fn it_comes_back_although_clients_write_without_a_pause() {
    two_electable(async |world| {
        let node = world.node_of("demo-1").unwrap();
        node.set_power(false);
        sleep(secs(3)).await;
        node.set_power(true);
        assert!(world.writes(5, secs(60)).await);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// After a loss of power of everything each has the address of its neighbour.
#[test]
fn addresses_go_round() {
    play(&Options::default(), async |world| {
        let names = ["demo-0", "demo-1", "demo-2"];
        let had = names.map(|name| world.instances.named(name).unwrap().address);
        let nodes = names.map(|name| world.node_of(name).unwrap());
        for node in &nodes {
            node.set_power(false);
        }
        sleep(secs(2)).await;
        for index in 0..names.len() {
            world
                .kubernetes
                .intend(names[index], had[(index + 1) % names.len()]);
        }
        for node in &nodes {
            node.set_power(true);
        }
        assert!(world.writes(5, secs(60)).await);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// What a leader did long ago comes late: under a name whose number is older than the note that the address is the instance's, so that
/// nobody knows whom MAIN has fed there.
#[test]
fn a_registration_that_is_older_than_the_note_of_its_address_is_made_anew() {
    two_electable(async |world| {
        let registered = |w: &World| {
            let all = w.registrations("demo-0").into_iter();
            all.map(|replica| replica.name)
                .find(|name| name.starts_with("pod_2_"))
        };
        let now = registered(world).unwrap();
        let address = world.instances.named("demo-2").unwrap().address;
        world.watchman.set_meddled(true);
        world
            .command("demo-0", &format!("DROP REPLICA {now}"))
            .await
            .unwrap();
        let late = format!("REGISTER REPLICA pod_2_g0 ASYNC TO \"{address}:10000\"");
        // Refused where the leader is first, as the leader is where this is; then it waits for half a minute.
        let _ = world.command("demo-0", &late).await;
        let anew = |w: &World| registered(w).is_some_and(|name| name != "pod_2_g0");
        assert!(world.until(secs(60), anew).await, "{:?}", registered(world));
        assert!(world.settled(1, secs(60)).await);
    });
}

/// The operators' caches show a replica where it was half a minute ago. By now the in-sync one is there.
#[test]
fn nobody_is_registered_where_a_cache_shows_it_and_another_one_is() {
    two_electable(async |world| {
        world.clients.set_quiet(true);
        sleep(secs(1)).await;
        for operator in &world.operators {
            world.way(operator.name()).set(|way| way.lag = secs(30));
        }
        let there = IpAddr::from([10, 1, 200, 1]);
        let is_there = |name: &'static str| {
            move |w: &World| {
                let instance = w.instances.named(name);
                instance.is_some_and(|it| it.address == there && it.process.is_some())
            }
        };
        world.kubernetes.give_back(there);
        world.kubernetes.intend("demo-2", there);
        world.delete_pod("demo-2");
        assert!(world.until(secs(20), is_there("demo-2")).await);
        sleep(secs(2)).await;
        let since = world.protocol.statements();
        world.kubernetes.intend("demo-1", there);
        world.delete_pod("demo-2");
        assert!(world.until(secs(20), |w| !is_there("demo-2")(w)).await);
        world.delete_pod("demo-1");
        assert!(world.until(secs(30), is_there("demo-1")).await);
        sleep(secs(60)).await;
        let sent = world.sent_to("demo-0", since);
        let wrong = |statement: &&String| {
            statement.starts_with("REGISTER REPLICA pod_2_") && statement.contains(&there.to_string())
        };
        assert_eq!(sent.iter().find(wrong), None);
        for operator in &world.operators {
            world.way(operator.name()).set(|way| way.lag = secs(0));
        }
        world.clients.set_quiet(false);
        assert!(world.settled(1, secs(120)).await);
    });
}
