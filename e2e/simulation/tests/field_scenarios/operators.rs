//! Operators and the API server come and go.

use std::time::Duration;

use memgraph_operator::api::names;
use serde_json::json;
use simulation::{api::Resource, protocol::Step, script::is_alive, world::World};
use tokio::time::{sleep, timeout};

use crate::{play, secs};

/// Has MAIN killed, and waits until the operator has come to this step of its failover.
async fn lose_main(world: &World, step: Step) {
    let mut stand = world.protocol.stand();
    world.memgraphs.kill(world.main().unwrap().process.unwrap());
    let arrives = stand.wait_for(|stand| stand.operation.is_some() && stand.step == step);
    assert!(timeout(secs(20), arrives).await.is_ok(), "{step:?} did not come");
}

/// Elsewhere a reconciliation that had read the old MAIN demoted the new one.
#[test]
fn field_02_a_decision_about_the_old_main_outlives_the_failover() {
    for step in [Step::Announced, Step::Promoting, Step::Registering] {
        play(async |world| {
            lose_main(&world, step).await;
            // What it has decided is carried out when it wakes up.
            world.leader().unwrap().freeze(secs(30));
            assert!(
                world
                    .until(secs(20), |w| w.main_name() != "demo-0"
                        && w.is_open_to(&w.main_name()))
                    .await
            );
            let (main, since) = (world.main_name(), world.protocol.statements());
            assert!(world.throughout(secs(45), |w| w.mains() == [main.as_str()]).await);
            assert!(world.settled(1, secs(30)).await);
            let sent = world.sent_to(&main, since);
            assert_eq!(
                sent.iter()
                    .find(|statement| statement.contains("TO REPLICA WITH")),
                None,
                "{step:?}"
            );
        });
    }
}

/// Elsewhere the next process began from the start, or did not know what was going on.
#[test]
fn field_13_the_operator_is_killed_between_any_two_steps() {
    for step in [
        Step::Announced,
        Step::Fencing,
        Step::Promoting,
        Step::Registering,
        Step::Probing,
    ] {
        play(async |world| {
            lose_main(&world, step).await;
            for operator in &world.operators {
                operator.crash();
            }
            assert!(world.writes(5, secs(30)).await, "{step:?}");
            assert!(world.settled(1, secs(60)).await, "{step:?}");
        });
    }
}

/// Two processes believe that they lead: one has slept for a minute.
#[test]
fn field_13_the_leader_sleeps_for_a_minute_and_wakes_up() {
    play(async |world| {
        let sleeper = world.leader().unwrap();
        sleeper.freeze(secs(60));
        sleep(secs(10)).await;
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        assert!(world.until(secs(5), |w| w.is_open_to("demo-1")).await);
        assert!(world.settled(1, secs(60)).await);
        let term = world.ledger().unwrap().term;
        assert!(
            world
                .throughout(secs(60), |w| w.ledger().unwrap().term == term
                    && w.mains() == ["demo-1"])
                .await
        );
    });
}

/// Elsewhere it was taken for the loss of everything, and what was missed meanwhile stayed unknown.
#[test]
fn field_14_the_api_server_is_away_and_comes_back_with_a_gap() {
    play(async |world| {
        let nodes = world
            .kubernetes
            .instance_nodes()
            .iter()
            .chain(world.kubernetes.gateway_nodes());
        let names: Vec<_> = nodes
            .map(|node| node.name().to_owned())
            .chain(world.operators.iter().map(|operator| operator.name().to_owned()))
            .collect();
        let term = world.ledger().unwrap().term;
        names
            .iter()
            .for_each(|name| world.way(name).set(|way| way.refuses = true));
        sleep(secs(12)).await;
        world.api.store().compact();
        names
            .iter()
            .for_each(|name| world.way(name).set(|way| way.refuses = false));
        assert!(world.writes(5, secs(20)).await);
        assert_eq!(
            (world.main_name(), world.ledger().unwrap().term),
            ("demo-0".to_owned(), term)
        );
        // From now on, whoever lists or watches sees what was.
        names
            .iter()
            .for_each(|name| world.way(name).set(|way| way.lag = secs(10)));
        let mut session = world.session(names::BOLT_PORT).await.unwrap();
        world.operators.iter().for_each(|operator| operator.crash());
        assert!(
            world
                .throughout(secs(20), |w| w.is_open_to("demo-0")
                    && w.ledger().unwrap().term == term)
                .await
        );
        assert!(is_alive(&mut session).await);
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        assert!(
            world
                .until(secs(30), |w| w.ledger().unwrap().term > term
                    && w.is_open_to(&w.main_name()))
                .await
        );
        names
            .iter()
            .for_each(|name| world.way(name).set(|way| way.lag = Duration::from_millis(10)));
        assert!(world.settled(1, secs(60)).await);
    });
}

/// Elsewhere one worker looked after all clusters, and waited for the one that hung.
#[test]
fn field_15_an_instance_of_another_cluster_hangs() {
    play(async |world| {
        world.create_neighbour("other", &json!({}));
        let well = |w: &World| {
            let key = ("db".to_owned(), "other".to_owned());
            let other = w.api.store().get(&Resource::clusters(), &key);
            other.is_some_and(|other| other["status"]["phase"] == "Operational")
        };
        assert!(world.until(secs(60), well).await);
        // They accept connections, and answer nothing.
        let hung = world
            .instances
            .live()
            .into_iter()
            .filter(|i| i.name.starts_with("other-"));
        let hung: Vec<_> = hung.map(|instance| instance.process.unwrap()).collect();
        assert_eq!(hung.len(), 3);
        hung.iter().for_each(|process| world.memgraphs.freeze(*process));
        sleep(secs(20)).await;
        for main in ["demo-0", "demo-1"] {
            assert!(world.is_open_to(main));
            world.memgraphs.kill(world.main().unwrap().process.unwrap());
            assert!(
                world
                    .until(secs(2), |w| w.main_name() != main && w.is_open_to(&w.main_name()))
                    .await
            );
            assert!(world.settled(1, secs(30)).await);
        }
        hung.iter().for_each(|process| world.memgraphs.thaw(*process));
        assert!(world.until(secs(120), well).await);
    });
}
