//! Clusters whose instances take TLS.

use std::sync::Arc;

use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use super::{
    super::reconcile::reconcile,
    fake_api::FakeApi,
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, api, cluster, hindered, operator, settle},
};
use crate::api::names;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn bytes(text: &str) -> Value {
    json!(ByteString(text.as_bytes().to_vec()))
}

/// What is in a Secret as cert-manager writes it.
fn signed(authority: &Authority, name: &str) -> Value {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    json!({
        "tls.crt": bytes(&certificate.pem()), "tls.key": bytes(&key.serialize_pem()), "ca.crt": bytes(&authority.pem()),
    })
}

fn ask_for_tls(api: &FakeApi) {
    let mut cluster = api
        .get("memgraph.dev/v1alpha1", "memgraphclusters", NAMESPACE, "demo")
        .unwrap();
    cluster["spec"]["tls"] = json!({"secretRef": {"name": "graph-tls"}});
    api.put("memgraphclusters", cluster);
}

fn declare(api: &FakeApi, data: &Value) {
    let metadata = json!({"name": "graph-tls", "namespace": NAMESPACE});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data});
    api.put("secrets", secret);
}

fn template(api: &FakeApi) -> Option<Value> {
    let set = api.get("apps/v1", "statefulsets", NAMESPACE, "demo")?;
    Some(set["spec"]["template"].clone())
}

#[tokio::test]
async fn without_a_certificate_that_can_be_used_nothing_is_made_and_the_condition_names_the_remedy() {
    let api = api();
    ask_for_tls(&api);
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let mut without_authority = signed(&ours, "*.demo-instances.db.svc");
    without_authority.as_object_mut().unwrap().remove("ca.crt");
    let mut foreign = signed(&ours, "*.demo-instances.db.svc");
    foreign["ca.crt"] = bytes(&theirs.pem());
    for (data, remedy) in [
        (None, "Secret graph-tls of tls.secretRef does not exist; make it"),
        (Some(without_authority), "has no key ca.crt; add it"),
        (Some(foreign), "UnknownIssuer"),
        (
            Some(signed(&ours, "demo-gateway.db.svc")),
            "make it for *.demo-instances.db.svc",
        ),
    ] {
        if let Some(data) = data {
            declare(&api, &data);
        }
        hindered(&api, &operator).await;
        let conditions = cluster(&api).status.unwrap().conditions;
        let stalled = conditions.into_iter().find(|c| c.type_ == "Stalled").unwrap();
        assert_eq!(stalled.reason, "InvalidCertificate");
        assert!(stalled.message.contains(remedy), "{}", stalled.message);
        assert_eq!(template(&api), None);
    }
}

#[tokio::test]
async fn l40_another_certificate_makes_another_configuration_and_what_pods_take_is_told() {
    let api = api();
    ask_for_tls(&api);
    let authority = authority("ours");
    let first = signed(&authority, "*.demo-instances.db.svc");
    declare(&api, &first);
    let mut pod = api.get("v1", "pods", NAMESPACE, "demo-1").unwrap();
    let mounted = json!({"name": "bolt-tls", "secret": {"secretName": "graph-tls"}});
    let flag = format!("{}/etc/memgraph/tls/tls.crt", names::CERTIFICATE_FLAG);
    pod["spec"] = json!({
        "containers": [{"name": names::INSTANCE_CONTAINER, "args": [flag]}], "volumes": [mounted],
    });
    api.put("pods", pod);
    let memgraph = FakeMemgraph::fresh(3);
    let operator = operator(&api, &memgraph).await;
    settle(&api, &operator).await;
    let told = cluster(&api).status.unwrap().instances;
    let tls: Vec<_> = told.iter().map(|instance| instance.tls).collect();
    assert_eq!(tls, [false, true, false]);
    let configuration =
        |template: &Value| template["metadata"]["annotations"]["memgraph.dev/configuration"].clone();
    let before = configuration(&template(&api).unwrap());

    // What cannot be used changes nothing, whoever leads.
    declare(&api, &json!({"tls.crt": first["tls.crt"]}));
    let successor = super::reconciling::operator(&api, &memgraph).await;
    reconcile(Arc::new(cluster(&api)), Arc::clone(&successor))
        .await
        .unwrap_err();
    assert_eq!(configuration(&template(&api).unwrap()), before);

    declare(&api, &signed(&authority, "*.demo-instances.db.svc"));
    while configuration(&template(&api).unwrap()) == before {
        reconcile(Arc::new(cluster(&api)), Arc::clone(&successor))
            .await
            .unwrap();
    }
}
