//! Which objects a list or a watch shows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::request::{Key, Target};

/// What a list or a watch asks for.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    namespace: String,
    labels: Vec<(String, Option<String>)>,
    fields: Vec<(String, String)>,
}

impl Selector {
    /// Reads `labelSelector` (equality and existence) and `fieldSelector` (equality).
    #[must_use]
    pub fn of(target: &Target, query: &BTreeMap<String, String>) -> Self {
        let terms = |name: &str| -> Vec<String> {
            let text = query.get(name).map(String::as_str).unwrap_or_default();
            text.split(',')
                .filter(|term| !term.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let split = |term: &str| match term.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.trim_start_matches('=').to_owned())),
            None => (term.to_owned(), None),
        };
        let fields = terms("fieldSelector");
        Self {
            namespace: target.namespace.clone(),
            labels: terms("labelSelector").iter().map(|term| split(term)).collect(),
            fields: fields
                .iter()
                .map(|term| split(term))
                .filter_map(|(key, value)| Some((key, value?)))
                .collect(),
        }
    }

    /// Whether this object is shown.
    #[must_use]
    pub fn shows(&self, key: &Key, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        (self.namespace.is_empty() || self.namespace == key.0)
            && self.labels.iter().all(|(name, wanted)| {
                let label = labels.get(name).and_then(Value::as_str);
                label.is_some() && (wanted.is_none() || label == wanted.as_deref())
            })
            && self.fields.iter().all(|(path, wanted)| {
                let pointer = format!("/{}", path.replace('.', "/"));
                object.pointer(&pointer).and_then(Value::as_str) == Some(wanted)
            })
    }
}
