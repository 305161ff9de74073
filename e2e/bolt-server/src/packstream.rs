//! PackStream, the binary form of values.
//!
//! What is accepted follows Memgraph's decoder (`communication/bolt/v1/decoder/decoder.hpp`), with bounds
//! that Memgraph does not have: nesting is limited, and no allocation is larger than the input justifies.

mod decoder;
mod encoder;

pub use decoder::{DecodeError, Decoder, MAX_DEPTH};
pub use encoder::Encoder;

/// Which form nodes and relationships have: Bolt 5 adds element ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Structures {
    /// Bolt 1 to 4
    Legacy,
    /// Bolt 5
    WithElementIds,
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
    /// The only name of a time zone that is sent.
    pub(super) const UTC: &str = "Etc/UTC";

    pub(super) const NODE: u8 = b'N';
    pub(super) const RELATIONSHIP: u8 = b'R';
    pub(super) const UNBOUND_RELATIONSHIP: u8 = b'r';
    pub(super) const PATH: u8 = b'P';
    pub(super) const DATE: u8 = b'D';
    pub(super) const LOCAL_TIME: u8 = b't';
    pub(super) const LOCAL_DATE_TIME: u8 = b'd';
    pub(super) const DATE_TIME: u8 = b'I';
    /// Counts local seconds instead of those of UTC.
    pub(super) const LEGACY_DATE_TIME: u8 = b'F';
    pub(super) const DATE_TIME_ZONE_ID: u8 = b'i';
    pub(super) const LEGACY_DATE_TIME_ZONE_ID: u8 = b'f';
    pub(super) const DURATION: u8 = b'E';
}
