//! Failures of comparable systems that must not happen here: each row of the list is a test that sets up the situation
//! and asks for what this operator does instead. That nothing is lost and that there is one MAIN at a time is checked in
//! each of them as well.

#![allow(clippy::unwrap_used)]

mod beginnings;
mod gateways;
mod leaders;
mod losing_main;
mod quiet;
mod replicas;

use std::{rc::Rc, time::Duration};

use serde_json::Value;
use simulation::{
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
    script::play(&options(spec), script)
}

fn options(spec: Value) -> Options {
    let nodes = spec["replicas"].as_u64().map_or(3, |replicas| replicas.max(3));
    Options {
        nodes: usize::try_from(nodes).unwrap(),
        spec,
        ..Options::default()
    }
}
