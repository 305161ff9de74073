//! A client puts MAIN into a storage mode in which Memgraph replicates nothing, and says nothing of it, or a replica into one in which
//! that takes nothing.

use std::time::Duration;

use memgraph_operator::api::{SwitchoverState, ledger::Route, names};
use serde_json::json;
use simulation::{
    script,
    world::{Options, World},
};
use tokio::time::sleep;

use crate::{play, secs};

const ANALYTICAL: &str = "STORAGE MODE IN_MEMORY_ANALYTICAL";
const TRANSACTIONAL: &str = "STORAGE MODE IN_MEMORY_TRANSACTIONAL";

fn asks(world: &World, request: &str) {
    world.edit_spec(|spec| spec["switchover"] = json!({"requestId": request, "target": "demo-1"}));
}

/// Whether `demo-0` is MAIN, and no client has been cut off since this term.
fn goes_on(world: &World, term: i64) -> bool {
    world.mains() == ["demo-0"] && world.is_open_to("demo-0") && world.ledger().unwrap().term == term
}

fn is_durable(world: &World) -> bool {
    world.condition("Durable") == ("True".to_owned(), "AsExpected".to_owned())
}

/// What was imported would be thrown away by a switchover that takes MAIN's word for it that its replicas are up to date.
#[test]
fn an_import_without_replication_is_told_of_and_main_stays_until_it_is_over() {
    play(async |world| {
        assert!(world.settled(1, secs(60)).await);
        assert!(is_durable(&world));
        world.clients.set_quiet(true);
        sleep(secs(5)).await;
        let term = world.ledger().unwrap().term;
        world.command("demo-0", ANALYTICAL).await.unwrap();
        let told = |w: &World| w.condition("Durable") == ("False".to_owned(), "UnreplicatedMode".to_owned());
        assert!(
            world.until(secs(20), told).await,
            "{:?}",
            world.condition("Durable")
        );
        asks(&world, "away");
        let follow = |w: &World| {
            let instances = w.status().instances.into_iter();
            let ready = instances.filter(|i| i.data_status.as_deref() == Some("ready"));
            ready.count() == 2
        };
        let as_before = |w: &World| goes_on(w, term) && told(w) && follow(w);
        assert!(
            world.throughout(secs(60), as_before).await,
            "{:?}",
            world.status()
        );
        assert!(
            world.session(names::GATEWAY_READ_PORT).await.is_ok(),
            "a new reader"
        );
        let request = world.status().switchover.unwrap();
        assert_eq!(request.state, SwitchoverState::Pending);
        assert!(
            request.message.contains("IN_MEMORY_ANALYTICAL"),
            "{}",
            request.message
        );
        world.command("demo-0", TRANSACTIONAL).await.unwrap();
        assert!(world.until(secs(30), |w| w.is_open_to("demo-1")).await);
        world.clients.set_quiet(false);
        assert!(world.writes(10, secs(30)).await);
        assert!(world.settled(1, secs(60)).await);
        assert!(is_durable(&world));
    });
}

/// The change of mode waits for the transaction that the switchover waits for, too. MAIN is asked once more when nothing runs on it.
#[test]
fn a_change_of_mode_that_no_look_has_seen_has_the_switchover_undone() {
    play(async |world| {
        assert!(world.settled(1, secs(60)).await);
        world.clients.set_quiet(true);
        sleep(secs(5)).await;
        let at = (world.main().unwrap().address, names::BOLT_PORT).into();
        let mut client = world.memgraphs.client(world.memgraphs.place("analyst"));
        client.connect(at, secs(5)).await.unwrap();
        client.begin(secs(5)).await.unwrap();
        client.read(secs(5)).await.unwrap();
        asks(&world, "away");
        let is_closed = |w: &World| w.ledger().unwrap().route == Route::Closed;
        assert!(world.until(secs(10), is_closed).await);
        let ends = async {
            sleep(Duration::from_millis(300)).await;
            drop(client);
        };
        let (changed, ()) = futures::join!(world.command("demo-0", ANALYTICAL), ends);
        changed.unwrap();
        let failed = |w: &World| {
            let request = w.status().switchover;
            request.is_some_and(|request| request.state == SwitchoverState::Failed)
        };
        assert!(
            world.until(secs(30), failed).await,
            "{:?}",
            world.status().switchover
        );
        let why = world.status().switchover.unwrap().message;
        assert!(why.contains("IN_MEMORY_ANALYTICAL"), "{why}");
        let before = world.ledger().unwrap().candidates;
        assert!(world.until(secs(10), |w| w.is_open_to("demo-0")).await);
        let ledger = world.ledger().unwrap();
        assert_eq!(ledger.in_sync, before);
        assert!(world.throughout(secs(30), |w| goes_on(w, ledger.term)).await);
        world.command("demo-0", TRANSACTIONAL).await.unwrap();
        assert!(world.until(secs(30), is_durable).await);
        asks(&world, "now");
        assert!(world.until(secs(30), |w| w.is_open_to("demo-1")).await);
        world.clients.set_quiet(false);
        assert!(world.writes(10, secs(30)).await);
        assert!(world.settled(1, secs(60)).await);
    });
}

/// What was written in that mode is nowhere else, and in no log.
#[test]
fn a_main_that_stands_still_is_waited_for_until_somebody_gives_it_up() {
    play(async |world| {
        assert!(world.settled(1, secs(60)).await);
        world.clients.set_quiet(true);
        sleep(secs(5)).await;
        let ledger = world.ledger().unwrap();
        world.command("demo-0", ANALYTICAL).await.unwrap();
        let told = |w: &World| w.condition("Durable").1 == "UnreplicatedMode";
        assert!(world.until(secs(20), told).await);
        let process = world.main().unwrap().process.unwrap();
        world.memgraphs.freeze(process);
        let says_so =
            |w: &World| w.condition("Stalled") == ("True".to_owned(), "UnreplicatedMode".to_owned());
        assert!(world.until(secs(10), says_so).await, "{:?}", world.status());
        let waits = |w: &World| w.ledger().unwrap() == ledger && says_so(w) && told(w);
        assert!(world.throughout(secs(100), waits).await);
        world.memgraphs.thaw(process);
        let serves = |w: &World| goes_on(w, ledger.term) && w.condition("Stalled").0 == "False";
        assert!(world.until(secs(10), serves).await);

        world.memgraphs.freeze(process);
        assert!(world.until(secs(10), says_so).await);
        world.delete_pod("demo-0");
        assert!(
            world
                .until(secs(60), |w| w.ledger().unwrap().main.instance != "demo-0")
                .await
        );
        world.clients.set_quiet(false);
        assert!(world.writes(10, secs(60)).await);
    });
}

/// A reader may do so. The replica refuses all that MAIN sends then, whoever registers it.
#[test]
fn a_replica_that_takes_nothing_costs_no_writes_for_long_and_is_told_of() {
    play(async |world| {
        assert!(world.settled(1, secs(60)).await);
        let (member, term) = (world.member(), world.ledger().unwrap().term);
        world.command(&member, ANALYTICAL).await.unwrap();
        let another = |w: &World| w.member() != member && w.ledger().unwrap().in_sync.len() == 1;
        assert!(world.until(secs(60), another).await, "{:?}", world.status());
        assert!(world.writes(20, secs(30)).await);
        let says_so = |w: &World| {
            let conditions = w.status().conditions;
            let health = conditions
                .iter()
                .find(|c| c.type_ == "ReplicationHealthy")
                .unwrap();
            [&member, "IN_MEMORY_ANALYTICAL", TRANSACTIONAL]
                .iter()
                .all(|part| health.message.contains(*part))
        };
        assert!(world.until(secs(60), says_so).await, "{:?}", world.status());
        let names = |w: &World| {
            w.registrations("demo-0")
                .into_iter()
                .map(|r| r.name)
                .collect::<Vec<_>>()
        };
        let before = names(&world);
        let stays = |w: &World| goes_on(w, term) && names(w) == before && says_so(w);
        assert!(world.throughout(secs(60), stays).await, "{:?}", world.status());
        world.command(&member, TRANSACTIONAL).await.unwrap();
        assert!(world.settled(1, secs(60)).await);
        assert_eq!(world.condition("ReplicationHealthy").0, "True");
    });
}

#[test]
fn with_two_instances_writes_go_on_once_the_replica_takes_them_again() {
    let options = Options {
        spec: json!({"replicas": 2}),
        ..Options::default()
    };
    script::play(&options, async |world| {
        assert!(world.settled(1, secs(60)).await);
        let term = world.ledger().unwrap().term;
        world.command("demo-1", ANALYTICAL).await.unwrap();
        let blocked = |w: &World| w.condition("Ready") == ("False".to_owned(), "NoInSyncReplica".to_owned());
        assert!(world.until(secs(20), blocked).await);
        assert!(
            world
                .throughout(secs(60), |w| goes_on(w, term) && blocked(w))
                .await
        );
        world.command("demo-1", TRANSACTIONAL).await.unwrap();
        // MAIN asks for it once a second; where the operator has seen it first, the registration is made anew.
        assert!(world.writes(10, secs(30)).await);
        assert!(world.settled(1, secs(60)).await);
        assert_eq!(world.mains(), ["demo-0"]);
    });
}

/// Memgraph refuses to make it a replica in that mode. Nothing of what else there is to do may wait for that.
#[test]
fn a_deposed_main_in_that_mode_is_a_replica_again_before_long() {
    play(async |world| {
        world.edit_spec(|spec| spec["failover"] = json!({"candidates": "MostRecent"}));
        assert!(world.settled(1, secs(60)).await);
        world.clients.set_quiet(true);
        sleep(secs(5)).await;
        world.command("demo-0", ANALYTICAL).await.unwrap();
        let told = |w: &World| w.condition("Durable").1 == "UnreplicatedMode";
        assert!(world.until(secs(20), told).await);
        let process = world.main().unwrap().process.unwrap();
        world.memgraphs.freeze(process);
        let replaced = |w: &World| w.ledger().unwrap().main.instance != "demo-0";
        assert!(world.until(secs(60), replaced).await, "{:?}", world.status());
        world.memgraphs.thaw(process);
        world.clients.set_quiet(false);
        assert!(world.settled(1, secs(120)).await, "{:?}", world.status());
        assert!(world.writes(10, secs(60)).await);
    });
}
