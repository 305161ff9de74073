//! Tests with real sockets.

mod encrypted;
