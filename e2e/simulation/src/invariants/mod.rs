//! What must never be: each invariant of the safety review in a function of its own.

mod data;
mod watchman;

pub use data::Limit;
pub use watchman::{Violation, Watchman};
