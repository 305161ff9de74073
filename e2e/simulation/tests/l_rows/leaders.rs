//! The operator's own processes come and go.

use memgraph_operator::api::names;
use serde_json::json;
use simulation::{protocol::Step, script::is_alive, world::World};
use tokio::time::sleep;

use crate::{play, secs};

/// The name of the operator process that leads.
fn leader(world: &World) -> String {
    world
        .leader()
        .map(|leader| leader.name().to_owned())
        .unwrap_or_default()
}

/// Elsewhere: whoever leads next still believes in the MAIN before last, and keeps the gateway closed.
#[test]
fn l04_a_new_leader_knows_where_main_is() {
    play(async |world| {
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        sleep(secs(1)).await;
        assert!(world.settled(1, secs(60)).await);
        let main = world.main_name();
        assert_ne!(main, "demo-0");
        let mut session = world.session(names::BOLT_PORT).await.unwrap();
        let (first, term) = (leader(&world), world.ledger().unwrap().term);
        world.leader().unwrap().set_power(false);
        assert!(world.until(secs(5), |w| leader(w) != first).await);
        assert!(world.writes(10, secs(30)).await);
        assert!(is_alive(&mut session).await);
        assert_eq!((world.main_name(), world.ledger().unwrap().term), (main, term));
        // It acts on what it knows.
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        assert!(
            world
                .until(secs(5), |w| w.ledger().unwrap().term > term
                    && w.is_open_to(&w.main_name()))
                .await
        );
        assert!(world.settled(1, secs(60)).await);
    });
}

/// Elsewhere: leadership that was lost once is never sought again, and each hiccup of the API server burns a process.
#[test]
fn l10_leadership_that_was_lost_is_won_again() {
    play(async |world| {
        let mut session = world.session(names::BOLT_PORT).await.unwrap();
        for _ in 0..4 {
            let before = world
                .trace
                .lines()
                .iter()
                .filter(|line| line.contains("is over"))
                .count();
            for operator in &world.operators {
                world.way(operator.name()).set(|way| way.silent = true);
            }
            sleep(secs(12)).await;
            let after = world
                .trace
                .lines()
                .iter()
                .filter(|line| line.contains("is over"))
                .count();
            assert!(after > before, "nobody has lost leadership");
            for operator in &world.operators {
                world.way(operator.name()).set(|way| way.silent = false);
            }
            sleep(secs(5)).await;
        }
        assert!(world.operators.iter().all(|operator| operator.is_ready()));
        assert!(
            is_alive(&mut session).await,
            "the gateways have read the ledger themselves"
        );
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        assert!(world.until(secs(5), |w| w.is_open_to("demo-1")).await);
    });
}

/// Elsewhere: a process that leads no more keeps its clients, and leads them to an old MAIN.
#[test]
fn l11_no_session_stays_with_a_former_main_when_its_leader_is_gone() {
    play(async |world| {
        let mut session = world.session(names::BOLT_PORT).await.unwrap();
        let main = world.main().unwrap();
        let leader = world.leader().unwrap();
        let mut stand = world.protocol.stand();
        world.edit_spec(|spec| spec["switchover"] = json!({"requestId": "now", "target": "demo-1"}));
        stand
            .wait_for(|stand| stand.operation.is_some() && stand.step == Step::Promoting)
            .await
            .unwrap();
        leader.freeze(secs(60));
        assert!(world.until(secs(20), |w| w.is_open_to("demo-1")).await);
        assert!(!is_alive(&mut session).await);
        assert!(world.writes(10, secs(30)).await);
        sleep(secs(60)).await;
        assert!(world.settled(1, secs(30)).await);
        assert_eq!(world.main_name(), "demo-1");
        assert_eq!(world.instances.named(&main.name).unwrap().process, main.process);
    });
}

/// Elsewhere: SIGTERM ends in a panic, and the Lease stays for as long as it lasts.
#[test]
fn l12_a_leader_that_is_asked_to_end_hands_over_within_a_second() {
    play(async |world| {
        for _ in 0..3 {
            let first = world.leader().unwrap();
            // Kubernetes may ask twice.
            first.terminate();
            first.terminate();
            assert!(
                world
                    .until(secs(1), |w| ![String::new(), first.name().to_owned()]
                        .contains(&leader(w)))
                    .await
            );
            sleep(secs(5)).await;
        }
        let ended = world.trace.lines();
        let ended: Vec<_> = ended
            .iter()
            .filter(|line| line.contains("has ended: ") && line.contains("operator"))
            .collect();
        assert!(
            ended.len() >= 3 && ended.iter().all(|line| line.ends_with("true")),
            "{ended:?}"
        );
    });
}

/// Elsewhere: an upgrade of the controller is an outage for every client, because it is the gateway as well.
#[test]
fn l13_an_upgrade_of_the_operator_cuts_no_session() {
    play(async |world| {
        let mut session = world.session(names::BOLT_PORT).await.unwrap();
        let ledger = world.ledger().unwrap();
        for operator in &world.operators {
            // The next pod of a rolling update is ended when the one before is ready, whether it leads or not.
            assert!(
                world
                    .until(secs(20), |w| w
                        .operators
                        .iter()
                        .all(|operator| operator.is_ready()))
                    .await
            );
            operator.terminate();
            sleep(secs(1)).await;
        }
        assert!(world.writes(20, secs(60)).await);
        assert!(is_alive(&mut session).await);
        let now = world.ledger().unwrap();
        assert_eq!((now.term, now.main), (ledger.term, ledger.main));
        let failed = |line: &&String| line.contains("failed") || line.contains("Unknown");
        let lines = world.trace.lines();
        assert_eq!(lines.iter().filter(|l| l.contains("write [")).find(failed), None);
    });
}
