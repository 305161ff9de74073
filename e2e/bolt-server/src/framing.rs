//! Messages in chunks: each chunk has a 2-byte length before it, and a chunk of length 0 ends the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The largest chunk that its length can tell.
const MAX_CHUNK: usize = 0xFFFF;

/// Collects input and cuts it into messages.
#[derive(Debug, Default)]
pub(crate) struct Unframer {
    input: BytesMut,
    message: BytesMut,
}

/// A message is larger than the session allows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MessageTooLarge;

impl Unframer {
    /// Appends what came from the client.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Removes the first `N` bytes, which are not framed (the handshake), once they are there.
    pub(crate) fn take_unframed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.input.first_chunk()?;
        self.input.advance(N);
        Some(taken)
    }

    /// The next whole message, if it is there.
    ///
    /// An end marker without chunks before it gives an empty message. Other servers take it for a sign of
    /// life; Memgraph misses a message in it and closes the connection.
    pub(crate) fn next_message(&mut self, limit: usize) -> Result<Option<Bytes>, MessageTooLarge> {
        while let Some(header) = self.input.first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*header));
            if length == 0 {
                self.input.advance(2);
                return Ok(Some(self.message.split().freeze()));
            }
            if self.message.len() + length > limit {
                return Err(MessageTooLarge);
            }
            if self.input.len() < 2 + length {
                return Ok(None);
            }
            self.input.advance(2);
            self.message.unsplit(self.input.split_to(length));
        }
        Ok(None)
    }

    /// Puts bytes that a message left unread before the next one, as Memgraph does.
    pub(crate) fn put_back(&mut self, unread: &[u8]) {
        self.message.extend_from_slice(unread);
    }
}

/// Appends a message to the output, in chunks.
pub(crate) fn frame(message: &[u8], output: &mut BytesMut) {
    output.reserve(message.len() + 2 * (message.len() / MAX_CHUNK + 2));
    for chunk in message.chunks(MAX_CHUNK) {
        // The length fits: chunks are cut by it.
        output.put_u16(u16::try_from(chunk.len()).unwrap_or(u16::MAX));
        output.put_slice(chunk);
    }
    output.put_u16(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn unframer(bytes: &[u8]) -> Unframer {
        let mut unframer = Unframer::default();
        unframer.extend(bytes);
        unframer
    }

    #[test]
    fn a_message_can_come_in_several_chunks_and_reads() {
        let mut unframer = Unframer::default();
        for byte in [0, 2, b'a', b'b', 0, 1, b'c', 0] {
            unframer.extend(&[byte]);
            assert_eq!(unframer.next_message(LIMIT), Ok(None));
        }
        unframer.extend(&[0]);
        assert_eq!(unframer.next_message(LIMIT), Ok(Some(Bytes::from_static(b"abc"))));
        assert!(unframer.input.is_empty() && unframer.message.is_empty());
    }

    #[test]
    fn messages_in_one_read_come_one_by_one() {
        let mut unframer = unframer(&[0, 1, b'a', 0, 0, 0, 1, b'b', 0, 0]);
        assert_eq!(unframer.next_message(LIMIT), Ok(Some(Bytes::from_static(b"a"))));
        assert_eq!(unframer.next_message(LIMIT), Ok(Some(Bytes::from_static(b"b"))));
        assert_eq!(unframer.next_message(LIMIT), Ok(None));
    }

    #[test]
    fn a_lone_end_marker_is_an_empty_message() {
        assert_eq!(unframer(&[0, 0]).next_message(LIMIT), Ok(Some(Bytes::new())));
    }

    #[test]
    fn unread_bytes_stand_before_the_next_message() {
        let mut unframer = unframer(&[0, 1, b'a', 0, 0]);
        unframer.put_back(b"xy");
        assert_eq!(unframer.next_message(LIMIT), Ok(Some(Bytes::from_static(b"xya"))));
    }

    #[test]
    fn the_limit_is_checked_before_the_chunk_has_arrived() {
        assert_eq!(unframer(&[0, 5]).next_message(4), Err(MessageTooLarge));
        assert_eq!(unframer(&[0, 4]).next_message(4), Ok(None));
        assert_eq!(
            unframer(&[0, 3, 1, 2, 3, 0, 2]).next_message(4),
            Err(MessageTooLarge)
        );
    }

    #[test]
    fn long_messages_are_cut_into_chunks() {
        let message = vec![7; 2 * MAX_CHUNK + 1];
        let mut output = BytesMut::new();
        frame(&message, &mut output);
        assert_eq!(output.len(), message.len() + 3 * 2 + 2);
        let mut unframer = unframer(&output);
        assert_eq!(unframer.next_message(LIMIT), Ok(Some(Bytes::from(message))));
        assert_eq!(unframer.next_message(LIMIT), Ok(None));
    }
}
