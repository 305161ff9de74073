//! What has become of the connections at one port since the gateway started.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;

use super::gate::Port;

/// How often at most each kind of refusal is logged.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Why a connection was reset before it led anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// `maxConnections`.
    TooMany,
    /// `connectionRateLimit`.
    TooFast,
    /// `sourceRanges`.
    Source,
    /// It came from a balancer of `proxyProtocol`, and did not begin with a header, not in time, or with one that names no client.
    NoHeader,
    /// `maxHeldConnections`.
    TooManyHeld,
    /// There was no instance to lead to, for a writer not within `holdTimeout` either.
    NoInstance,
    /// This process or its node has no descriptor, port or memory left for the connection to the instance.
    OutOfResources,
    /// The gateway ended while the client was held.
    Ending,
    /// The client had gone before it could be led anywhere.
    Gone,
    /// TLS ends at the gateway, and what the client said is none.
    PlainText,
    /// TLS was not agreed on, or not in time.
    Handshake,
    /// TLS ends at the gateway, which has no certificate.
    NoCertificate,
}

/// How a session came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Both sides have closed.
    Finished,
    /// The route that it belonged to was no more.
    Cut,
    /// The gateway's leave to lead to MAIN had run out.
    Expired,
    /// `idleTimeout`.
    Idle,
    /// The client's connection broke.
    ByClient,
    /// The instance's connection broke, or the instance closed it first.
    ByInstance,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From client to instance.
    Up,
    /// From instance to client.
    Down,
}

/// Counters of one port. All of them only grow.
#[derive(Debug)]
pub struct Statistics {
    port: Port,
    accepted: AtomicU64,
    begun: AtomicU64,
    refused: [Refusals; Refusal::ALL.len()],
    ended: [AtomicU64; Ending::ALL.len()],
    failed_connects: AtomicU64,
    failed_accepts: AtomicU64,
    bytes: [AtomicU64; 2],
    since: Instant,
}

/// A session that was begun. In whichever way it ends, also when it panics, it is counted once.
#[derive(Debug)]
pub struct Begun {
    statistics: Arc<Statistics>,
    ending: Ending,
}

impl Begun {
    /// Where it is counted.
    pub(super) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// It ends in this way.
    pub(super) fn end(mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        add(&self.statistics.ended[self.ending as usize], 1);
    }
}

#[derive(Debug, Default)]
struct Refusals {
    count: AtomicU64,
    /// From when on one may be logged again, in milliseconds since the gateway started.
    quiet_until: AtomicU64,
}

impl Refusal {
    /// Every kind, in the order of its counter.
    pub const ALL: [Self; 12] = [
        Self::TooMany,
        Self::TooFast,
        Self::Source,
        Self::NoHeader,
        Self::TooManyHeld,
        Self::NoInstance,
        Self::OutOfResources,
        Self::Ending,
        Self::Gone,
        Self::PlainText,
        Self::Handshake,
        Self::NoCertificate,
    ];

    fn reason(self, port: Port) -> &'static str {
        match (self, port) {
            (Self::TooMany, Port::ReadWrite) => {
                "refused: as many sessions as gateway.readWrite.maxConnections allows"
            }
            (Self::TooMany, Port::Read) => "refused: as many sessions as gateway.read.maxConnections allows",
            (Self::TooFast, _) => {
                "refused: the client's address connects faster than gateway.connectionRateLimit allows"
            }
            (Self::Source, Port::ReadWrite) => {
                "refused: the client's address is in no network of gateway.readWrite.sourceRanges"
            }
            (Self::Source, Port::Read) => {
                "refused: the client's address is in no network of gateway.read.sourceRanges"
            }
            (Self::NoHeader, Port::ReadWrite) => {
                "refused: no header of PROXY protocol version 2 that names a client, from one of \
                 gateway.readWrite.proxyProtocol.balancers; switch it on at the load balancer, too"
            }
            (Self::NoHeader, Port::Read) => {
                "refused: no header of PROXY protocol version 2 that names a client, from one of \
                 gateway.read.proxyProtocol.balancers; switch it on at the load balancer, too"
            }
            (Self::TooManyHeld, _) => {
                "refused: no MAIN, and as many clients wait for one as gateway.maxHeldConnections allows"
            }
            (Self::NoInstance, Port::ReadWrite) => "refused: no MAIN within gateway.holdTimeout",
            (Self::NoInstance, Port::Read) => "refused: no instance serves readers",
            (Self::OutOfResources, _) => {
                "refused: no file descriptor, port or memory is left for a connection to the instance; lower \
                 maxConnections, or raise the limits of the node"
            }
            (Self::Ending, _) => "refused: the gateway ends",
            (Self::Gone, _) => "the client has gone before it could be led anywhere",
            (Self::PlainText, _) => {
                "refused: the client does not speak TLS, which gateway.tls asks for; use bolt+s:// or bolt+ssc://"
            }
            (Self::Handshake, _) => {
                "refused: no TLS was agreed on within 10 s; the client must trust the certificate in the Secret of \
                 gateway.tls.secretRef, and speak TLS 1.2 or newer"
            }
            (Self::NoCertificate, _) => {
                "refused: there is no usable certificate in the Secret of gateway.tls.secretRef"
            }
        }
    }
}

impl Ending {
    /// Every kind, in the order of its counter.
    pub const ALL: [Self; 6] = [
        Self::Finished,
        Self::Cut,
        Self::Expired,
        Self::Idle,
        Self::ByClient,
        Self::ByInstance,
    ];
}

impl Statistics {
    /// Counters at zero.
    #[must_use]
    pub fn new(port: Port) -> Self {
        Self {
            port,
            accepted: AtomicU64::default(),
            begun: AtomicU64::default(),
            refused: Default::default(),
            ended: Default::default(),
            failed_connects: AtomicU64::default(),
            failed_accepts: AtomicU64::default(),
            bytes: Default::default(),
            since: Instant::now(),
        }
    }

    /// The port that they count for.
    #[must_use]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Connections that were accepted: each is refused or begins a session.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        get(&self.accepted)
    }

    /// Sessions that were begun: each is still there or has ended.
    #[must_use]
    pub fn begun(&self) -> u64 {
        get(&self.begun)
    }

    /// Connections that were refused for this reason.
    #[must_use]
    pub fn refused(&self, refusal: Refusal) -> u64 {
        get(&self.refused[refusal as usize].count)
    }

    /// Sessions that have ended in this way.
    #[must_use]
    pub fn ended(&self, ending: Ending) -> u64 {
        get(&self.ended[ending as usize])
    }

    /// Attempts to connect to an instance that failed.
    #[must_use]
    pub fn failed_connects(&self) -> u64 {
        get(&self.failed_connects)
    }

    /// Attempts to accept a connection that failed for want of something in this process or its node.
    #[must_use]
    pub fn failed_accepts(&self) -> u64 {
        get(&self.failed_accepts)
    }

    /// Bytes that were passed on in this direction, those of running sessions included.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> u64 {
        get(&self.bytes[direction as usize])
    }

    pub(super) fn accept(&self) {
        add(&self.accepted, 1);
    }

    /// Counts a session, and its end when what is returned is dropped: as cut, unless it says otherwise.
    pub(super) fn begin(self: &Arc<Self>) -> Begun {
        add(&self.begun, 1);
        Begun {
            statistics: Arc::clone(self),
            ending: Ending::Cut,
        }
    }

    pub(super) fn fail_connect(&self) {
        add(&self.failed_connects, 1);
    }

    pub(super) fn fail_accept(&self) {
        add(&self.failed_accepts, 1);
    }

    pub(super) fn pass(&self, direction: Direction, bytes: usize) {
        add(&self.bytes[direction as usize], bytes as u64);
    }

    /// Counts a refused connection, and logs it unless one of the same kind was logged a short time ago: whoever floods the
    /// gateway must not flood its log.
    pub(super) fn refuse(&self, refusal: Refusal, client: Option<SocketAddr>) {
        let Refusals { count, quiet_until } = &self.refused[refusal as usize];
        add(count, 1);
        let elapsed = self.since.elapsed();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let quiet = quiet_until.load(Ordering::Relaxed);
        // Of several at once only one takes the turn.
        let logged = refusal != Refusal::Gone
            && millis(elapsed) >= quiet
            && quiet_until
                .compare_exchange(
                    quiet,
                    millis(elapsed + LOG_PAUSE),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if logged {
            warn!(
                port = ?self.port,
                client = client.map(tracing::field::display),
                so_far = get(count),
                "{}",
                refusal.reason(self.port)
            );
        }
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_counter_of_its_own() {
        let statistics = Arc::new(Statistics::new(Port::Read));
        for (i, refusal) in (1_u32..).zip(Refusal::ALL) {
            (0..i).for_each(|_| statistics.refuse(refusal, None));
        }
        for (i, ending) in (1_u32..).zip(Ending::ALL) {
            (0..i).for_each(|_| statistics.begin().end(ending));
        }
        assert_eq!(
            Refusal::ALL.map(|r| statistics.refused(r)),
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
        );
        assert_eq!(Ending::ALL.map(|e| statistics.ended(e)), [1, 2, 3, 4, 5, 6]);
    }
}
