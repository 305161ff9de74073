//! A client of the API server that changes nothing without leadership.

use std::sync::Arc;

use http::{Method, Request};
use kube::{Client, client::Body};
use tower::service_fn;

use super::leadership::Leadership;

/// A client that refuses every request that changes something while `leadership` does not hold. Reading goes on.
#[must_use]
pub fn guarded(client: Client, leadership: Leadership) -> Client {
    let namespace = client.default_namespace().to_owned();
    let client = Arc::new(client);
    let service = service_fn(move |request: Request<Body>| {
        let (client, leadership) = (Arc::clone(&client), leadership.clone());
        async move {
            if !matches!(*request.method(), Method::GET | Method::HEAD) {
                leadership
                    .check()
                    .map_err(|refused| kube::Error::Service(Box::new(refused)))?;
            }
            client.send(request).await
        }
    });
    Client::new(service, namespace)
}
