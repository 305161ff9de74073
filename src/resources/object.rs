//! Objects in a form that can be applied without knowing their type.

use std::hash::Hasher;

use fnv::FnvHasher;
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{ConfigMap, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{Role, RoleBinding},
};
use kube::{Resource, ResourceExt, core::ApiResource};
use serde::Serialize;
use serde_json::Value;

use super::Error;

/// Annotation with the hash of what the operator last applied to an object.
///
/// It tells, with no request and also after a restart of the operator, whether a field that is no longer
/// wanted may still be there: such a field is invisible when only wanted fields are compared.
pub const HASH_ANNOTATION: &str = "memgraph.dev/applied-hash";

/// The kinds of object that a cluster consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the Kubernetes kind of that name")]
pub enum Kind {
    ServiceAccount,
    Role,
    RoleBinding,
    ConfigMap,
    Service,
    NetworkPolicy,
    PodDisruptionBudget,
    StatefulSet,
    Deployment,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::ConfigMap,
        Self::Service,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::StatefulSet,
        Self::Deployment,
    ];

    /// What the API server needs to know to find objects of this kind.
    #[must_use]
    pub fn api_resource(self) -> ApiResource {
        match self {
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::Role => ApiResource::erase::<Role>(&()),
            Self::RoleBinding => ApiResource::erase::<RoleBinding>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
        }
    }
}

/// A Rust type of one of the [`Kind`]s.
pub(super) trait Typed: Resource<DynamicType = ()> + Serialize {
    const KIND: Kind;
}

macro_rules! typed {
    ($($kind:ident),+ $(,)?) => {$(
        impl Typed for $kind {
            const KIND: Kind = Kind::$kind;
        }
    )+};
}

typed!(
    ServiceAccount,
    Role,
    RoleBinding,
    ConfigMap,
    Service,
    NetworkPolicy,
    PodDisruptionBudget,
    StatefulSet,
    Deployment
);

/// Which object: kind and name, in the cluster's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    pub(super) fn new(kind: Kind, name: String) -> Self {
        Self { kind, name }
    }
}

/// An object as it should be: only the fields that the operator owns.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    key: ObjectKey,
    hash: String,
    /// As JSON: see `controller::packed`.
    content: Box<str>,
}

impl Object {
    pub(super) fn new<K: Typed>(object: &K) -> Result<Self, Error> {
        let key = ObjectKey::new(K::KIND, object.name_any());
        let encode = |object: &K| {
            serde_json::to_value(object).map_err(|source| Error::Encode {
                kind: K::KIND,
                name: object.name_any(),
                source,
            })
        };
        let mut content = encode(object)?;
        let hash = content_hash(&content);
        if let Some(metadata) = content.get_mut("metadata").and_then(Value::as_object_mut) {
            let annotations = metadata
                .entry("annotations")
                .or_insert_with(|| Value::Object(Default::default()));
            annotations[HASH_ANNOTATION] = Value::String(hash.clone());
        }
        let content = content.to_string().into();
        Ok(Self { key, hash, content })
    }

    /// Kind and name.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// A hash of the content, the same in every run and on every machine, and the value of
    /// [`HASH_ANNOTATION`] in the content.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What to send, by server-side apply with the field manager
    /// [`names::FIELD_MANAGER`](crate::api::names::FIELD_MANAGER).
    #[must_use]
    pub fn content(&self) -> Value {
        // It was written from one.
        serde_json::from_str(&self.content).unwrap_or_default()
    }

    /// Whether applying would change nothing in `live`, the object as the API server returned it.
    ///
    /// It is so when the operator applied exactly this content last, and every field of it is still as it was
    /// applied. Fields of others, and the API server's defaults, do not count.
    #[must_use]
    pub fn is_applied(&self, live: &Value) -> bool {
        // The items of a list do not name their type. It is the one that was asked for.
        let typed = |field: &str| matches!(field, "apiVersion" | "kind");
        // The content has the annotation, so that the comparison takes it in.
        let content = self.content();
        let mut wanted = content.as_object().into_iter().flatten();
        wanted.all(|(field, wanted)| typed(field) || live.get(field).is_some_and(|live| covers(live, wanted)))
    }
}

/// A hash that is the same in every run, on every machine and in every build.
pub(super) fn content_hash(content: &Value) -> String {
    let mut hasher = FnvHasher::default();
    hasher.write(content.to_string().as_bytes());
    format!("{:016x}", hasher.finish())
}

/// Lists to which others may add items of their own: server-side apply merges them by key. All other lists
/// belong as a whole to whoever wrote them.
const MERGED_LISTS: [&str; 9] = [
    "ownerReferences",
    "containers",
    "initContainers",
    "ports",
    "volumes",
    "volumeMounts",
    "env",
    "imagePullSecrets",
    "topologySpreadConstraints",
];

/// Whether `live` has every field of `wanted` with the same value.
fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(field, wanted)| {
            live.get(field).is_some_and(|live| match (live, wanted) {
                (Value::Array(live), Value::Array(wanted)) if MERGED_LISTS.contains(&field.as_str()) => {
                    wanted
                        .iter()
                        .all(|wanted| live.iter().any(|live| covers(live, wanted)))
                }
                (live, wanted) => covers(live, wanted),
            })
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| covers(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kube::core::ObjectMeta;
    use serde_json::json;

    use super::*;

    fn config_map(text: &str) -> Object {
        Object::new(&ConfigMap {
            metadata: ObjectMeta {
                name: Some("demo".into()),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([("file".into(), text.into())])),
            ..ConfigMap::default()
        })
        .unwrap()
    }

    #[test]
    fn the_hash_is_the_contents_and_travels_with_it() {
        let object = config_map("a");
        assert_eq!(object.hash(), config_map("a").hash());
        assert_ne!(object.hash(), config_map("b").hash());
        assert_eq!(
            object.content()["metadata"]["annotations"][HASH_ANNOTATION],
            object.hash()
        );
    }

    /// Other operators' hashes are compared with ours, so that it must not change with the compiler.
    #[test]
    fn the_hash_is_the_same_in_every_build() {
        assert_eq!(config_map("a").hash(), "f429cb22d6e05df4");
    }

    #[test]
    fn defaults_and_fields_of_others_do_not_count() {
        let object = config_map("a");
        let mut live = object.content();
        live["metadata"]["resourceVersion"] = json!("17");
        live["metadata"]["annotations"]["someone.else/note"] = json!("hello");
        live["data"]["other-file"] = json!("text");
        assert!(object.is_applied(&live));
    }

    #[test]
    fn an_item_of_a_list_does_not_name_its_type() {
        let object = config_map("a");
        let mut live = object.content();
        let fields = live.as_object_mut().unwrap();
        assert!(fields.remove("kind").is_some() && fields.remove("apiVersion").is_some());
        assert!(object.is_applied(&live));
    }

    #[test]
    fn a_changed_field_counts() {
        let object = config_map("a");
        let mut live = object.content();
        live["data"]["file"] = json!("b");
        assert!(!object.is_applied(&live));
    }

    #[test]
    fn a_field_that_is_no_longer_wanted_counts() {
        let mut before = config_map("a").content();
        before["immutable"] = json!(false);
        before["metadata"]["annotations"][HASH_ANNOTATION] = json!("an older hash");
        assert!(!config_map("a").is_applied(&before));
    }

    #[test]
    fn lists_are_compared_as_the_api_server_merges_them() {
        let wanted = json!({"containers": [{"name": "a", "args": ["x"]}], "rules": [{"verbs": ["get"]}]});
        let with = |containers, rules| json!({"containers": containers, "rules": rules});
        let ours = json!({"name": "a", "args": ["x"], "terminationMessagePath": "/dev/termination-log"});
        let rule = json!({"verbs": ["get"]});
        assert!(covers(&with(json!([ours]), json!([rule])), &wanted));
        assert!(covers(
            &with(json!([{"name": "sidecar"}, ours]), json!([rule])),
            &wanted
        ));
        assert!(!covers(
            &with(json!([{"name": "sidecar"}]), json!([rule])),
            &wanted
        ));
        assert!(!covers(
            &with(json!([ours]), json!([rule, {"verbs": ["*"]}])),
            &wanted
        ));
        let more_args = json!({"name": "a", "args": ["x", "y"]});
        assert!(!covers(&with(json!([more_args]), json!([rule])), &wanted));
    }
}
