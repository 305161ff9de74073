//! What the bench and its machines say to each other: one JSON value a line.

use std::{net::Ipv4Addr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// What a machine is to do. Each process on it has a number that no other one ever has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Run an instance of Memgraph on this address, with this command line.
    Instance {
        /// Its number.
        id: u64,
        /// Where it listens.
        address: Ipv4Addr,
        /// As Memgraph takes it.
        arguments: Vec<String>,
    },
    /// Run a gateway on this address.
    Gateway {
        /// Its number.
        id: u64,
        /// Where it listens, on the ports that it has in a pod.
        address: Ipv4Addr,
        /// Namespace of its cluster.
        namespace: String,
        /// Name of its cluster.
        cluster: String,
        /// UID of its pod.
        pod_uid: String,
        /// The folder with its certificates for the control channel.
        certificates: PathBuf,
    },
    /// End a process as SIGKILL does.
    Kill {
        /// Its number.
        id: u64,
    },
}

/// What has become of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Event {
    /// Its probe of readiness says something else than before.
    Ready {
        /// Its number.
        id: u64,
        /// What it says.
        ready: bool,
    },
    /// It has ended without being told to, which none should.
    Failed {
        /// Its number.
        id: u64,
        /// What it said.
        why: String,
    },
}
