//! The values that travel in Bolt messages.

use std::collections::BTreeMap;

/// A Bolt map. Memgraph keeps maps ordered by key, and so does everything that it sends.
pub type Map = BTreeMap<String, Value>;

/// A value of the Bolt type system, as far as Memgraph's graph queries need it.
///
/// Bytes do not exist in Memgraph; date-times in a named time zone and points are outside of what this crate
/// carries.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// The absent value.
    #[default]
    Null,
    /// A truth value.
    Boolean(bool),
    /// A 64-bit signed integer.
    Integer(i64),
    /// A double.
    Float(f64),
    /// Text.
    String(String),
    /// A list of any values.
    List(Vec<Value>),
    /// A map from names to any values.
    Map(Map),
    /// A node of the graph.
    Node(Node),
    /// A relationship with both its ends.
    Relationship(Relationship),
    /// A walk through the graph.
    Path(Path),
    /// A date, a time or a span of time.
    Temporal(Temporal),
}

/// A date, a time or a span of time, in Bolt's units. Memgraph itself keeps microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temporal {
    /// A day.
    Date {
        /// Days since 1970-01-01.
        days: i64,
    },
    /// A time of any day.
    LocalTime {
        /// Nanoseconds since midnight.
        nanoseconds: i64,
    },
    /// A day and a time, wherever.
    LocalDateTime {
        /// Seconds since 1970-01-01T00:00:00.
        seconds: i64,
        /// Nanoseconds after that.
        nanoseconds: i64,
    },
    /// A moment, as told where the clock differs from UTC by an offset.
    DateTime {
        /// Seconds since 1970-01-01T00:00:00Z.
        seconds: i64,
        /// Nanoseconds after that.
        nanoseconds: i64,
        /// Seconds that the local time is ahead of UTC.
        offset: i64,
    },
    /// A moment, as told in the time zone of that name: `Etc/UTC`.
    InUtc {
        /// Seconds since 1970-01-01T00:00:00Z.
        seconds: i64,
        /// Nanoseconds after that.
        nanoseconds: i64,
    },
    /// A span.
    Duration {
        /// Months.
        months: i64,
        /// Days besides the months.
        days: i64,
        /// Seconds besides the days.
        seconds: i64,
        /// Nanoseconds besides the seconds.
        nanoseconds: i64,
    },
}

/// A node as sent to a client. Its element id (Bolt 5) is the decimal form of `id`, as in Memgraph.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// Memgraph's internal id (`id(n)`).
    pub id: i64,
    /// Labels, in the order in which they were added.
    pub labels: Vec<String>,
    /// Properties.
    pub properties: Map,
}

/// A relationship as sent to a client. Element ids (Bolt 5) are the decimal forms of the ids.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Relationship {
    /// Memgraph's internal id (`id(r)`).
    pub id: i64,
    /// Id of the node where it starts.
    pub start: i64,
    /// Id of the node where it ends.
    pub end: i64,
    /// The relationship type.
    pub kind: String,
    /// Properties.
    pub properties: Map,
}

/// A relationship inside a [`Path`], whose ends follow from the path.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UnboundRelationship {
    /// Memgraph's internal id.
    pub id: i64,
    /// The relationship type.
    pub kind: String,
    /// Properties.
    pub properties: Map,
}

/// A path in Bolt's form: distinct nodes and relationships, and the walk as indices into them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Path {
    /// The distinct nodes; the first one is where the walk starts.
    pub nodes: Vec<Node>,
    /// The distinct relationships.
    pub relationships: Vec<UnboundRelationship>,
    /// Pairs of (relationship, node): the relationship is 1-based and negative when it is walked against
    /// its direction, the node is 0-based.
    pub indices: Vec<i64>,
}

impl Value {
    /// The name of the value's type, for messages.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "boolean",
            Self::Integer(_) => "integer",
            Self::Float(_) => "float",
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Node(_) => "node",
            Self::Relationship(_) => "relationship",
            Self::Path(_) => "path",
            Self::Temporal(_) => "temporal value",
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if this is an integer.
    pub const fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

impl From<Vec<Value>> for Value {
    fn from(value: Vec<Value>) -> Self {
        Self::List(value)
    }
}

impl From<Map> for Value {
    fn from(value: Map) -> Self {
        Self::Map(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
