//! What goes wrong, and when.

mod ambush;
mod human;
mod kind;
mod phase;
mod plan;
mod strike;
mod striker;

pub use ambush::AMBUSH;
pub use kind::Kind;
pub use phase::Phase;
pub use plan::{FAULTS, Planned, Wanted, is_early, plan, sleeps, with_sleep};
pub use striker::Striker;
