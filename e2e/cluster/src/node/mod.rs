//! What runs inside a box: its process with PID 1 ([`init`]) and the programs that it keeps running.

pub mod config;
pub mod init;
pub mod programs;
pub mod setup;
pub mod supervisor;
