//! Registrations are changed while clients write.

use serde_json::json;
use simulation::world::World;
use tokio::time::Instant;

use crate::{play, play_with, secs};

fn modes(world: &World) -> Vec<&'static str> {
    let registrations = world.registrations(&world.main_name());
    let mut modes: Vec<_> = registrations
        .iter()
        .map(|registration| registration.mode)
        .collect();
    modes.sort_unstable();
    modes
}

#[test]
fn a_change_of_mode_changes_every_registration_that_main_waits_for() {
    play_with(json!({"replication": {"mode": "Sync"}}), async |world| {
        assert!(world.until(secs(30), |w| modes(w) == ["async", "sync"]).await);
        world.edit_spec(|spec| spec["replication"] = json!({"mode": "StrictSync"}));
        let strict = |w: &World| modes(w) == ["async", "strict_sync"];
        assert!(world.until(secs(60), strict).await, "{:?}", modes(&world));
        assert!(world.writes(5, secs(30)).await);
        world.edit_spec(|spec| spec["replication"] = json!({"mode": "Async"}));
        assert!(world.until(secs(60), |w| modes(w) == ["async", "async"]).await);
        assert!(world.writes(5, secs(30)).await);
    });
}

/// MAIN goes on alone where that is preferred: its member leaves the ledger before its registration goes.
#[test]
fn a_member_leaves_the_ledger_before_main_stops_waiting_for_it() {
    let spec = json!({"replicas": 2, "replication": {"dataDurability": "Preferred"}});
    play_with(spec, async |world| {
        assert!(world.settled(1, secs(60)).await);
        let node = world.node_of("demo-1").unwrap();
        node.set_power(false);
        assert!(
            world
                .until(secs(60), |w| w.ledger().unwrap().in_sync.is_empty())
                .await
        );
        assert!(world.writes(5, secs(30)).await);
        node.set_power(true);
        assert!(
            world
                .until(secs(120), |w| !w.ledger().unwrap().in_sync.is_empty())
                .await
        );
    });
}

/// A gateway does not say that it has cut its clients off: nothing is begun before it does.
#[test]
fn main_moves_while_clients_write_and_a_gateway_stands_still() {
    play(async |world| {
        for target in ["demo-1", "demo-0"] {
            let gateway = world.gateways.all().remove(0);
            gateway.life.freeze(Instant::now() + secs(3));
            world.edit_spec(|spec| {
                spec["switchover"] = json!({"requestId": target, "target": target});
            });
            assert!(
                world.until(secs(30), |w| w.is_open_to(target)).await,
                "{:?}",
                world.status()
            );
            assert!(world.writes(10, secs(30)).await);
            assert!(world.settled(1, secs(60)).await);
        }
    });
}
