//! What the Lease looks like on the wire.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tower::service_fn;

use super::super::{KubernetesLease, Lock, LockError, Record};

type Exchange = (String, Value);

/// A client whose server gives these answers, one after the other, and keeps what it was sent.
fn client(answers: Vec<(u16, Value)>) -> (Client, Arc<Mutex<Vec<Exchange>>>) {
    let sent = Arc::<Mutex<Vec<Exchange>>>::default();
    let answers = Arc::new(Mutex::new(answers.into_iter()));
    let kept = Arc::clone(&sent);
    let server = service_fn(move |request: Request<Body>| {
        let (sent, answers) = (Arc::clone(&kept), Arc::clone(&answers));
        async move {
            let line = format!("{} {}", request.method(), request.uri().path());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            sent.lock().unwrap().push((line, body));
            let (code, answer) = answers.lock().unwrap().next().expect("an unexpected request");
            let body = Body::from(serde_json::to_vec(&answer).unwrap());
            Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (Client::new(server, "operators"), sent)
}

fn lease(holder: &str, version: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "memgraph-operator", "resourceVersion": version},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 2, "leaseTransitions": 3},
    })
}

fn status(code: u16, reason: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}),
    )
}

fn record() -> Record {
    Record {
        holder: Some("me".to_owned()),
        duration: std::time::Duration::from_secs(2),
        acquired: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        renewed: Some("2026-01-01T00:00:01.5Z".parse().unwrap()),
        transitions: 4,
    }
}

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/operators/leases";

#[tokio::test]
async fn a_lease_is_made_once() {
    let (client, sent) = client(vec![
        status(404, "NotFound"),
        (201, lease("me", "7")),
        status(409, "AlreadyExists"),
    ]);
    let lock = KubernetesLease::new(client, "operators", "memgraph-operator");
    assert_eq!(lock.read().await.unwrap(), None);
    let held = lock.write(&record(), None).await.unwrap();
    assert_eq!((held.version.as_str(), held.record.transitions), ("7", 3));
    let late = lock.write(&record(), None).await.unwrap_err();
    assert!(matches!(late, LockError::Conflict { .. }), "{late:?}");
    let sent = sent.lock().unwrap();
    assert_eq!(sent[1].0, format!("POST {PATH}"));
    assert_eq!(sent[1].1["spec"]["holderIdentity"], "me");
    assert_eq!(sent[1].1["spec"]["renewTime"], "2026-01-01T00:00:01.500000Z");
    assert_eq!(
        sent[1].1["metadata"]["labels"]["app.kubernetes.io/name"],
        "memgraph-operator"
    );
}

#[tokio::test]
async fn a_lease_is_written_only_at_the_version_it_was_read_at() {
    let (client, sent) = client(vec![(200, lease("", "41")), status(409, "Conflict")]);
    let lock = KubernetesLease::new(client, "operators", "memgraph-operator");
    let held = lock.read().await.unwrap().unwrap();
    assert_eq!(held.record.holder, None, "an empty holder is none");
    let error = lock.write(&record(), Some(&held.version)).await.unwrap_err();
    assert!(matches!(error, LockError::Conflict { .. }), "{error:?}");
    let sent = sent.lock().unwrap();
    assert_eq!(sent[1].0, format!("PUT {PATH}/memgraph-operator"));
    assert_eq!(sent[1].1["metadata"]["resourceVersion"], "41");
}

#[tokio::test]
async fn a_server_that_fails_says_nothing_about_the_lease() {
    let (client, _) = client(vec![status(500, "InternalError")]);
    let lock = KubernetesLease::new(client, "operators", "memgraph-operator");
    let error = lock.read().await.unwrap_err();
    assert!(matches!(error, LockError::Unavailable { .. }), "{error:?}");
}
