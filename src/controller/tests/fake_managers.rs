//! As much of managed fields as the operator relies on: labels and annotations that a manager has applied, and does not any more.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fake_api::Place;

const PARTS: [&str; 2] = ["labels", "annotations"];

/// What one manager has applied to each object last.
#[derive(Default)]
pub(super) struct Given(BTreeMap<Place, Vec<(&'static str, String)>>);

impl Given {
    /// Takes what was applied before, and is not in `sent`, from the object.
    pub(super) fn take_back(&mut self, place: &Place, object: &mut Value, sent: &Value) {
        let keys = |part| {
            let keys = sent["metadata"][part].as_object().into_iter().flatten();
            keys.map(move |(key, _)| (part, key.clone()))
        };
        let now: Vec<_> = PARTS.into_iter().flat_map(keys).collect();
        let before = self.0.insert(place.clone(), now.clone()).unwrap_or_default();
        for (part, key) in before.iter().filter(|key| !now.contains(key)) {
            if let Some(there) = object["metadata"][*part].as_object_mut() {
                there.remove(key);
            }
        }
    }
}
