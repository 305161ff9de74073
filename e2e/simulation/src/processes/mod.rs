//! The processes of the product: operators and gateways, each on a machine of its own.

mod clock;
mod operator;

pub use clock::DriftingClock;
pub use operator::{OperatorSlot, Surroundings};
