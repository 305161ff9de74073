//! Tests with real sockets on the loopback interface, and tables for what is pure.
//!
//! | what must hold | where |
//! | --- | --- |
//! | every byte arrives, ends and half-ends as they were meant, backpressure | `relaying` |
//! | a session stops at once wherever it waits, and leaves nothing behind | `stopping` |
//! | a fence resets both ends, also with unread bytes in both directions (the peers' read error tells) | `fence`, `controlled`, `ordering` |
//! | sessions that sleep lose no byte, and are cut, counted and waited for like all others | `sleeping` |
//! | bytes are held, attested, let go | `flowing`, `pausing`, `granting` |
//! | clients wait for MAIN, readers are spread and led on | `holding`, `reading`, `routing` |
//! | bounds are exact and can be changed, what is refused is counted | `limits`, `flooding`, `idling`, `descriptors` |
//! | bad clients (slow, silent, half-open, resetting, in floods) hurt nobody | `flooding` |
//! | a peer that vanishes without a word is given up, and hurts nobody meanwhile | `vanishing` |
//! | who a client is and from where it may come | `proxied` |
//! | no certificate, another cluster's, one that has ended, a replayed grant, a lower term, another UID: nothing changes | `refusing` |
//! | SIGTERM: unready, nobody new, drained, cut | `shutdown`; with real processes and pods: `e2e/node` |
//! | the API server, MAIN and operators as they are found | `following`, `views`, `probing`, `controlled` |

mod certificates;
mod cluster;
mod controlled;
mod descriptors;
mod encrypting;
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
mod proxied;
mod reading;
mod refusing;
mod relaying;
mod routing;
mod shutdown;
mod sleeping;
mod stopping;
mod terminating;
mod vanishing;
mod views;

pub(super) use harness::TestClock;
