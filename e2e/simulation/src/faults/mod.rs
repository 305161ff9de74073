//! What goes wrong, and when.

mod kind;
mod phase;
mod plan;
mod strike;

pub use kind::Kind;
pub use phase::Phase;
pub use plan::{FAULTS, Planned, Wanted, is_early, plan};
pub use strike::Striker;
