//! Records with a length and a checksum, so that a torn or rotten tail is noticed.

use serde::{Serialize, de::DeserializeOwned};

/// What precedes each record: its length and its checksum.
const HEAD: usize = 8;

/// A file does not have the form that it should have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("corrupt {what}: {reason}")]
pub struct CorruptFile {
    /// What kind of file it should be.
    pub(crate) what: &'static str,
    /// What is wrong with it.
    pub(crate) reason: String,
}

/// Appends `record` to `out`.
pub(crate) fn append<T: Serialize>(out: &mut Vec<u8>, record: &T) {
    let start = out.len();
    let mut bytes = std::mem::take(out);
    bytes.extend([0; HEAD]);
    // Encoding plain data into memory cannot fail; if it did, what was there would be missing, too, which its
    // reader notices.
    let Ok(mut bytes) = postcard::to_extend(record, bytes) else {
        return;
    };
    let body = bytes.get(start + HEAD..).unwrap_or_default();
    let checksum = crc32fast::hash(body).to_le_bytes();
    match u32::try_from(body.len()) {
        Ok(length) => {
            bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
            bytes[start + 4..start + HEAD].copy_from_slice(&checksum);
        }
        Err(_) => bytes.truncate(start),
    }
    *out = bytes;
}

/// Reads records one after the other.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Records<'a> {
    /// Reads the records of `bytes`, which are (part of) a `what`.
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    /// The next record. `None` at the end, and where the rest is not a whole record: a crash can tear the
    /// last write.
    ///
    /// `T` can also be the first part of what was written, which saves reading the rest.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        let (head, rest) = self.rest.split_at_checked(HEAD)?;
        let (length, checksum) = head.split_at(4);
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let body = rest.get(..length)?;
        if crc32fast::hash(body) != u32::from_le_bytes(checksum.try_into().ok()?) {
            return None;
        }
        let record = postcard::from_bytes(body).ok()?;
        self.rest = &rest[length..];
        Some(record)
    }

    /// The next record, which must be there.
    pub(crate) fn require<T: DeserializeOwned>(&mut self) -> Result<T, CorruptFile> {
        let left = self.rest.len();
        self.next().ok_or_else(|| CorruptFile {
            what: self.what,
            reason: format!("no whole record {left} bytes before the end"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_up_to_a_torn_tail() {
        let mut bytes = Vec::new();
        append(&mut bytes, &"one".to_owned());
        append(&mut bytes, &"two".to_owned());
        let whole = bytes.len();
        for cut in 0..whole {
            let mut records = Records::new(&bytes[..cut], "test");
            let count = std::iter::from_fn(|| records.next::<String>()).count();
            assert_eq!(count, usize::from(cut >= whole / 2));
        }
        let mut records = Records::new(&bytes, "test");
        assert_eq!(records.require::<String>(), Ok("one".to_owned()));
        assert_eq!(records.require::<String>(), Ok("two".to_owned()));
        assert!(records.require::<String>().is_err());
        *bytes.last_mut().unwrap() ^= 1;
        let mut records = Records::new(&bytes, "test");
        assert_eq!(records.next::<String>().as_deref(), Some("one"));
        assert_eq!(records.next::<String>(), None, "the checksum does not fit");
    }
}
