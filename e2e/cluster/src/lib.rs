//! A real Kubernetes cluster on one Linux machine, for tests: real API server, kubelets, containers, cluster DNS, Services
//! and volumes, built from source packages, without a container engine, an image registry or a network.
//!
//! Each machine of the cluster is a *box*: the control plane (`cp`) or a node (`node1`, `node2`, ..). A box is a set of
//! Linux namespaces under one process with PID 1, so that one SIGKILL is a power cut and leaves nothing behind.
//!
//! [`cluster::Cluster`] starts, opens and removes clusters and loads images; [`faults`] breaks them; [`audit`] counts
//! requests; [`image`] makes images. The program `devcluster` offers the same on the command line.

pub mod address;
pub mod audit;
pub mod binaries;
pub mod cgroup;
pub mod cluster;
pub mod faults;
pub mod firewall;
pub mod folders;
pub mod image;
pub mod interrupt;
pub mod kubectl;
pub mod launch;
pub mod network;
pub mod node;
pub mod pki;
pub mod preflight;
pub mod process;
pub mod progress;
pub mod release;
pub mod source;
pub mod spec;
pub mod teardown;
