//! The processes of the product, each on a machine of its own, and those of Memgraph.

mod clock;
mod gateway;
mod instance;
mod operator;
mod preparation;

pub use clock::DriftingClock;
pub use gateway::{Gateway, GatewayMaker, Gateways, Link};
pub use instance::{Instance, Instances};
pub use operator::{OperatorSlot, Surroundings};
