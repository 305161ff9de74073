//! The sockets of the gateway and their options.
//!
//! Every socket of a session is set, from its first moment, to throw away what it holds and to send RST when it
//! is closed (`SO_LINGER` with zero seconds). So whichever way a session ends, nothing that it had taken is sent
//! afterwards, and both peers learn at once. The one quiet ending is when there is nothing left to throw away:
//! see [`is_finished`].

use std::{
    io::{self, Read},
    net::SocketAddr,
    time::Duration,
};

use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::Interest,
    net::{TcpListener, TcpSocket, TcpStream},
};

/// Connections that wait to be accepted. The kernel's default maximum (`net.core.somaxconn`) is the same.
pub const BACKLOG: u32 = 4096;

/// A peer that vanished is noticed after 10 s of silence and three unanswered probes, 5 s apart.
const KEEPALIVE_TIME: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// An instance that does not take what was sent to it for so long is given up. Keepalive does not watch a
/// connection with data under way.
const UPSTREAM_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// Listens for connections.
///
/// # Errors
///
/// Fails when the address is in use, not this host's, or not allowed to this user.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(address)?;
    // A restarted gateway may listen again while sessions of the former one are in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Prepares an accepted connection.
///
/// # Errors
///
/// Fails when the connection is broken already.
pub fn prepare_client(client: &TcpStream) -> io::Result<()> {
    prepare(&SockRef::from(client))
}

/// Connects to an instance.
///
/// # Errors
///
/// Fails when the instance refuses, is not reachable, or does not answer within `deadline`.
pub async fn connect(address: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
    let socket = new_socket(address)?;
    let options = SockRef::from(&socket);
    prepare(&options)?;
    options.set_tcp_user_timeout(Some(UPSTREAM_USER_TIMEOUT))?;
    tokio::time::timeout(deadline, socket.connect(address))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Reads what is there.
///
/// A buffer that is not filled has taken everything, and the next read would only learn that nothing is left. So it is taken
/// for granted at once that there is nothing, as tokio's own `AsyncRead` does: what comes later is an event of its own, because
/// epoll tells of edges here. It saves one of three system calls for each small message.
///
/// # Errors
///
/// `WouldBlock` when nothing is there; otherwise the connection is broken.
pub fn read_now(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut all = None;
    // Inside of this call, so that no event is forgotten that comes after the one that led here.
    let read = stream.try_io(Interest::READABLE, || {
        let read = (&*SockRef::from(stream)).read(buffer)?;
        if read == 0 || read == buffer.len() {
            return Ok(read);
        }
        all = Some(read);
        Err(io::ErrorKind::WouldBlock.into())
    });
    all.map_or(read, Ok)
}

/// Whether both ends have closed their half and everything that was written has been acknowledged, so that
/// closing the socket throws nothing away.
///
/// Linux has then ended the connection (CLOSED, or TIME_WAIT apart from the socket), and such a socket has no
/// peer any more. There is no event for this: epoll reports the hang-up as soon as both halves are shut down.
pub fn is_finished(stream: &TcpStream) -> bool {
    stream
        .peer_addr()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotConnected)
}

/// Whether the error says that this process or its node has run out of something, and nothing of the peer.
pub fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL | Errno::AGAIN)
    )
}

fn new_socket(address: SocketAddr) -> io::Result<TcpSocket> {
    match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

fn prepare(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)
}
