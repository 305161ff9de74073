//! The operator against an API server and a Memgraph that live in memory.

mod access;
mod beside;
mod certificates;
mod economy;
mod edited;
mod encrypted;
pub(crate) mod fake_api;
mod fake_gateways;
mod fake_managers;
mod fake_memgraph;
mod faults;
mod fields;
mod former;
mod growth;
mod hibernation;
mod image;
mod inheriting;
mod licensed;
mod limited;
mod outside;
mod reconciling;
mod refusals;
mod sight;
mod traced;
mod updating;
mod usage;
mod volumes;
