//! Counts the requests to the API server.

use std::sync::Arc;

use http::{Request, StatusCode};
use kube::{Client, client::Body};
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tower::service_fn;

use super::{Labels, labels};

/// The requests that clients made by [`Self::counted`] have sent to the API server.
#[derive(Clone, Debug, Default)]
pub struct ApiRequests(Family<Labels, Counter>);

impl ApiRequests {
    /// The same client, whose requests are counted here.
    #[must_use]
    pub fn counted(&self, client: Client) -> Client {
        let namespace = client.default_namespace().to_owned();
        let (client, counts) = (Arc::new(client), self.clone());
        let service = service_fn(move |request: Request<Body>| {
            let (client, counts) = (Arc::clone(&client), counts.clone());
            async move {
                let (verb, resource) = (verb(&request), resource(request.uri().path()));
                let answer = client.send(request).await;
                let code = answer.as_ref().map(http::Response::status).ok();
                counts.note(verb, resource, code);
                answer
            }
        });
        Client::new(service, namespace)
    }

    pub(crate) fn note(&self, verb: &str, resource: &str, code: Option<StatusCode>) {
        let code = code.map_or_else(|| "none".to_owned(), |code| code.as_u16().to_string());
        let labels = labels([("verb", verb), ("resource", resource), ("code", &code)]);
        self.0.get_or_create(&labels).inc();
    }

    /// Adds the counts to a registry, which puts the name of the program before theirs.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "api_requests",
            "Requests to the API server that were answered with this status code; none: that were not answered",
            self.0.clone(),
        );
    }
}

/// The verb of Kubernetes' authorization.
pub(crate) fn verb<B>(request: &Request<B>) -> &'static str {
    let named = request.uri().path().trim_matches('/').split('/');
    let watches = |query: &str| {
        query
            .split('&')
            .any(|pair| pair == "watch=true" || pair == "watch=1")
    };
    match request.method().as_str() {
        "GET" if request.uri().query().is_some_and(watches) => "watch",
        "GET" if collection(named) => "list",
        "GET" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "other",
    }
}

fn below_version<'a>(mut parts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    // api/VERSION or apis/GROUP/VERSION
    let skipped = match parts.next() {
        Some("api") => 1,
        Some("apis") => 2,
        _ => return Vec::new(),
    };
    let mut rest: Vec<_> = parts.skip(skipped).collect();
    if rest.len() > 2 && rest.first() == Some(&"namespaces") {
        rest.drain(..2);
    }
    rest
}

fn collection<'a>(parts: impl Iterator<Item = &'a str>) -> bool {
    below_version(parts).len() == 1
}

/// The resource in a path of the API, with its group left out. The operator asks for a few kinds only; of any other path
/// nothing is told, so that the label has few values.
fn resource(path: &str) -> &'static str {
    const KNOWN: [&str; 18] = [
        "memgraphclusters",
        "pods",
        "persistentvolumeclaims",
        "persistentvolumes",
        "services",
        "configmaps",
        "secrets",
        "serviceaccounts",
        "events",
        "nodes",
        "namespaces",
        "statefulsets",
        "deployments",
        "poddisruptionbudgets",
        "roles",
        "rolebindings",
        "leases",
        "networkpolicies",
    ];
    let parts = below_version(path.trim_matches('/').split('/'));
    KNOWN
        .into_iter()
        .find(|known| parts.first() == Some(known))
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Response;
    use k8s_openapi::api::core::v1::Pod;
    use kube::{Api, api::ListParams};

    use super::*;
    use crate::metrics;

    fn asked(method: &str, uri: &str) -> (&'static str, &'static str) {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        (verb(&request), resource(request.uri().path()))
    }

    #[test]
    fn a_request_is_counted_by_what_it_asks_for() {
        assert_eq!(asked("GET", "/api/v1/pods?labelSelector=a"), ("list", "pods"));
        assert_eq!(
            asked("GET", "/api/v1/namespaces/db/pods?watch=true&a=b"),
            ("watch", "pods")
        );
        assert_eq!(
            asked("DELETE", "/api/v1/namespaces/db/pods/demo-0"),
            ("delete", "pods")
        );
        let cluster = "/apis/memgraph.dev/v1alpha1/namespaces/db/memgraphclusters/demo";
        assert_eq!(asked("GET", cluster), ("get", "memgraphclusters"));
        assert_eq!(
            asked("PATCH", &format!("{cluster}/status")),
            ("patch", "memgraphclusters")
        );
        assert_eq!(asked("GET", "/api/v1/namespaces/db"), ("get", "namespaces"));
        assert_eq!(asked("GET", "/version"), ("get", "other"));
        assert_eq!(asked("GET", "/api/v1/frobs"), ("list", "other"));
    }

    #[tokio::test]
    async fn answers_and_failures_are_counted() {
        let server = service_fn(|_: Request<Body>| async {
            let answer = Response::builder().status(403).body(Body::from(b"{}".to_vec()));
            Ok::<_, Infallible>(answer.unwrap())
        });
        let requests = ApiRequests::default();
        let client = requests.counted(Client::new(server, "db"));
        let pods: Api<Pod> = Api::default_namespaced(client);
        assert!(pods.list(&ListParams::default()).await.is_err());
        let mut registry = Registry::default();
        requests.register(registry.sub_registry_with_prefix("memgraph_operator"));
        let text = metrics::text(&registry).unwrap();
        let sample = r#"memgraph_operator_api_requests_total{verb="list",resource="pods",code="403"} 1"#;
        assert!(text.contains(sample), "{text}");
    }
}
