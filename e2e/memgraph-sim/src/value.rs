//! The values that queries compute with and that properties hold.

use std::{cell::Cell, cmp::Ordering, collections::BTreeMap};

use bolt_server::Value as BoltValue;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// How deep lists and maps may nest in what is stored, logged and replicated. As deep as parameters can
/// ([`bolt_server::packstream::MAX_DEPTH`]).
pub(crate) const MAX_DEPTH: usize = 128;

thread_local! {
    /// How deep the value is whose parts are being read.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Reads the parts of a value, but refuses what is nested too deep: otherwise bytes of a file or of another instance
/// could exhaust the stack.
fn nested<'de, D: Deserializer<'de>, Parts: Deserialize<'de>>(deserializer: D) -> Result<Parts, D::Error> {
    let depth = DEPTH.get();
    if depth == MAX_DEPTH {
        return Err(D::Error::custom("a value is nested too deep"));
    }
    DEPTH.set(depth + 1);
    let parts = Parts::deserialize(deserializer);
    DEPTH.set(depth);
    parts
}

use crate::temporal::Temporal;

/// The internal id of a node or a relationship (`id(n)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Gid(pub(crate) u64);

/// A value of an enum.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct EnumValue {
    /// The name of the enum.
    pub(crate) name: String,
    pub(crate) value: String,
}

/// A value of Cypher.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    List(#[serde(deserialize_with = "nested")] Vec<Value>),
    Map(#[serde(deserialize_with = "nested")] BTreeMap<String, Value>),
    /// In a box, because it is rare and would make every value larger.
    Enum(Box<EnumValue>),
    /// A reference into the graph; never stored.
    Node(Gid),
    /// A reference into the graph; never stored.
    Relationship(Gid),
    Temporal(Temporal),
    /// References into the graph; never stored.
    Path(Box<Path>),
}

/// A node, or two nodes and the relationship between them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Path {
    pub(crate) start: Gid,
    /// The relationship, and the node behind it.
    pub(crate) hop: Option<(Gid, Gid)>,
}

/// The value has a type that the simulator does not carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("values of type {0}")]
pub(crate) struct UnsupportedValue(pub(crate) &'static str);

impl Value {
    /// The type's name in Memgraph's messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "double",
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Enum(_) => "enum",
            Self::Node(_) => "vertex",
            Self::Relationship(_) => "edge",
            Self::Temporal(value) => value.type_name(),
            Self::Path(_) => "path",
        }
    }

    /// Takes a query parameter.
    pub(crate) fn from_bolt(value: BoltValue) -> Result<Self, UnsupportedValue> {
        Ok(match value {
            BoltValue::Null => Self::Null,
            BoltValue::Boolean(value) => Self::Bool(value),
            BoltValue::Integer(value) => Self::Int(value),
            BoltValue::Float(value) => Self::Float(value),
            BoltValue::String(value) => Self::String(value),
            BoltValue::List(values) => Self::List(
                values
                    .into_iter()
                    .map(Self::from_bolt)
                    .collect::<Result<_, _>>()?,
            ),
            BoltValue::Map(map) => Self::Map(
                map.into_iter()
                    .map(|(key, value)| Ok((key, Self::from_bolt(value)?)))
                    .collect::<Result<_, _>>()?,
            ),
            BoltValue::Temporal(value) => {
                Self::Temporal(Temporal::from_bolt(value).ok_or(UnsupportedValue("time out of range"))?)
            }
            other => return Err(UnsupportedValue(other.type_name())),
        })
    }

    fn is_nan(&self) -> bool {
        matches!(self, Self::Float(value) if value.is_nan())
    }

    /// Whether lists and maps in it nest no deeper than `limit`.
    pub(crate) fn nests_within(&self, limit: usize) -> bool {
        let inner = |value: &Self| {
            limit
                .checked_sub(1)
                .is_some_and(|limit| value.nests_within(limit))
        };
        match self {
            Self::List(values) => limit > 0 && values.iter().all(inner),
            Self::Map(map) => limit > 0 && map.values().all(inner),
            _ => true,
        }
    }

    /// Whether a property can hold the value.
    pub(crate) fn is_storable(&self) -> bool {
        match self {
            Self::Node(_) | Self::Relationship(_) | Self::Path(_) => false,
            Self::List(values) => values.iter().all(Self::is_storable),
            Self::Map(map) => map.values().all(Self::is_storable),
            _ => true,
        }
    }

    /// Cypher's `=`: `None` when the answer is null.
    pub(crate) fn equals(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::Null, _) | (_, Self::Null) => None,
            (Self::Int(a), Self::Float(b)) | (Self::Float(b), Self::Int(a)) => Some(*a as f64 == *b),
            (Self::List(a), Self::List(b)) => {
                if a.len() != b.len() {
                    return Some(false);
                }
                let mut unknown = false;
                for (a, b) in a.iter().zip(b) {
                    match a.equals(b) {
                        Some(false) => return Some(false),
                        None => unknown = true,
                        Some(true) => {}
                    }
                }
                (!unknown).then_some(true)
            }
            _ => Some(self == other),
        }
    }

    /// Cypher's `<` and friends: `None` when the two cannot be compared.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Float(b)) => (*a as f64).partial_cmp(b),
            (Self::Float(a), Self::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Temporal(a), Self::Temporal(b)) if a.type_name() == b.type_name() => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// The total order of ORDER BY and of `min`/`max`: by type, then by value; null is last.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        fn rank(value: &Value) -> u8 {
            match value {
                Value::Bool(_) => 0,
                Value::Int(_) | Value::Float(_) => 1,
                Value::String(_) => 2,
                Value::List(_) => 3,
                Value::Map(_) => 4,
                Value::Enum(_) => 5,
                Value::Node(_) => 6,
                Value::Relationship(_) => 7,
                Value::Path(_) => 8,
                Value::Temporal(_) => 9,
                Value::Null => 10,
            }
        }
        match (self, other) {
            (Self::List(a), Self::List(b)) => a
                .iter()
                .zip(b)
                .map(|(a, b)| a.order(b))
                .find(|order| order.is_ne())
                .unwrap_or_else(|| a.len().cmp(&b.len())),
            (Self::Map(a), Self::Map(b)) => a
                .iter()
                .zip(b)
                .map(|((key, a), (other, b))| key.cmp(other).then_with(|| a.order(b)))
                .find(|order| order.is_ne())
                .unwrap_or_else(|| a.len().cmp(&b.len())),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Enum(a), Self::Enum(b)) => a.cmp(b),
            (Self::Node(a), Self::Node(b)) | (Self::Relationship(a), Self::Relationship(b)) => a.cmp(b),
            (Self::Path(a), Self::Path(b)) => a.cmp(b),
            (Self::Temporal(a), Self::Temporal(b)) => a.cmp(b),
            _ => self
                .compare(other)
                // What is not a number stands after all numbers: an order with holes would confuse indexes.
                .unwrap_or_else(|| (rank(self), self.is_nan()).cmp(&(rank(other), other.is_nan()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_both_types_compare() {
        assert_eq!(Value::Int(1).equals(&Value::Float(1.0)), Some(true));
        assert_eq!(Value::Int(1).compare(&Value::Float(1.5)), Some(Ordering::Less));
        assert_eq!(Value::Int(1).compare(&Value::String("1".into())), None);
    }

    #[test]
    fn values_nest_up_to_the_limit() {
        let deep = |levels: usize| (0..levels).fold(Value::Null, |inner, _| Value::List(vec![inner]));
        for levels in [0, 1, MAX_DEPTH, MAX_DEPTH + 1] {
            let allowed = levels <= MAX_DEPTH;
            assert_eq!(deep(levels).nests_within(MAX_DEPTH), allowed);
            let bytes = postcard::to_stdvec(&deep(levels)).unwrap();
            let read = postcard::from_bytes::<Value>(&bytes);
            assert_eq!(read.is_ok(), allowed);
        }
        // The fifth variant, a list of one, again and again.
        let endless = [5, 1].repeat(1_000_000);
        assert!(postcard::from_bytes::<Value>(&endless).is_err());
        assert!(
            postcard::from_bytes::<Value>(&[5, 0]).is_ok(),
            "a failure leaves nothing behind"
        );
    }

    #[test]
    fn null_equals_nothing() {
        assert_eq!(Value::Null.equals(&Value::Null), None);
        let list = |value| Value::List(vec![Value::Int(1), value]);
        assert_eq!(list(Value::Null).equals(&list(Value::Int(2))), None);
        assert_eq!(list(Value::Int(3)).equals(&list(Value::Int(2))), Some(false));
    }

    #[test]
    fn null_is_ordered_last() {
        let nan = Value::Float(f64::NAN);
        assert_eq!(nan.order(&nan), Ordering::Equal);
        assert_eq!(nan.order(&Value::Int(1)), Ordering::Greater);
        let mut values = vec![
            Value::Null,
            Value::String("a".into()),
            Value::Int(2),
            Value::Float(1.5),
        ];
        values.sort_by(Value::order);
        assert_eq!(
            values,
            [
                Value::Float(1.5),
                Value::Int(2),
                Value::String("a".into()),
                Value::Null
            ]
        );
    }
}
