//! What the tests on a real Kubernetes node are made of: a node with the operator ([`node`]), a namespace for each test
//! ([`scene`]) with MemgraphClusters in it ([`database`]), and the faults that happen to them ([`faults`]).

pub mod database;
pub mod faults;
pub mod node;
pub mod operators;
pub mod scene;
pub mod wait;
