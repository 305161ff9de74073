//! A failover while very many other requests to the API server wait.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::{
    super::{RequestRate, reconcile::reconcile},
    fake_memgraph::FakeMemgraph,
    reconciling::{GATEWAY, NAMESPACE, api, cluster, limited, until},
};
use crate::{
    api::{Phase, ledger::Route},
    resources::{Kind, ObjectKey},
};

/// So many requests that wait take more than six minutes.
const OTHERS: usize = 5_000;

#[tokio::test(start_paused = true)]
async fn a_failover_does_not_wait_for_what_others_want_to_change() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let rate = RequestRate {
        per_second: NonZeroU32::new(10).unwrap(),
        burst: NonZeroU32::new(1_000).unwrap(),
    };
    let operator = limited(&api, &memgraph, rate).await;
    let gateways = operator.fence.link().clone();
    let is_operational = || {
        let status = cluster(&api).status;
        status.is_some_and(|status| status.phase == Some(Phase::Operational))
    };
    until(&api, &operator, || {
        is_operational() && gateways.term(GATEWAY) == Some(1)
    })
    .await;

    let others: Vec<JoinHandle<_>> = (0..OTHERS)
        .map(|_| {
            let pods = Api::<Pod>::namespaced(operator.lanes.ordinary().clone(), "elsewhere");
            tokio::spawn(async move { pods.get_opt("another").await.map(drop) })
        })
        .collect();
    // The cluster itself has to wait its turn, too, while it works.
    let service = ObjectKey {
        kind: Kind::Service,
        name: "demo-gateway".to_owned(),
    };
    api.remove("v1", "services", NAMESPACE, &service.name);
    while operator.stores.applied(&service, NAMESPACE).is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let repair = tokio::spawn(reconcile(Arc::new(cluster(&api)), Arc::clone(&operator)));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!repair.is_finished());
    assert!(api.get("v1", "services", NAMESPACE, &service.name).is_none());

    memgraph.stop(0);
    api.remove("v1", "pods", NAMESPACE, "demo-0");
    let failed_over = || {
        let ledger = cluster(&api).status.unwrap().ledger.unwrap();
        ledger.route == Route::Open && ledger.main.instance == "demo-1"
    };
    let _failing_over = AbortOnDropHandle::new(tokio::spawn({
        let (api, operator) = (api.clone(), Arc::clone(&operator));
        async move {
            repair.await.unwrap().ok();
            loop {
                reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
                    .await
                    .ok();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }));
    let failed = async {
        while !failed_over() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), failed)
        .await
        .expect("another MAIN, before the others have had their turn");
    assert!(others.iter().any(|other| !other.is_finished()));
    let services = Api::<Service>::namespaced(api.client(), NAMESPACE);
    assert!(services.get_opt(&service.name).await.unwrap().is_some());
}
