//! What the tests on a real Kubernetes node are made of: a node with the operator ([`node`]) in some version ([`installation`]), or
//! a control plane alone with operators beside it ([`beside`]), where they run ([`stage`]), a namespace for each test ([`scene`])
//! with MemgraphClusters in it ([`database`]), the faults that happen to them ([`faults`]) and to the operator ([`death`]), people
//! who write ([`writer`]), applications that have a driver do it ([`application`]) or hold on to a connection ([`session`]), people
//! who type commands ([`shell`]) that the documentation has ([`guide`]), what Prometheus would read ([`readings`]),
//! and what nobody may ([`secrecy`]).

pub mod application;
pub mod beside;
mod client;
pub mod database;
pub mod death;
pub mod faults;
pub mod guide;
pub mod installation;
pub mod node;
pub mod operators;
pub mod policies;
pub mod readings;
pub mod scene;
pub mod secrecy;
pub mod session;
pub mod shell;
pub mod stage;
pub mod wait;
pub mod writer;
