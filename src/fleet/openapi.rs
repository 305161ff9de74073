//! The description of the HTTP answers, made from the types that they are written from.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use super::view::{ClusterStatus, FleetStatus};

/// An OpenAPI document (<https://spec.openapis.org/oas/v3.0.4>) of what an operator process answers.
#[must_use]
pub fn document() -> Value {
    let mut schemas = SchemaSettings::openapi3().for_serialize().into_generator();
    let fleet = answer::<FleetStatus>(&mut schemas, "All clusters.");
    let cluster = answer::<ClusterStatus>(&mut schemas, "One cluster.");
    let absent = json!({"description": "There is no such cluster.", "content": {"text/plain": {}}});
    let text = |description: &str| json!({"description": description, "content": {"text/plain": {}}});
    let status =
        |id: &str| json!({"operationId": id, "summary": "All clusters", "responses": {"200": &fleet}});
    let name = |name: &str, what: &str| json!({"name": name, "in": "path", "required": true, "description": what, "schema": {"type": "string"}});
    let paths = json!({
        "/": {"get": {
            "operationId": "page", "summary": "A page for people that shows the same",
            "responses": {"200": {"description": "The page.", "content": {"text/html": {}}}},
        }},
        "/livez": {"get": {
            "operationId": "livez", "summary": "Whether the process answers", "responses": {"200": text("It does.")},
        }},
        "/readyz": {"get": {
            "operationId": "readyz", "summary": "Whether the process can lead",
            "responses": {"200": text("It can."), "503": text("It cannot; the text says why.")},
        }},
        "/metrics": {"get": {
            "operationId": "metrics", "summary": "Metrics for Prometheus",
            "responses": {"200": {
                "description": "The metrics.",
                "content": {"application/openmetrics-text; version=1.0.0; charset=utf-8": {}},
            }},
        }},
        "/status": {"get": status("status")},
        "/api/v1/status": {"get": status("statusV1")},
        "/api/v1/clusters/{namespace}/{name}": {"get": {
            "operationId": "cluster", "summary": "One cluster",
            "parameters": [name("namespace", "Its namespace."), name("name", "Its name.")],
            "responses": {"200": &cluster, "404": absent},
        }},
        "/api/v1/events": {"get": {
            "operationId": "events", "summary": "Changes as they come",
            "responses": {
                "200": {
                    "description": "Server-sent events. `cluster`: a cluster as it is now, as in /api/v1/clusters; each of \
                        them at the beginning, then those that have changed. `gone`: its `namespace` and `name`. `operator`: \
                        who answers and who leads, as in /api/v1/status.",
                    "content": {"text/event-stream": {}},
                },
                "503": text("As many follow already as this process serves."),
            },
        }},
        "/api/v1/openapi.json": {"get": {
            "operationId": "openapi", "summary": "This document",
            "responses": {"200": {"description": "This document.", "content": {"application/json": {}}}},
        }},
    });
    json!({
        "openapi": "3.0.4",
        "info": {
            "title": "memgraph-operator",
            "version": "v1",
            "description": "What the operator tells of its clusters. Nothing can be changed here. Any process answers; only \
                the one that leads tells what is newer than the status of a MemgraphCluster.",
        },
        "paths": paths,
        "components": {"schemas": schemas.take_definitions(true)},
    })
}

fn answer<T: JsonSchema>(schemas: &mut SchemaGenerator, description: &str) -> Value {
    let schema = schemas.subschema_for::<T>();
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}
