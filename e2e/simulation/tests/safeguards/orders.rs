//! Whose data is set aside, and whose never is.

use memgraph_operator::api::names;
use serde_json::{Value, json};
use simulation::{
    api::Resource,
    world::{World, cluster_key},
};
use tokio::time::sleep;

use crate::{play, secs, set_operators};

fn was_set_aside(world: &World, instance: &str) -> bool {
    let told = format!("RESET: the data of {instance}");
    world.trace.lines().iter().any(|line| line.contains(&told))
}

/// Writes an order into the ledger, as a leader did whose term has passed.
fn order(world: &World, instance: &str, term: i64) {
    let pod = world.pod(instance).unwrap();
    let uid = pod["metadata"]["uid"].clone();
    let mut store = world.api.store();
    let (clusters, key) = (Resource::clusters(), cluster_key());
    let mut cluster = Value::clone(&*store.get(&clusters, &key).unwrap());
    cluster["status"]["ledger"]["resets"] = json!([{
        "instance": instance, "token": format!("t{term}-r7"), "term": term, "podUID": uid,
        "attempts": 0, "preserve": true, "at": "2026-01-01T00:00:00Z",
    }]);
    // What an operator has not written it cannot take back.
    store
        .apply(&clusters, &key, names::FIELD_MANAGER, Some("status"), cluster)
        .unwrap();
}

/// The instance starts anew while no operator is there to take an order back that is void.
fn is_not_obeyed(order_of: impl Fn(i64) -> i64) {
    play(async |world| {
        assert!(world.writes(5, secs(30)).await);
        world.memgraphs.kill(world.main().unwrap().process.unwrap());
        sleep(secs(1)).await;
        assert!(world.settled(1, secs(60)).await);
        let (term, member) = (world.ledger().unwrap().term, world.member());
        set_operators(&world, false);
        order(&world, &member, order_of(term));
        let before = world.instances.named(&member).unwrap();
        // MAIN is asked before an order is obeyed.
        world.clients.set_quiet(true);
        sleep(secs(1)).await;
        world.delete_pod(&member);
        let anew = |w: &World| {
            let now = w.instances.named(&member);
            now.is_some_and(|now| now.incarnation != before.incarnation && now.process.is_some())
        };
        assert!(world.until(secs(90), anew).await);
        assert!(!was_set_aside(&world, &member));
        set_operators(&world, true);
        world.clients.set_quiet(false);
        assert!(world.settled(1, secs(60)).await);
        assert!(world.writes(5, secs(30)).await);
        assert!(!was_set_aside(&world, &member));
    });
}

/// It was given when MAIN was another one, and finds an instance that MAIN relies on by now.
#[test]
fn an_order_of_an_earlier_term_is_not_obeyed() {
    is_not_obeyed(|term| term - 1);
}

#[test]
fn an_order_for_an_instance_that_is_relied_on_is_not_obeyed() {
    is_not_obeyed(|term| term);
}
