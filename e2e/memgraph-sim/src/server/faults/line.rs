//! A TCP connection that suffers what was asked for.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, lookup_host},
    time::{Sleep, sleep},
};

use super::{Direction, Faults, Way};

/// Where a message is that is being written.
enum Outgoing {
    /// There is none.
    None,
    /// It waits, because answers have to be slow.
    Held(Pin<Box<Sleep>>),
    /// It goes out.
    Leaving,
}

/// A TCP connection. A message ends with a flush.
pub(in super::super) struct Line {
    /// Taken when it is dropped.
    stream: Option<TcpStream>,
    way: Way,
    faults: Arc<Faults>,
    outgoing: Outgoing,
}

impl Line {
    /// A connection that somebody else has opened.
    pub(in super::super) fn accepted(stream: TcpStream, faults: &Arc<Faults>) -> io::Result<Self> {
        let way = Way {
            direction: Direction::In,
            peer: stream.peer_addr()?.ip().to_canonical(),
            port: stream.local_addr()?.port(),
        };
        Ok(Self::new(stream, way, faults))
    }

    /// Connects to `host:port`; the name is resolved each time. What is sent and not acknowledged for `user_timeout` breaks the connection.
    pub(in super::super) async fn connect(
        address: &str,
        faults: &Arc<Faults>,
        user_timeout: Option<Duration>,
    ) -> io::Result<Self> {
        let mut last = None;
        for address in lookup_host(address).await? {
            let way = Way {
                direction: Direction::Out,
                peer: address.ip().to_canonical(),
                port: address.port(),
            };
            poll_fn(|context| match faults.is_lost(&way, context.waker()) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            })
            .await;
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    SockRef::from(&stream).set_tcp_user_timeout(user_timeout)?;
                    return Ok(Self::new(stream, way, faults));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last
            .unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{address} has no address"))))
    }

    /// Reads what comes next, and leaves it there.
    pub(in super::super) async fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        poll_fn(|context| ready!(self.poll_stream(context))?.poll_peek(context, &mut buffer)).await
    }

    fn new(stream: TcpStream, way: Way, faults: &Arc<Faults>) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("cannot switch Nagle's algorithm off: {error}");
        }
        Self {
            stream: Some(stream),
            way,
            faults: Arc::clone(faults),
            outgoing: Outgoing::None,
        }
    }

    /// The connection, once packets get through.
    fn poll_stream(&mut self, context: &Context<'_>) -> Poll<io::Result<Pin<&mut TcpStream>>> {
        if self.faults.is_lost(&self.way, context.waker()) {
            return Poll::Pending;
        }
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Poll::Ready(Ok(Pin::new(stream)))
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(context))?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match &mut self.outgoing {
                Outgoing::None => {
                    let delay = self.faults.delay(&self.way);
                    self.outgoing = if delay.is_zero() {
                        Outgoing::Leaving
                    } else {
                        Outgoing::Held(Box::pin(sleep(delay)))
                    };
                }
                Outgoing::Held(time) => {
                    ready!(time.as_mut().poll(context));
                    self.outgoing = Outgoing::Leaving;
                }
                Outgoing::Leaving => return ready!(self.poll_stream(context))?.poll_write(context, bytes),
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing = Outgoing::None;
        ready!(self.poll_stream(context))?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(context))?.poll_shutdown(context)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.faults.close(self.way, stream);
        }
    }
}
