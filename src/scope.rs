//! Which namespaces an operator looks after, and watches of just these.
//!
//! Who may read the objects of some namespaces only cannot watch those of all, so there is a watch for each namespace. What they
//! tell is put together to what one watch would have told: caches and controllers do not know how many there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::mem;

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{
    Api, Client, Error, Resource, ResourceExt,
    core::{DeserializeGuard, DynamicResourceScope, ObjectMeta, dynamic::ApiResource},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

use crate::api::MemgraphCluster;

/// The longest name that a namespace can have: it is a DNS label.
const LONGEST_NAME: usize = 63;

/// Which namespaces an operator looks after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// None: all.
    namespaces: BTreeSet<String>,
}

/// Text that no namespace can have as its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name of a namespace; write names of lower case letters, digits and hyphens, several of them with commas in between, \
     and nothing for all namespaces"
)]
pub struct InvalidNamespace(String);

impl Scope {
    /// The namespaces of these names, or all where there is no name. Empty names and spaces around names count for nothing.
    ///
    /// # Errors
    /// When one is no name of a namespace: clusters would be left alone that should be looked after.
    pub fn of(names: &[String]) -> Result<Self, InvalidNamespace> {
        let names = names
            .iter()
            .map(|name| name.trim())
            .filter(|name| !name.is_empty());
        let checked = names.map(|name| match is_namespace(name) {
            true => Ok(name.to_owned()),
            false => Err(InvalidNamespace(name.to_owned())),
        });
        Ok(Self {
            namespaces: checked.collect::<Result<_, _>>()?,
        })
    }

    /// The objects of this type, in as few parts as possible.
    pub(crate) fn apis<K>(&self, client: &Client) -> Vec<Api<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        if self.namespaces.is_empty() {
            return vec![Api::all(client.clone())];
        }
        let names = self.namespaces.iter();
        names.map(|name| Api::namespaced(client.clone(), name)).collect()
    }

    /// As [`Self::apis`], for a type that is known at run time only.
    pub(crate) fn dynamic_apis<K>(&self, client: &Client, kind: &ApiResource) -> Vec<Api<K>>
    where
        K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>,
    {
        if self.namespaces.is_empty() {
            return vec![Api::all_with(client.clone(), kind)];
        }
        let names = self.namespaces.iter();
        names
            .map(|name| Api::namespaced_with(client.clone(), name, kind))
            .collect()
    }
}

fn is_namespace(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= LONGEST_NAME && name.bytes().all(plain) && !name.starts_with('-') && !name.ends_with('-')
}

/// An object that can be told to be gone without being kept until then.
pub(crate) trait Remembered {
    /// What tells it from others, and whose it is: names and labels. Nothing else is to be asked of this one.
    fn remains(&self) -> Self;
}

/// As little as is enough for [`Remembered`].
pub(crate) fn outline(of: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: of.name.clone(),
        namespace: of.namespace.clone(),
        uid: of.uid.clone(),
        resource_version: of.resource_version.clone(),
        labels: of.labels.clone(),
        ..ObjectMeta::default()
    }
}

impl Remembered for Pod {
    fn remains(&self) -> Self {
        let metadata = outline(&self.metadata);
        Self {
            metadata,
            ..Self::default()
        }
    }
}

impl Remembered for PersistentVolumeClaim {
    fn remains(&self) -> Self {
        let metadata = outline(&self.metadata);
        Self {
            metadata,
            ..Self::default()
        }
    }
}

impl Remembered for MemgraphCluster {
    fn remains(&self) -> Self {
        Self {
            metadata: outline(&self.metadata),
            spec: Default::default(),
            status: None,
        }
    }
}

/// What one watch of all these parts would tell, without who has changed which field when. Of several parts, the first list is
/// complete when that of each part is, and those that cannot be watched are tried again without holding up what others tell.
pub(crate) fn watch_all<K>(
    parts: Vec<Api<K>>,
    config: &watcher::Config,
) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K: Resource + Remembered + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Send,
{
    let parts = parts
        .into_iter()
        .map(|api| watch_one(api, config.clone()).boxed());
    merge(parts.collect())
}

/// The same of clusters. One that cannot be read, though the API server has taken it, is told to whoever reads the log and to nobody else: all
/// the others go on.
pub(crate) fn watch_clusters(
    parts: Vec<Api<DeserializeGuard<MemgraphCluster>>>,
    config: &watcher::Config,
) -> BoxStream<'static, watcher::Result<Event<MemgraphCluster>>> {
    let parts = parts.into_iter().map(|api| {
        let events = watch_one(api, config.clone());
        events
            .filter_map(async |event| event.map(readable).transpose())
            .boxed()
    });
    merge(parts.collect())
}

/// What is told of a cluster that can be read, or that is gone.
fn readable(event: Event<DeserializeGuard<MemgraphCluster>>) -> Option<Event<MemgraphCluster>> {
    let read = |DeserializeGuard(cluster): DeserializeGuard<MemgraphCluster>| {
        cluster
            .inspect_err(|unread| {
                let metadata = &unread.metadata;
                tracing::error!(
                    namespace = metadata.namespace,
                    cluster = metadata.name,
                    error = unread.error,
                    "a MemgraphCluster cannot be read, and is not looked after: correct the value that the error is about"
                );
            })
            .ok()
    };
    let gone = |metadata: &ObjectMeta| {
        Event::Delete(MemgraphCluster {
            metadata: metadata.clone(),
            spec: Default::default(),
            status: None,
        })
    };
    Some(match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::InitApply(cluster) => Event::InitApply(read(cluster)?),
        // Nothing is to be done for it any more.
        Event::Apply(DeserializeGuard(Err(unread))) if unread.metadata.deletion_timestamp.is_some() => {
            gone(&unread.metadata)
        }
        // As long as it was known before, what was known of it holds.
        Event::Apply(cluster) => Event::Apply(read(cluster)?),
        Event::Delete(cluster) => gone(cluster.meta()),
    })
}

fn merge<K>(
    mut parts: Vec<BoxStream<'static, watcher::Result<Event<K>>>>,
) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K: ResourceExt + Remembered + Clone + Send + 'static,
{
    if parts.len() == 1
        && let Some(only) = parts.pop()
    {
        return only;
    }
    let mut merged = Merged::of(parts.len());
    let parts = parts.into_iter().enumerate().map(|(part, events)| {
        let events = events.default_backoff();
        events.map(move |event| (part, event)).boxed()
    });
    let events = stream::select_all(parts).flat_map(move |(part, event)| {
        let events = match event {
            Ok(event) => merged.take(part, event),
            Err(error) => {
                tracing::debug!(%error, "watch interrupted; it is taken up again");
                Vec::new()
            }
        };
        stream::iter(events.into_iter().map(Ok))
    });
    events.boxed()
}

/// A watch that says once that the operator has not the right to it, which is nothing that passes by itself.
fn watch_one<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = watcher::Result<Event<K>>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let objects = api.resource_url().to_owned();
    let mut told = false;
    let events = watcher(api, config).modify(|object| object.meta_mut().managed_fields = None);
    events.inspect(move |event| match event {
        Ok(Event::Init | Event::InitApply(_)) => {}
        Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => told = false,
        Err(error) if is_forbidden(error) && !told => {
            told = true;
            tracing::warn!(
                %error,
                objects,
                "the operator may not watch these; nothing begins before it may: give it its Role there (for the pods of its own \
                 namespace, those that it runs in, the one named own-pods), or take a namespace of clusters out of \
                 --watch-namespaces"
            );
        }
        Err(_) => {}
    })
}

fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(Error::Api(status))
        | watcher::Error::WatchStartFailed(Error::Api(status))
        | watcher::Error::WatchError(status) => status.is_forbidden(),
        _ => false,
    }
}

/// What several watches have told, each of objects of its own.
struct Merged<K> {
    parts: Vec<Part<K>>,
    /// Whether the first list has been told.
    begun: bool,
}

struct Part<K> {
    /// By name: a list that is taken anew does not name what is gone. What was told already is only [remembered](Remembered).
    known: BTreeMap<String, K>,
    /// What the list has named that is under way.
    named: BTreeSet<String>,
    /// Whether there has been a whole list.
    listed: bool,
}

impl<K: ResourceExt + Remembered + Clone> Merged<K> {
    fn of(parts: usize) -> Self {
        let part = || Part {
            known: BTreeMap::new(),
            named: BTreeSet::new(),
            listed: false,
        };
        Self {
            parts: std::iter::repeat_with(part).take(parts).collect(),
            begun: false,
        }
    }

    /// What is to be told when one part has told this.
    fn take(&mut self, part: usize, event: Event<K>) -> Vec<Event<K>> {
        let Some(part) = self.parts.get_mut(part) else {
            return Vec::new();
        };
        let events = part.take(event, self.begun);
        if self.begun {
            return events;
        }
        if !self.parts.iter().all(|part| part.listed) {
            return Vec::new();
        }
        self.begun = true;
        let known = self.parts.iter_mut().flat_map(|part| part.known.values_mut());
        let listed = known.map(|object| {
            let remains = object.remains();
            Event::InitApply(mem::replace(object, remains))
        });
        [Event::Init]
            .into_iter()
            .chain(listed)
            .chain([Event::InitDone])
            .collect()
    }
}

impl<K: ResourceExt + Remembered + Clone> Part<K> {
    fn know(&mut self, object: &K, told: bool) {
        let kept = if told { object.remains() } else { object.clone() };
        self.known.insert(object.name_any(), kept);
    }

    /// What has changed with this; `told`: whoever listens is told at once.
    fn take(&mut self, event: Event<K>, told: bool) -> Vec<Event<K>> {
        match event {
            Event::Init => {
                self.named.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.named.insert(object.name_any());
                self.know(&object, told);
                vec![Event::Apply(object)]
            }
            Event::InitDone => {
                self.listed = true;
                let named = mem::take(&mut self.named);
                let gone = self.known.extract_if(.., |name, _| !named.contains(name));
                gone.map(|(_, object)| Event::Delete(object)).collect()
            }
            Event::Apply(object) => {
                self.know(&object, told);
                vec![Event::Apply(object)]
            }
            Event::Delete(object) => {
                self.known.remove(&object.name_any());
                vec![Event::Delete(object)]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::Time};
    use kube::runtime::reflector::{Store, store::Writer};

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn names_of_namespaces_are_taken_and_nothing_else() {
        assert_eq!(Scope::of(&names(&[])), Ok(Scope::default()));
        assert_eq!(Scope::of(&names(&["", " "])), Ok(Scope::default()));
        let two = Scope::of(&names(&["b", " a ", "b"])).unwrap();
        assert_eq!(two.namespaces.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        for wrong in ["a b", "A", "-a", "a-", "a.b", "a_b", "*", &"a".repeat(64)] {
            let error = Scope::of(&names(&["fine", wrong])).unwrap_err().to_string();
            assert!(error.contains(&format!("{wrong:?}")), "{error}");
        }
        assert!(Scope::of(&names(&[&"a".repeat(63), "0"])).is_ok());
    }

    impl Remembered for ConfigMap {
        fn remains(&self) -> Self {
            let metadata = outline(&self.metadata);
            Self {
                metadata,
                ..Self::default()
            }
        }
    }

    fn object(namespace: &str, name: &str, version: u64) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                resource_version: Some(version.to_string()),
                ..ObjectMeta::default()
            },
            immutable: Some(true),
            ..ConfigMap::default()
        }
    }

    fn held(store: &Store<ConfigMap>) -> Vec<String> {
        let told = |object: &ConfigMap| {
            assert_eq!(object.immutable, Some(true), "it is told whole");
            let version = object.resource_version().unwrap_or_default();
            format!(
                "{}/{}:{version}",
                object.namespace().unwrap_or_default(),
                object.name_any()
            )
        };
        let mut held: Vec<_> = store.state().iter().map(|object| told(object)).collect();
        held.sort();
        held
    }

    /// A cache that is kept by what two watches tell, of the namespaces `a` and `b`.
    struct Cache {
        merged: Merged<ConfigMap>,
        writer: Writer<ConfigMap>,
        store: Store<ConfigMap>,
    }

    impl Cache {
        fn new() -> Self {
            let writer = Writer::default();
            Self {
                merged: Merged::of(2),
                store: writer.as_reader(),
                writer,
            }
        }

        fn take(&mut self, part: usize, event: Event<ConfigMap>) -> &mut Self {
            for event in self.merged.take(part, event) {
                self.writer.apply_watcher_event(&event);
            }
            self
        }

        fn is_filled(&self) -> bool {
            futures::FutureExt::now_or_never(self.store.wait_until_ready()).is_some()
        }
    }

    #[test]
    fn nothing_is_told_before_every_list_is_complete() {
        let mut cache = Cache::new();
        cache
            .take(0, Event::Init)
            .take(0, Event::InitApply(object("a", "one", 1)))
            .take(1, Event::Init)
            .take(0, Event::InitDone)
            // While the other list goes on, this watch does.
            .take(0, Event::Apply(object("a", "two", 3)))
            .take(1, Event::InitApply(object("b", "gone", 2)))
            .take(0, Event::Apply(object("a", "one", 4)))
            // It is broken off, and begins anew.
            .take(1, Event::Init)
            .take(1, Event::InitApply(object("b", "one", 5)))
            .take(0, Event::Delete(object("a", "two", 6)));
        assert!(!cache.is_filled());
        assert_eq!(held(&cache.store), [""; 0]);
        cache.take(1, Event::InitDone);
        assert!(cache.is_filled());
        assert_eq!(held(&cache.store), ["a/one:4", "b/one:5"]);
    }

    #[test]
    fn a_list_that_is_taken_anew_is_about_its_own_namespace() {
        let mut cache = Cache::new();
        for (part, namespace) in ["a", "b"].into_iter().enumerate() {
            cache
                .take(part, Event::Init)
                .take(part, Event::InitApply(object(namespace, "one", 1)))
                .take(part, Event::InitApply(object(namespace, "two", 2)))
                .take(part, Event::InitDone);
        }
        cache
            .take(0, Event::Init)
            .take(0, Event::InitApply(object("a", "two", 7)))
            .take(1, Event::Apply(object("b", "two", 8)));
        assert_eq!(
            held(&cache.store),
            ["a/one:1", "a/two:7", "b/one:1", "b/two:8"],
            "absence says nothing before the list is complete"
        );
        cache.take(0, Event::InitDone);
        assert_eq!(held(&cache.store), ["a/two:7", "b/one:1", "b/two:8"]);
        cache.take(1, Event::Delete(object("b", "one", 9)));
        assert_eq!(held(&cache.store), ["a/two:7", "b/two:8"]);
    }

    #[test]
    fn of_what_was_told_only_names_and_labels_are_kept() {
        let mut cache = Cache::new();
        cache
            .take(0, Event::Init)
            .take(0, Event::InitApply(object("a", "one", 1)))
            .take(0, Event::InitDone)
            .take(1, Event::Init)
            .take(1, Event::InitDone)
            .take(0, Event::Apply(object("a", "two", 2)));
        let kept: Vec<_> = cache.merged.parts[0].known.values().cloned().collect();
        assert_eq!(
            kept,
            [object("a", "one", 1).remains(), object("a", "two", 2).remains()]
        );
        assert!(kept.iter().all(|object| object.immutable.is_none()));
    }

    #[test]
    fn a_cluster_that_cannot_be_read_keeps_no_other_from_being_told() {
        let told = |spec: serde_json::Value| {
            let object = serde_json::json!({
                "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster",
                "metadata": {"name": "demo", "namespace": "a", "uid": "u"}, "spec": spec,
            });
            serde_json::from_value::<DeserializeGuard<MemgraphCluster>>(object).unwrap()
        };
        let (whole, broken) = (
            || told(serde_json::json!({})),
            || told(serde_json::json!({"replicas": "many"})),
        );
        assert!(matches!(
            readable(Event::InitApply(whole())),
            Some(Event::InitApply(_))
        ));
        assert!(readable(Event::InitApply(broken())).is_none());
        assert!(readable(Event::Apply(broken())).is_none());
        let mut going = broken();
        going.meta_mut().deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        for event in [Event::Delete(broken()), Event::Apply(going)] {
            let Some(Event::Delete(gone)) = readable(event) else {
                panic!("that it is gone is told");
            };
            let known = (gone.name_any(), gone.uid());
            assert_eq!(known, ("demo".to_owned(), Some("u".to_owned())));
        }
    }
}
