//! Answers requests out of the store.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Method, header::CONTENT_TYPE, request::Parts};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    request::{Key, Resource, Target},
    selector::Selector,
    store::{Object, Refusal, Store},
};

/// Whether a patch is a merge patch, which changes what it names and nothing else, and not a server-side apply.
fn is_merge(parts: &Parts) -> bool {
    parts
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/merge-patch+json")
}

/// The API server, without the way to it.
#[derive(Clone, Default)]
pub struct ApiServer {
    store: Arc<Mutex<Store>>,
}

impl ApiServer {
    /// The objects, to be looked at or changed from the inside.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out one request that is no watch. What may be answered from a cache (`resourceVersion=0`) is `lag` old.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn serve(
        &self,
        parts: &Parts,
        target: &Target,
        query: &BTreeMap<String, String>,
        body: Value,
        lag: Duration,
    ) -> Result<Object, Refusal> {
        let resource = &target.resource;
        let cached = query.get("resourceVersion").is_some_and(|version| version == "0");
        let mut store = self.store();
        match (&parts.method, target.key()) {
            (&Method::GET, key) if cached => {
                let objects = store.at(resource, Instant::now() - lag);
                match key {
                    Some(key) => objects.get(&key).cloned().ok_or(Refusal::NOT_FOUND),
                    None => Ok(Arc::new(Self::list(objects.iter(), &store, target, query))),
                }
            }
            (&Method::GET, None) => Ok(Arc::new(Self::list(store.all(resource), &store, target, query))),
            (&Method::GET, Some(key)) => store.get(resource, &key).ok_or(Refusal::NOT_FOUND),
            (&Method::POST, None) => {
                let name = match body["metadata"]["name"].as_str() {
                    Some(name) => name.to_owned(),
                    None => format!(
                        "{}{}",
                        body["metadata"]["generateName"].as_str().unwrap_or("x-"),
                        store.version()
                    ),
                };
                store.create(resource, &(target.namespace.clone(), name), body)
            }
            (&Method::PUT, Some(key)) => store.replace(resource, &key, body),
            (&Method::PATCH, Some(key)) if is_merge(parts) => store.merge(resource, &key, body),
            (&Method::PATCH, Some(key)) => {
                let manager = query.get("fieldManager").map(String::as_str).unwrap_or_default();
                store.apply(resource, &key, manager, target.subresource.as_deref(), body)
            }
            (&Method::DELETE, Some(key)) => Self::delete(&mut store, resource, &key, &body),
            _ => Err(Refusal::BAD),
        }
    }

    fn list<'a>(
        objects: impl Iterator<Item = (&'a Key, &'a Object)>,
        store: &Store,
        target: &Target,
        query: &BTreeMap<String, String>,
    ) -> Value {
        let selector = Selector::of(target, query);
        // Items of a list tell neither kind nor version, except those of custom resources (apimachinery's codec clears
        // `TypeMeta` of what it converts).
        let is_custom = target.resource == Resource::clusters();
        let items: Vec<Value> = objects
            .filter(|(key, object)| selector.shows(key, object))
            .map(|(_, object)| {
                let mut item = Value::clone(object);
                if let Some(fields) = item.as_object_mut().filter(|_| !is_custom) {
                    fields.remove("apiVersion");
                    fields.remove("kind");
                }
                item
            })
            .collect();
        json!({
            "apiVersion": target.resource.version,
            "kind": "List",
            "metadata": {"resourceVersion": store.version().to_string()},
            "items": items,
        })
    }

    /// A pod goes when its node has ended it; anything else at once.
    fn delete(
        store: &mut Store,
        resource: &Resource,
        key: &(String, String),
        body: &Value,
    ) -> Result<Object, Refusal> {
        let live = store.get(resource, key).ok_or(Refusal::NOT_FOUND)?;
        for field in ["uid", "resourceVersion"] {
            let wanted = &body["preconditions"][field];
            if !wanted.is_null() && *wanted != live["metadata"][field] {
                return Err(Refusal::CONFLICT);
            }
        }
        let grace = body["gracePeriodSeconds"].as_i64();
        if *resource != Resource::pods() || grace == Some(0) {
            return store.remove(resource, key).ok_or(Refusal::NOT_FOUND);
        }
        let grace = grace
            .or_else(|| live["spec"]["terminationGracePeriodSeconds"].as_i64())
            .unwrap_or(30);
        let marked = store.edit(resource, key, |pod| {
            if pod["metadata"]["deletionTimestamp"].is_null() {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            }
        });
        marked.ok_or(Refusal::NOT_FOUND)
    }
}
