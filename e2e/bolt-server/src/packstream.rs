//! PackStream, the binary form of values.
//!
//! What is accepted follows Memgraph's decoder (`communication/bolt/v1/decoder/decoder.hpp`), with bounds
//! that Memgraph does not have: nesting is limited, and no allocation is larger than the input justifies.

use bytes::{BufMut, BytesMut};

use crate::{Map, Node, Path, Relationship, UnboundRelationship, Value};

/// How deep values may nest. Deeper input is malformed; Memgraph would recurse until its stack ends.
pub const MAX_DEPTH: usize = 128;

/// Which form nodes and relationships have: Bolt 5 adds element ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Structures {
    /// Bolt 1 to 4
    Legacy,
    /// Bolt 5
    WithElementIds,
}

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

mod marker {
    pub(super) const TINY_STRING: u8 = 0x80;
    pub(super) const TINY_LIST: u8 = 0x90;
    pub(super) const TINY_MAP: u8 = 0xA0;
    pub(super) const TINY_STRUCT: u8 = 0xB0;
    pub(super) const NULL: u8 = 0xC0;
    pub(super) const FLOAT: u8 = 0xC1;
    pub(super) const FALSE: u8 = 0xC2;
    pub(super) const TRUE: u8 = 0xC3;
    pub(super) const INT_8: u8 = 0xC8;
    pub(super) const INT_16: u8 = 0xC9;
    pub(super) const INT_32: u8 = 0xCA;
    pub(super) const INT_64: u8 = 0xCB;
    pub(super) const STRING_8: u8 = 0xD0;
    pub(super) const LIST_8: u8 = 0xD4;
    pub(super) const MAP_8: u8 = 0xD8;
}

mod structure {
    pub(super) const NODE: u8 = b'N';
    pub(super) const RELATIONSHIP: u8 = b'R';
    pub(super) const UNBOUND_RELATIONSHIP: u8 = b'r';
    pub(super) const PATH: u8 = b'P';
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
            (b'D', 1) => Err(DecodeError::Unsupported("dates")),
            (b't', 1) => Err(DecodeError::Unsupported("local times")),
            (b'd', 2) => Err(DecodeError::Unsupported("local date-times")),
            (b'I' | b'i' | b'F' | b'f', 3) => Err(DecodeError::Unsupported("date-times")),
            (b'E', 4) => Err(DecodeError::Unsupported("durations")),
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

/// Appends the encoding of values to a buffer.
#[derive(Debug)]
pub struct Encoder<'a> {
    buffer: &'a mut BytesMut,
    structures: Structures,
}

impl<'a> Encoder<'a> {
    /// Appends to `buffer`.
    pub const fn new(buffer: &'a mut BytesMut, structures: Structures) -> Self {
        Self { buffer, structures }
    }

    /// Appends the head of a structure.
    pub fn structure(&mut self, tag: u8, fields: u8) {
        self.buffer.put_u8(marker::TINY_STRUCT + fields);
        self.buffer.put_u8(tag);
    }

    /// Appends the head of a list; its items must follow.
    pub fn list_header(&mut self, size: usize) {
        self.header(size, marker::TINY_LIST, marker::LIST_8);
    }

    /// Appends a map.
    pub fn map(&mut self, map: &Map) {
        self.header(map.len(), marker::TINY_MAP, marker::MAP_8);
        for (key, value) in map {
            self.text(key);
            self.value(value);
        }
    }

    /// Appends a value.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.buffer.put_u8(marker::NULL),
            Value::Boolean(false) => self.buffer.put_u8(marker::FALSE),
            Value::Boolean(true) => self.buffer.put_u8(marker::TRUE),
            Value::Integer(number) => self.integer(*number),
            Value::Float(number) => {
                self.buffer.put_u8(marker::FLOAT);
                self.buffer.put_f64(*number);
            }
            Value::String(text) => self.text(text),
            Value::List(items) => {
                self.list_header(items.len());
                items.iter().for_each(|item| self.value(item));
            }
            Value::Map(map) => self.map(map),
            Value::Node(node) => self.node(node),
            Value::Relationship(relationship) => self.relationship(relationship),
            Value::Path(path) => self.path(path),
        }
    }

    fn integer(&mut self, number: i64) {
        if let Ok(small) = i8::try_from(number) {
            if small < -16 {
                self.buffer.put_u8(marker::INT_8);
            }
            self.buffer.put_i8(small);
        } else if let Ok(number) = i16::try_from(number) {
            self.buffer.put_u8(marker::INT_16);
            self.buffer.put_i16(number);
        } else if let Ok(number) = i32::try_from(number) {
            self.buffer.put_u8(marker::INT_32);
            self.buffer.put_i32(number);
        } else {
            self.buffer.put_u8(marker::INT_64);
            self.buffer.put_i64(number);
        }
    }

    fn header(&mut self, size: usize, tiny: u8, sized: u8) {
        match (u8::try_from(size), u16::try_from(size)) {
            (Ok(small), _) if small < 16 => self.buffer.put_u8(tiny + small),
            (Ok(size), _) => {
                self.buffer.put_u8(sized);
                self.buffer.put_u8(size);
            }
            (_, Ok(size)) => {
                self.buffer.put_u8(sized + 1);
                self.buffer.put_u16(size);
            }
            _ => {
                self.buffer.put_u8(sized + 2);
                // A value of 4 GiB does not get here: its row would have to fit into memory twice.
                self.buffer.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.header(text.len(), marker::TINY_STRING, marker::STRING_8);
        self.buffer.put_slice(text.as_bytes());
    }

    fn element_id(&mut self, id: i64) {
        if self.structures == Structures::WithElementIds {
            self.text(&id.to_string());
        }
    }

    /// Fields of a structure, of which the last `element_ids` exist only in Bolt 5.
    const fn fields(&self, legacy: u8, element_ids: u8) -> u8 {
        match self.structures {
            Structures::Legacy => legacy,
            Structures::WithElementIds => legacy + element_ids,
        }
    }

    fn node(&mut self, node: &Node) {
        self.structure(structure::NODE, self.fields(3, 1));
        self.integer(node.id);
        self.list_header(node.labels.len());
        node.labels.iter().for_each(|label| self.text(label));
        self.map(&node.properties);
        self.element_id(node.id);
    }

    fn relationship(&mut self, relationship: &Relationship) {
        self.structure(structure::RELATIONSHIP, self.fields(5, 3));
        self.integer(relationship.id);
        self.integer(relationship.start);
        self.integer(relationship.end);
        self.text(&relationship.kind);
        self.map(&relationship.properties);
        self.element_id(relationship.id);
        self.element_id(relationship.start);
        self.element_id(relationship.end);
    }

    fn path(&mut self, path: &Path) {
        self.structure(structure::PATH, 3);
        self.list_header(path.nodes.len());
        path.nodes.iter().for_each(|node| self.node(node));
        self.list_header(path.relationships.len());
        for relationship in &path.relationships {
            self.structure(structure::UNBOUND_RELATIONSHIP, self.fields(3, 1));
            self.integer(relationship.id);
            self.text(&relationship.kind);
            self.map(&relationship.properties);
            self.element_id(relationship.id);
        }
        self.list_header(path.indices.len());
        path.indices.iter().for_each(|index| self.integer(*index));
    }
}
