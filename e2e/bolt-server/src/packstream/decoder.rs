//! From bytes to values.

use super::{Structures, marker, structure};
use crate::{Map, Node, Path, Relationship, Temporal, UnboundRelationship, Value};

/// How deep values may nest. Deeper input is malformed; Memgraph would recurse until its stack ends.
pub const MAX_DEPTH: usize = 128;

/// Why bytes are no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes break the format; Memgraph closes the connection.
    #[error("malformed PackStream value")]
    Malformed,
    /// Memgraph would take the value, but this crate does not carry it.
    #[error("{0} in Bolt messages")]
    Unsupported(&'static str),
}

/// Reads values from a message, front to back.
#[derive(Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    structures: Structures,
}

impl<'a> Decoder<'a> {
    /// Starts at the front of `bytes`.
    pub const fn new(bytes: &'a [u8], structures: Structures) -> Self {
        Self { bytes, structures }
    }

    /// What was not read yet.
    pub const fn remaining(&self) -> &'a [u8] {
        self.bytes
    }

    /// Reads one byte.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&first, rest) = self.bytes.split_first().ok_or(DecodeError::Malformed)?;
        self.bytes = rest;
        Ok(first)
    }

    /// Reads one value.
    pub fn value(&mut self) -> Result<Value, DecodeError> {
        self.nested_value(MAX_DEPTH)
    }

    /// Reads a value that must be a map.
    pub fn map(&mut self) -> Result<Map, DecodeError> {
        self.nested_map(MAX_DEPTH)
    }

    /// Reads a value that must be a list.
    pub fn list(&mut self) -> Result<Vec<Value>, DecodeError> {
        match self.value()? {
            Value::List(items) => Ok(items),
            _ => Err(DecodeError::Malformed),
        }
    }

    /// Reads a value that must be a string.
    pub fn string(&mut self) -> Result<String, DecodeError> {
        // No nesting is needed for a string.
        match self.nested_value(0)? {
            Value::String(text) => Ok(text),
            _ => Err(DecodeError::Malformed),
        }
    }

    fn nested_value(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let marker = self.byte()?;
        let inner = depth.checked_sub(1).ok_or(DecodeError::Malformed);
        match marker {
            0x00..=0x7F | 0xF0..=0xFF => Ok(Value::Integer(i64::from(marker.cast_signed()))),
            marker::NULL => Ok(Value::Null),
            marker::FALSE => Ok(Value::Boolean(false)),
            marker::TRUE => Ok(Value::Boolean(true)),
            marker::FLOAT => Ok(Value::Float(f64::from_be_bytes(self.array()?))),
            marker::INT_8 => Ok(Value::Integer(i8::from_be_bytes(self.array()?).into())),
            marker::INT_16 => Ok(Value::Integer(i16::from_be_bytes(self.array()?).into())),
            marker::INT_32 => Ok(Value::Integer(i32::from_be_bytes(self.array()?).into())),
            marker::INT_64 => Ok(Value::Integer(i64::from_be_bytes(self.array()?))),
            _ if is_sized(marker, marker::TINY_STRING, marker::STRING_8) => {
                let size = self.size(marker)?;
                self.text(size).map(Value::String)
            }
            _ if is_sized(marker, marker::TINY_LIST, marker::LIST_8) => {
                let size = self.size(marker)?;
                self.items(size, inner?).map(Value::List)
            }
            _ if is_sized(marker, marker::TINY_MAP, marker::MAP_8) => {
                let size = self.size(marker)?;
                self.entries(size, inner?).map(Value::Map)
            }
            0xB0..=0xBF => self.structure(marker & 0x0F, inner?),
            _ => Err(DecodeError::Malformed),
        }
    }

    fn nested_map(&mut self, depth: usize) -> Result<Map, DecodeError> {
        match self.nested_value(depth)? {
            Value::Map(map) => Ok(map),
            _ => Err(DecodeError::Malformed),
        }
    }

    fn integer(&mut self) -> Result<i64, DecodeError> {
        // No nesting is needed for an integer.
        self.nested_value(0)?.as_integer().ok_or(DecodeError::Malformed)
    }

    fn integers<const N: usize>(&mut self) -> Result<[i64; N], DecodeError> {
        let mut fields = [0; N];
        for field in &mut fields {
            *field = self.integer()?;
        }
        Ok(fields)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(DecodeError::Malformed)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(DecodeError::Malformed)?;
        self.bytes = rest;
        Ok(*taken)
    }

    /// The size that follows from a marker of a string, list or map.
    fn size(&mut self, marker: u8) -> Result<usize, DecodeError> {
        if marker < marker::NULL {
            return Ok(usize::from(marker & 0x0F));
        }
        match marker & 0b11 {
            0 => Ok(usize::from(self.byte()?)),
            1 => Ok(usize::from(u16::from_be_bytes(self.array()?))),
            2 => usize::try_from(u32::from_be_bytes(self.array()?)).map_err(|_| DecodeError::Malformed),
            _ => Err(DecodeError::Malformed),
        }
    }

    fn text(&mut self, size: usize) -> Result<String, DecodeError> {
        let bytes = self.take(size)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| DecodeError::Unsupported("strings that are not UTF-8"))
    }

    fn items(&mut self, size: usize, depth: usize) -> Result<Vec<Value>, DecodeError> {
        // Each item takes a byte at least: a larger claim is wrong, and nothing is reserved for it.
        if size > self.bytes.len() {
            return Err(DecodeError::Malformed);
        }
        (0..size).map(|_| self.nested_value(depth)).collect()
    }

    fn entries(&mut self, size: usize, depth: usize) -> Result<Map, DecodeError> {
        let mut map = Map::new();
        for _ in 0..size {
            let Value::String(key) = self.nested_value(depth)? else {
                return Err(DecodeError::Malformed);
            };
            // Memgraph also takes a repeated key for malformed input.
            if map.insert(key, self.nested_value(depth)?).is_some() {
                return Err(DecodeError::Malformed);
            }
        }
        Ok(map)
    }

    fn structure(&mut self, fields: u8, depth: usize) -> Result<Value, DecodeError> {
        let tag = self.byte()?;
        let element_ids = u8::from(self.structures == Structures::WithElementIds);
        match (tag, fields) {
            (structure::NODE, n) if n == 3 + element_ids => self.node(depth).map(Value::Node),
            (structure::RELATIONSHIP, n) if n == 5 + 3 * element_ids => {
                self.relationship(depth).map(Value::Relationship)
            }
            (structure::PATH, 3) => self.path(depth).map(Value::Path),
            (structure::DATE, 1) => {
                let [days] = self.integers()?;
                Ok(Value::Temporal(Temporal::Date { days }))
            }
            (structure::LOCAL_TIME, 1) => {
                let [nanoseconds] = self.integers()?;
                Ok(Value::Temporal(Temporal::LocalTime { nanoseconds }))
            }
            (structure::LOCAL_DATE_TIME, 2) => {
                let [seconds, nanoseconds] = self.integers()?;
                Ok(Value::Temporal(Temporal::LocalDateTime { seconds, nanoseconds }))
            }
            (structure::DATE_TIME, 3) => {
                let [seconds, nanoseconds, offset] = self.integers()?;
                Ok(Value::Temporal(Temporal::DateTime {
                    seconds,
                    nanoseconds,
                    offset,
                }))
            }
            (structure::LEGACY_DATE_TIME, 3) if self.structures == Structures::Legacy => {
                let [local, nanoseconds, offset] = self.integers()?;
                Ok(Value::Temporal(Temporal::DateTime {
                    seconds: local.checked_sub(offset).ok_or(DecodeError::Malformed)?,
                    nanoseconds,
                    offset,
                }))
            }
            (structure::DURATION, 4) => {
                let [months, days, seconds, nanoseconds] = self.integers()?;
                Ok(Value::Temporal(Temporal::Duration {
                    months,
                    days,
                    seconds,
                    nanoseconds,
                }))
            }
            (structure::DATE_TIME_ZONE_ID | structure::LEGACY_DATE_TIME_ZONE_ID, 3) => {
                let [seconds, nanoseconds] = self.integers()?;
                match self.string()?.as_str() {
                    structure::UTC => Ok(Value::Temporal(Temporal::InUtc { seconds, nanoseconds })),
                    _ => Err(DecodeError::Unsupported("date-times in a named time zone")),
                }
            }
            (b'X', 3) | (b'Y', 4) => Err(DecodeError::Unsupported("points")),
            _ => Err(DecodeError::Malformed),
        }
    }

    fn node(&mut self, depth: usize) -> Result<Node, DecodeError> {
        let id = self.integer()?;
        let Value::List(labels) = self.nested_value(depth)? else {
            return Err(DecodeError::Malformed);
        };
        let labels = labels
            .into_iter()
            .map(|label| match label {
                Value::String(label) => Ok(label),
                _ => Err(DecodeError::Malformed),
            })
            .collect::<Result<_, _>>()?;
        let properties = self.nested_map(depth)?;
        self.skip_element_ids(1)?;
        Ok(Node {
            id,
            labels,
            properties,
        })
    }

    fn relationship(&mut self, depth: usize) -> Result<Relationship, DecodeError> {
        let (id, start, end) = (self.integer()?, self.integer()?, self.integer()?);
        let kind = self.string()?;
        let properties = self.nested_map(depth)?;
        self.skip_element_ids(3)?;
        Ok(Relationship {
            id,
            start,
            end,
            kind,
            properties,
        })
    }

    fn path(&mut self, depth: usize) -> Result<Path, DecodeError> {
        let Value::List(nodes) = self.nested_value(depth)? else {
            return Err(DecodeError::Malformed);
        };
        let nodes = nodes
            .into_iter()
            .map(|node| match node {
                Value::Node(node) => Ok(node),
                _ => Err(DecodeError::Malformed),
            })
            .collect::<Result<_, _>>()?;
        let relationships = self.unbound_relationships(depth)?;
        let Value::List(indices) = self.nested_value(depth)? else {
            return Err(DecodeError::Malformed);
        };
        let indices = indices
            .iter()
            .map(|index| index.as_integer().ok_or(DecodeError::Malformed))
            .collect::<Result<_, _>>()?;
        Ok(Path {
            nodes,
            relationships,
            indices,
        })
    }

    fn unbound_relationships(&mut self, depth: usize) -> Result<Vec<UnboundRelationship>, DecodeError> {
        let marker = self.byte()?;
        if !is_sized(marker, marker::TINY_LIST, marker::LIST_8) {
            return Err(DecodeError::Malformed);
        }
        let size = self.size(marker)?;
        let depth = depth.checked_sub(1).ok_or(DecodeError::Malformed)?;
        let fields = if self.structures == Structures::WithElementIds {
            4
        } else {
            3
        };
        (0..size)
            .map(|_| {
                if self.array()? != [marker::TINY_STRUCT + fields, structure::UNBOUND_RELATIONSHIP] {
                    return Err(DecodeError::Malformed);
                }
                let id = self.integer()?;
                let kind = self.string()?;
                let properties = self.nested_map(depth)?;
                self.skip_element_ids(1)?;
                Ok(UnboundRelationship { id, kind, properties })
            })
            .collect()
    }

    fn skip_element_ids(&mut self, count: usize) -> Result<(), DecodeError> {
        if self.structures == Structures::WithElementIds {
            for _ in 0..count {
                self.string()?;
            }
        }
        Ok(())
    }
}

/// Whether a marker is of the kind whose small form starts at `tiny` and whose sized forms start at `sized`.
const fn is_sized(marker: u8, tiny: u8, sized: u8) -> bool {
    marker & 0xF0 == tiny || (marker >= sized && marker <= sized + 2)
}
