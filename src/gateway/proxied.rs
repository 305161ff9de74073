//! Whom a load balancer speaks for: the header of the PROXY protocol, version 2, in front of the client's own bytes.
//!
//! Source: <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>, section 2.2. Exactly the header's bytes are taken from
//! the connection, so that those of the client which came along with them wait there for the session.

use std::{net::SocketAddr, time::Duration};

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

/// How every header begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family, and the length of the rest.
const FIXED: usize = 16;
/// Where the command stands.
const COMMAND: usize = SIGNATURE.len();
/// The command of a connection that the load balancer has made for itself.
const LOCAL: u8 = 0x20;
/// The longest header that is read. The addresses take 36 bytes at most; the rest is what load balancers add of themselves.
const LONGEST: usize = 4096;

/// How long a load balancer may take for the header: it sends it together with the connection, so only a lost packet delays it.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Why it is not known who the client is.
#[derive(Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It does not begin with a header, not in time, or the header is malformed, too long, or names no client.
    NoHeader,
    /// The connection has ended, or nothing has come over one that the load balancer had made for itself.
    Gone,
}

/// Whose connection it is.
#[derive(Debug, PartialEq, Eq)]
enum Header {
    /// This client's.
    Client(SocketAddr),
    /// The load balancer's own.
    Local,
}

/// The client's address. Takes the header from the connection, and nothing else.
///
/// A connection that the load balancer has made for itself, to see whether somebody listens, is one of its own address (`peer`).
/// It is not led anywhere before it has said something.
///
/// # Errors
///
/// Fails when there is no such header in time, and when the connection has ended.
pub async fn client(stream: &mut TcpStream, peer: SocketAddr) -> Result<SocketAddr, Unknown> {
    let mut local = false;
    let introduced = timeout(DEADLINE, async {
        match header(stream).await? {
            Header::Client(client) => Ok(client),
            Header::Local => {
                local = true;
                match stream.peek(&mut [0]).await {
                    Ok(1..) => Ok(peer),
                    Ok(0) | Err(_) => Err(Unknown::Gone),
                }
            }
        }
    });
    let introduced = introduced.await;
    introduced.unwrap_or(Err(if local { Unknown::Gone } else { Unknown::NoHeader }))
}

async fn header(stream: &mut TcpStream) -> Result<Header, Unknown> {
    let mut header = vec![0; FIXED];
    let mut read = 0;
    while read < FIXED {
        read += some(stream, &mut header[read..]).await?;
        let begun = read.min(SIGNATURE.len());
        // A client that was not introduced is not kept waiting, whatever little it has said.
        if header[..begun] != SIGNATURE[..begun] {
            return Err(Unknown::NoHeader);
        }
    }
    let rest = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
    if FIXED + rest > LONGEST {
        return Err(Unknown::NoHeader);
    }
    header.resize(FIXED + rest, 0);
    while read < header.len() {
        read += some(stream, &mut header[read..]).await?;
    }
    parse(&header).ok_or(Unknown::NoHeader)
}

/// Reads at least one byte.
async fn some(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize, Unknown> {
    match stream.read(buffer).await {
        Ok(read @ 1..) => Ok(read),
        Ok(0) | Err(_) => Err(Unknown::Gone),
    }
}

/// Reads a whole header. None: it is malformed or names no client by an address of the internet.
fn parse(header: &[u8]) -> Option<Header> {
    let config = ParseConfig {
        include_tlvs: false,
        allow_v1: false,
        allow_v2: true,
    };
    let (parsed, length) = ProxyHeader::parse(header, config).ok()?;
    if length != header.len() {
        return None;
    }
    // "The receiver must accept this connection as valid and must use the real connection endpoints."
    if header.get(COMMAND) == Some(&LOCAL) {
        return Some(Header::Local);
    }
    let proxied = parsed.proxied_address()?;
    (proxied.protocol == Protocol::Stream).then_some(Header::Client(proxied.source))
}
