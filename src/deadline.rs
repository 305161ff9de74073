//! For how long an answer of the API server is waited for.
//!
//! A connection to a machine that has vanished stays open until the kernel gives it up, which takes a quarter of an hour
//! (`tcp_retries2`), and one to a server that hangs stays open for ever. Other connections, with the Lease among them, may go on
//! meanwhile. A cluster whose request waits would be looked after by nobody.

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use kube::{Client, client::Body};
use tokio::time::timeout;
use tower::service_fn;

use crate::metrics::verb;

/// Whatever is only read, and Events, which nothing waits for.
const QUICK: Duration = Duration::from_secs(5);

/// Until a watch begins; its events come when they come.
const WATCH: Duration = Duration::from_secs(10);

/// What may be large, and what webhooks are asked about, which may take 30 s
/// (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#timeouts>).
const SLOW: Duration = Duration::from_secs(35);

/// The API server has not answered.
#[derive(Debug, thiserror::Error)]
#[error("the API server has not answered within {} s", .0.as_secs())]
struct Unanswered(Duration);

/// The same client, whose requests fail when they are not answered in time. What they were to change may be changed all the same.
#[must_use]
pub fn bounded(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let client = Arc::new(client);
    let service = service_fn(move |request: Request<Body>| {
        let client = Arc::clone(&client);
        async move {
            let verb = verb(&request);
            let patience = patience(verb, request.uri().path());
            let answer = async {
                let answer = client.send(request).await?;
                if verb == "watch" {
                    return Ok(answer);
                }
                // With all that it says: it may break off in the middle.
                let (head, body) = answer.into_parts();
                let body = body.collect_bytes().await?;
                Ok(Response::from_parts(head, Body::from(body)))
            };
            timeout(patience, answer)
                .await
                .unwrap_or_else(|_| Err(kube::Error::Service(Box::new(Unanswered(patience)))))
        }
    });
    Client::new(service, namespace)
}

fn patience(verb: &str, path: &str) -> Duration {
    match verb {
        "watch" => WATCH,
        "get" => QUICK,
        "patch" | "create" if path.contains("/events.k8s.io/") => QUICK,
        _ => SLOW,
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use k8s_openapi::api::core::v1::{ConfigMap, Pod};
    use kube::{
        Api,
        api::{ListParams, Patch, PatchParams},
    };
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::api::MemgraphCluster;

    /// One whose API server takes requests and never answers, or breaks off after the head of its answer.
    fn silent(after_head: bool) -> Client {
        let service = service_fn(move |_: Request<Body>| async move {
            if !after_head {
                pending::<()>().await;
            }
            let endless =
                futures::stream::pending::<Result<hyper::body::Frame<bytes::Bytes>, std::io::Error>>();
            Ok::<_, std::io::Error>(Response::new(http_body_util::StreamBody::new(endless)))
        });
        bounded(Client::new(service, "default"))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_answered_fails_and_sooner_where_nothing_slow_is_asked_for() {
        for after_head in [false, true] {
            let client = silent(after_head);
            let clusters: Api<MemgraphCluster> = Api::namespaced(client.clone(), "graphs");
            let begun = Instant::now();
            clusters.get("demo").await.unwrap_err();
            assert_eq!(begun.elapsed().as_secs(), QUICK.as_secs());
            let (params, nothing) = (PatchParams::default(), Patch::Merge(json!({})));
            let begun = Instant::now();
            clusters
                .patch_status("demo", &params, &nothing)
                .await
                .unwrap_err();
            assert_eq!(
                begun.elapsed().as_secs(),
                SLOW.as_secs(),
                "a webhook may ask for it"
            );
            let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "graphs");
            let begun = Instant::now();
            let error = maps.patch("demo", &params, &nothing).await.unwrap_err();
            assert_eq!(begun.elapsed().as_secs(), SLOW.as_secs());
            assert!(
                crate::controller::chain(&error).contains("has not answered within 35 s"),
                "{error}"
            );
            let pods: Api<Pod> = Api::namespaced(client, "graphs");
            let begun = Instant::now();
            pods.list(&ListParams::default()).await.unwrap_err();
            assert_eq!(begun.elapsed().as_secs(), SLOW.as_secs());
        }
    }
}
