//! How a gateway ends in order.
//!
//! Who leads clients to it learns later than the gateway that it ends: the kubelet sends SIGTERM as soon as the pod is marked, and
//! meanwhile the EndpointSlice is written, every node's kube-proxy reads that and changes the node's rules. So it goes on as before
//! for a while, with its grant, and says only by `/readyz` that it is to go: a connection that comes then gets a session, and
//! none is refused while another gateway serves.
//!
//! A process that is gone looks like one that cannot be reached: whoever closes the route has to wait until the grant has run
//! out that it may hold. And it often goes together with MAIN and the operator's leader, when a node is drained. So it first
//! gives its grant back, and then stays for as long as a grant lasts: it leads nobody anywhere, enforces whatever the ledger
//! comes to, and says so.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::{gate::Gate, keeper::Keeper, routes::Routes};

/// For how long new sessions are taken after SIGTERM. Nobody tells when the last node leads nobody here any more: kube-proxy writes
/// its rules at most once a second (`minSyncPeriod`) and takes longer the more Services there are; load balancers that ask for
/// themselves ask every few seconds.
const NOTICE: Duration = Duration::from_secs(5);

/// What is left to a gateway after SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace {
    /// For how long it takes new sessions.
    pub notice: Duration,
    /// For how long sessions may go on, those that come after SIGTERM as well.
    pub drain: Duration,
}

impl Grace {
    /// With sessions that may go on for so long, and new ones for the first five seconds of it.
    #[must_use]
    pub fn of(drain: Duration) -> Self {
        let notice = NOTICE.min(drain);
        Self { notice, drain }
    }
}

/// Takes sessions for as long as the grace says and then none any more (`shut`, which closes the listeners), lets those that
/// there are go on, cuts what is left of them, and gives the grant back. Ends when the time of one more grant is over; at once, if
/// none could hold any more.
///
/// Routes must be enforced, and operators answered, until then.
pub async fn end_in_order(
    gate: &Gate,
    keeper: &Keeper,
    sessions: &TaskTracker,
    shut: impl Future<Output = ()>,
    grace: Grace,
) {
    let cut = Instant::now() + grace.drain;
    info!(notice = ?grace.notice, "not ready from now on; taking sessions until nobody is led here any more");
    sleep(grace.notice).await;
    shut.await;
    sessions.close();
    let remaining = cut.saturating_duration_since(Instant::now());
    info!(
        sessions = sessions.len(),
        ?remaining,
        "taking no more sessions; waiting for these to end"
    );
    if timeout_at(cut, sessions.wait()).await.is_err() {
        warn!(sessions = sessions.len(), "cutting the sessions that are left");
    }
    // First: whoever enforces routes must not open anything behind this cut.
    gate.end();
    gate.cut_all_but(&Routes::default()).await;
    sessions.wait().await;
    let until = keeper.retire();
    let remaining = until.saturating_sub(keeper.clock().get());
    if !remaining.is_zero() {
        info!(
            ?remaining,
            "the right to lead clients to MAIN is given back; answering operators for so long"
        );
        keeper.until(until).await;
    }
}
