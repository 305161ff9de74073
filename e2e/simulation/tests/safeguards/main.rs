//! Courses of events that go wrong as soon as one certain safeguard is missing, and that chance brings about too rarely. What
//! must never be is looked at in each of them as well; [which safeguard each one is
//! about](../../mutants/README.md#what-notices-what) is tried by removing it.

#![allow(clippy::unwrap_used)]

mod copies;
mod failsafe;
mod farewell;
mod gateways;
mod leaders;
mod lost_ledger;
mod orders;
mod pauses;
mod put_back;
mod registrations;

use std::{net::SocketAddr, rc::Rc, time::Duration};

use memgraph_operator::api::names;
use serde_json::Value;
use simulation::{
    kubernetes::Node,
    memgraph::{Client, Path, Trouble},
    processes::{Gateway, Instance, OperatorSlot},
    run::Outcome,
    script,
    world::{Options, World},
};
use tokio::time::{sleep, timeout};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Plays a script in a cluster of three.
fn play<F: Future<Output = ()>>(script: impl FnOnce(Rc<World>) -> F) -> Outcome {
    script::play(&Options::default(), script)
}

/// Plays a script in a cluster with this spec.
fn play_with<F: Future<Output = ()>>(spec: Value, script: impl FnOnce(Rc<World>) -> F) -> Outcome {
    let nodes = spec["replicas"].as_u64().map_or(3, |replicas| replicas.max(3));
    let options = Options {
        nodes: usize::try_from(nodes).unwrap(),
        spec,
        ..Options::default()
    };
    script::play(&options, script)
}

/// A client's session through this very gateway.
async fn session_through(world: &World, gateway: &Gateway) -> Client {
    let pod = world.pod(&gateway.name).unwrap();
    let address = pod["status"]["podIP"].as_str().unwrap().parse().unwrap();
    let mut client = world.memgraphs.client(world.memgraphs.place("application"));
    let at = SocketAddr::new(address, names::BOLT_PORT);
    client.connect(at, secs(5)).await.unwrap();
    assert!(script::is_alive(&mut client).await);
    client
}

/// No operator reaches this gateway any more.
fn hide_from_operators(world: &World, gateway: &Gateway) {
    for operator in &world.operators {
        hide_from(world, operator, gateway);
    }
}

/// This operator does not reach this gateway any more.
fn hide_from(world: &World, operator: &OperatorSlot, gateway: &Gateway) {
    let place = world.memgraphs.place(operator.name());
    for path in [
        Path::between(place, gateway.place),
        Path::between(gateway.place, place),
    ] {
        world
            .memgraphs
            .trouble(path.on(names::CONTROL_PORT), Trouble::Drop);
    }
}

/// MAIN, which lives, finds nobody at the replication port of an instance any more, and no operator reaches that one. Everything that
/// keeps them apart ends with all troubles.
fn set_apart(world: &World, instance: &Instance) {
    let main = world.main().unwrap();
    let path = Path::between(main.place, instance.place).on(names::REPLICATION_PORT);
    world.memgraphs.trouble(path, Trouble::Refuse);
    world.memgraphs.reset(path);
    for operator in &world.operators {
        hide_instance(world, operator, instance);
    }
}

/// This operator does not reach this instance any more.
fn hide_instance(world: &World, operator: &OperatorSlot, instance: &Instance) {
    let place = world.memgraphs.place(operator.name());
    world.memgraphs.cut(place, instance.place);
}

/// The operators that do not lead.
fn others_than(world: &World, leader: &OperatorSlot) -> Vec<Rc<OperatorSlot>> {
    let others = world.operators.iter();
    others
        .filter(|operator| operator.name() != leader.name())
        .cloned()
        .collect()
}

/// Waits for something that may be over in a few milliseconds.
async fn catch(world: &World, holds: impl Fn(&World) -> bool) {
    let caught = async {
        while !holds(world) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(secs(60), caught).await.unwrap();
}

/// A command to an instance is sent that begins with the first text and contains the second.
async fn command(world: &World, begins: &str, contains: &str) {
    let mut commands = world.protocol.commands();
    let sent = async {
        while let Some(command) = commands.recv().await {
            if command.statement.starts_with(begins) && command.statement.contains(contains) {
                return;
            }
        }
    };
    timeout(secs(60), sent).await.unwrap();
}

/// MAIN is gone for Kubernetes, and lives on. Returns its node.
fn forget_main(world: &World) -> Node {
    world.delete_by_force(&world.main_name()).unwrap()
}

fn set_operators(world: &World, powered: bool) {
    for operator in &world.operators {
        operator.set_power(powered);
    }
}
