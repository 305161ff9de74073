//! Errors that say nothing of a peer.

use std::io;

use rustix::io::Errno;

/// Whether the error says that this process or its node has run out of something, and nothing of the peer.
pub fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL | Errno::AGAIN)
    )
}
