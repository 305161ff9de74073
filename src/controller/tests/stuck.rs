//! A MAIN for whose answers clients wait.

use std::{sync::Arc, time::Duration};

use super::{
    super::reconcile::reconcile,
    fake_memgraph::FakeMemgraph,
    reconciling::{GATEWAY, api, cluster, operator, settle, until},
};

/// Who is MAIN after some minutes in which clients wait, while a transaction of this query, in this status, does not end.
async fn main_with(query: &'static str, status: &'static str) -> String {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let operator = operator(&api, &memgraph).await;
    settle(&api, &operator).await;
    let gateways = operator.fence.link().clone();
    until(&api, &operator, || gateways.term(GATEWAY) == Some(1)).await;
    memgraph.hang(query, status);
    gateways.wait(GATEWAY);
    for _ in 0..240 {
        // What has failed is tried again, as the controller does.
        reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
            .await
            .ok();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    cluster(&api).status.unwrap().ledger.unwrap().main.instance
}

#[tokio::test(start_paused = true)]
async fn a_main_whose_commits_do_not_end_is_replaced_and_one_whose_workers_are_busy_is_not() {
    let query = "MATCH (n) SET n.seen = true";
    assert_eq!(main_with(query, "committing").await, "demo-1");
    assert_eq!(main_with(query, "running").await, "demo-0");
    let files = "SHOW STORAGE INFO";
    assert_eq!(main_with(files, "running").await, "demo-1", "a disk hangs");
}
