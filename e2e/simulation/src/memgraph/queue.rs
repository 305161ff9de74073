//! What is to happen, in the order in which it will.

use std::{cmp::Reverse, collections::BinaryHeap};

use memgraph_sim::engine::{Time, Token};

use super::{Process, connection::Side};

/// Something that is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happening {
    /// The first packet under way on a connection arrives at this side.
    Arrival { connection: u64, side: Side },
    /// A connection is asked for, for the so many-th time.
    Knock { connection: u64, attempt: u32 },
    /// What could not get through is sent again.
    Retransmission {
        connection: u64,
        side: Side,
        attempt: u32,
    },
    /// What was sent towards this side at `since` may have gone without acknowledgement for too long.
    Unacknowledged {
        connection: u64,
        side: Side,
        since: Time,
    },
    /// A message outside of connections arrives, or is sent again.
    Travel { number: u64, attempt: u32 },
    /// An engine wants to be woken.
    Timer { process: Process },
    /// The disk has done what it was asked for.
    Disk { process: Process, token: Token },
    /// A process has waited long enough for its data directory.
    Impatience { process: Process },
}

#[derive(Debug)]
struct Scheduled {
    at: Time,
    order: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A queue by time; what is due at the same time happens in the order in which it was put in.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Time, what: Happening) {
        self.order += 1;
        self.heap.push(Reverse(Scheduled {
            at,
            order: self.order,
            what,
        }));
    }

    /// When the next thing happens.
    pub(super) fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse(next)| next.at)
    }

    /// Takes what happens next, if that is due at `now`.
    pub(super) fn pop(&mut self, now: Time) -> Option<(Time, Happening)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(next)| (next.at, next.what))
    }
}
