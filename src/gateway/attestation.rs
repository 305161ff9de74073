//! Whether the in-sync replicas are still replicas: only a replica takes connections at the port for replication.
//!
//! A replica that is promoted closes that port before it throws away what it had prepared for the lost MAIN
//! (`ReplicationHandler::DoToMainPromotion` in `src/replication_handler/replication_handler.cpp`, since release 3.8; earlier
//! ones throw nothing away).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::keeper::Keeper;
use crate::grants::PROBE_EVERY;

/// How long a connect may take.
const DEADLINE: Duration = Duration::from_secs(1);
/// How soon the ports are tried again that somebody waits for.
const AGAIN: Duration = Duration::from_millis(100);

/// How far apart two looks are begun at least: each leaves an address of this host's unusable for a minute, and somebody waits for
/// one after each answer of MAIN.
const APART: Duration = Duration::from_millis(20);

/// Makes connections: the seam at which tests put something else than a network.
pub trait Dial {
    /// Whether somebody takes a connection there. It is closed again.
    fn is_taken(&self, address: SocketAddr) -> impl Future<Output = bool>;
}

/// Makes connections over TCP.
#[derive(Clone, Copy, Debug)]
pub struct TcpDial;

impl Dial for TcpDial {
    async fn is_taken(&self, address: SocketAddr) -> bool {
        TcpStream::connect(address).await.is_ok()
    }
}

/// What is known of the ports, and who waits for more.
#[derive(Debug, Default)]
pub struct Attestation {
    /// The term whose replicas were all there, and when it was begun to look.
    last: watch::Sender<Option<(i64, Duration)>>,
    wanted: Notify,
}

impl Attestation {
    /// Ends when all in-sync replicas of this term have taken connections that were begun at `moment` or later.
    pub async fn since(&self, term: i64, moment: Duration) {
        let mut last = self.last.subscribe();
        let fits = |last: &Option<(i64, Duration)>| {
            last.is_some_and(|(attested, begun)| attested == term && begun >= moment)
        };
        // A look that is under way was begun too early: the wish stays until the next one begins.
        self.wanted.notify_one();
        // The sender is this one's own.
        let _ = last.wait_for(fits).await;
    }
}

/// Looks at the ports while the grant of `keeper` was not renewed for long, and whenever somebody waits for it.
pub async fn attest<D: Dial>(keeper: Arc<Keeper>, dial: D) {
    let attestation = keeper.attestation();
    let mut ticks = interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_wanted = tokio::select! {
            biased;
            () = attestation.wanted.notified() => true,
            _ = ticks.tick() => false,
        };
        let Some((term, ports)) = keeper.to_attest() else {
            continue;
        };
        let begun = keeper.clock().get();
        let looks = ports.iter().map(|port| timeout(DEADLINE, dial.is_taken(*port)));
        let are_taken = join_all(looks).await.into_iter().all(|taken| taken == Ok(true));
        if are_taken {
            keeper.attested(term, begun);
            attestation.last.send_replace(Some((term, begun)));
            sleep(APART).await;
        } else if is_wanted {
            sleep(AGAIN).await;
            attestation.wanted.notify_one();
        }
    }
}
