//! A cluster whose instances get a certificate, and then another one.
//!
//! Connections of simulated instances have no TLS: what is looked at here is what becomes of the cluster meanwhile.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::ByteString;
use memgraph_operator::api::names;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use simulation::{
    api::{Key, Resource},
    run::run,
    world::{NAMESPACE, Options, World},
};
use tokio::time::sleep;

/// For how long an update may take: MAIN, which has moved twice, does so again ten minutes later.
const UPDATE: Duration = Duration::from_secs(900);

type Authority = CertifiedIssuer<'static, KeyPair>;

fn secrets() -> Resource {
    Resource::new("v1", "secrets")
}

fn key() -> Key {
    (NAMESPACE.to_owned(), "graph-tls".to_owned())
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A Secret as cert-manager writes it.
fn signed(authority: &Authority) -> Value {
    let key = KeyPair::generate().unwrap();
    let name = format!("*.{}.{NAMESPACE}.svc", names::headless_service("demo"));
    let params = CertificateParams::new(vec![name]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap().pem();
    let data = [
        ("tls.crt", certificate),
        ("tls.key", key.serialize_pem()),
        ("ca.crt", authority.pem()),
    ];
    let data = data.map(|(key, text)| (key, ByteString(text.into_bytes())));
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "graph-tls", "namespace": NAMESPACE},
        "data": BTreeMap::from(data),
    })
}

/// By instance: the UID of its pod.
fn pods(world: &World) -> BTreeMap<String, Value> {
    let store = world.api.store();
    let instances = store
        .all(&Resource::pods())
        .filter(|(key, _)| names::ordinal("demo", &key.1).is_some());
    instances
        .map(|(key, pod)| (key.1.clone(), pod["metadata"]["uid"].clone()))
        .collect()
}

/// Which instances take TLS, as the status tells it.
fn encrypted(world: &World) -> Vec<bool> {
    let status = world.cluster().unwrap().status.unwrap();
    status.instances.iter().map(|instance| instance.tls).collect()
}

async fn replaces_everybody(world: &World, change: impl FnOnce()) {
    let before = pods(world);
    change();
    let everybody = |world: &World| {
        let now = pods(world);
        now.len() == 3 && now.iter().all(|(name, uid)| before[name] != *uid)
    };
    assert!(world.until(UPDATE, everybody).await, "{:?}", world.status());
    assert!(
        world.settled(1, Duration::from_secs(60)).await,
        "{:?}",
        world.status()
    );
    assert!(world.writes(5, Duration::from_secs(20)).await);
}

/// A Secret that is missing changes nothing; once it is there, one instance after the other gets its certificate, and so with
/// each other one. Clients write all the time.
#[test]
fn each_certificate_reaches_every_instance_and_no_write_is_lost() {
    let options = Options::default();
    let outcome = run(1, &options, true, async |world| {
        world.create_cluster(&options.spec);
        assert!(world.settled(1, Duration::from_secs(60)).await);
        assert_eq!(encrypted(&world), [false; 3]);
        let before = pods(&world);
        world.edit_spec(|spec| spec["tls"] = json!({"secretRef": {"name": "graph-tls"}}));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(pods(&world), before);
        let conditions = world.cluster().unwrap().status.unwrap().conditions;
        let stalled = conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
        assert_eq!(stalled.reason, "InvalidCertificate", "{}", stalled.message);
        assert!(world.writes(5, Duration::from_secs(20)).await);

        let authority = authority();
        replaces_everybody(&world, || {
            let secret = signed(&authority);
            assert!(world.api.store().create(&secrets(), &key(), secret).is_ok());
        })
        .await;
        assert_eq!(encrypted(&world), [true; 3]);
        replaces_everybody(&world, || {
            let other = signed(&authority);
            world.api.store().edit(&secrets(), &key(), |secret| {
                secret["data"] = other["data"].clone();
            });
        })
        .await;
        assert_eq!(encrypted(&world), [true; 3]);
        world.check();
    })
    .unwrap();
    assert_eq!(outcome.violations, []);
}
