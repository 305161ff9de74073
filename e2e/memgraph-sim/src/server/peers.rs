//! Connections between instances: frames of a length and a message, over TCP.

use std::{cell::RefCell, collections::HashMap, io, rc::Rc};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{AbortHandle, spawn_local},
};

use super::{Driver, faults::Line};
use crate::engine::{ConnectionId, Event, PeerMessage};

/// What a connecting instance says first, so that a stranger is noticed at once.
const GREETING: &[u8; 8] = b"MGSIM\x01\r\n";
/// The longest message. Snapshots travel in one.
const LONGEST: u32 = 1 << 30;

/// What a connection is made of: with or without TLS.
trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}

type Stream = Box<dyn Wire>;

/// Everything on the replication port, and connections to those of others.
#[derive(Default)]
pub(super) struct Replication {
    listener: RefCell<Option<AbortHandle>>,
    connections: RefCell<HashMap<ConnectionId, PeerConnection>>,
    last_accepted: std::cell::Cell<u64>,
}

/// A connection; dropping it closes it.
pub(super) struct PeerConnection {
    outgoing: mpsc::UnboundedSender<PeerMessage>,
    task: AbortHandle,
}

impl Drop for PeerConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Replication {
    pub(super) fn stop_listening(&self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
        }
    }

    pub(super) fn send(&self, id: ConnectionId, message: PeerMessage) {
        if let Some(connection) = self.connections.borrow().get(&id) {
            // If it is broken, the engine will be told.
            let _ = connection.outgoing.send(message);
        }
    }

    pub(super) fn disconnect(&self, id: ConnectionId) {
        let gone = self.connections.borrow_mut().remove(&id);
        drop(gone);
    }
}

impl Driver {
    /// Opens the replication port.
    pub(super) fn listen(self: &Rc<Self>, port: u16) -> bool {
        let listener = match bind(&self.replication_address, port) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!("cannot listen on port {port} for replication: {error}");
                return false;
            }
        };
        let driver = Rc::clone(self);
        let task = spawn_local(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => driver.accept(stream),
                    Err(error) => {
                        tracing::warn!("cannot accept a connection of a main: {error}");
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
        self.replication.listener.replace(Some(task.abort_handle()));
        true
    }

    fn accept(self: &Rc<Self>, stream: TcpStream) {
        let accepted = self.replication.last_accepted.get() + 1;
        self.replication.last_accepted.set(accepted);
        let id = ConnectionId(2 * accepted + 1);
        let driver = Rc::clone(self);
        self.hold(id, move |outgoing| async move {
            let line = Line::accepted(stream, &driver.faults)?;
            let (mut reader, writer) = split(match &driver.cluster_tls {
                Some(tls) => Box::new(tls.accept(line).await?),
                None => Box::new(line),
            });
            let mut greeting = [0; GREETING.len()];
            reader.read_exact(&mut greeting).await?;
            if greeting != *GREETING {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "not a memgraph-sim instance",
                ));
            }
            driver.dispatch(Event::Accepted(id));
            driver.converse(id, reader, writer, outgoing).await
        });
    }

    /// Connects to another instance; its name is resolved each time.
    pub(super) fn connect(self: &Rc<Self>, id: ConnectionId, address: String) {
        let driver = Rc::clone(self);
        self.hold(id, move |outgoing| async move {
            let line = Line::connect(&address, &driver.faults, driver.user_timeout).await?;
            let (reader, mut writer) = split(match &driver.cluster_tls {
                Some(tls) => Box::new(tls.connect(line).await?),
                None => Box::new(line),
            });
            writer.write_all(GREETING).await?;
            writer.flush().await?;
            driver.dispatch(Event::Connected(id));
            driver.converse(id, reader, writer, outgoing).await
        });
    }

    /// Runs a connection until it ends, and tells the engine of its end.
    fn hold<F, Work>(self: &Rc<Self>, id: ConnectionId, work: F)
    where
        F: FnOnce(mpsc::UnboundedReceiver<PeerMessage>) -> Work + 'static,
        Work: Future<Output = io::Result<()>> + 'static,
    {
        let (sender, receiver) = mpsc::unbounded_channel();
        let driver = Rc::clone(self);
        let task = spawn_local(async move {
            if let Err(error) = work(receiver).await {
                tracing::debug!("connection {} between instances ended: {error}", id.0);
            }
            driver.dispatch(Event::Disconnected(id));
            driver.replication.disconnect(id);
        });
        let connection = PeerConnection {
            outgoing: sender,
            task: task.abort_handle(),
        };
        self.replication.connections.borrow_mut().insert(id, connection);
    }

    async fn converse(
        self: &Rc<Self>,
        id: ConnectionId,
        mut reader: BufReader<ReadHalf<Stream>>,
        mut writer: WriteHalf<Stream>,
        mut outgoing: mpsc::UnboundedReceiver<PeerMessage>,
    ) -> io::Result<()> {
        let write = async {
            while let Some(message) = outgoing.recv().await {
                writer.write_all(&frame(&message)?).await?;
                writer.flush().await?;
            }
            Ok(())
        };
        let read = async {
            loop {
                let message = read_message(&mut reader).await?;
                self.dispatch(Event::Received(id, message));
            }
        };
        tokio::select! {
            result = write => result,
            result = read => result,
        }
    }
}

/// Binds a listening socket in a way that survives quick restarts.
pub(super) fn bind(address: &str, port: u16) -> io::Result<TcpListener> {
    // The standard library sets SO_REUSEADDR.
    let listener = std::net::TcpListener::bind((address, port))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn split(stream: Stream) -> (BufReader<ReadHalf<Stream>>, WriteHalf<Stream>) {
    let (reader, writer) = tokio::io::split(stream);
    (BufReader::with_capacity(64 * 1024, reader), writer)
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

fn frame(message: &PeerMessage) -> io::Result<Vec<u8>> {
    let body = message.encode().map_err(invalid)?;
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| invalid("a message longer than 1 GiB"))?;
    let mut bytes = Vec::with_capacity(4 + body.len());
    bytes.extend(length.to_be_bytes());
    bytes.extend(body);
    Ok(bytes)
}

async fn read_message(reader: &mut BufReader<ReadHalf<Stream>>) -> io::Result<PeerMessage> {
    let length = reader.read_u32().await?;
    if length > LONGEST {
        return Err(invalid("a message longer than 1 GiB"));
    }
    // Grows with what arrives, not with what is announced.
    let mut body = Vec::new();
    let read = reader.take(u64::from(length)).read_to_end(&mut body).await?;
    if read < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    PeerMessage::decode(&body).map_err(invalid)
}
