//! A cluster begins, or its ledger is lost.

use memgraph_operator::api::names;
use serde_json::json;
use simulation::{
    api::Resource,
    memgraph::{Path, Trouble},
    run::run,
    script,
    world::{World, cluster_key},
};
use tokio::time::sleep;

use crate::{options, play, secs};

/// Takes the status of the cluster away, while no operator runs.
fn lose_ledger(world: &World) {
    world
        .api
        .store()
        .edit(&Resource::clusters(), &cluster_key(), |cluster| {
            cluster["status"] = json!({})
        });
}

/// Elsewhere: emptiness is never measured, so that two MAINs with data count as a new cluster, and one of them is wiped.
#[test]
fn l03_two_mains_with_data_are_left_to_a_human() {
    play(async |world| {
        assert!(world.writes(10, secs(30)).await);
        world.watchman.set_meddled(true);
        for operator in &world.operators {
            operator.set_power(false);
        }
        lose_ledger(&world);
        world
            .command("demo-1", "SET REPLICATION ROLE TO MAIN")
            .await
            .unwrap();
        world.command("demo-1", "CREATE (:Stray)").await.unwrap();
        let since = world.protocol.statements();
        for operator in &world.operators {
            operator.set_power(true);
        }
        let stalled = |w: &World| w.condition("Stalled") == ("True".into(), "AmbiguousState".into());
        assert!(world.until(secs(30), stalled).await, "{:?}", world.status());
        assert!(
            world
                .throughout(secs(60), |w| w.protocol.statements() == since && stalled(w))
                .await
        );
        assert_eq!(world.mains().len(), 2);
        // The remedy that the message names.
        let conditions = world.status().conditions;
        let message = &conditions.iter().find(|c| c.type_ == "Stalled").unwrap().message;
        let id = message.split("stateId").nth(1).unwrap();
        let id: String = id
            .chars()
            .skip_while(|c| !c.is_ascii_alphanumeric())
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        world.edit_spec(|spec| spec["bootstrap"] = json!({"recover": {"main": "demo-0", "stateId": id}}));
        assert!(
            world.until(secs(30), |w| w.is_open_to("demo-0")).await,
            "{message}"
        );
        assert!(world.writes(5, secs(20)).await);
    });
}

/// Elsewhere: the status alone knows MAIN, so that a resource that is made again over kept volumes gets any MAIN.
#[test]
fn l30_a_cluster_made_again_over_its_volumes_goes_on_with_what_it_held() {
    play(async |world| {
        // demo-0 misses what is written from now on.
        let first = world.node_of("demo-0").unwrap();
        first.set_power(false);
        assert!(world.until(secs(60), |w| w.is_open_to("demo-1")).await);
        assert!(world.writes(20, secs(60)).await);
        let term = world.ledger().unwrap().term;
        world.clients.set_quiet(true);
        world.api.store().remove(&Resource::clusters(), &cluster_key());
        let gone = |w: &World| ["demo-1", "demo-2"].into_iter().all(|name| w.pod(name).is_none());
        assert!(world.until(secs(120), gone).await);
        first.set_power(true);
        assert!(world.until(secs(60), |w| w.pod("demo-0").is_none()).await);
        world.create_cluster(&json!({}));
        assert!(world.settled(1, secs(120)).await, "{:?}", world.status());
        let ledger = world.ledger().unwrap();
        assert_ne!(ledger.main.instance, "demo-0");
        assert!(ledger.term > term);
        world.check();
        world.clients.set_quiet(false);
        assert!(world.writes(5, secs(30)).await);
    });
}

/// Elsewhere: SHOW REPLICAS is read by the places of columns, and every replica is unwell for ever.
#[test]
fn l31_replicas_are_read_rightly_in_each_release() {
    for image in ["3.5.0", "3.8.0", "3.12.0"] {
        let options = options(json!({"image": format!("memgraph/memgraph:{image}")}));
        script::play(&options, async |world| {
            let healthy = |w: &World| w.condition("ReplicationHealthy").0 == "True";
            assert!(world.until(secs(30), healthy).await);
            let modes: Vec<_> = world
                .status()
                .instances
                .iter()
                .map(|i| i.mode.map(|mode| format!("{mode:?}")))
                .collect();
            assert_eq!(
                modes,
                [None, Some("StrictSync".to_owned()), Some("Async".to_owned())]
            );
            let away = world.instances.named("demo-2").unwrap();
            let _ = world.cut_replication(&world.main().unwrap(), &away);
            assert!(world.until(secs(60), |w| !healthy(w)).await, "{image}");
            let seen = world.status().instances[2].data_status.clone();
            assert_ne!(seen.as_deref(), Some("ready"), "{image}");
        });
    }
}

/// Elsewhere: a role that could not be read is set, so that commands are given blindly.
#[test]
fn l39_an_instance_that_cannot_be_asked_is_told_nothing() {
    play(async |world| {
        let since = world.protocol.statements();
        for instance in world.instances.live() {
            for operator in &world.operators {
                let place = world.memgraphs.place(operator.name());
                let path = Path::between(place, instance.place);
                world.memgraphs.trouble(path.on(names::BOLT_PORT), Trouble::Drop);
            }
        }
        assert!(world.throughout(secs(60), |w| w.is_open_to("demo-0")).await);
        let sent = world.protocol.sent();
        let told = sent
            .iter()
            .skip(usize::try_from(since).unwrap())
            .find(|s| s.statement.contains("ROLE"));
        assert_eq!(told, None);
        assert!(world.writes(10, secs(30)).await);
        world.memgraphs.mend_all();
        sleep(secs(5)).await;
        assert!(world.settled(1, secs(30)).await);
        assert_eq!(world.ledger().unwrap().term, 1);
    });
}

/// Elsewhere: a mode that the release does not know is registered in vain for ever, and the cluster counts as running.
#[test]
fn l42_a_release_that_lacks_the_mode_never_counts_as_running() {
    let options = options(json!({"image": "memgraph/memgraph:3.4.0"}));
    let outcome = run(1, &options, true, async |world| {
        world.create_cluster(&options.spec);
        let ready = |w: &World| w.condition("Ready").0 == "True" || w.clients.acknowledged() > 0;
        assert!(world.throughout(secs(60), |w| !ready(w)).await);
        assert_eq!(world.condition("Stalled"), ("True".into(), "InvalidSpec".into()));
        assert_eq!(world.protocol.statements(), 0);
        // The remedy that the message names.
        world.edit_spec(|spec| spec["replication"] = json!({"mode": "Sync"}));
        assert!(world.settled(1, secs(60)).await, "{:?}", world.status());
        assert!(world.writes(3, secs(30)).await);
    });
    assert_eq!(outcome.unwrap().violations, []);
}

/// The same mode, asked of a cluster that serves in another one.
#[test]
fn l42_a_mode_that_the_release_lacks_changes_nothing_of_a_cluster_that_serves() {
    let options = options(json!({"image": "memgraph/memgraph:3.4.0", "replication": {"mode": "Sync"}}));
    let outcome = run(1, &options, true, async |world| {
        world.create_cluster(&options.spec);
        assert!(world.settled(1, secs(60)).await, "{:?}", world.status());
        let ready = |w: &World| w.condition("Ready").0 == "True";
        assert!(world.until(secs(60), ready).await, "{:?}", world.status());
        world.edit_spec(|spec| spec["replication"] = json!({"mode": "StrictSync"}));
        let refused = |w: &World| w.condition("Stalled") == ("True".into(), "InvalidSpec".into());
        assert!(world.until(secs(30), refused).await, "{:?}", world.status());
        let untouched = |w: &World| w.ledger().unwrap().term == 1 && ready(w);
        assert!(
            world.throughout(secs(60), untouched).await,
            "{:?}",
            world.status()
        );
        assert!(world.writes(3, secs(30)).await);
        world.edit_spec(|spec| spec["replication"] = json!({"mode": "Sync"}));
        assert!(
            world
                .until(secs(30), |w| w.condition("Stalled").0 == "False")
                .await
        );
    });
    assert_eq!(outcome.unwrap().violations, []);
}
