//! A connection on which TLS ends.
//!
//! What is encrypted is sent at once, or stays unsent here: at most one chunk of the relay, which is followed by nothing before
//! it has gone. Nothing but [`Tls::write_now`] sends, and the relay calls that only under its clearance. So no byte goes out
//! later than it would without TLS, and what is unsent when the session is cut is dropped with it.

use std::{
    io::{self, Read, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustls::Connection;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::{peer::Peer, relay::CHUNK, socket};

/// How often the socket is read for one chunk at most. The library reads 4 KiB at a time, and a record has up to 16 KiB. A
/// peer that sends records with nothing in them must not keep its thread from other sessions.
const READS: usize = 8;

/// A connection after its handshake.
#[derive(Debug)]
pub struct Tls {
    stream: TcpStream,
    connection: Mutex<Connection>,
}

impl Tls {
    /// That of a `connection` whose handshake was made on this stream, and has left nothing to send.
    #[must_use]
    pub fn new(stream: TcpStream, connection: impl Into<Connection>) -> Self {
        let mut connection = connection.into();
        connection.set_buffer_limit(Some(CHUNK));
        Self {
            stream,
            connection: Mutex::new(connection),
        }
    }

    /// The same connection on what becomes of its stream.
    ///
    /// # Errors
    /// Those of `map`.
    pub fn map_stream(self, map: impl FnOnce(TcpStream) -> io::Result<TcpStream>) -> io::Result<Self> {
        Ok(Self {
            stream: map(self.stream)?,
            connection: self.connection,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A session does not go on after a panic.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, buffer: &mut [u8], from: &mut dyn Read) -> io::Result<usize> {
        let mut connection = self.lock();
        for _ in 0..READS {
            match connection.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Many drivers close without a word. Bolt's messages have their lengths, so that one that was cut off is
                // taken for whole by nobody.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            connection.read_tls(from)?;
            connection
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        connection.reader().read(buffer)
    }

    /// Sends what the system takes at once.
    fn send(&self, connection: &mut Connection) -> io::Result<()> {
        while connection.wants_write() {
            match connection.write_tls(&mut Now(&self.stream)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Peer for Tls {
    const CAN_SLEEP: bool = false;

    fn socket(&self) -> &TcpStream {
        &self.stream
    }

    async fn readable(&self) -> io::Result<()> {
        // What was decrypted already is no event of the socket any more. An error is told when it is read.
        let ready = self
            .lock()
            .process_new_packets()
            .is_ok_and(|state| state.plaintext_bytes_to_read() > 0 || state.peer_has_closed());
        if ready {
            return Ok(());
        }
        self.stream.readable().await
    }

    fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(buffer, &mut Now(&self.stream))
    }

    fn read_last(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(buffer, &mut &*SockRef::from(&self.stream))
    }

    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut connection = self.lock();
        self.send(&mut connection)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        if connection.wants_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = connection.writer().write(bytes)?;
        self.send(&mut connection)?;
        Ok(taken)
    }

    fn has_unsent(&self) -> bool {
        self.lock().wants_write()
    }

    fn say_end(&self) {
        self.lock().send_close_notify();
    }
}

/// What a socket has, and takes, at this moment.
struct Now<'a>(&'a TcpStream);

impl Read for Now<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        socket::read_now(self.0, buffer)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
