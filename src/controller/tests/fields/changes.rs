//! From any spec to any other one: what a changed cluster has is what a new one has.

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::Value;

use super::{built, cluster, put, rows};
use crate::{
    api::MemgraphClusterSpec,
    resources::{Desired, Kind, Object},
};

/// Specs with some of all fields, of which each has one of its row's values. They may break rules between fields; builders must
/// cope with that, because rules may be missing where an older definition is.
fn specs() -> impl Strategy<Value = Value> {
    let rows = rows();
    let chosen = prop::collection::vec((0..rows.len(), 0..2_usize), 0..16);
    chosen.prop_filter_map("fields that exclude each other", move |chosen| {
        let mut spec = Value::Object(serde_json::Map::new());
        for (row, value) in chosen {
            merge(&mut spec, &rows[row].beside);
            put(&mut spec, &rows[row].path, rows[row].values[value].clone());
        }
        let fits = serde_json::from_value::<MemgraphClusterSpec>(spec.clone()).is_ok();
        fits.then_some(spec)
    })
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// The part of an object that the API server lets nobody change.
fn fixed(object: &Object) -> Value {
    let mut spec = object.content()["spec"].take();
    match object.key().kind {
        Kind::StatefulSet => {
            if let Some(fields) = spec.as_object_mut() {
                fields.retain(|field, _| {
                    !matches!(
                        field.as_str(),
                        "replicas" | "template" | "updateStrategy" | "persistentVolumeClaimRetentionPolicy"
                    )
                });
            }
            // Another size has the StatefulSet replaced, another class is refused.
            for path in ["resources", "storageClassName"] {
                if let Some(claim) = spec.pointer_mut("/volumeClaimTemplates/0/spec") {
                    claim[path] = Value::Null;
                }
            }
            spec
        }
        Kind::Deployment => spec["selector"].take(),
        Kind::Service => spec["clusterIP"].take(),
        Kind::RoleBinding => object.content()["roleRef"].take(),
        Kind::ServiceAccount
        | Kind::Role
        | Kind::ConfigMap
        | Kind::NetworkPolicy
        | Kind::PodDisruptionBudget => Value::Null,
    }
}

fn build(spec: &Value) -> Option<Desired> {
    // What no definition would let through may be refused, but not end the process.
    built(&cluster(spec)).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn nothing_of_an_earlier_spec_is_left_and_nothing_fixed_changes(before in specs(), after in specs()) {
        let in_pods = |spec: &Value| !spec["storage"]["emptyDir"].is_null();
        // Nobody can go from claims to pods, or back.
        if in_pods(&before) == in_pods(&after) && let (Some(old), Some(new)) = (build(&before), build(&after)) {
            for object in &old.objects {
                match new.objects.iter().find(|next| next.key() == object.key()) {
                    Some(next) => prop_assert_eq!(fixed(object), fixed(next), "{:?}", object.key()),
                    None => prop_assert!(
                        new.absent.contains(object.key()) || new.is_left_over(object.key()),
                        "{:?} stays",
                        object.key()
                    ),
                }
            }
            // The same spec makes the same, whatever was there before.
            let again = build(&after);
            prop_assert_eq!(Some(&new), again.as_ref());
            let unwanted = |object: &Object| new.absent.contains(object.key()) || new.is_left_over(object.key());
            prop_assert!(!new.objects.iter().any(unwanted));
            let mut keys: Vec<_> = new.objects.iter().map(Object::key).collect();
            keys.sort();
            keys.dedup();
            prop_assert_eq!(keys.len(), new.objects.len(), "two objects of one name");
        }
    }
}

#[test]
fn most_specs_can_be_built() {
    let mut runner = TestRunner::deterministic();
    let specs = specs();
    let built = (0..200).filter(|_| {
        let tree = specs.new_tree(&mut runner).unwrap();
        build(&tree.current()).is_some()
    });
    let built = built.count();
    assert!(built > 100, "{built} of 200");
}
