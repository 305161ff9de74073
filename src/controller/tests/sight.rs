//! What is said of a cluster before anything is known of it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    super::{reconcile::reconcile, status::first_sight},
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, api, cluster, operator},
};
use crate::api::{Phase, conditions::ConditionType};

/// Whoever waits by the conditions must not take a cluster for ready that nothing was made for yet.
#[test]
fn a_new_cluster_is_one_of_which_nothing_is_known() {
    let new = cluster(&api());
    let status = first_sight(&new, &Time(Timestamp::UNIX_EPOCH));
    assert_eq!(status.observed_generation, new.metadata.generation);
    assert_eq!(status.phase, Some(Phase::Pending));
    let told: Vec<_> = status
        .conditions
        .iter()
        .map(|c| (c.type_.as_str(), c.status.as_str()))
        .collect();
    let expected = ConditionType::ALL.map(|condition| match condition {
        ConditionType::Reconciling => ("Reconciling", "True"),
        other => (other.as_str(), "Unknown"),
    });
    assert_eq!(told, expected);
}

#[tokio::test]
async fn that_is_the_first_thing_that_is_written() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    api.take_requests();
    reconcile(Arc::new(cluster(&api)), operator).await.ok();
    let requests = api.take_requests();
    let first = requests
        .iter()
        .find(|request| !request.starts_with("GET"))
        .unwrap();
    let status =
        format!("PATCH /apis/memgraph.dev/v1alpha1/namespaces/{NAMESPACE}/memgraphclusters/demo/status");
    assert_eq!(*first, status, "{requests:?}");
}
