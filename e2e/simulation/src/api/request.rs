//! What a request to the API server is about.

use std::collections::BTreeMap;

use http::Uri;

/// Objects of one kind: API version (`v1`, `apps/v1`) and plural.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// Group and version.
    pub version: String,
    /// Such as `pods`.
    pub plural: String,
}

impl Resource {
    /// A resource by its names.
    #[must_use]
    pub fn new(version: &str, plural: &str) -> Self {
        Self {
            version: version.to_owned(),
            plural: plural.to_owned(),
        }
    }

    /// Pods.
    #[must_use]
    pub fn pods() -> Self {
        Self::new("v1", "pods")
    }

    /// Volume claims.
    #[must_use]
    pub fn claims() -> Self {
        Self::new("v1", "persistentvolumeclaims")
    }

    /// The operator's own objects.
    #[must_use]
    pub fn clusters() -> Self {
        Self::new("memgraph.dev/v1alpha1", "memgraphclusters")
    }

    /// StatefulSets.
    #[must_use]
    pub fn stateful_sets() -> Self {
        Self::new("apps/v1", "statefulsets")
    }

    /// Deployments.
    #[must_use]
    pub fn deployments() -> Self {
        Self::new("apps/v1", "deployments")
    }
}

/// Where an object lies within its resource: namespace and name.
pub type Key = (String, String);

/// The path of a request, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What kind of object.
    pub resource: Resource,
    /// Empty: all namespaces.
    pub namespace: String,
    /// None: the whole collection.
    pub name: Option<String>,
    /// Such as `status`.
    pub subresource: Option<String>,
}

impl Target {
    /// Reads a path such as `/apis/apps/v1/namespaces/db/statefulsets/demo`. None for one that is no object's.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        let (version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => ((*namespace).to_owned(), rest),
            rest => (String::new(), rest),
        };
        let part = |index: usize| rest.get(index).map(|part| (*part).to_owned());
        Some(Self {
            resource: Resource {
                version,
                plural: part(0)?,
            },
            namespace,
            name: part(1),
            subresource: part(2),
        })
    }

    /// The object that is meant, if it is one.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        Some((self.namespace.clone(), self.name.clone()?))
    }
}

/// The query of a request.
#[must_use]
pub fn query(uri: &Uri) -> BTreeMap<String, String> {
    uri.query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), decoded(value)))
        .collect()
}

/// Takes percent-encoding back.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
        match byte {
            b'%' => {
                let (high, low) = (hex(rest.next()), hex(rest.next()));
                let code = high.zip(low).and_then(|(h, l)| u8::try_from(h * 16 + l).ok());
                bytes.extend(code);
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        let target =
            Target::of("/apis/memgraph.dev/v1alpha1/namespaces/db/memgraphclusters/demo/status").unwrap();
        assert_eq!(target.resource, Resource::clusters());
        assert_eq!(target.key(), Some(("db".to_owned(), "demo".to_owned())));
        assert_eq!(target.subresource.as_deref(), Some("status"));
        let all = Target::of("/api/v1/pods").unwrap();
        assert_eq!((all.resource, all.name), (Resource::pods(), None));
        assert_eq!(Target::of("/healthz"), None);
    }

    #[test]
    fn queries_are_decoded() {
        let uri: Uri = "/api/v1/pods?labelSelector=a%2Fb%3Dc&watch=true".parse().unwrap();
        assert_eq!(query(&uri)["labelSelector"], "a/b=c");
        assert_eq!(query(&uri)["watch"], "true");
    }
}
