//! A cluster that asks for a password.

use std::{rc::Rc, time::Duration};

use serde_json::{Value, json};
use simulation::{
    api::{Key, Resource},
    run::run,
    world::{NAMESPACE, Options, World},
};
use tokio::time::sleep;

fn secrets() -> Resource {
    Resource::new("v1", "secrets")
}

fn key(name: &str) -> Key {
    (NAMESPACE.to_owned(), name.to_owned())
}

/// Values of a Secret, in base64.
const USERNAME: &str = "YXBw";
const FIRST: &str = "Zmlyc3Q=";
const SECOND: &str = "c2Vjb25k";

fn declared(password: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "graph-user", "namespace": NAMESPACE},
        "data": {"username": USERNAME, "password": password},
    })
}

/// The password that applications are told.
fn told(world: &World) -> Option<String> {
    let secret = world.api.store().get(&secrets(), &key("demo-app"))?;
    secret["data"]["password"].as_str().map(str::to_owned)
}

async fn lose_main(world: &Rc<World>) -> String {
    let main = world.main().unwrap();
    world.memgraphs.kill(main.process.unwrap());
    sleep(Duration::from_secs(1)).await;
    assert!(world.settled(1, Duration::from_secs(60)).await);
    let next = world.main().unwrap();
    assert_ne!(next.name, main.name);
    let process = next.process.unwrap();
    assert_eq!(world.memgraphs.is_access_controlled(process), Some(true));
    next.name
}

async fn writes_go_on(world: &World) {
    let before = world.clients.acknowledged();
    sleep(Duration::from_secs(20)).await;
    let now = world.clients.acknowledged();
    assert!(now > before + 10, "{before} writes, and {now}");
}

/// Without the Secret nothing begins; with it, each MAIN has the user before clients are let in, whoever was lost. Another
/// password is set while clients write, and an instance that has missed that is signed in to all the same.
#[test]
fn clients_are_never_led_to_a_main_without_users() {
    let mut options = Options::default();
    options.spec["auth"] = json!({"secretRef": {"name": "graph-user"}});
    let outcome = run(1, &options, true, async |world| {
        world.memgraphs.sign_clients_in("app", "first");
        world.create_cluster(&options.spec);
        sleep(Duration::from_secs(10)).await;
        let sets = Resource::new("apps/v1", "statefulsets");
        assert!(world.api.store().get(&sets, &key("demo")).is_none());
        let stalled = world.cluster().unwrap().status.unwrap().conditions;
        let stalled = stalled
            .iter()
            .find(|condition| condition.type_ == "Stalled")
            .unwrap();
        assert_eq!(stalled.reason, "InvalidCredentials", "{}", stalled.message);

        let created = world
            .api
            .store()
            .create(&secrets(), &key("graph-user"), declared(FIRST));
        assert!(created.is_ok());
        assert!(
            world.settled(1, Duration::from_secs(60)).await,
            "{:?}",
            world.status()
        );
        writes_go_on(&world).await;
        assert_eq!(told(&world).as_deref(), Some(FIRST));
        lose_main(&world).await;
        writes_go_on(&world).await;

        let before = world.ledger().unwrap().term;
        world.api.store().edit(&secrets(), &key("graph-user"), |secret| {
            secret["data"]["password"] = json!(SECOND);
        });
        sleep(Duration::from_secs(45)).await;
        assert_eq!(told(&world).as_deref(), Some(SECOND));
        assert_eq!(world.ledger().unwrap().term, before, "nothing was closed");
        writes_go_on(&world).await;
        world.memgraphs.sign_clients_in("app", "second");
        lose_main(&world).await;
        writes_go_on(&world).await;
        world.check();
    })
    .unwrap();
    assert_eq!(outcome.violations, []);
}
