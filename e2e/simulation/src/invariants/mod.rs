//! What must never be: each invariant of the safety review in a function of its own.

mod data;
mod promise;
mod registrations;
mod rights;
mod route;
mod watchman;

pub use data::Limit;
pub use promise::Promise;
pub use watchman::{Delivery, Violation, Watchman};
