//! The objects, their versions, and what has changed.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, OnceLock},
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    apply::apply,
    request::{Key, Resource},
};

use crate::signal::{Follower, Signal};

/// How many changes of a resource can be watched from the past.
const LOG: usize = 400;

/// An object as it is stored.
pub type Object = Arc<Value>;

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version that it has brought.
    pub version: u64,
    /// When.
    pub at: Instant,
    /// What it was before; none for a new object.
    pub before: Option<Object>,
    /// What it is now; none for one that was deleted.
    pub now: Option<Object>,
    /// The same as text, which is made for the first who wants it.
    text: Arc<OnceLock<String>>,
}

impl Change {
    /// What the object is now, as JSON.
    #[must_use]
    pub fn text(&self) -> &str {
        let made = || self.now.as_ref().map(ToString::to_string).unwrap_or_default();
        self.text.get_or_init(made)
    }
}

/// Why the server refuses a request: an HTTP status code and a reason as Kubernetes names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status code.
    pub code: u16,
    /// Kubernetes' reason.
    pub reason: &'static str,
}

impl Refusal {
    pub(crate) const CONFLICT: Self = Self::new(409, "Conflict");
    pub(crate) const EXISTS: Self = Self::new(409, "AlreadyExists");
    pub(crate) const NOT_FOUND: Self = Self::new(404, "NotFound");
    pub(crate) const EXPIRED: Self = Self::new(410, "Expired");
    pub(crate) const BAD: Self = Self::new(400, "BadRequest");

    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason }
    }

    /// The body that says so.
    #[must_use]
    pub fn status(self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "code": self.code, "reason": self.reason, "message": self.reason,
        })
    }
}

/// The objects of one resource.
#[derive(Default)]
pub struct Collection {
    objects: BTreeMap<Key, Object>,
    /// By object: what was applied last by the manager of that name.
    applied: BTreeMap<(Key, String), Value>,
    log: VecDeque<Change>,
    /// Changes up to this version cannot be watched any more.
    compacted: u64,
    changed: Signal<u64>,
}

impl Collection {
    fn after(&self, version: u64) -> Option<Change> {
        let at = self.log.partition_point(|change| change.version <= version);
        self.log.get(at).cloned()
    }
}

/// All objects.
#[derive(Default)]
pub struct Store {
    collections: BTreeMap<Resource, Collection>,
    version: u64,
    uids: u64,
}

impl Store {
    /// The version of the newest change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// One object.
    #[must_use]
    pub fn get(&self, resource: &Resource, key: &Key) -> Option<Object> {
        self.collections.get(resource)?.objects.get(key).cloned()
    }

    /// The objects of a resource, by namespace and name.
    pub fn all<'a>(&'a self, resource: &Resource) -> impl Iterator<Item = (&'a Key, &'a Object)> + use<'a> {
        self.collections
            .get(resource)
            .into_iter()
            .flat_map(|collection| &collection.objects)
    }

    /// The objects of a resource as they were at a moment, as far back as changes are remembered.
    #[must_use]
    pub fn at(&self, resource: &Resource, moment: Instant) -> BTreeMap<Key, Object> {
        let Some(collection) = self.collections.get(resource) else {
            return BTreeMap::new();
        };
        let mut objects = collection.objects.clone();
        for change in collection
            .log
            .iter()
            .rev()
            .take_while(|change| change.at > moment && change.version > collection.compacted)
        {
            let Some(object) = change.now.as_ref().or(change.before.as_ref()) else {
                continue;
            };
            let key = key_of(object);
            match &change.before {
                Some(before) => objects.insert(key, Arc::clone(before)),
                None => objects.remove(&key),
            };
        }
        objects
    }

    /// Tells of each new change of a resource.
    pub fn changes(&mut self, resource: &Resource) -> Follower<u64> {
        self.collection(resource).changed.subscribe()
    }

    /// The oldest change of a resource that is younger than `version`.
    ///
    /// # Errors
    /// When changes that old are forgotten.
    pub fn next_change(&self, resource: &Resource, version: u64) -> Result<Option<Change>, Refusal> {
        let Some(collection) = self.collections.get(resource) else {
            return Ok(None);
        };
        if version < collection.compacted {
            return Err(Refusal::EXPIRED);
        }
        Ok(collection.after(version))
    }

    /// The same for whoever judges what is done, and must miss nothing: also of what no watch tells any more.
    #[must_use]
    pub fn next_recorded(&self, resource: &Resource, version: u64) -> Option<Change> {
        self.collections.get(resource)?.after(version)
    }

    /// Forgets all changes up to now: whoever has not seen them must list again.
    pub fn compact(&mut self) {
        for collection in self.collections.values_mut() {
            collection.compacted = self.version;
            // Watches that wait find out that they have missed something.
            collection.changed.send_replace(self.version);
        }
    }

    /// Makes an object that was not there.
    ///
    /// # Errors
    /// When there is one of this name.
    pub fn create(&mut self, resource: &Resource, key: &Key, object: Value) -> Result<Object, Refusal> {
        if self.get(resource, key).is_some() {
            return Err(Refusal::EXISTS);
        }
        Ok(self.store(resource, key, object))
    }

    /// Replaces an object, at the version that stands in `object` if there is one.
    ///
    /// # Errors
    /// When it is not there, or has another version.
    pub fn replace(&mut self, resource: &Resource, key: &Key, object: Value) -> Result<Object, Refusal> {
        let before = self.get(resource, key).ok_or(Refusal::NOT_FOUND)?;
        expect_version(&before, &object)?;
        Ok(self.store(resource, key, object))
    }

    /// Applies a manager's fields, or a status. Makes the object where there was none, unless a status or a version is
    /// sent.
    ///
    /// # Errors
    /// When the version that is sent is not the object's, or the object is not there.
    pub fn apply(
        &mut self,
        resource: &Resource,
        key: &Key,
        manager: &str,
        subresource: Option<&str>,
        mut sent: Value,
    ) -> Result<Object, Refusal> {
        let before = self.get(resource, key);
        let bound = !sent["metadata"]["resourceVersion"].is_null() || !sent["metadata"]["uid"].is_null();
        match &before {
            Some(before) => expect_version(before, &sent)?,
            None if bound => return Err(Refusal::CONFLICT),
            None if subresource.is_some() => return Err(Refusal::NOT_FOUND),
            None => {}
        }
        let mut object = before.map_or_else(|| json!({}), |object| Value::clone(&object));
        // Of the status, only the status counts, and of the object, everything else (Kubernetes: API conventions).
        let sent = if subresource == Some("status") {
            json!({"status": sent["status"].take()})
        } else {
            if let Some(fields) = sent.as_object_mut() {
                fields.remove("status");
            }
            if let Some(metadata) = sent.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("resourceVersion");
                metadata.remove("uid");
            }
            sent
        };
        let owner = (
            key.clone(),
            format!("{manager}/{}", subresource.unwrap_or_default()),
        );
        let applied = &mut self.collection(resource).applied;
        let before = applied.insert(owner, sent.clone()).unwrap_or(Value::Null);
        apply(&mut object, &before, &sent);
        Ok(self.store(resource, key, object))
    }

    /// Merges fields into an object (RFC 7386), and leaves to their managers what they have applied.
    ///
    /// # Errors
    /// When the object is not there, or is not the one that is meant.
    pub fn merge(&mut self, resource: &Resource, key: &Key, sent: Value) -> Result<Object, Refusal> {
        let Some(before) = self.get(resource, key) else {
            return Err(Refusal::NOT_FOUND);
        };
        expect_version(&before, &sent)?;
        let mut object = Value::clone(&before);
        merge(&mut object, sent);
        Ok(self.store(resource, key, object))
    }

    /// Changes an object in place, if it is there.
    pub fn edit(
        &mut self,
        resource: &Resource,
        key: &Key,
        change: impl FnOnce(&mut Value),
    ) -> Option<Object> {
        let mut object = Value::clone(&*self.get(resource, key)?);
        change(&mut object);
        Some(self.store(resource, key, object))
    }

    /// Removes an object.
    pub fn remove(&mut self, resource: &Resource, key: &Key) -> Option<Object> {
        let collection = self.collections.get_mut(resource)?;
        let gone = collection.objects.remove(key)?;
        collection.applied.retain(|(owner, _), _| owner != key);
        self.version += 1;
        // A deletion is shown with the version that it has brought.
        let mut last = Value::clone(&gone);
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let change = Change {
            version: self.version,
            at: Instant::now(),
            before: Some(Arc::new(last)),
            now: None,
            text: Arc::default(),
        };
        self.note(resource, change);
        Some(gone)
    }

    fn collection(&mut self, resource: &Resource) -> &mut Collection {
        if !self.collections.contains_key(resource) {
            self.collections.insert(resource.clone(), Collection::default());
        }
        self.collections.entry(resource.clone()).or_default()
    }

    fn store(&mut self, resource: &Resource, key: &Key, mut object: Value) -> Object {
        let before = self.get(resource, key);
        object["metadata"]["namespace"] = json!(key.0);
        object["metadata"]["name"] = json!(key.1);
        if let Some(before) = &before {
            for field in ["resourceVersion", "uid", "generation", "creationTimestamp"] {
                if let Some(value) = before["metadata"].get(field) {
                    object["metadata"][field] = value.clone();
                }
            }
            if object == **before {
                return Arc::clone(before);
            }
            if object.get("spec") != before.get("spec") {
                object["metadata"]["generation"] =
                    json!(before["metadata"]["generation"].as_i64().unwrap_or(1) + 1);
            }
        } else {
            self.uids += 1;
            let metadata = &mut object["metadata"];
            metadata["uid"] = json!(format!("{:08x}-0000-4000-8000-{:012x}", self.uids, self.uids));
            metadata["generation"] = json!(1);
            metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        let change = Change {
            version: self.version,
            at: Instant::now(),
            before,
            now: Some(Arc::clone(&object)),
            text: Arc::default(),
        };
        self.collection(resource)
            .objects
            .insert(key.clone(), Arc::clone(&object));
        self.note(resource, change);
        object
    }

    fn note(&mut self, resource: &Resource, change: Change) {
        let version = change.version;
        let collection = self.collection(resource);
        collection.log.push_back(change);
        if collection.log.len() > LOG
            && let Some(oldest) = collection.log.pop_front()
        {
            collection.compacted = collection.compacted.max(oldest.version);
        }
        collection.changed.send_replace(version);
    }
}

/// Where an object lies.
pub(super) fn key_of(object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

/// Optimistic concurrency: a version or UID that is sent must be the object's.
fn merge(into: &mut Value, sent: Value) {
    match (into, sent) {
        (into, Value::Object(sent)) => {
            if !into.is_object() {
                *into = json!({});
            }
            for (field, value) in sent {
                if value.is_null() {
                    into.as_object_mut().and_then(|into| into.remove(&field));
                } else {
                    merge(&mut into[field], value);
                }
            }
        }
        (into, sent) => *into = sent,
    }
}

fn expect_version(before: &Value, sent: &Value) -> Result<(), Refusal> {
    let fits = |field: &str| {
        let wanted = &sent["metadata"][field];
        wanted.is_null() || *wanted == before["metadata"][field]
    };
    if fits("resourceVersion") && fits("uid") {
        Ok(())
    } else {
        Err(Refusal::CONFLICT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        ("db".to_owned(), "a".to_owned())
    }

    #[test]
    fn writes_at_an_old_version_are_refused() {
        let mut store = Store::default();
        let resource = Resource::pods();
        let first = store.create(&resource, &key(), json!({"spec": 1})).unwrap();
        let mut next = Value::clone(&first);
        next["spec"] = json!(2);
        store.replace(&resource, &key(), next.clone()).unwrap();
        next["spec"] = json!(3);
        assert_eq!(store.replace(&resource, &key(), next), Err(Refusal::CONFLICT));
    }

    #[test]
    fn what_changes_nothing_brings_no_version() {
        let mut store = Store::default();
        let resource = Resource::pods();
        let sent = json!({"spec": {"a": 1}});
        let first = store.apply(&resource, &key(), "m", None, sent.clone()).unwrap();
        let second = store.apply(&resource, &key(), "m", None, sent).unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn a_merge_leaves_what_was_applied() {
        let mut store = Store::default();
        let resource = Resource::stateful_sets();
        let sent = json!({"spec": {"replicas": 3, "paused": true, "template": {"a": 1}}});
        store.apply(&resource, &key(), "m", None, sent.clone()).unwrap();
        let changed = json!({"spec": {"replicas": 0, "paused": null}});
        let merged = store.merge(&resource, &key(), changed.clone()).unwrap();
        assert_eq!(merged["spec"], json!({"replicas": 0, "template": {"a": 1}}));
        assert_eq!(
            store.apply(&resource, &key(), "m", None, sent).unwrap()["spec"]["replicas"],
            3
        );
        let other = ("db".to_owned(), "b".to_owned());
        assert_eq!(store.merge(&resource, &other, changed), Err(Refusal::NOT_FOUND));
        let mistaken = json!({"metadata": {"uid": "other"}});
        assert_eq!(store.merge(&resource, &key(), mistaken), Err(Refusal::CONFLICT));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_is_known_for_a_while() {
        let mut store = Store::default();
        let resource = Resource::pods();
        let second = std::time::Duration::from_secs(1);
        let beginning = Instant::now();
        tokio::time::advance(second).await;
        store.create(&resource, &key(), json!({"spec": 1})).unwrap();
        let created = Instant::now();
        tokio::time::advance(second).await;
        store.edit(&resource, &key(), |object| object["spec"] = json!(2));
        tokio::time::advance(second).await;
        store.remove(&resource, &key());
        assert_eq!(store.at(&resource, beginning).len(), 0);
        assert_eq!(store.at(&resource, created)[&key()]["spec"], json!(1));
        assert_eq!(store.at(&resource, created + second)[&key()]["spec"], json!(2));
        assert_eq!(store.at(&resource, Instant::now()).len(), 0);
    }

    #[test]
    fn a_watch_that_is_too_far_behind_is_told_so() {
        let mut store = Store::default();
        let resource = Resource::pods();
        store.create(&resource, &key(), json!({})).unwrap();
        assert!(store.next_change(&resource, 0).unwrap().is_some());
        store.compact();
        assert_eq!(store.next_change(&resource, 0).unwrap_err(), Refusal::EXPIRED);
        assert!(store.next_change(&resource, store.version()).unwrap().is_none());
        assert!(store.next_recorded(&resource, 0).is_some());
    }

    #[test]
    fn an_object_that_is_gone_is_not_made_by_a_write_at_its_version() {
        let mut store = Store::default();
        let resource = Resource::clusters();
        let sent = json!({"metadata": {"resourceVersion": "7"}, "status": {}});
        let refused = store.apply(&resource, &key(), "m", Some("status"), sent);
        assert_eq!(refused, Err(Refusal::CONFLICT));
    }
}
