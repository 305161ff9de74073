//! The two ends of a session as the relay sees them: connections, with TLS on them or without.

use std::{
    future::Future,
    io::{self, Read},
};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::{socket, tls::Tls};

/// One end of a session.
///
/// Whatever is asked of it is done at once or not at all, so that the relay can look at its clearance right before each write.
pub trait Peer: Sync {
    /// Whether nothing of it is in this process, once all that was read has been written, but the connection itself.
    const CAN_SLEEP: bool;

    /// The connection itself.
    fn socket(&self) -> &TcpStream;

    /// Ends when there may be something to read.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Reads what is there; 0: the peer has ended its half.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; otherwise the connection is broken.
    fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// As [`Self::read_now`], but asks the system itself: the runtime may not have been told yet what has come.
    ///
    /// # Errors
    /// Those of [`Self::read_now`].
    fn read_last(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Takes as many of these bytes as it can. With TLS some of what was taken may still be [unsent](Self::has_unsent); no
    /// more is taken then, and the next call sends it first.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is taken; otherwise the connection is broken.
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Whether something was taken that only the next [`Self::write_now`] sends. It is dropped with the connection.
    fn has_unsent(&self) -> bool;

    /// Has the peer told that nothing more comes, where its protocol has a word for that; it is unsent then.
    fn say_end(&self);
}

impl Peer for TcpStream {
    const CAN_SLEEP: bool = true;

    fn socket(&self) -> &TcpStream {
        self
    }

    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
        socket::readable(self)
    }

    fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        socket::read_now(self, buffer)
    }

    fn read_last(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*SockRef::from(self)).read(buffer)
    }

    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write(bytes)
    }

    fn has_unsent(&self) -> bool {
        false
    }

    fn say_end(&self) {}
}

/// A connection of a session.
#[derive(Debug)]
pub enum Wire {
    /// The bytes are passed as they are.
    Plain(TcpStream),
    /// TLS ends here.
    Tls(Box<Tls>),
}

impl Wire {
    /// The same connection, of which the runtime knows nothing yet: it reports anew what waits to be read.
    ///
    /// # Errors
    /// When the runtime cannot take it.
    pub fn anew(self) -> io::Result<Self> {
        let anew = |stream: TcpStream| stream.into_std().and_then(TcpStream::from_std);
        Ok(match self {
            Self::Plain(stream) => Self::Plain(anew(stream)?),
            Self::Tls(tls) => Self::Tls(Box::new(tls.map_stream(anew)?)),
        })
    }
}

impl From<TcpStream> for Wire {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

impl From<Tls> for Wire {
    fn from(tls: Tls) -> Self {
        Self::Tls(Box::new(tls))
    }
}

impl Peer for Wire {
    const CAN_SLEEP: bool = false;

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => tls.socket(),
        }
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => socket::readable(stream).await,
            Self::Tls(tls) => tls.readable().await,
        }
    }

    fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read_now(buffer),
            Self::Tls(tls) => tls.read_now(buffer),
        }
    }

    fn read_last(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read_last(buffer),
            Self::Tls(tls) => tls.read_last(buffer),
        }
    }

    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write_now(bytes),
            Self::Tls(tls) => tls.write_now(bytes),
        }
    }

    fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.has_unsent(),
            Self::Tls(tls) => tls.has_unsent(),
        }
    }

    fn say_end(&self) {
        match self {
            Self::Plain(stream) => stream.say_end(),
            Self::Tls(tls) => tls.say_end(),
        }
    }
}
