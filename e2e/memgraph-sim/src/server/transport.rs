//! How the bytes of a Bolt session travel: over TCP, TLS or WebSocket.

use std::{io, sync::Arc};

use bolt_server::Session;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        http::{HeaderValue, header},
        protocol::WebSocketConfig,
    },
};

use super::faults::{Faults, Line};

/// The longest WebSocket message that is taken; the limit of Boost.Beast, which Memgraph uses.
const LONGEST_MESSAGE: usize = 16 << 20;
/// As much of a request as a first packet holds.
const FIRST_READ: usize = 16 * 1024;
/// More header fields than any browser sends.
const HEADERS: usize = 64;

/// A client's connection.
pub(super) enum Transport {
    Tcp(Line),
    Tls(Box<TlsStream<Line>>),
    WebSocket(Box<WebSocketStream<Line>>),
}

impl Transport {
    /// Shakes hands with a client that has just connected. Without TLS, a client whose first packet asks for
    /// it gets a WebSocket (communication/v2/session.hpp, `OnFirstRead`).
    pub(super) async fn accept(
        stream: TcpStream,
        faults: &Arc<Faults>,
        tls: Option<TlsAcceptor>,
    ) -> io::Result<Self> {
        let mut stream = Line::accepted(stream, faults)?;
        if let Some(tls) = tls {
            return Ok(Self::Tls(Box::new(tls.accept(stream).await?)));
        }
        let mut first = vec![0; FIRST_READ];
        let length = stream.peek(&mut first).await?;
        if asks_for_websocket(&first[..length]) {
            return Ok(Self::WebSocket(Box::new(upgrade(stream).await?)));
        }
        Ok(Self::Tcp(stream))
    }

    /// Hands what the client sends to its session; `false` when it sends no more.
    pub(super) async fn receive(&mut self, session: &mut Session, buffer: &mut [u8]) -> io::Result<bool> {
        let read = match self {
            Self::Tcp(stream) => stream.read(buffer).await?,
            Self::Tls(stream) => stream.read(buffer).await?,
            Self::WebSocket(socket) => return receive_message(socket, session).await,
        };
        session.receive(&buffer[..read]);
        Ok(read > 0)
    }

    /// Sends what a session has to say.
    pub(super) async fn send(&mut self, output: Bytes) -> io::Result<()> {
        if output.is_empty() {
            return Ok(());
        }
        match self {
            Self::Tcp(stream) => {
                stream.write_all(&output).await?;
                stream.flush().await
            }
            Self::Tls(stream) => {
                stream.write_all(&output).await?;
                stream.flush().await
            }
            Self::WebSocket(socket) => socket
                .send(Message::Binary(output))
                .await
                .map_err(io::Error::other),
        }
    }

    /// Tells the client that nothing follows.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
            Self::WebSocket(socket) => socket.close().await.map_err(io::Error::other),
        }
    }
}

fn asks_for_websocket(packet: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let complete = request.parse(packet).is_ok_and(|status| status.is_complete());
    complete
        && request.headers.iter().any(|header| {
            header.name.eq_ignore_ascii_case("upgrade") && header.value.eq_ignore_ascii_case(b"websocket")
        })
}

async fn upgrade(stream: Line) -> io::Result<WebSocketStream<Line>> {
    // The library's type of an error response is large; none is returned here.
    #[allow(clippy::result_large_err)]
    let name = |request: &Request, mut response: Response| {
        let headers = response.headers_mut();
        headers.insert(header::SERVER, HeaderValue::from_static("Memgraph Bolt WS"));
        // Clients in WebAssembly ask for this protocol and want to hear that they got it.
        let protocol = header::SEC_WEBSOCKET_PROTOCOL;
        if request
            .headers()
            .get(&protocol)
            .is_some_and(|asked| asked == "binary")
        {
            headers.insert(protocol, HeaderValue::from_static("binary"));
        }
        Ok(response)
    };
    let config = WebSocketConfig::default().max_message_size(Some(LONGEST_MESSAGE));
    accept_hdr_async_with_config(stream, name, Some(config))
        .await
        .map_err(io::Error::other)
}

async fn receive_message(socket: &mut WebSocketStream<Line>, session: &mut Session) -> io::Result<bool> {
    while let Some(message) = socket.next().await {
        match message.map_err(io::Error::other)? {
            message @ (Message::Binary(_) | Message::Text(_)) => {
                session.receive(&message.into_data());
                return Ok(true);
            }
            Message::Close(_) => return Ok(false),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::asks_for_websocket;

    #[test]
    fn only_a_complete_upgrade_request_is_one() {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";
        assert!(asks_for_websocket(request));
        assert!(!asks_for_websocket(&request[..request.len() - 1]));
        assert!(!asks_for_websocket(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!asks_for_websocket(b"\x60\x60\xb0\x17\0\0\0\0"));
        assert!(!asks_for_websocket(b""));
    }
}
