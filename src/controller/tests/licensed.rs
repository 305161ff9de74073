//! Clusters whose instances have a license.

use std::sync::Arc;

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::{
    super::reconcile::reconcile,
    fake_api::FakeApi,
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, api, cluster, hindered, operator, settle},
};

fn ask_for_a_license(api: &FakeApi) {
    let mut cluster = api
        .get("memgraph.dev/v1alpha1", "memgraphclusters", NAMESPACE, "demo")
        .unwrap();
    cluster["spec"]["license"] = json!({"secretRef": {"name": "ours"}});
    api.put("memgraphclusters", cluster);
}

fn declare(api: &FakeApi, texts: &[(&str, &str)]) {
    let bytes = |text: &str| json!(ByteString(text.as_bytes().to_vec()));
    let data: serde_json::Map<String, Value> = texts
        .iter()
        .map(|(key, text)| ((*key).to_owned(), bytes(text)))
        .collect();
    let metadata = json!({"name": "ours", "namespace": NAMESPACE});
    api.put(
        "secrets",
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}),
    );
}

fn template(api: &FakeApi) -> Option<Value> {
    let set = api.get("apps/v1", "statefulsets", NAMESPACE, "demo")?;
    Some(set["spec"]["template"].clone())
}

fn configuration(api: &FakeApi) -> Value {
    template(api).unwrap()["metadata"]["annotations"]["memgraph.dev/configuration"].clone()
}

#[tokio::test]
async fn without_a_license_that_can_be_read_nothing_is_made_and_the_condition_names_the_remedy() {
    let api = api();
    ask_for_a_license(&api);
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    for (texts, remedy) in [
        (None, "Secret ours of license.secretRef does not exist; make it"),
        (
            Some([("license", "key"), ("organisation", "Us")]),
            "no text under the key organization",
        ),
        (
            Some([("license", ""), ("organization", "Us")]),
            "no text under the key license",
        ),
        (
            Some([("license", "key\n"), ("organization", "Us")]),
            "around what is under the key license; remove it",
        ),
    ] {
        if let Some(texts) = texts {
            declare(&api, &texts);
        }
        hindered(&api, &operator).await;
        let conditions = cluster(&api).status.unwrap().conditions;
        let stalled = conditions.into_iter().find(|c| c.type_ == "Stalled").unwrap();
        assert_eq!(stalled.reason, "InvalidLicense");
        assert!(stalled.message.contains(remedy), "{}", stalled.message);
        assert_eq!(template(&api), None);
    }
}

#[tokio::test]
async fn another_license_makes_another_configuration_and_one_that_is_gone_none() {
    let api = api();
    ask_for_a_license(&api);
    declare(&api, &[("license", "s3cret"), ("organization", "Us")]);
    let memgraph = FakeMemgraph::fresh(3);
    let operator = operator(&api, &memgraph).await;
    settle(&api, &operator).await;
    let set = template(&api).unwrap();
    assert!(!set.to_string().contains("s3cret"), "{set}");
    let env = &set["spec"]["containers"][0]["env"];
    let source = |key: &str| json!({"secretKeyRef": {"name": "ours", "key": key, "optional": true}});
    assert_eq!(
        *env,
        json!([
            {"name": "MEMGRAPH_ENTERPRISE_LICENSE", "valueFrom": source("license")},
            {"name": "MEMGRAPH_ORGANIZATION_NAME", "valueFrom": source("organization")},
        ])
    );
    let before = configuration(&api);

    // Nothing changes without the Secret, whoever leads.
    api.remove("v1", "secrets", NAMESPACE, "ours");
    let successor = super::reconciling::operator(&api, &memgraph).await;
    reconcile(Arc::new(cluster(&api)), Arc::clone(&successor))
        .await
        .unwrap_err();
    assert_eq!(configuration(&api), before);

    // The same license is no news, another one is.
    declare(
        &api,
        &[("license", "s3cret"), ("organization", "Us"), ("note", "a")],
    );
    reconcile(Arc::new(cluster(&api)), Arc::clone(&successor))
        .await
        .unwrap();
    assert_eq!(configuration(&api), before);
    declare(&api, &[("license", "renewed"), ("organization", "Us")]);
    let next = super::reconciling::operator(&api, &memgraph).await;
    while configuration(&api) == before {
        reconcile(Arc::new(cluster(&api)), Arc::clone(&next))
            .await
            .unwrap();
    }
}
