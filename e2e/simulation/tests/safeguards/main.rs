//! Courses of events that go wrong as soon as one certain safeguard is missing, and that chance brings about too rarely. What
//! must never be is looked at in each of them as well; [which safeguard each one is
//! about](../../mutants/README.md#what-notices-what) is tried by removing it.

#![allow(clippy::unwrap_used)]

mod copies;
mod failsafe;
mod gateways;
mod leaders;
mod lost_ledger;
mod orders;
mod pauses;
mod registrations;

use std::{net::SocketAddr, rc::Rc, time::Duration};

use memgraph_operator::api::names;
use serde_json::Value;
use simulation::{
    kubernetes::Node,
    memgraph::{Client, Path, Trouble},
    processes::Gateway,
    run::Outcome,
    script,
    world::{Options, World},
};

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
