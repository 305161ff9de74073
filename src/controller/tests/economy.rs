//! How much is written.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;

use super::{
    super::reconcile::reconcile,
    fake_memgraph::FakeMemgraph,
    reconciling::{GATEWAY, NAMESPACE, api, cluster, operator, settle, until},
};
use crate::api::ledger::Route;

/// X7: the decision before anything is done, its end, and word of it.
#[tokio::test]
async fn l23_a_failover_is_two_writes_of_the_status_and_one_event() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let operator = operator(&api, &memgraph).await;
    settle(&api, &operator).await;
    let gateways = operator.fence.link().clone();
    until(&api, &operator, || gateways.term(GATEWAY) == Some(1)).await;
    api.take_requests();
    memgraph.stop(0);
    api.remove("v1", "pods", NAMESPACE, "demo-0");
    // Kubernetes tells of it at once: nothing is suspected, and nothing of that is told.
    let known = async {
        let is_main = |pod: &Arc<Pod>| pod.metadata.name.as_deref() == Some("demo-0");
        while operator.inventory(&cluster(&api)).instances.iter().any(is_main) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), known)
        .await
        .expect("the cache shows it");
    let failed_over = || {
        let ledger = cluster(&api).status.unwrap().ledger.unwrap();
        ledger.route == Route::Open && ledger.main.instance == "demo-1"
    };
    let changing = async {
        // Until the moment of its last write. What has failed is tried again, as the controller does.
        while !failed_over() {
            reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
                .await
                .ok();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), changing)
        .await
        .expect("another MAIN");
    let requests = api.take_requests();
    let count = |method: &str, end: &str| {
        let is = |request: &&String| request.starts_with(method) && request.ends_with(end);
        requests.iter().filter(is).count()
    };
    let written = (
        count("PATCH", "memgraphclusters/demo/status"),
        count("POST", "/events"),
    );
    assert_eq!(written, (2, 1), "{requests:#?}");
}
