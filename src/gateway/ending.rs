//! How a gateway ends in order.
//!
//! A process that is gone looks like one that cannot be reached: whoever closes the route has to wait until the grant has run
//! out that it may hold. And it often goes together with MAIN and the operator's leader, when a node is drained. So it first
//! gives its grant back, and then stays for as long as a grant lasts: it leads nobody anywhere, enforces whatever the ledger
//! comes to, and says so.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::{gate::Gate, keeper::Keeper, routes::Routes};

/// Lets these sessions, to which none may come any more, go on for `drain` at most, cuts those that are left, and gives the grant
/// back. Ends when the time of one more grant is over; at once, if none could hold any more.
///
/// Routes must be enforced, and operators answered, until then.
pub async fn end_in_order(gate: &Gate, keeper: &Keeper, sessions: &TaskTracker, drain: Duration) {
    sessions.close();
    info!(sessions = sessions.len(), grace = ?drain, "taking no more sessions; waiting for these to end");
    if timeout(drain, sessions.wait()).await.is_err() {
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
