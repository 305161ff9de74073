//! Clusters that ask for a password.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kube::{Client, client::Body};
use serde_json::json;

use super::{
    super::{
        access::{AccessError, Wallet},
        reconcile::reconcile,
    },
    fake_api::FakeApi,
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, api, cluster, hindered, operator, settle},
};
use crate::{
    api::{
        MemgraphCluster, MemgraphClusterStatus,
        ledger::{Ledger, Route},
    },
    memgraph::Credentials,
};

/// Values of a Secret, in base64.
const USERNAME: &str = "YXBw";
const FIRST: &str = "Zmlyc3Q=";
const SECOND: &str = "c2Vjb25k";

fn ask_for_a_password(api: &FakeApi) {
    let mut cluster = api
        .get("memgraph.dev/v1alpha1", "memgraphclusters", NAMESPACE, "demo")
        .unwrap();
    cluster["spec"]["auth"] = json!({"secretRef": {"name": "graph-user"}});
    api.put("memgraphclusters", cluster);
}

fn declare(api: &FakeApi, data: serde_json::Value) {
    api.put(
        "secrets",
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "graph-user", "namespace": NAMESPACE},
            "data": data,
        }),
    );
}

fn secret(api: &FakeApi, name: &str) -> Option<serde_json::Value> {
    api.get("v1", "secrets", NAMESPACE, name)
}

/// Why nothing moves, as the condition tells it.
fn stalled(api: &FakeApi) -> (String, String) {
    let conditions = cluster(api).status.unwrap().conditions;
    let stalled = conditions.into_iter().find(|c| c.type_ == "Stalled").unwrap();
    (stalled.reason, stalled.message)
}

#[tokio::test]
async fn without_a_secret_that_can_be_used_nothing_is_made_and_the_condition_names_the_remedy() {
    let api = api();
    ask_for_a_password(&api);
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    for (data, remedy) in [
        (
            None,
            "Secret graph-user of auth.secretRef does not exist; make it",
        ),
        (Some(json!({"username": USERNAME})), "has no key password; add it"),
        // With a line break.
        (
            Some(json!({"username": USERNAME, "password": "cAo="})),
            "`echo` without -n",
        ),
    ] {
        if let Some(data) = data {
            declare(&api, data);
        }
        hindered(&api, &operator).await;
        let (reason, message) = stalled(&api);
        assert_eq!(reason, "InvalidCredentials");
        assert!(message.contains(remedy), "{message}");
        assert_eq!(api.get("apps/v1", "statefulsets", NAMESPACE, "demo"), None);
        assert_eq!(secret(&api, "demo-credentials"), None);
    }
}

#[tokio::test]
async fn l40_main_has_the_user_and_applications_are_told() {
    let api = api();
    ask_for_a_password(&api);
    declare(&api, json!({"username": USERNAME, "password": FIRST}));
    let memgraph = FakeMemgraph::fresh(3);
    let first = operator(&api, &memgraph).await;
    settle(&api, &first).await;
    assert_eq!(memgraph.users(0), [("app".to_owned(), "first".to_owned())].into());
    assert!(memgraph.users(1).is_empty(), "registration empties them");
    let told = secret(&api, "demo-app").unwrap();
    assert_eq!(told["data"]["password"], FIRST);
    assert_eq!(told["data"]["port"], "NzY4Nw==");
    assert_eq!(told["data"].get("readHost"), None, "there is no read gateway");
    assert_eq!(api.get("v1", "services", NAMESPACE, "demo-gateway-read"), None);
    let written = format!("{:?}", cluster(&api));
    assert!(!written.contains("first") && !written.contains(FIRST));

    // Another password, and a process that has known neither.
    declare(&api, json!({"username": USERNAME, "password": SECOND}));
    let second = operator(&api, &memgraph).await;
    while memgraph.users(0)["app"] != "second"
        || secret(&api, "demo-app").unwrap()["data"]["password"] != SECOND
    {
        reconcile(Arc::new(cluster(&api)), Arc::clone(&second))
            .await
            .unwrap();
    }
    let noted = secret(&api, "demo-credentials").unwrap();
    assert_eq!(noted["data"]["password"], SECOND);
    assert_eq!(cluster(&api).status.unwrap().ledger.unwrap().term, 1);
}

/// No container of an instance can be made without it.
#[tokio::test(start_paused = true)]
async fn what_instances_read_when_they_start_is_made_again_with_the_former_passwords() {
    let api = api();
    ask_for_a_password(&api);
    declare(&api, json!({"username": USERNAME, "password": FIRST}));
    let wallet = Wallet::default();
    let client = api.client();
    let tend = async |cluster: &MemgraphCluster| wallet.tend(&client, cluster).await;
    let later = async |seconds| tokio::time::advance(Duration::from_secs(seconds)).await;
    let open = cluster(&api);
    tend(&open).await.unwrap();
    declare(&api, json!({"username": USERNAME, "password": SECOND}));
    later(11).await;
    tend(&open).await.unwrap();
    let data = || secret(&api, "demo-credentials").map(|secret| secret["data"].clone());
    let noted = data().unwrap();
    assert_eq!(noted["password"], SECOND);
    let take_away = || api.remove("v1", "secrets", NAMESPACE, "demo-credentials");
    let forget = || {
        let mut spoilt = secret(&api, "demo-credentials").unwrap();
        let kept = spoilt["data"].as_object_mut().unwrap();
        kept.retain(|key, _| key == "username" || key == "password");
        api.put("secrets", spoilt);
    };
    for spoil in [&take_away as &dyn Fn(), &forget] {
        spoil();
        assert_ne!(data().as_ref(), Some(&noted));
        api.take_requests();
        tend(&open).await.unwrap();
        assert_eq!(
            api.take_requests(),
            Vec::<String>::new(),
            "it was read a moment ago"
        );
        later(11).await;
        tend(&open).await.unwrap();
        assert_eq!(data().as_ref(), Some(&noted));
    }
    later(11).await;
    api.take_requests();
    tend(&open).await.unwrap();
    let requests = api.take_requests();
    assert!(
        requests.len() == 2 && requests.iter().all(|request| request.starts_with("GET")),
        "{requests:?}"
    );

    // What the spec names is gone as well.
    take_away();
    api.remove("v1", "secrets", NAMESPACE, "graph-user");
    later(11).await;
    let error = tend(&open).await.unwrap_err();
    assert!(matches!(error, AccessError::Missing(_)), "{error}");
    assert_eq!(data().as_ref(), Some(&noted));

    // A failover waits for no request of this, unless it takes so long that this may be what it waits for.
    let mut closed = open.clone();
    let ledger = Ledger {
        route: Route::Closed,
        ..Ledger::default()
    };
    closed.status = Some(MemgraphClusterStatus {
        ledger: Some(ledger),
        ..MemgraphClusterStatus::default()
    });
    take_away();
    api.take_requests();
    later(11).await;
    tend(&closed).await.unwrap();
    assert_eq!(api.take_requests(), Vec::<String>::new());
    later(30).await;
    tend(&closed).await.unwrap();
    assert_eq!(data(), Some(noted));

    // A human may have been told to set the Secret's password to the one that an instance has.
    declare(&api, json!({"username": USERNAME, "password": FIRST}));
    later(31).await;
    tend(&closed).await.unwrap();
    assert_eq!(data().unwrap()["password"], FIRST);
}

/// The API server has done what it was asked for, and the operator hears nothing of it.
#[tokio::test(start_paused = true)]
async fn what_was_noted_without_an_answer_is_signed_in_with_as_well() {
    let api = api();
    ask_for_a_password(&api);
    declare(&api, json!({"username": USERNAME, "password": FIRST}));
    let lost = Arc::new(AtomicBool::new(true));
    let client = {
        let (api, lost) = (api.clone(), Arc::clone(&lost));
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (api, lost) = (api.clone(), Arc::clone(&lost));
            async move {
                let is_write = request.method() == http::Method::PATCH;
                let answer = api.answer(request).await;
                match is_write && lost.swap(false, Ordering::Relaxed) {
                    true => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
                    false => Ok(answer),
                }
            }
        });
        Client::new(service, NAMESPACE)
    };
    let wallet = Wallet::default();
    let at = ([127, 0, 0, 1], 7687).into();
    let keys = || wallet.keyring().for_instance(at).unwrap();
    let first = Credentials::new("app", "first").unwrap();
    let second = Credentials::new("app", "second").unwrap();
    let open = cluster(&api);
    wallet.tend(&client, &open).await.unwrap_err();
    wallet.tend(&client, &open).await.unwrap();
    assert_eq!(keys(), std::slice::from_ref(&first));
    declare(&api, json!({"username": USERNAME, "password": SECOND}));
    lost.store(true, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(11)).await;
    wallet.tend(&client, &open).await.unwrap_err();
    wallet.tend(&client, &open).await.unwrap();
    assert_eq!(keys(), [second, first]);
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_left_alone_and_named() {
    let api = api();
    ask_for_a_password(&api);
    declare(&api, json!({"username": USERNAME, "password": FIRST}));
    let foreign = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "demo-credentials", "namespace": NAMESPACE}, "data": {"username": USERNAME},
    });
    api.put("secrets", foreign);
    let before = secret(&api, "demo-credentials");
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    hindered(&api, &operator).await;
    let (_, message) = stalled(&api);
    assert!(
        message.contains("Secret demo-credentials exists and does not belong"),
        "{message}"
    );
    assert_eq!(secret(&api, "demo-credentials"), before);
}
