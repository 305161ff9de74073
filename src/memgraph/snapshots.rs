//! What an instance's snapshots tell, and what it would find at its next start.

use std::{net::SocketAddr, pin::pin, time::Duration};

use futures::future::{Either, select};
use tokio::time::sleep;

use super::{AdminError, Bolt, BoltError, Row, Session, admin::bolt};

/// For how long a snapshot of a large graph may take. SHOW SNAPSHOTS waits for one that is being taken.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(60 * 60);
/// How often an instance is tried by a handshake meanwhile, and for how long each is waited for.
const BETWEEN_HANDSHAKES: Duration = Duration::from_secs(1);
/// After so many in a row that came to nothing its answer is waited for no longer. A host that has vanished says nothing.
const MISSED_HANDSHAKES: u32 = 5;
/// In the words of a replica of a release before 3.8 (Memgraph's `query/interpreter.cpp`).
const REPLICAS_TAKE_NONE: &str = "Replica instances are not allowed to create them";
/// What comes before the last durable timestamp in a snapshot's file name (Memgraph's
/// `storage/v2/durability/paths.hpp`). What comes before that is the time at which it was taken.
const BEFORE_TIMESTAMP: &str = "_timestamp_";

/// The last durable timestamp of an instance, on a replica too, which has no other way to tell it. It comes from the name
/// of a snapshot that is taken for it, which a replica does from Memgraph 3.8 on.
///
/// # Errors
/// [`AdminError::Precondition`] when it takes none, or its name says nothing: it does not help to try again. Otherwise none was taken
/// this time, as while it takes one already.
pub async fn position<B: Bolt>(client: &B, at: SocketAddr, instance: &str) -> Result<i64, AdminError> {
    let action = format!("take a snapshot on {instance}");
    let rows = match run(client, at, "CREATE SNAPSHOT").await {
        Err(BoltError::Failure { message, .. }) if message.contains(REPLICAS_TAKE_NONE) => {
            return Err(AdminError::Precondition(format!("cannot {action}: {message}")));
        }
        answer => answer.map_err(bolt(action.as_str()))?,
    };
    let path = rows.first().and_then(path);
    path.and_then(durable).ok_or_else(|| {
        AdminError::Precondition(format!("cannot read the position of {instance} from {path:?}"))
    })
}

/// Sees to it that an instance that has data finds it at its next start: has it take a snapshot if its newest one is from
/// before it had any.
///
/// From 3.8 on an empty replica takes snapshots like any other. Such a snapshot bears the UUID that its database had before
/// MAIN gave it its own, and stays where MAIN fills the replica from log files. The next start takes the UUID of the newest
/// snapshot and passes over the log files of every other one (`Recovery::RecoverData` in
/// `storage/v2/durability/durability.cpp`): the replica would come back empty. None is missed that is being taken meanwhile:
/// SHOW SNAPSHOTS waits for it (`InMemoryStorage::ShowSnapshots`), and one that is begun later bears the right UUID.
///
/// # Errors
/// When its snapshots could not be listed, or none was taken.
pub async fn settle_snapshots<B: Bolt>(client: &B, at: SocketAddr, instance: &str) -> Result<(), AdminError> {
    let action = format!("look at the snapshots of {instance}");
    let rows = run(client, at, "SHOW SNAPSHOTS")
        .await
        .map_err(bolt(action.as_str()))?;
    // The times in the names have the same length; at a start the newest is found in the same way.
    let newest = rows.iter().filter_map(path).max();
    match newest.and_then(durable) {
        Some(0) => position(client, at, instance).await.map(drop),
        _ => Ok(()),
    }
}

/// The answer to a statement that may take very long, for as long as the instance completes handshakes.
async fn run<B: Bolt>(client: &B, at: SocketAddr, statement: &str) -> Result<Vec<Row>, BoltError> {
    let mut session = client.session(at);
    let answer = session.run(statement, SNAPSHOT_DEADLINE);
    let silence = async {
        let mut missed = 0;
        while missed < MISSED_HANDSHAKES {
            sleep(BETWEEN_HANDSHAKES).await;
            match client.handshake(at, BETWEEN_HANDSHAKES).await {
                Ok(()) => missed = 0,
                Err(_) => missed += 1,
            }
        }
    };
    match select(pin!(answer), pin!(silence)).await {
        Either::Left((answer, _)) => answer,
        Either::Right(_) => Err(BoltError::Broken {
            at,
            detail: format!("it completes no handshake any more; {statement} was not answered"),
        }),
    }
}

fn path(row: &Row) -> Option<&str> {
    row.get("path")?.as_str()
}

fn durable(path: &str) -> Option<i64> {
    path.rsplit_once(BEFORE_TIMESTAMP)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timestamp_ends_the_path() {
        let path = "/var/lib/memgraph/mg_data/snapshots/20261121101112000000_timestamp_42";
        assert_eq!(durable(path), Some(42));
        for other in ["", "20261121101112000000", "x_timestamp_", "x_timestamp_4.tmp"] {
            assert_eq!(durable(other), None, "{other}");
        }
    }
}
