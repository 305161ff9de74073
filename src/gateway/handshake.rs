//! The TLS handshake with a client, where TLS ends at the gateway.
//!
//! It is made before the client is led anywhere: one that does not come through holds up no fence and no instance.

use std::{sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::{gate::Gate, peer::Wire, statistics::Refusal, tls::Tls};

/// How long a client may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// With this byte every TLS connection begins: the content type `handshake` of its first record (RFC 8446, 5.1). A Bolt client
/// without TLS begins with 0x60.
const HANDSHAKE: u8 = 22;

/// Agrees on TLS with a client that has just come.
///
/// # Errors
/// When it speaks no TLS, does not come to an agreement in time, or goes; and when the gateway ends meanwhile.
pub async fn shake_hands(
    gate: &Gate,
    config: Option<Arc<ServerConfig>>,
    client: TcpStream,
) -> Result<Wire, Refusal> {
    let config = config.ok_or(Refusal::NoCertificate)?;
    tokio::select! {
        biased;
        agreed = timeout(DEADLINE, agree(config, client)) => agreed.unwrap_or(Err(Refusal::Handshake)),
        () = gate.ended() => Err(Refusal::Ending),
    }
}

async fn agree(config: Arc<ServerConfig>, client: TcpStream) -> Result<Wire, Refusal> {
    let mut first = [0];
    match client.peek(&mut first).await {
        Ok(1) if first == [HANDSHAKE] => {}
        Ok(1) => return Err(Refusal::PlainText),
        // Load balancers look like this at whether somebody listens.
        _ => return Err(Refusal::Gone),
    }
    let accepted = TlsAcceptor::from(config).accept(client).await;
    let (stream, connection) = accepted
        .map_err(|error| {
            debug!(%error, "TLS was not agreed on");
            Refusal::Handshake
        })?
        .into_inner();
    Ok(Tls::new(stream, connection).into())
}
