//! Takes the operator's safeguards away, one at a time, and looks whether anything notices.
//!
//! A mutant is a file that says which lines of the product are a safeguard and what they would be without it. All mutants are
//! written into a copy of the sources, each behind a switch that the environment sets, so that the copy is compiled once.
//! The product itself has no switches: nothing of this can be in a release.

pub mod build;
pub mod edit;
pub mod mutant;
pub mod table;
pub mod tree;
pub mod trial;
