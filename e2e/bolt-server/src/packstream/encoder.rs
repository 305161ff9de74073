//! From values to bytes.

use bytes::{BufMut, BytesMut};

use super::{Structures, marker, structure};
use crate::{Map, Node, Path, Relationship, Temporal, Value};

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
            Value::Temporal(temporal) => self.temporal(*temporal),
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

    fn integers<const N: usize>(&mut self, tag: u8, fields: [i64; N]) {
        self.structure(tag, fields.len() as u8);
        fields.into_iter().for_each(|field| self.integer(field));
    }

    fn temporal(&mut self, temporal: Temporal) {
        match temporal {
            Temporal::Date { days } => self.integers(structure::DATE, [days]),
            Temporal::LocalTime { nanoseconds } => self.integers(structure::LOCAL_TIME, [nanoseconds]),
            Temporal::LocalDateTime { seconds, nanoseconds } => {
                self.integers(structure::LOCAL_DATE_TIME, [seconds, nanoseconds]);
            }
            Temporal::DateTime {
                seconds,
                nanoseconds,
                offset,
            } => match self.structures {
                Structures::WithElementIds => {
                    self.integers(structure::DATE_TIME, [seconds, nanoseconds, offset]);
                }
                Structures::Legacy => {
                    let local = seconds.saturating_add(offset);
                    self.integers(structure::LEGACY_DATE_TIME, [local, nanoseconds, offset]);
                }
            },
            Temporal::InUtc { seconds, nanoseconds } => {
                let tag = match self.structures {
                    Structures::WithElementIds => structure::DATE_TIME_ZONE_ID,
                    Structures::Legacy => structure::LEGACY_DATE_TIME_ZONE_ID,
                };
                self.structure(tag, 3);
                self.integer(seconds);
                self.integer(nanoseconds);
                self.text(structure::UTC);
            }
            Temporal::Duration {
                months,
                days,
                seconds,
                nanoseconds,
            } => self.integers(structure::DURATION, [months, days, seconds, nanoseconds]),
        }
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
