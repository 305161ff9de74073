//! WebSockets: Bolt, and the stream of the log.

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _, handshake::client::Response},
};

use crate::{instance::Instance, ports::ReservedPort};

type Socket = WebSocketStream<TcpStream>;

async fn open(port: u16, protocol: Option<&str>) -> (Socket, Response) {
    let stream = Instance::connect(port).await;
    let mut request = format!("ws://127.0.0.1:{port}/").into_client_request().unwrap();
    if let Some(protocol) = protocol {
        let protocol = protocol.parse().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
    }
    client_async(request, stream).await.unwrap()
}

fn bytes(message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>) -> Vec<u8> {
    let message = message.unwrap().unwrap();
    assert!(message.is_binary());
    message.into_data().to_vec()
}

#[tokio::test]
async fn bolt_works_over_websocket() {
    let instance = Instance::new(&[]);
    for protocol in [None, Some("binary")] {
        let (mut socket, response) = open(instance.bolt, protocol).await;
        assert_eq!(response.headers()["server"], "Memgraph Bolt WS");
        let shown = response.headers().get("sec-websocket-protocol");
        assert_eq!(shown.map(|it| it.to_str().unwrap()), protocol);
        // The magic number and an offer of 4.1, in two messages.
        let offer: &[u8] = b"\x60\x60\xb0\x17\0\0\x01\x04\0\0\0\0\0\0\0\0\0\0\0\0";
        socket.send(Message::binary(offer[..5].to_vec())).await.unwrap();
        socket.send(Message::binary(offer[5..].to_vec())).await.unwrap();
        assert_eq!(bytes(socket.next().await), [0, 0, 1, 4]);
        // HELLO with a user agent.
        let hello: &[u8] = b"\x00\x10\xb1\x01\xa1\x8auser_agent\x811\0\0";
        socket.send(Message::binary(hello.to_vec())).await.unwrap();
        let answer = bytes(socket.next().await);
        assert_eq!(answer[2..4], [0xb1, 0x70], "SUCCESS");
        socket.close(None).await.unwrap();
    }
}

fn log_line(message: &Message) -> Value {
    let text = message.to_text().unwrap();
    assert!(text.starts_with(r#"{"event": "log", "level": ""#), "{text}");
    serde_json::from_str(text).unwrap()
}

/// Waits for a line of the log that has a text.
async fn until_logged(socket: &mut Socket, text: &str) -> Value {
    loop {
        let line = log_line(&socket.next().await.unwrap().unwrap());
        if line["message"].as_str().unwrap().contains(text) {
            return line;
        }
    }
}

#[tokio::test]
async fn the_log_is_streamed() {
    let port = ReservedPort::new();
    let flag = format!("--monitoring-port={}", port.number());
    let instance = Instance::new(&[&flag, "--monitoring-address=127.0.0.1", "--log-level=INFO"]);
    let (mut socket, response) = open(port.number(), None).await;
    assert_eq!(response.headers()["server"], "Memgraph WS");
    // The server is told by any client that the stream is set up.
    let listening = async { until_logged(&mut socket, "Accepted a connection from Bolt").await };
    let asking = async {
        loop {
            instance.role().await;
            tokio::task::yield_now().await;
        }
    };
    let line = tokio::select! {
        line = listening => line,
        () = asking => unreachable!(),
    };
    assert_eq!(line["level"], "info");
}

#[tokio::test]
async fn who_listens_to_the_log_has_to_be_a_user() {
    let port = ReservedPort::new();
    let flag = format!("--monitoring-port={}", port.number());
    let instance = Instance::with_environment(
        &[&flag, "--log-level=TRACE"],
        &[("MEMGRAPH_USER", "u"), ("MEMGRAPH_PASSWORD", "p")],
    );
    for (message, answer) in [
        (
            json!({ "username": "u", "password": "x" }).to_string(),
            "Authentication failed!",
        ),
        ("[".to_owned(), "Cannot parse JSON for WebSocket authentication"),
        ("{}".to_owned(), "key 'username' not found!"),
    ] {
        let (mut socket, _) = open(port.number(), None).await;
        socket.send(Message::text(message)).await.unwrap();
        let refusal = socket.next().await.unwrap().unwrap();
        let refusal: Value = serde_json::from_str(refusal.to_text().unwrap()).unwrap();
        assert_eq!(refusal["success"], false);
        assert!(refusal["message"].as_str().unwrap().contains(answer), "{refusal}");
        assert!(
            socket
                .next()
                .await
                .is_none_or(|it| it.is_err() || it.unwrap().is_close())
        );
    }
    let (mut socket, _) = open(port.number(), None).await;
    let who = json!({ "username": "u", "password": "p" });
    socket.send(Message::text(who.to_string())).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    assert_eq!(
        answer.to_text().unwrap(),
        r#"{"message":"User has been successfully authenticated!","success":true}"#
    );
    drop(Instance::connect(instance.bolt).await);
    until_logged(&mut socket, "Accepted a connection from Bolt").await;
}
