//! Notices at once that MAIN's process has ended.
//!
//! Looks are taken a few times in a second. Between two of them one connection to MAIN stands, which its kernel ends in the
//! moment in which the process does. That alone proves nothing, and nothing is decided by it: it only has the cluster looked
//! at without delay.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
    time::Duration,
};

use kube::runtime::reflector::ObjectRef;
use tokio::time::{sleep, timeout};

use super::{Operator, clusters::Cluster, link::GatewayLink};
use crate::{
    api::{
        MemgraphCluster,
        ledger::{Ledger, Route},
        names::BOLT_PORT,
    },
    memgraph::{Bolt, Session},
};

/// For how long the connection may take to come about.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// How soon it is made anew that has come to nothing, or has ended.
const AGAIN: Duration = Duration::from_millis(300);
/// After so long it is made anew: one to a host that has vanished never ends.
const LONGEST: Duration = Duration::from_secs(30);

/// Watches MAIN of a cluster while clients may reach it. It ends with the operator, which owns it.
pub(super) async fn watch_main<B: Bolt, G: GatewayLink>(
    operator: Weak<Operator<B, G>>,
    memory: Arc<Cluster>,
    reference: ObjectRef<MemgraphCluster>,
) {
    let mut changes = memory.ledger_changes();
    loop {
        let main = changes
            .borrow_and_update()
            .as_ref()
            .and_then(Option::as_ref)
            .and_then(main);
        let Some(main) = main else {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        };
        // The operator is not held while its end is waited for.
        let Some(mut session) = operator.upgrade().map(|operator| operator.led.session(main)) else {
            return;
        };
        tokio::select! {
            biased;
            _ = changes.changed() => continue,
            ended = timeout(LONGEST, session.watch(CONNECT_DEADLINE)) => match ended {
                Ok(Ok(())) => {
                    tracing::debug!(cluster = reference.name, %main, "MAIN has ended its connection");
                    let Some(operator) = operator.upgrade() else { return };
                    operator.poke(reference.clone());
                }
                // Looks find out what that means.
                Ok(Err(error)) => tracing::debug!(cluster = reference.name, %error, "MAIN is not watched"),
                Err(_) => continue,
            },
        }
        tokio::select! {
            biased;
            _ = changes.changed() => {}
            () = sleep(AGAIN) => {}
        }
    }
}

/// Where MAIN is, if clients may reach it.
pub(super) fn main(ledger: &Ledger) -> Option<SocketAddr> {
    if ledger.route == Route::Closed {
        return None;
    }
    let address: IpAddr = ledger.main_address.parse().ok()?;
    Some(SocketAddr::new(address, BOLT_PORT))
}
