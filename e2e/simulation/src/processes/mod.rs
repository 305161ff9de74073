//! The processes of the product, each on a machine of its own, and those of Memgraph.

mod clock;
mod gateway;
mod instance;
mod operator;

pub use clock::DriftingClock;
pub use gateway::{Gateway, GatewayMaker, Gateways, Link};
pub use instance::{Instance, Instances};
pub use operator::{OperatorSlot, Surroundings};
