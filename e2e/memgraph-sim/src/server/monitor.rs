//! The log as a stream of WebSocket messages, on the monitoring port (communication/websocket).

use std::{io, rc::Rc};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::broadcast::error::RecvError,
    task::spawn_local,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        self, Message,
        handshake::server::{Request, Response},
        http::{HeaderValue, header},
    },
};

use super::{Driver, log::Line, peers::bind};

/// A line in the form of the stream. Memgraph escapes only quotes and line ends (`QuoteEscapeFormatter`), so
/// that a line with a backslash is no proper JSON.
fn message(line: &Line) -> String {
    let text = line.message.replace('"', "\\\"").replace('\n', "\\n");
    format!(
        r#"{{"event": "log", "level": "{}", "message": "{text}"}}"#,
        line.level
    )
}

/// Name and password out of a client's first message; else what is wrong with it.
fn credentials(text: &str) -> Result<(String, String), String> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| format!("Cannot parse JSON for WebSocket authentication: {error}!"))?;
    let field = |name: &str| {
        let found = value.get(name).and_then(Value::as_str).map(str::to_owned);
        found.ok_or_else(|| {
            format!(
                "Invalid JSON for authentication received: [json.exception.out_of_range.403] key '{name}' not found!"
            )
        })
    };
    Ok((field("username")?, field("password")?))
}

impl Driver {
    /// Opens the monitoring port. The server goes on without it if it is taken.
    pub(super) fn open_monitoring_port(self: &Rc<Self>) {
        let (address, port) = &self.monitoring_address;
        let listener = match bind(address, *port) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!("Websocket listener failed on bind: {error}");
                tracing::error!("Skipping adding logger sync for websocket.");
                return;
            }
        };
        tracing::info!("WebSocket server is listening on {address}:{port}");
        let driver = Rc::clone(self);
        spawn_local(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => driver.monitor(stream),
                    Err(error) => {
                        tracing::warn!("Websocket listener failed on accept: {error}");
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
    }

    fn monitor(self: &Rc<Self>, stream: TcpStream) {
        let driver = Rc::clone(self);
        spawn_local(async move {
            let result = match driver.client_tls.acceptor() {
                None => driver.stream_log(stream).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => driver.stream_log(stream).await,
                    Err(error) => return tracing::warn!("Failed on SSL handshake: {error}"),
                },
            };
            if let Err(error) = result {
                tracing::warn!("Websocket session failed: {error}");
            }
        });
    }

    async fn stream_log<S>(self: &Rc<Self>, stream: S) -> Result<(), tungstenite::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // The library's type of an error response is large; none is returned here.
        #[allow(clippy::result_large_err)]
        let name = |_: &Request, mut response: Response| {
            let headers = response.headers_mut();
            headers.insert(header::SERVER, HeaderValue::from_static("Memgraph WS"));
            Ok(response)
        };
        let mut socket = accept_hdr_async(stream, name).await?;
        if self.engine.borrow().is_access_controlled() && !self.let_in(&mut socket).await? {
            return Ok(());
        }
        let mut lines = self.log.listen();
        loop {
            tokio::select! {
                line = lines.recv() => match line {
                    Ok(line) => socket.send(Message::text(message(&line))).await?,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return socket.close(None).await,
                },
                // What a client says from here on is of no interest.
                received = socket.next() => match received {
                    Some(received) => drop(received?),
                    None => return Ok(()),
                },
            }
        }
    }

    /// Asks for name and password, and answers; `false` if the client had to go.
    async fn let_in<S>(&self, socket: &mut WebSocketStream<S>) -> Result<bool, tungstenite::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let text = loop {
            match socket.next().await.transpose()? {
                Some(Message::Text(text)) => break text.to_string(),
                Some(Message::Binary(bytes)) => break String::from_utf8_lossy(&bytes).into_owned(),
                Some(Message::Close(_)) | None => return Ok(false),
                Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            }
        };
        let refusal = match credentials(&text) {
            Ok((name, password)) if self.engine.borrow().authenticates(&name, &password) => None,
            Ok(_) => Some("Authentication failed!".to_owned()),
            Err(problem) => {
                tracing::error!("{problem}");
                Some(problem)
            }
        };
        let accepted = refusal.is_none();
        let text = refusal.unwrap_or_else(|| "User has been successfully authenticated!".to_owned());
        let answer = json!({ "success": accepted, "message": text });
        socket.send(Message::text(answer.to_string())).await?;
        if !accepted {
            match socket.close(None).await {
                Ok(()) | Err(tungstenite::Error::ConnectionClosed) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) => return Err(error),
            }
        }
        Ok(accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_form_of_the_stream() {
        let line = Line {
            level: "info",
            message: "a \"b\"\nc".into(),
        };
        let shown = r#"{"event": "log", "level": "info", "message": "a \"b\"\nc"}"#;
        assert_eq!(message(&line), shown);
    }

    #[test]
    fn credentials_need_both_fields() {
        let both = r#"{"username": "u", "password": "p"}"#;
        assert_eq!(credentials(both).unwrap(), ("u".into(), "p".into()));
        let missing = credentials(r#"{"username": "u"}"#).unwrap_err();
        assert!(missing.contains("key 'password' not found"));
        assert!(credentials("hello").unwrap_err().starts_with("Cannot parse JSON"));
    }
}
