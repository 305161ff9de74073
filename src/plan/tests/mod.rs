//! Tests of the decisions: tables for single situations, and a small world in which random faults happen.

mod decisions;
mod random;
mod world;
