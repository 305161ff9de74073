//! As much of an API server as the operator's requests meet: objects in memory, lists, watches, server-side
//! apply with the check of the resourceVersion, and a record of every request.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};

use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Frame},
    header::CONTENT_TYPE,
};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::fake_managers::Given;

pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Where an object lies: API version, plural, namespace, name.
pub(crate) type Place = (String, String, String, String);

#[derive(Default)]
struct State {
    objects: BTreeMap<Place, Value>,
    version: u64,
    watches: Vec<Watch>,
    requests: Vec<String>,
    /// Fields that are dropped: of which objects, a pointer to what they are in, and their name.
    pruned: Vec<(&'static str, &'static str, &'static str)>,
    /// What was given by server-side apply.
    given: Given,
    /// Why no volume claim may ask for more.
    growth_refused: Option<String>,
    /// Why no volume claim may get other owners.
    owners_refused: Option<String>,
    /// Why no volume claim may be deleted.
    deletion_refused: Option<String>,
    /// Which kind of object it does not take, with what answer.
    refused: Option<(&'static str, u16, String)>,
    /// Whether there is no history: a watch can begin only where a list was made last.
    forgets: bool,
}

struct Watch {
    resource: (String, String),
    selector: String,
    events: UnboundedSender<Value>,
}

/// The server.
#[derive(Clone, Default)]
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
}

/// What a request is about.
struct Target {
    api_version: String,
    plural: String,
    namespace: String,
    name: Option<String>,
    subresource: Option<String>,
}

impl Target {
    fn of(path: &str) -> Self {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        let (api_version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            other => panic!("no API path: {other:?}"),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] => ((*namespace).to_owned(), rest),
            rest => (String::new(), rest),
        };
        let text = |index: usize| rest.get(index).map(|part| (*part).to_owned());
        Self {
            api_version,
            plural: text(0).unwrap(),
            namespace,
            name: text(1),
            subresource: text(2),
        }
    }

    fn place(&self) -> Place {
        let name = self.name.clone().expect("a request for one object");
        (
            self.api_version.clone(),
            self.plural.clone(),
            self.namespace.clone(),
            name,
        )
    }
}

impl FakeApi {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// Puts an object there, as if somebody else had.
    pub(crate) fn put(&self, plural: &str, object: Value) {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let place = (
            text("/apiVersion"),
            plural.to_owned(),
            text("/metadata/namespace"),
            text("/metadata/name"),
        );
        self.state().store(place, object);
    }

    /// Drops a field of these objects from now on, as one that a CustomResourceDefinition does not have, or one of a feature that is
    /// switched off.
    pub(crate) fn prune(&self, plural: &'static str, parent: &'static str, field: &'static str) {
        self.state().pruned.push((plural, parent, field));
    }

    /// Takes an object away, as if somebody else had.
    pub(crate) fn remove(&self, api_version: &str, plural: &str, namespace: &str, name: &str) {
        let place = [api_version, plural, namespace, name].map(str::to_owned);
        self.state().remove(&place.into());
    }

    /// Lets no volume claim ask for more from now on.
    pub(crate) fn refuse_growth(&self, said: &str) {
        self.state().growth_refused = Some(said.to_owned());
    }

    /// Lets no volume claim have other owners from now on.
    pub(crate) fn refuse_owners(&self, said: &str) {
        self.state().owners_refused = Some(said.to_owned());
    }

    /// Lets nobody delete a volume claim from now on.
    pub(crate) fn refuse_deletion(&self, said: &str) {
        self.state().deletion_refused = Some(said.to_owned());
    }

    /// Takes none of these objects from now on, with this answer.
    pub(crate) fn refuse(&self, plural: &'static str, code: u16, said: &str) {
        self.state().refused = Some((plural, code, said.to_owned()));
    }

    /// Takes every object again.
    pub(crate) fn relent(&self) {
        self.state().refused = None;
    }

    /// Ends what is being deleted, as the garbage collector does when it has orphaned what belonged to it; and what belonged only
    /// to objects that are gone.
    pub(crate) fn collect_garbage(&self) {
        let mut state = self.state();
        let leaving = |(place, object): (&Place, &Value)| {
            let leaves = !object["metadata"]["deletionTimestamp"].is_null();
            (leaves && place.1 != "memgraphclusters").then(|| place.clone())
        };
        let places: Vec<_> = state.objects.iter().filter_map(leaving).collect();
        for place in places {
            let uid = state.objects[&place]["metadata"]["uid"].clone();
            let owned: Vec<_> = state
                .objects
                .iter()
                .filter(|(_, object)| owners(object).any(|owner| owner["uid"] == uid))
                .map(|(place, object)| (place.clone(), object.clone()))
                .collect();
            for (place, mut object) in owned {
                if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
                    owners.retain(|owner| owner["uid"] != uid);
                }
                state.store(place, object);
            }
            state.remove(&place);
        }
        let uids = state
            .objects
            .values()
            .map(|object| object["metadata"]["uid"].clone());
        let uids: Vec<_> = uids.collect();
        let lost = |object: &Value| {
            owners(object).next().is_some() && !owners(object).any(|owner| uids.contains(&owner["uid"]))
        };
        let objects = state.objects.iter();
        let places: Vec<_> = objects
            .filter(|(_, object)| lost(object))
            .map(|(place, _)| place.clone())
            .collect();
        for place in places {
            state.remove(&place);
        }
    }

    /// Has the controller of StatefulSets see how they are now.
    pub(crate) fn observe_sets(&self) {
        for (place, mut object) in self.objects() {
            if place.1 == "statefulsets" && object["status"]["observedGeneration"].is_null() {
                object["metadata"]["generation"] = json!(1);
                object["status"] = json!({"observedGeneration": 1});
                self.put("statefulsets", object);
            }
        }
    }

    /// Breaks all watches off. Those who watched learn that the server has no history back to where they were.
    pub(crate) fn break_watches(&self) {
        let mut state = self.state();
        state.watches.clear();
        state.forgets = true;
    }

    pub(crate) fn get(&self, api_version: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let place = (
            api_version.to_owned(),
            plural.to_owned(),
            namespace.to_owned(),
            name.to_owned(),
        );
        self.state().objects.get(&place).cloned()
    }

    /// All objects, by where they lie.
    pub(crate) fn objects(&self) -> BTreeMap<Place, Value> {
        self.state().objects.clone()
    }

    /// The requests since the last call, watches left out: `METHOD path`.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        if parts.uri.path() == "/version" {
            let version = json!({
                "major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "", "gitTreeState": "", "buildDate": "",
                "goVersion": "", "compiler": "", "platform": "",
            });
            let body = Full::from(serde_json::to_vec(&version).unwrap()).boxed_unsync();
            return Response::new(body);
        }
        let target = Target::of(parts.uri.path());
        let query: BTreeMap<String, String> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), decoded(value)))
            .collect();
        let selector = query.get("labelSelector").cloned().unwrap_or_default();
        if query.contains_key("watch") {
            let since = query
                .get("resourceVersion")
                .and_then(|version| version.parse().ok());
            return self.watch(&target, selector, since);
        }
        self.state()
            .requests
            .push(format!("{} {}", parts.method, parts.uri.path()));
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap()
        };
        let mut state = self.state();
        let (code, answer) = match (&parts.method, &target.name) {
            (&Method::GET, None) => (200, state.list(&target, &selector)),
            (&Method::GET, Some(name)) if target.subresource.as_deref() == Some("log") => {
                (200, json!(format!("log of {name}")))
            }
            (&Method::GET, Some(_)) => match state.objects.get(&target.place()) {
                Some(object) => (200, object.clone()),
                None => (404, refusal(404, "NotFound")),
            },
            (&Method::PATCH, Some(_)) => {
                let form = parts.headers.get(CONTENT_TYPE).map(|form| form.as_bytes());
                state.apply(&target, body, form == Some(b"application/apply-patch+yaml"))
            }
            (&Method::POST, None) => (201, body),
            (&Method::DELETE, Some(_)) => match state.objects.get(&target.place()).cloned() {
                Some(object) if is_not_as_expected(&object, &body["preconditions"]) => {
                    (409, refusal(409, "Conflict"))
                }
                Some(_) if target.plural == "persistentvolumeclaims" && state.deletion_refused.is_some() => {
                    let said = state.deletion_refused.as_deref().unwrap_or_default();
                    (403, refusal(403, said))
                }
                Some(mut object) if body["propagationPolicy"] == "Orphan" => {
                    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                    (200, state.store(target.place(), object))
                }
                Some(object) => {
                    state.remove(&target.place());
                    (200, object)
                }
                None => (404, refusal(404, "NotFound")),
            },
            other => panic!("the operator sent an unexpected request: {other:?}"),
        };
        let body = Full::from(serde_json::to_vec(&answer).unwrap()).boxed_unsync();
        Response::builder().status(code).body(body).unwrap()
    }

    fn watch(&self, target: &Target, selector: String, since: Option<u64>) -> Answer {
        let (events, received) = unbounded_channel();
        let resource = (target.api_version.clone(), target.plural.clone());
        let mut state = self.state();
        let forgotten = state.forgets && since.is_some_and(|since| since < state.version);
        if forgotten {
            let _ = events.send(json!({"type": "ERROR", "object": refusal(410, "Expired")}));
        } else {
            state.watches.push(Watch {
                resource,
                selector,
                events,
            });
        }
        drop(state);
        let lines = stream::unfold(received, |mut received| async move {
            let event: Value = received.recv().await?;
            Some((
                Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{event}\n")))),
                received,
            ))
        });
        Response::new(StreamBody::new(lines).boxed_unsync())
    }
}

impl State {
    fn remove(&mut self, place: &Place) {
        let Some(object) = self.objects.remove(place) else {
            return;
        };
        self.version += 1;
        for watch in &self.watches {
            if watch.resource == (place.0.clone(), place.1.clone()) && selected(&object, &watch.selector) {
                let _ = watch.events.send(json!({"type": "DELETED", "object": object}));
            }
        }
    }

    fn store(&mut self, place: Place, mut object: Value) -> Value {
        let pruned = self.pruned.iter();
        for (_, parent, field) in pruned.filter(|(plural, ..)| place.1 == *plural) {
            if let Some(parent) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
                parent.remove(*field);
            }
        }
        let before = self.objects.get(&place);
        let mut same = object.clone();
        if let Some(before) = before {
            same["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            same["metadata"]["uid"] = before["metadata"]["uid"].clone();
            if same == *before {
                return same;
            }
        }
        self.version += 1;
        let kind = if before.is_none() { "ADDED" } else { "MODIFIED" };
        if let Some(before) = before {
            object["metadata"]["uid"] = before["metadata"]["uid"].clone();
        } else if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        }
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        for watch in &self.watches {
            let (api_version, plural) = &watch.resource;
            if *api_version == place.0 && *plural == place.1 && selected(&object, &watch.selector) {
                let _ = watch.events.send(json!({"type": kind, "object": object}));
            }
        }
        self.objects.insert(place, object.clone());
        object
    }

    fn list(&self, target: &Target, selector: &str) -> Value {
        let wanted = |(place, object): &(&Place, &Value)| {
            place.0 == target.api_version
                && place.1 == target.plural
                && (target.namespace.is_empty() || place.2 == target.namespace)
                && selected(object, selector)
        };
        let items: Vec<_> = self
            .objects
            .iter()
            .filter(wanted)
            .map(|(_, object)| item(target, object.clone()))
            .collect();
        json!({
            "apiVersion": target.api_version,
            "kind": "List",
            "metadata": {"resourceVersion": self.version.to_string()},
            "items": items,
        })
    }

    /// Fields that are sent replace what is there. With server-side apply, by a single manager, labels and annotations go that
    /// were applied before and are not any more.
    fn apply(&mut self, target: &Target, sent: Value, server_side: bool) -> (u16, Value) {
        let place = target.place();
        let before = self.objects.get(&place).cloned();
        let expected = &sent["metadata"]["resourceVersion"];
        let current = before
            .as_ref()
            .map(|object| &object["metadata"]["resourceVersion"]);
        let other = before
            .as_ref()
            .is_some_and(|object| is_other(object, &sent["metadata"]["uid"]));
        if other || !expected.is_null() && Some(expected) != current {
            return (409, refusal(409, "Conflict"));
        }
        if let Some((_, code, said)) = self
            .refused
            .as_ref()
            .filter(|(plural, ..)| *plural == target.plural)
        {
            return (*code, refusal(*code, said));
        }
        let is_growth = target.plural == "persistentvolumeclaims" && !sent["spec"].is_null();
        if let Some(said) = self.growth_refused.as_ref().filter(|_| is_growth) {
            return (403, refusal(403, said));
        }
        let is_parting =
            target.plural == "persistentvolumeclaims" && !sent["metadata"]["ownerReferences"].is_null();
        if let Some(said) = self.owners_refused.as_ref().filter(|_| is_parting) {
            return (403, refusal(403, said));
        }
        let templates = "/spec/volumeClaimTemplates";
        let claims = before.as_ref().and_then(|set| set.pointer(templates));
        let asked = sent.pointer(templates);
        if claims.is_some() && asked.is_some() && claims != asked {
            return (
                422,
                refusal(422, "a field of a StatefulSet that cannot be changed"),
            );
        }
        let mut object = before.unwrap_or_else(|| json!({}));
        if server_side && target.subresource.is_none() {
            self.given.take_back(&place, &mut object, &sent);
        }
        if target.subresource.as_deref() == Some("status") {
            object["status"] = sent["status"].clone();
        } else {
            merge(&mut object, sent);
        }
        (200, self.store(place, object))
    }
}

/// The owners of an object.
fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
}

/// Whether a request that names a UID means another object than this one.
fn is_other(object: &Value, uid: &Value) -> bool {
    !uid.is_null() && object["metadata"]["uid"] != *uid
}

/// Whether a deletion is meant for another object than this one, or for an earlier version of it.
fn is_not_as_expected(object: &Value, preconditions: &Value) -> bool {
    let version = &preconditions["resourceVersion"];
    is_other(object, &preconditions["uid"])
        || !version.is_null() && object["metadata"]["resourceVersion"] != *version
}

/// An object as a list shows it: the API server leaves the types of its own kinds out.
fn item(target: &Target, mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut()
        && target.plural != "memgraphclusters"
    {
        fields.retain(|field, _| !matches!(field.as_str(), "apiVersion" | "kind"));
    }
    object
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn selected(object: &Value, selector: &str) -> bool {
    selector.split(',').filter(|term| !term.is_empty()).all(|term| {
        let (key, value) = term
            .split_once('=')
            .map_or((term, None), |(key, value)| (key, Some(value)));
        let label = object["metadata"]["labels"].get(key).and_then(Value::as_str);
        label.is_some() && (value.is_none() || label == value)
    })
}

fn refusal(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason})
}

/// Percent-decoding, for what label selectors contain.
fn decoded(text: &str) -> String {
    text.replace("%2F", "/").replace("%3D", "=").replace("%2C", ",")
}
