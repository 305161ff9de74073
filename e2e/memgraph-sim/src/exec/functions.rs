//! Functions.

use bolt_server::Failure;

use super::{Context, text as strings};
use crate::{
    messages,
    temporal::Temporal,
    value::{Gid, Value},
};

/// The largest list that `range` makes.
const RANGE_LIMIT: i64 = 10_000_000;

/// Calls a function by its upper-case name.
pub(super) fn call(context: &Context<'_>, name: &str, arguments: Vec<Value>) -> Result<Value, Failure> {
    let wrong = || {
        messages::unsupported(format_args!(
            "function {} with such arguments",
            name.to_lowercase()
        ))
    };
    if name == "COALESCE" {
        return Ok(arguments
            .into_iter()
            .find(|value| *value != Value::Null)
            .unwrap_or_default());
    }
    if name == "RANGE" {
        return range(&arguments).ok_or_else(wrong)?;
    }
    if let Some(result) = strings::call(name, &arguments) {
        return result;
    }
    let [argument] = <[Value; 1]>::try_from(arguments)
        .map_err(|_| messages::unsupported(format_args!("function {}", name.to_lowercase())))?;
    let graph = &context.graph;
    let view = context.view();
    if argument == Value::Null {
        return Ok(Value::Null);
    }
    match (name, argument) {
        ("ID", Value::Node(Gid(gid)) | Value::Relationship(Gid(gid))) => Ok(int(gid)),
        ("LABELS", Value::Node(gid)) => {
            let labels = graph
                .node(view, gid)
                .map(|node| node.labels.as_slice())
                .unwrap_or_default();
            Ok(Value::List(
                labels
                    .iter()
                    .map(|it| Value::String(graph.name(*it).to_owned()))
                    .collect(),
            ))
        }
        ("TYPE", Value::Relationship(gid)) => {
            let kind = graph.ends(gid).map(|(kind, ..)| graph.name(kind).to_owned());
            Ok(kind.map_or(Value::Null, Value::String))
        }
        ("STARTNODE", Value::Relationship(gid)) => Ok(graph
            .ends(gid)
            .map_or(Value::Null, |(_, from, _)| Value::Node(from))),
        ("ENDNODE", Value::Relationship(gid)) => {
            Ok(graph.ends(gid).map_or(Value::Null, |(_, _, to)| Value::Node(to)))
        }
        ("PROPERTIES", value) => properties(context, &value).map(Value::Map).ok_or_else(wrong),
        ("KEYS", value) => {
            let keys = properties(context, &value)
                .ok_or_else(wrong)?
                .into_keys()
                .map(Value::String);
            Ok(Value::List(keys.collect()))
        }
        ("SIZE" | "LENGTH", Value::List(items)) => Ok(int(items.len() as u64)),
        // The number of bytes.
        ("SIZE" | "LENGTH", Value::String(text)) => Ok(int(text.len() as u64)),
        ("SIZE" | "LENGTH", Value::Map(map)) => Ok(int(map.len() as u64)),
        ("SIZE" | "LENGTH", Value::Path(path)) => Ok(int(path.hop.iter().len() as u64)),
        ("NODES", Value::Path(path)) => {
            let end = path.hop.map(|(_, end)| end);
            let nodes = std::iter::once(path.start).chain(end);
            Ok(Value::List(nodes.map(Value::Node).collect()))
        }
        ("RELATIONSHIPS", Value::Path(path)) => {
            let relationships = path.hop.into_iter().map(|(gid, _)| Value::Relationship(gid));
            Ok(Value::List(relationships.collect()))
        }
        ("TAIL", Value::List(items)) => Ok(Value::List(items.into_iter().skip(1).collect())),
        ("HEAD", Value::List(items)) => Ok(items.into_iter().next().unwrap_or_default()),
        ("LAST", Value::List(items)) => Ok(items.into_iter().next_back().unwrap_or_default()),
        ("ABS", Value::Int(value)) => Ok(Value::Int(value.saturating_abs())),
        ("ABS", Value::Float(value)) => Ok(Value::Float(value.abs())),
        // Only ASCII letters have two cases in Memgraph.
        ("TOUPPER", Value::String(text)) => Ok(Value::String(text.to_ascii_uppercase())),
        ("TOLOWER", Value::String(text)) => Ok(Value::String(text.to_ascii_lowercase())),
        ("TRIM", Value::String(text)) => Ok(Value::String(text.trim_matches(strings::is_space).to_owned())),
        ("FLOOR" | "CEIL" | "ROUND" | "SQRT", value @ (Value::Int(_) | Value::Float(_))) => {
            let number = match value {
                Value::Int(value) => value as f64,
                Value::Float(value) => value,
                _ => return Err(wrong()),
            };
            Ok(Value::Float(match name {
                "FLOOR" => number.floor(),
                "CEIL" => number.ceil(),
                "ROUND" => number.round(),
                _ => number.sqrt(),
            }))
        }
        ("DATE", Value::String(text)) => temporal(&text, Temporal::parse_date),
        ("LOCALTIME", Value::String(text)) => temporal(&text, Temporal::parse_local_time),
        ("LOCALDATETIME", Value::String(text)) => temporal(&text, Temporal::parse_local_date_time),
        ("DATETIME", Value::String(text)) => temporal(&text, Temporal::parse_date_time),
        ("DURATION", Value::String(text)) => temporal(&text, Temporal::parse_duration),
        ("TOSTRING", value) => text(&value).map(Value::String).ok_or_else(wrong),
        ("TOINTEGER", Value::Float(value)) => Ok(Value::Int(value as i64)),
        ("TOINTEGER", Value::Bool(value)) => Ok(Value::Int(value.into())),
        ("TOINTEGER", Value::String(text)) => {
            let text = text.trim();
            let whole = text
                .parse()
                .ok()
                .or_else(|| text.parse::<f64>().ok().map(|value| value as i64));
            Ok(whole.map_or(Value::Null, Value::Int))
        }
        ("TOFLOAT", Value::Int(value)) => Ok(Value::Float(value as f64)),
        ("TOFLOAT", Value::String(text)) => Ok(text.trim().parse().map_or(Value::Null, Value::Float)),
        ("TOBOOLEAN", Value::String(text)) => Ok(match text.to_lowercase().as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => Value::Null,
        }),
        ("TOBOOLEAN", value @ Value::Bool(_))
        | ("TOINTEGER", value @ Value::Int(_))
        | ("TOFLOAT", value @ Value::Float(_)) => Ok(value),
        (
            "ID" | "LABELS" | "TYPE" | "STARTNODE" | "ENDNODE" | "SIZE" | "LENGTH" | "NODES"
            | "RELATIONSHIPS" | "TAIL" | "HEAD" | "LAST" | "ABS" | "TOUPPER" | "TOLOWER" | "TRIM" | "LTRIM"
            | "RTRIM" | "REVERSE" | "FLOOR" | "CEIL" | "ROUND" | "SQRT" | "TOINTEGER" | "TOFLOAT"
            | "TOBOOLEAN",
            _,
        ) => Err(wrong()),
        _ => Err(messages::unsupported(format_args!(
            "function {}",
            name.to_lowercase()
        ))),
    }
}

fn int(value: u64) -> Value {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

/// The properties of a node, relationship or map.
pub(super) fn properties(
    context: &Context<'_>,
    value: &Value,
) -> Option<std::collections::BTreeMap<String, Value>> {
    let graph = &context.graph;
    let view = context.view();
    let list = match value {
        Value::Map(map) => return Some(map.clone()),
        Value::Node(gid) => graph.node(view, *gid).map(|node| &node.properties),
        Value::Relationship(gid) => graph.relationship(view, *gid).map(|it| &it.properties),
        _ => return None,
    };
    let named = |(key, value): &(crate::storage::Name, Value)| (graph.name(*key).to_owned(), value.clone());
    Some(list.into_iter().flatten().map(named).collect())
}

/// A value as `toString` gives it.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) => Some(float_text(*value)),
        Value::Bool(value) => Some(value.to_string()),
        Value::Enum(it) => Some(format!("{}::{}", it.name, it.value)),
        Value::Temporal(value) => Some(value.to_string()),
        _ => None,
    }
}

/// 15 decimal places, less zeros at the end (`DoubleToString` in `utils/string.hpp`).
fn float_text(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string().to_lowercase();
    }
    let text = format!("{value:.15}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A temporal value of its text.
fn temporal(text: &str, parse: fn(&str) -> Option<Temporal>) -> Result<Value, Failure> {
    parse(text)
        .map(Value::Temporal)
        .ok_or_else(|| messages::unsupported(format_args!("the date or time {text:?}")))
}

/// `range(from, to, step)`; `None` when the arguments have the wrong types.
fn range(arguments: &[Value]) -> Option<Result<Value, Failure>> {
    let (from, to, step) = match arguments {
        [Value::Int(from), Value::Int(to)] => (*from, *to, 1),
        [Value::Int(from), Value::Int(to), Value::Int(step)] if *step != 0 => (*from, *to, *step),
        _ => return None,
    };
    let count = (i128::from(to) - i128::from(from)) / i128::from(step) + 1;
    if count > i128::from(RANGE_LIMIT) {
        return Some(Err(messages::unsupported(format_args!(
            "a range of more than {RANGE_LIMIT} numbers"
        ))));
    }
    let mut items = Vec::new();
    let mut at = from;
    while (step > 0 && at <= to) || (step < 0 && at >= to) {
        items.push(Value::Int(at));
        match at.checked_add(step) {
            Some(next) => at = next,
            None => break,
        }
    }
    Some(Ok(Value::List(items)))
}
