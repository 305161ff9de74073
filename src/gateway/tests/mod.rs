//! Tests with real sockets on the loopback interface, and tables for what is pure.

mod cluster;
mod controlled;
mod descriptors;
mod fence;
mod flooding;
mod flowing;
mod following;
mod granting;
mod harness;
mod holding;
mod idling;
mod limits;
mod ordering;
mod pausing;
mod probing;
mod reading;
mod relaying;
mod routing;
mod shutdown;
mod views;

pub(super) use harness::TestClock;
