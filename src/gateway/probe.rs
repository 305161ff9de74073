//! Tries MAIN by Bolt handshakes, so that the operator is not the only one that knows whether it answers.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{MissedTickBehavior, interval};

use super::{keeper::Keeper, reach::Incident, routes::parse_address};
use crate::{
    grants::PROBE_EVERY,
    memgraph::{Bolt, BoltError, Encryption},
};

/// For how long one handshake may take. It is far more than is between two of them: a MAIN that answers each of them late is
/// slow, not silent.
const DEADLINE: Duration = Duration::from_secs(3);

/// Tries MAIN of the last grant again and again, and lets `keeper` know what comes of it.
///
/// A Memgraph answers a handshake although all its workers are busy or wait: it counts as urgent, and one thread is kept for
/// what is urgent (`SessionHL::ApproximateQueryPriority`, `PriorityThreadPool` in `src/utils/priority_thread_pool.cpp`, 3.4
/// to 3.12). Its kernel alone, which accepts connections for a process that stands still, does not.
///
/// Where MAIN takes TLS only, its certificate is not looked at: nothing is told to it, and one that has ended must not look
/// like a MAIN that has.
pub async fn probe<B: Bolt>(keeper: Arc<Keeper>, bolt: B) {
    let mut mains = keeper.mains();
    let mut ticks = interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut under_way = FuturesUnordered::new();
    loop {
        let main = mains.borrow_and_update().clone();
        let main = main.and_then(|(term, address)| Some((term, parse_address(&address)?)));
        tokio::select! {
            biased;
            Some((term, result)) = under_way.next() => match result {
                Ok(()) => keeper.completed(term),
                Err(BoltError::Refused { .. }) => keeper.note(term, Incident::Refused),
                Err(BoltError::Exhausted { .. }) => keeper.give_up(term),
                Err(_) => {}
            },
            _ = ticks.tick(), if main.is_some() => {
                if let Some((term, address)) = main {
                    keeper.begin(term);
                    let encryption = match keeper.is_encrypted(address) {
                        true => Encryption::Unverified,
                        false => Encryption::None,
                    };
                    bolt.encrypt(address, encryption);
                    let handshake = bolt.handshake(address, DEADLINE);
                    under_way.push(async move { (term, handshake.await) });
                }
            }
            changed = mains.changed() => if changed.is_err() { return },
        }
    }
}
