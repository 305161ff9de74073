//! The route is closed for a moment while MAIN stays: sessions stay too.

use std::time::Duration;

use memgraph_operator::api::ledger::{OperationKind, Route};
use serde_json::{Value, json};
use simulation::{memgraph::Client, protocol::Step, script::is_alive, world::World};
use tokio::time::Instant;

use crate::{play_with, secs, session_through};

/// A session through each gateway.
async fn sessions(world: &World) -> Vec<Client> {
    let mut sessions = Vec::new();
    for gateway in world.gateways.all() {
        sessions.push(session_through(world, &gateway).await);
    }
    sessions
}

async fn all_alive(sessions: &mut [Client]) -> bool {
    for session in sessions {
        if !is_alive(session).await {
            return false;
        }
    }
    true
}

fn sync() -> Value {
    json!({"replication": {"mode": "Sync"}})
}

fn ask_for_strict_sync(world: &World) {
    world.edit_spec(|spec| spec["replication"] = json!({"mode": "StrictSync"}));
}

/// MAIN waits for strict replicas only, in a term above this one.
fn is_changed(world: &World, after: i64) -> bool {
    let registrations = world.registrations(&world.main_name());
    let is_open = world
        .ledger()
        .is_some_and(|l| l.route == Route::Open && l.term > after);
    is_open
        && registrations.iter().any(|r| r.mode == "strict_sync")
        && registrations.iter().all(|r| r.mode != "sync")
}

fn is_paused(world: &World) -> bool {
    world.ledger().is_some_and(|ledger| {
        let repairs = ledger.operation.is_some_and(|o| o.kind == OperationKind::Repair);
        ledger.route == Route::Closed && repairs
    })
}

#[test]
fn sessions_outlive_a_change_of_mode() {
    play_with(sync(), async |world| {
        // So that something is under way in each pause.
        world.clients.set_pause(Duration::from_millis(5));
        let mut sessions = sessions(&world).await;
        let term = world.ledger().unwrap().term;
        for (mode, changed) in [("StrictSync", "strict_sync"), ("Sync", "sync")] {
            world.edit_spec(|spec| spec["replication"] = json!({"mode": mode}));
            let is_so = |w: &World| {
                let registrations = w.registrations(&w.main_name());
                let is_open = w
                    .ledger()
                    .is_some_and(|l| l.route == Route::Open && l.term > term);
                is_open && registrations.iter().any(|r| r.mode == changed)
            };
            assert!(world.until(secs(60), is_so).await);
            assert!(world.writes(5, secs(30)).await);
            assert!(all_alive(&mut sessions).await, "{mode}");
        }
        assert_eq!(world.ledger().unwrap().term, term + 2);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// The only replica that MAIN waits for is dropped by a human.
#[test]
fn sessions_outlive_a_registration_that_is_made_anew() {
    play_with(json!({"replicas": 2}), async |world| {
        world.watchman.set_meddled(true);
        let mut sessions = sessions(&world).await;
        let (main, term) = (world.main_name(), world.ledger().unwrap().term);
        let name = world.registrations(&main)[0].name.clone();
        world
            .command(&main, &format!("DROP REPLICA {name}"))
            .await
            .unwrap();
        assert!(world.until(secs(60), |w| is_changed(w, term)).await);
        assert!(world.writes(5, secs(30)).await);
        assert!(all_alive(&mut sessions).await);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// Whoever has begun the pause does not end it.
#[test]
fn a_pause_without_a_leader_ends_the_sessions_and_the_next_leader_opens_the_route() {
    play_with(sync(), async |world| {
        let mut sessions = sessions(&world).await;
        let term = world.ledger().unwrap().term;
        ask_for_strict_sync(&world);
        world.protocol.comes_to(Step::Fencing).await;
        assert!(world.until(secs(10), is_paused).await);
        world.leader().unwrap().set_power(false);
        assert!(world.until(secs(60), |w| is_changed(w, term)).await);
        for session in &mut sessions {
            assert!(!is_alive(session).await);
        }
        assert!(world.writes(5, secs(30)).await);
        for operator in &world.operators {
            operator.set_power(true);
        }
        assert!(world.settled(1, secs(120)).await);
    });
}

/// What MAIN has said while the route was closed reaches nobody.
#[test]
fn a_main_that_is_lost_in_a_pause_is_followed_as_ever() {
    play_with(sync(), async |world| {
        let mut sessions = sessions(&world).await;
        ask_for_strict_sync(&world);
        world.protocol.comes_to(Step::Registering).await;
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        assert!(
            world
                .until(secs(60), |w| w.ledger().unwrap().route == Route::Open)
                .await
        );
        assert!(world.writes(5, secs(60)).await);
        for session in &mut sessions {
            assert!(!is_alive(session).await);
        }
        assert!(world.settled(1, secs(120)).await);
    });
}

/// It does not confirm the closing in time, and another one does.
#[test]
fn a_gateway_that_stands_still_in_a_pause_is_waited_for_and_its_sessions_end() {
    play_with(sync(), async |world| {
        let mut sessions = sessions(&world).await;
        let term = world.ledger().unwrap().term;
        world.gateways.all()[0].life.freeze(Instant::now() + secs(7));
        ask_for_strict_sync(&world);
        assert!(world.until(secs(60), |w| is_changed(w, term)).await);
        assert!(world.writes(5, secs(30)).await);
        assert!(!is_alive(&mut sessions[0]).await);
        assert!(world.settled(1, secs(120)).await);
    });
}
