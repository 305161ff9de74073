//! What goes wrong, and when.

mod kind;
mod plan;
mod strike;

pub use kind::Kind;
pub use plan::{FAULTS, Planned, plan};
pub use strike::Striker;
