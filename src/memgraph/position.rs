//! How far an instance's data has come.

use std::{net::SocketAddr, time::Duration};

use super::{AdminError, Bolt, Session, admin::bolt};

/// For how long a snapshot of a large graph may take.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(60 * 60);
/// What comes before the last durable timestamp in a snapshot's file name (Memgraph's
/// `storage/v2/durability/paths.hpp`).
const BEFORE_TIMESTAMP: &str = "_timestamp_";

/// The last durable timestamp of an instance, on a replica too, which has no other way to tell it. It comes from the name
/// of a snapshot that is taken for it, which a replica does from Memgraph 3.8 on.
///
/// # Errors
/// When no snapshot was taken, or when its name says nothing.
pub async fn position<B: Bolt>(client: &B, at: SocketAddr, instance: &str) -> Result<i64, AdminError> {
    let action = format!("take a snapshot on {instance}");
    let mut session = client.session(at);
    let rows = session
        .run("CREATE SNAPSHOT", SNAPSHOT_DEADLINE)
        .await
        .map_err(bolt(action.as_str()))?;
    let path = rows.first().and_then(|row| row.get("path")?.as_str());
    path.and_then(parse).ok_or_else(|| {
        AdminError::Precondition(format!("cannot read the position of {instance} from {path:?}"))
    })
}

fn parse(path: &str) -> Option<i64> {
    path.rsplit_once(BEFORE_TIMESTAMP)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timestamp_ends_the_path() {
        let path = "/var/lib/memgraph/mg_data/snapshots/20261121101112000000_timestamp_42";
        assert_eq!(parse(path), Some(42));
        for other in ["", "20261121101112000000", "x_timestamp_", "x_timestamp_4.tmp"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
