//! Tests of the init container: its decision as tables, its files on a real file system.

mod decision;
mod preparing;
mod volume;
