//! Server-side apply, as far as one manager that always forces its will needs it.

use serde_json::{Map, Value};

/// Applies `sent` over `live`. What this manager had applied `before` and does not send any more is removed; lists whose
/// items have names are merged by name, other lists are replaced (Kubernetes: Server-Side Apply, merge strategy; the
/// lists of the built-in kinds that are merged have the key `name`).
pub fn apply(live: &mut Value, before: &Value, sent: &Value) {
    match sent {
        Value::Object(sent) => {
            if !live.is_object() {
                *live = Value::Object(Map::new());
            }
            if let Value::Object(live) = live {
                apply_fields(live, before.as_object().unwrap_or(&Map::new()), sent);
            }
        }
        Value::Array(sent) if named(sent) && live.as_array().is_some_and(|live| named(live)) => {
            if let Value::Array(live) = live {
                apply_items(live, before.as_array().map_or(&[], Vec::as_slice), sent);
            }
        }
        _ => *live = sent.clone(),
    }
}

fn apply_fields(live: &mut Map<String, Value>, before: &Map<String, Value>, sent: &Map<String, Value>) {
    for (field, gone) in before.iter().filter(|(field, _)| !sent.contains_key(*field)) {
        if let Some(value) = live.get_mut(field) {
            withdraw(value, gone);
            if is_hollow(value) {
                live.remove(field);
            }
        }
    }
    for (field, value) in sent {
        if value.is_null() {
            live.remove(field);
        } else {
            let was = before.get(field).unwrap_or(&Value::Null);
            apply(live.entry(field).or_insert(Value::Null), was, value);
        }
    }
}

fn apply_items(live: &mut Vec<Value>, before: &[Value], sent: &[Value]) {
    let find = |list: &[Value], item: &Value| {
        list.iter()
            .position(|other| other.get("name") == item.get("name"))
    };
    let foreign = |item: &&Value| find(before, item).is_none() && find(sent, item).is_none();
    let others: Vec<_> = live.iter().filter(foreign).cloned().collect();
    let mut merged = Vec::with_capacity(sent.len() + others.len());
    for item in sent {
        let was = find(before, item).map_or(&Value::Null, |at| &before[at]);
        let mut mine = find(live, item).map_or(Value::Null, |at| live[at].take());
        apply(&mut mine, was, item);
        merged.push(mine);
    }
    merged.extend(others);
    *live = merged;
}

fn named(list: &[Value]) -> bool {
    !list.is_empty()
        && list
            .iter()
            .all(|item| item.get("name").is_some_and(Value::is_string))
}

/// Takes away what was applied; what others have put beside it stays.
fn withdraw(live: &mut Value, gone: &Value) {
    match (&mut *live, gone) {
        (Value::Object(live), Value::Object(gone)) => {
            for (field, value) in gone {
                if let Some(mine) = live.get_mut(field) {
                    withdraw(mine, value);
                    if is_hollow(mine) {
                        live.remove(field);
                    }
                }
            }
        }
        _ => *live = Value::Null,
    }
}

fn is_hollow(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_apply_takes_nothing_from_others() {
        let mut live = json!({"spec": {"other": 3}});
        apply(&mut live, &Value::Null, &json!({"status": {"x": 1, "y": null}}));
        assert_eq!(live, json!({"spec": {"other": 3}, "status": {"x": 1}}));
    }

    #[test]
    fn fields_that_are_not_sent_any_more_go_and_those_of_others_stay() {
        let mut live = json!({"spec": {"a": 1, "b": 2, "other": 3}, "status": {"x": 1}});
        apply(
            &mut live,
            &json!({"spec": {"a": 1, "b": 2}}),
            &json!({"spec": {"a": 5}}),
        );
        assert_eq!(live, json!({"spec": {"a": 5, "other": 3}, "status": {"x": 1}}));
    }

    #[test]
    fn lists_with_names_are_merged_and_others_replaced() {
        let mut live = json!({"c": [{"name": "x", "k": 1}, {"name": "sidecar"}], "args": ["a", "b"]});
        let before = json!({"c": [{"name": "x", "k": 1}], "args": ["a", "b"]});
        apply(
            &mut live,
            &before,
            &json!({"c": [{"name": "x", "k": 2}], "args": ["a"]}),
        );
        assert_eq!(
            live,
            json!({"c": [{"name": "x", "k": 2}, {"name": "sidecar"}], "args": ["a"]})
        );
    }
}
