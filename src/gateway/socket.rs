//! The sockets of the gateway and their options.
//!
//! Every socket of a session is set, from its first moment, to throw away what it holds and to send RST when it
//! is closed (`SO_LINGER` with zero seconds). So whichever way a session ends, nothing that it had taken is sent
//! afterwards, and both peers learn at once. The one quiet ending is when there is nothing left to throw away:
//! see [`is_finished`].

use std::{
    future::poll_fn,
    io::{self, Read},
    net::SocketAddr,
    os::fd::AsFd,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::Interest,
    net::{TcpListener, TcpSocket, TcpStream},
};

/// Connections that wait to be accepted. The kernel's default maximum (`net.core.somaxconn`) is the same.
pub const BACKLOG: u32 = 4096;

/// A client that vanished is noticed after 10 s of silence and three unanswered probes, 5 s apart.
const KEEPALIVE_TIME: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// An instance that does not take what was sent to it for so long is given up. Keepalive does not watch a
/// connection with data under way. Without such it is this, too, that says how long probes may go unanswered, and not their number
/// (Linux, `tcp_keepalive_timer` in `net/ipv4/tcp_timer.c`).
const UPSTREAM_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// Listens for connections that are no sessions.
///
/// # Errors
///
/// Fails when the address is in use, not this host's, or not allowed to this user.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bound(address)?.listen(BACKLOG)
}

/// Listens for sessions. What is accepted here has a session's options from its first moment, even while it waits in the backlog:
/// Linux hands those of the listening socket down. It saves six system calls for each.
///
/// # Errors
///
/// Fails when the address is in use, not this host's, or not allowed to this user.
pub fn listen_for_sessions(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address)?;
    let options = SockRef::from(&socket);
    prepare(&options)?;
    options.set_tcp_keepalive(&TcpKeepalive::new().with_retries(KEEPALIVE_RETRIES))?;
    socket.listen(BACKLOG)
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

/// Ends when there may be something to read. Only one at a time may wait for that: there is one place for who is to be woken, where
/// [`TcpStream::readable`] keeps a list.
///
/// # Errors
///
/// Fails when the runtime ends.
pub async fn readable(stream: &TcpStream) -> io::Result<()> {
    poll_fn(|context| stream.poll_read_ready(context)).await
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

/// Resets a connection, as closing its socket would, in two thirds of the time: what it holds is thrown away, and the peer
/// learns at once. The socket stays, as one that has no peer. (Linux does both by `tcp_disconnect`, `net/ipv4/tcp.c`.)
///
/// # Errors
///
/// Fails when the system does not let this be done. The connection is as it was.
pub fn reset(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::connect_unspec(socket)?)
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

/// Whether the peer has ended its half, or reset the connection, whatever it has sent before that nobody has read. It leaves alone
/// what the runtime knows of the socket.
pub fn has_gone(socket: impl AsFd) -> bool {
    let mut asked = [PollFd::new(&socket, PollFlags::RDHUP)];
    // An error and a hang-up are told unasked.
    poll(&mut asked, Some(&Timespec::default())).is_ok_and(|told| told > 0)
}

fn new_socket(address: SocketAddr) -> io::Result<TcpSocket> {
    match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = new_socket(address)?;
    // A restarted gateway may listen again while sessions of the former one are in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn prepare(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A client, and its connection as it was accepted.
    async fn connected() -> (TcpStream, TcpStream) {
        let listener = listen_for_sessions(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_is_accepted_has_the_options_of_a_session() {
        let (_client, accepted) = connected().await;
        let options = SockRef::from(&accepted);
        assert_eq!(options.linger().unwrap(), Some(Duration::ZERO));
        assert!(options.tcp_nodelay().unwrap());
        assert!(options.keepalive().unwrap());
        assert_eq!(options.tcp_keepalive_time().unwrap(), KEEPALIVE_TIME);
        assert_eq!(options.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(options.tcp_keepalive_retries().unwrap(), KEEPALIVE_RETRIES);
    }

    #[tokio::test]
    async fn who_has_gone_is_found_behind_what_nobody_has_read() {
        for resets in [false, true] {
            let (mut client, accepted) = connected().await;
            client.write_all(b"hello").await.unwrap();
            accepted.readable().await.unwrap();
            assert!(!has_gone(&accepted));
            if resets {
                client.set_zero_linger().unwrap();
            }
            drop(client);
            // On loopback the end has come when the call returns.
            assert!(has_gone(&accepted), "by a reset: {resets}");
        }
    }

    #[tokio::test]
    async fn what_is_reset_sends_nothing_that_it_held() {
        let (mut client, accepted) = connected().await;
        accepted.writable().await.unwrap();
        let mut written = 0;
        while let Ok(n) = accepted.try_write(&[1; 4096]) {
            written += n;
        }
        reset(&accepted).unwrap();
        assert!(is_finished(&accepted));
        assert!(accepted.try_write(&[1]).is_err());
        let mut got = Vec::new();
        let end = client.read_to_end(&mut got).await;
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(got.len() < written, "everything had come already");
    }
}
