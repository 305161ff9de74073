//! The Secrets of the control channel.

use kube::Client;
use serde_json::{Value, json};

use super::fake_api::FakeApi;
use crate::{
    api::MemgraphCluster,
    control_channel::TlsLink,
    controller::{GatewayLink, Unprepared},
};

const NAMESPACE: &str = "db";

fn cluster(uid: &str) -> MemgraphCluster {
    serde_json::from_value(json!({
        "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster",
        "metadata": {"name": "demo", "namespace": NAMESPACE, "uid": uid},
        "spec": {},
    }))
    .unwrap()
}

fn secret(api: &FakeApi, name: &str) -> Value {
    api.get("v1", "secrets", NAMESPACE, name).unwrap()
}

async fn prepare(link: &TlsLink, client: &Client, uid: &str) -> Result<(), Unprepared> {
    link.prepare(client, &cluster(uid)).await
}

#[tokio::test]
async fn an_authority_and_the_gateways_certificate_are_made_once() {
    let api = FakeApi::default();
    let (client, link) = (api.client(), TlsLink::default());
    prepare(&link, &client, "uid-1").await.unwrap();
    let authority = secret(&api, "demo-control-authority");
    let certificates = secret(&api, "demo-gateway-control");
    assert_eq!(authority["metadata"]["ownerReferences"][0]["uid"], "uid-1");
    assert_eq!(certificates["type"], "kubernetes.io/tls");
    let keys: Vec<_> = certificates["data"].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["ca.crt", "tls.crt", "tls.key"],
        "the gateways get no key of the authority"
    );

    api.take_requests();
    prepare(&link, &client, "uid-1").await.unwrap();
    assert_eq!(api.take_requests(), Vec::<String>::new());
    // Another process looks, and makes nothing.
    prepare(&TlsLink::default(), &client, "uid-1").await.unwrap();
    assert_eq!(
        api.take_requests(),
        [
            "GET /api/v1/namespaces/db/secrets/demo-control-authority",
            "GET /api/v1/namespaces/db/secrets/demo-gateway-control",
        ]
    );
}

#[tokio::test]
async fn what_is_lost_or_spoilt_is_made_anew() {
    let api = FakeApi::default();
    let client = api.client();
    prepare(&TlsLink::default(), &client, "uid-1").await.unwrap();
    let before = secret(&api, "demo-gateway-control");

    api.remove("v1", "secrets", NAMESPACE, "demo-gateway-control");
    prepare(&TlsLink::default(), &client, "uid-1").await.unwrap();
    let again = secret(&api, "demo-gateway-control");
    assert_eq!(again["data"]["ca.crt"], before["data"]["ca.crt"]);
    assert_ne!(again["data"]["tls.crt"], before["data"]["tls.crt"]);

    // A new authority: the gateways get a certificate that it has signed.
    api.remove("v1", "secrets", NAMESPACE, "demo-control-authority");
    prepare(&TlsLink::default(), &client, "uid-1").await.unwrap();
    let after = secret(&api, "demo-gateway-control");
    assert_ne!(after["data"]["ca.crt"], again["data"]["ca.crt"]);

    let mut worn = after;
    worn["metadata"]["annotations"]["memgraph.dev/renew"] = json!("2020-01-01T00:00:00Z");
    let old = worn["data"]["tls.crt"].clone();
    api.put("secrets", worn);
    prepare(&TlsLink::default(), &client, "uid-1").await.unwrap();
    assert_ne!(secret(&api, "demo-gateway-control")["data"]["tls.crt"], old);
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_left_alone() {
    let api = FakeApi::default();
    let client = api.client();
    prepare(&TlsLink::default(), &client, "uid-1").await.unwrap();
    let before = secret(&api, "demo-control-authority");
    // As after a cluster was made anew under the same name, before the garbage collector has come by.
    let refused = prepare(&TlsLink::default(), &client, "uid-2").await.unwrap_err();
    assert!(
        refused.to_string().contains("Secret demo-control-authority"),
        "{refused}"
    );
    assert_eq!(secret(&api, "demo-control-authority"), before);
}
