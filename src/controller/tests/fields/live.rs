//! What fields do that change no object: to an operator and its gateways at work.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;

use crate::{
    api::{DurationString, MemgraphClusterSpec, MemgraphClusterStatus},
    controller::{
        reconcile::reconcile,
        tests::{
            fake_api::FakeApi,
            fake_memgraph::FakeMemgraph,
            reconciling::{self, NAMESPACE, VERSION, operator, settle},
        },
    },
    gateway::Routes,
};

/// More often than it takes to get to what is in the way.
const RECONCILIATIONS: usize = 5;

/// A cluster of three with this spec, whose pods run.
fn api(spec: &MemgraphClusterSpec) -> FakeApi {
    let api = reconciling::api();
    let mut cluster = api.get(VERSION, "memgraphclusters", NAMESPACE, "demo").unwrap();
    cluster["spec"] = serde_json::to_value(spec).unwrap();
    api.put("memgraphclusters", cluster);
    api
}

fn play<T>(course: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(course)
}

/// The status of the cluster once it serves.
fn settled(spec: &MemgraphClusterSpec) -> MemgraphClusterStatus {
    play(async {
        let api = api(spec);
        let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
        settle(&api, &operator).await;
        reconciling::cluster(&api).status.unwrap()
    })
}

/// For how long grants last.
pub(super) fn granted(spec: &MemgraphClusterSpec) -> Option<DurationString> {
    settled(spec).ledger.unwrap().grant_ttl
}

/// Where gateways lead clients of a cluster that serves.
pub(super) fn led(spec: &MemgraphClusterSpec) -> Routes {
    let mut cluster = super::cluster(&serde_json::to_value(spec).unwrap());
    cluster.status = Some(settled(&super::cluster(&json!({})).spec));
    Routes::derive(&cluster)
}

/// The names of the Secrets that the operator reads.
pub(super) fn secrets_asked_for(spec: &MemgraphClusterSpec) -> BTreeSet<String> {
    play(async {
        let api = api(spec);
        let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
        api.take_requests();
        for _ in 0..RECONCILIATIONS {
            // The Secret is not there, which is the error.
            let _ = reconcile(Arc::new(reconciling::cluster(&api)), Arc::clone(&operator)).await;
        }
        let asked = format!("GET /api/v1/namespaces/{NAMESPACE}/secrets/");
        let requests = api.take_requests().into_iter();
        requests
            .filter_map(|request| Some(request.strip_prefix(&asked)?.to_owned()))
            .collect()
    })
}
