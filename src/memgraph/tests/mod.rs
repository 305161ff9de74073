//! Tests with real sockets.

mod dated;
mod encrypted;
