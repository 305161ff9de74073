//! What people are told of what the operator sees.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{
    super::lease::Watched,
    fake_api::FakeApi,
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, api, cluster, operator, settle},
};
use crate::{
    api::ledger::Route,
    fleet::{Counted, Eyes, Live, Vitals, view},
    leader::{KubernetesLease, Lock},
};

#[tokio::test]
async fn the_leader_sees_ages_lag_and_gateways() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let uid = cluster(&api).metadata.uid.unwrap();
    let seen = async {
        loop {
            let live: Live = operator.live(&uid).await.unwrap();
            let lag = |name: &str| live.instances.get(name).and_then(|sight| sight.behind);
            if !live.gateways.is_empty() && lag("demo-2").is_some() {
                return live;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let live = tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap();
    let sights: Vec<_> = live
        .instances
        .iter()
        .map(|(name, sight)| (name.as_str(), sight.answers, sight.behind))
        .collect();
    let wanted = [
        ("demo-0", true, None),
        ("demo-1", true, Some(0)),
        ("demo-2", true, Some(0)),
    ];
    assert_eq!(sights, wanted);
    assert!(
        live.instances
            .values()
            .all(|sight| sight.answered_ago.unwrap() < Duration::from_secs(20))
    );

    let told = view(&cluster(&api), Counted::default(), Some(&live));
    let gateways = told.gateways.unwrap();
    assert_eq!((gateways[0].pod.as_str(), gateways.len()), ("demo-gateway-x", 1));
    assert_eq!(told.cluster_state.route, Some(Route::Open));
    assert_eq!(told.health.main_reached_by[0].reached, Some(true));
    assert!(operator.live("of nobody").await.is_none());
}

#[tokio::test]
async fn whoever_reads_the_lease_knows_who_leads() {
    let api = FakeApi::default();
    let vitals = Arc::new(Vitals::default());
    let lease = Watched::new(
        KubernetesLease::new(api.client(), NAMESPACE, "operator"),
        Arc::clone(&vitals),
    );
    assert_eq!(lease.read().await.unwrap(), None);
    assert_eq!(vitals.holder(), None);
    let held = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "operator", "namespace": NAMESPACE},
        "spec": {"holderIdentity": "operator-1_0123456789abcdef", "leaseDurationSeconds": 2, "leaseTransitions": 1},
    });
    api.put("leases", held);
    lease.read().await.unwrap();
    assert_eq!(vitals.holder().as_deref(), Some("operator-1_0123456789abcdef"));
}
