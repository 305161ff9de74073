//! MAIN's pod is deleted: it serves for a moment, and clients leave it before its process ends.

use memgraph_operator::api::ledger::OperationKind;
use serde_json::json;

use crate::{play_with, secs};

/// A process that is told to end cuts its replicas off first, and still answers clients. Nobody else is left in sync after MAIN
/// has moved, so that writes have to wait for its next life all the same.
#[test]
fn main_of_two_moves_before_its_process_is_told_to_end() {
    play_with(json!({"replicas": 2}), async |world| {
        assert!(world.writes(5, secs(30)).await);
        world.delete_pod("demo-0");
        assert!(world.until(secs(60), |w| w.main_name() == "demo-1").await);
        let operation = world.ledger().and_then(|ledger| ledger.operation);
        let kind = operation.map(|operation| operation.kind);
        assert_eq!(kind, Some(OperationKind::Switchover));
        assert!(world.settled(1, secs(120)).await);
        assert!(world.writes(5, secs(30)).await);
    });
}
