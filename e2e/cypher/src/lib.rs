//! Syntax tree and parser for the part of Memgraph's Cypher that the simulator understands.
//!
//! [`parse`] turns a text into a [`Statement`](ast::Statement) as a given release of Memgraph would, or
//! says why not: with Memgraph's own message where Memgraph refuses the text, too, and otherwise naming the
//! construct that is outside of the subset.

pub mod ast;
mod classify;
mod error;
mod lexer;
mod literal;
mod parser;

pub use bolt_server::Version;
pub use classify::{Access, Kind, ReplicaRefusal, StorageAccess};
pub use error::Error;
pub use parser::parse;
