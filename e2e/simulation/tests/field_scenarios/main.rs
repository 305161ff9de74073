//! What has happened to replicated databases in the field, step by step, and what becomes of it here. That no acknowledged
//! write is lost and that there is one MAIN at a time is checked in each of them as well.

#![allow(clippy::unwrap_used)]

mod certificates;
mod failsafe;
mod losing_main;
mod operators;
mod passwords;
mod replicas;
mod storage_mode;
mod stuck;

use std::{rc::Rc, time::Duration};

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

/// Whether the data of an instance was set aside.
fn was_reset(world: &World) -> bool {
    world.trace.lines().iter().any(|line| line.contains("RESET"))
}
