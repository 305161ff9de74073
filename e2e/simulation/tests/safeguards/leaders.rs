//! Operator processes that do not know what has become of the cluster meanwhile.

use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{play, secs};

/// What the next leader has seen is a minute old: a route that was closed then, and a MAIN that was to be promoted. It does not act on
/// that, and asks the API server for nothing again and again.
#[test]
fn a_new_leader_does_not_act_on_what_was_a_minute_ago() {
    play(async |world| {
        let began = Instant::now();
        let leader = world.leader().unwrap();
        let other = world
            .operators
            .iter()
            .find(|o| o.name() != leader.name())
            .unwrap();
        world.way(other.name()).set(|way| way.lag = secs(60));
        // Nobody can be registered with the new MAIN for 15 s: the route stays closed.
        let nodes = ["demo-0", "demo-2"].map(|name| world.node_of(name).unwrap());
        for node in &nodes {
            node.set_power(false);
        }
        sleep(secs(15)).await;
        for node in &nodes {
            node.set_power(true);
        }
        assert!(world.until(secs(15), |w| w.is_open_to("demo-1")).await);
        assert!(world.until(secs(15), |w| w.is_settled(1)).await);
        world.edit_spec(|spec| {
            spec["switchover"] = json!({"requestId": "back", "target": "demo-0"});
        });
        assert!(world.until(secs(10), |w| w.is_open_to("demo-0")).await);
        // What the other one sees now was so ten seconds after the nodes went dark.
        sleep_until(began + secs(70)).await;
        let notes = || {
            let lines = world.trace.lines();
            let notes = lines
                .iter()
                .filter(|line| line.contains("PATCH /api/v1/namespaces/db/persistentvolumeclaims/"));
            notes.count()
        };
        let before = notes();
        leader.set_power(false);
        sleep(secs(30)).await;
        // Three claims, at most three times a second and a little.
        assert!(notes() - before < 400, "{}", notes() - before);
        leader.set_power(true);
        assert!(world.settled(1, secs(120)).await);
    });
}
