//! The processes of the product, each on a machine of its own, and those of Memgraph.

mod clock;
mod gateway;
mod instance;
mod operator;
mod preparation;

pub use clock::DriftingClock;
pub use gateway::{Gateway, GatewayMaker, Gateways, Kept, Link};
pub use instance::{Instance, Instances};
pub use operator::{OPERATORS, OPERATORS_NAMESPACE, OperatorSlot, Surroundings};
