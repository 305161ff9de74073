//! What instances hold and use, from the question to what people are told.

use std::time::Duration;

use super::{
    fake_memgraph::FakeMemgraph,
    reconciling::{api, cluster, operator, settle},
};
use crate::{api::ledger::Route, fleet::Eyes};

const SHOW: &str = "SHOW STORAGE INFO";

#[tokio::test(start_paused = true)]
async fn each_instance_is_asked_about_once_a_minute() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let operator = operator(&api, &memgraph).await;
    settle(&api, &operator).await;
    let uid = cluster(&api).metadata.uid.unwrap();
    let all = async || {
        let live = operator.live(&uid).await.unwrap();
        let told = live.instances.into_values().map(|sight| sight.usage);
        told.collect::<Option<Vec<_>>>().filter(|told| told.len() == 3)
    };
    let told = async {
        loop {
            if let Some(told) = all().await {
                return told;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(60), told).await;
    for usage in told.expect("all have told") {
        assert_eq!((usage.vertices, usage.memory_bytes), (Some(7), Some(3 << 20)));
    }
    memgraph.take_asked();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let asked = memgraph.take_asked();
    let times = asked.iter().filter(|statement| *statement == SHOW).count();
    assert!((30..=45).contains(&times), "3 instances, 10 minutes: {times}");
}

#[tokio::test(start_paused = true)]
async fn no_instance_is_asked_while_main_changes() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let operator = operator(&api, &memgraph).await;
    settle(&api, &operator).await;
    let mut shown = cluster(&api);
    let known = operator.clusters.known(&shown).unwrap();
    let mut show = |route: Route| {
        let version: u64 = shown.metadata.resource_version.as_ref().unwrap().parse().unwrap();
        shown.metadata.resource_version = Some((version + 1).to_string());
        shown.status.as_mut().unwrap().ledger.as_mut().unwrap().route = route;
        known.read(&shown);
    };
    let asked = async |time: Duration| {
        memgraph.take_asked();
        tokio::time::sleep(time).await;
        memgraph.take_asked().iter().any(|statement| statement == SHOW)
    };
    show(Route::Closed);
    assert!(!asked(Duration::from_secs(600)).await);
    show(Route::Open);
    assert!(asked(Duration::from_secs(60)).await);
}

#[tokio::test(start_paused = true)]
async fn one_that_the_question_could_end_is_not_asked() {
    for (version, expected) in [("3.10.1", false), ("3.11.0", true)] {
        let (api, memgraph) = (api(), FakeMemgraph::fresh(3).of_release(version));
        let operator = operator(&api, &memgraph).await;
        settle(&api, &operator).await;
        memgraph.take_asked();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let asked = memgraph.take_asked();
        assert_eq!(
            asked.iter().any(|statement| statement == SHOW),
            expected,
            "{version}"
        );
    }
}
