//! Memgraph instances on virtual time: engines of the simulator with their disks, and a network that can delay, cut
//! and break what they, operators, gateways and clients say to each other.
//!
//! Everything runs in one thread, on a current-thread runtime of tokio whose clock is paused, inside of a `LocalSet`,
//! and follows from one seed. [`Memgraphs`] is the handle for whoever builds and breaks the world; production code
//! gets a [`SimulatedBolt`], and clients speak through [`Client`]s and a gateway's [`relay`].
//!
//! ```
//! use std::{net::IpAddr, time::Duration};
//! use memgraph_operator::memgraph::{Bolt, Session};
//! use simulation::memgraph::{Memgraphs, Setup};
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
//! tokio::task::LocalSet::new().block_on(&runtime, async {
//!     let world = Memgraphs::new(1);
//!     let (node, office) = (world.place("node-0"), world.place("operator"));
//!     let address: IpAddr = [10, 0, 0, 1].into();
//!     let pod = world.add_pod(node, address);
//!     let process = world.start(pod, world.volume(), &Setup::default());
//!     assert!(world.ready(process).await);
//!     let mut session = world.bolt(office).session((address, 7687).into());
//!     let rows = session.run("SHOW REPLICATION ROLE", Duration::from_secs(1)).await.unwrap();
//!     assert_eq!(rows[0]["replication role"], "main");
//! });
//! ```

mod bolt;
mod client;
mod command;
mod connection;
mod core;
mod disk;
mod effects;
mod look;
mod path;
mod pod;
mod process;
mod queue;
mod relay;
mod session;
mod setup;
mod steps;
mod stream;
#[cfg(test)]
mod tests;
mod trace;
mod transport;
mod world;
mod writes;

pub use self::{
    bolt::{SimulatedBolt, SimulatedSession},
    client::{Client, ClientError, Listener},
    disk::Disk,
    look::{Holding, Look},
    path::{Path, Paths, Trouble, TroubleId},
    pod::BOLT_PORT,
    process::{Exit, Status},
    relay::{By, Cut, Passage, relay},
    setup::Setup,
    steps::{Blow, Deed, Doing, Fate, Step},
    stream::{Answer, Ended, Incoming, Request, Stream, What},
    trace::{AtReplica, Transaction},
    world::Memgraphs,
    writes::{Outcome, Write, WriteId},
};

/// Where packets come from and go to: what can be cut off from something else as one. A node, an operator, a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u32);

/// A pod: an address with a kernel behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pod(u32);

/// A process of Memgraph; each start makes another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process(u32);

/// A volume with a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Volume(u32);

macro_rules! indexed {
    ($($name:ident),*) => {$(
        impl $name {
            pub(crate) fn new(index: usize) -> Self {
                Self(u32::try_from(index).unwrap_or(u32::MAX))
            }

            fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

indexed!(Place, Pod, Process, Volume);
