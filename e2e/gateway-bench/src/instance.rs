//! What stands behind a proxy in place of Memgraph, and clients of it.
//!
//! A client's first byte says what the session is for. It is never the instance that ends a session first: a MAIN that does so is
//! taken for one in trouble.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream as StdStream},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, yield_now},
    time::timeout,
};

/// Everything that comes is sent back.
pub const ECHO: u8 = b'e';
/// The instance sends without end.
pub const BULK: u8 = b'b';
/// One byte is sent back, then nothing is said any more.
const HOLD: u8 = b'h';

/// The size of a bulk sender's pieces.
const PIECE: usize = 64 * 1024;

/// Longer than any session takes to begin unless it is refused or waits.
const DEADLINE: Duration = Duration::from_secs(5);

/// An instance.
pub struct Instance {
    /// Where it listens.
    pub address: SocketAddr,
    held: Held,
    accepting: AbortHandle,
}

/// Sessions that are held: no event of theirs is waited for, so that they cost nothing.
type Held = Arc<Mutex<Vec<StdStream>>>;

impl Instance {
    /// Starts it on the loopback interface.
    pub async fn start() -> Result<Self> {
        let listener = socket_listener()?;
        let address = listener.local_addr()?;
        let held = Held::default();
        let holding = Arc::clone(&held);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let holding = Arc::clone(&holding);
                // How a session ends is the client's matter.
                tokio::spawn(async move { serve(stream, &holding).await.ok() });
            }
        });
        Ok(Self {
            address,
            held,
            accepting: accepting.abort_handle(),
        })
    }

    /// Lets go of the instance's ends that are held.
    pub fn release(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Begins a session of this kind through the proxy at this address.
pub async fn begin(proxy: SocketAddr, kind: u8) -> io::Result<TcpStream> {
    let mut client = TcpStream::connect(proxy).await?;
    client.set_nodelay(true)?;
    // Thousands of sessions must not use up the ports.
    client.set_zero_linger()?;
    client.write_all(&[kind]).await?;
    Ok(client)
}

/// Begins a session through the proxy at this address, and holds both of its ends. Returns the client's.
pub async fn hold(proxy: SocketAddr) -> Result<StdStream> {
    let held = async {
        let mut client = begin(proxy, HOLD).await?;
        client.write_all(b"!").await?;
        client.read_u8().await?;
        client.into_std()
    };
    timeout(DEADLINE, held)
        .await
        .context("the session does not begin")?
        .context("the session was refused")
}

fn socket_listener() -> Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    Ok(socket.listen(4096)?)
}

async fn serve(mut stream: TcpStream, held: &Held) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match stream.read_u8().await? {
        ECHO => echo(&mut stream).await,
        BULK => {
            let piece = vec![0; PIECE];
            loop {
                stream.write_all(&piece).await?;
                // Whoever can always go on must let others have their turn.
                yield_now().await;
            }
        }
        HOLD => {
            let byte = stream.read_u8().await?;
            stream.write_u8(byte).await?;
            let stream = stream.into_std()?;
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            held.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
            Ok(())
        }
        // A gateway tries whether MAIN speaks Bolt.
        _ => {
            let mut rest = [0; 64];
            while stream.read(&mut rest).await? > 0 {}
            Ok(())
        }
    }
}

async fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read]).await?,
        }
    }
}
