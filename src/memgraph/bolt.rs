//! Bolt by neo4rs, with a deadline around every call: the driver has none in its version exchange.

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use neo4rs::{ConfigBuilder, Graph, query};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::{
    Bolt, BoltError, Credentials, Encryption, Row, Session, credentials::shown, tls, tunnel::Tunnel,
};
use crate::exhaustion::is_out_of_resources;

/// Magic number and four proposals of a Bolt handshake: 4.3, 4.1, 4.0 and 1.0, one of which every Memgraph that
/// is supported speaks.
const HANDSHAKE: [u8; 20] = [
    0x60, 0x60, 0xB0, 0x17, 0, 0, 3, 4, 0, 0, 1, 4, 0, 0, 0, 4, 0, 0, 0, 1,
];

/// Bolt by the neo4rs driver.
#[derive(Clone, Debug, Default)]
pub struct Neo4rsBolt {
    credentials: Option<Credentials>,
    /// Those that are not spoken to in plain text. All clones know them.
    encrypted: Arc<Mutex<HashMap<SocketAddr, Encryption>>>,
}

impl Neo4rsBolt {
    /// Signs in with no credentials, which a server without users accepts.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Signs in with these credentials, if there are any, where a session brings none of its own.
    #[must_use]
    pub fn signing_in(credentials: Option<Credentials>) -> Self {
        Self {
            credentials,
            ..Self::default()
        }
    }

    fn encryption(&self, at: SocketAddr) -> Encryption {
        let encrypted = self.encrypted.lock().unwrap_or_else(PoisonError::into_inner);
        encrypted.get(&at).cloned().unwrap_or_default()
    }
}

/// A neo4rs connection, made at the first statement.
pub struct Neo4rsSession {
    at: SocketAddr,
    credentials: Option<Credentials>,
    encryption: Encryption,
    connection: Option<Connection>,
}

struct Connection {
    graph: Graph,
    tunnel: Option<Tunnel>,
}

impl Bolt for Neo4rsBolt {
    type Session = Neo4rsSession;
    type Knock = TcpStream;

    fn session_as(&self, at: SocketAddr, credentials: Option<&Credentials>) -> Neo4rsSession {
        Neo4rsSession {
            at,
            credentials: credentials.or(self.credentials.as_ref()).cloned(),
            encryption: self.encryption(at),
            connection: None,
        }
    }

    fn encrypt(&self, at: SocketAddr, encryption: Encryption) {
        let mut encrypted = self.encrypted.lock().unwrap_or_else(PoisonError::into_inner);
        match encryption {
            Encryption::None => encrypted.remove(&at),
            other => encrypted.insert(at, other),
        };
    }

    async fn handshake(&self, at: SocketAddr, deadline: Duration) -> Result<(), BoltError> {
        shake_hands(at, &self.encryption(at), deadline).await.map(drop)
    }

    async fn knock(&self, at: SocketAddr, deadline: Duration) -> Option<TcpStream> {
        timeout(deadline, TcpStream::connect(at)).await.ok()?.ok()
    }

    async fn reaches(&self, address: &str, deadline: Duration) -> bool {
        matches!(timeout(deadline, TcpStream::connect(address)).await, Ok(Ok(_)))
    }
}

impl Session for Neo4rsSession {
    async fn run(&mut self, statement: &str, deadline: Duration) -> Result<Vec<Row>, BoltError> {
        let at = self.at;
        let started = Instant::now();
        let answered = timeout(deadline, self.answer(statement, deadline)).await;
        tracing::trace!(%at, statement = shown(statement), elapsed = ?started.elapsed(), ok = matches!(answered, Ok(Ok(_))), "bolt");
        answered.unwrap_or(Err(BoltError::Deadline { at, deadline }))
    }

    async fn watch(&mut self, deadline: Duration) -> Result<(), BoltError> {
        let mut stream = shake_hands(self.at, &self.encryption, deadline).await?;
        // Whatever this is, the connection is of no use any more.
        let _end_or_error = stream.read(&mut [0]).await;
        Ok(())
    }
}

impl Neo4rsSession {
    async fn answer(&mut self, statement: &str, deadline: Duration) -> Result<Vec<Row>, BoltError> {
        let at = self.at;
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect(deadline).await?,
        };
        let answer = rows(&connection.graph, statement).await;
        let unreached = connection.tunnel.as_ref().and_then(Tunnel::failure);
        match answer {
            Err(error) if !matches!(error, neo4rs::Error::Neo4j(_)) => Err(match unreached {
                Some(reason) => from_io(at, &reason),
                None => from_driver(at, deadline, error),
            }),
            // Only a connection whose last answer was read to its end is used again. A refusal is an answer too.
            answered => {
                self.connection = Some(connection);
                answered.map_err(|error| from_driver(at, deadline, error))
            }
        }
    }

    async fn connect(&self, deadline: Duration) -> Result<Connection, BoltError> {
        let at = self.at;
        let tunnel = match &self.encryption {
            Encryption::None => None,
            Encryption::Unverified => {
                let why = "the certificate of its authority is not known".to_owned();
                return Err(BoltError::Untrusted { at, why });
            }
            Encryption::Verified { name, trust } => {
                let tunnel = Tunnel::open(at, name.clone(), trust.clone()).await;
                // It has nothing to do with the server.
                Some(tunnel.map_err(|error| broken(at, &error))?)
            }
        };
        let entrance = tunnel.as_ref().map_or(at, Tunnel::entrance);
        let graph = graph(entrance, self.credentials.as_ref(), deadline);
        Ok(Connection {
            graph: graph.map_err(|error| from_driver(at, deadline, error))?,
            tunnel,
        })
    }
}

/// A connection on which a version of Bolt was agreed on, and nothing else was said.
async fn shake_hands(
    at: SocketAddr,
    encryption: &Encryption,
    deadline: Duration,
) -> Result<Either<TcpStream, TlsStream<TcpStream>>, BoltError> {
    let exchange = async {
        let stream = TcpStream::connect(at).await?;
        let mut stream = match encryption {
            Encryption::None => Either::Left(stream),
            Encryption::Unverified | Encryption::Verified { .. } => {
                Either::Right(tls::connect_to_anybody(stream).await?)
            }
        };
        stream.write_all(&HANDSHAKE).await?;
        stream.flush().await?;
        let mut version = [0; 4];
        stream.read_exact(&mut version).await?;
        Ok(stream)
    };
    match timeout(deadline, exchange).await {
        Ok(Err(error)) if is_out_of_resources(&error) => Err(BoltError::Exhausted {
            at,
            detail: error.to_string(),
        }),
        Ok(result) => result.map_err(|error: io::Error| from_io(at, &error)),
        Err(_) => Err(BoltError::Deadline { at, deadline }),
    }
}

fn graph(
    at: SocketAddr,
    credentials: Option<&Credentials>,
    deadline: Duration,
) -> Result<Graph, neo4rs::Error> {
    let (user, password) = credentials.map_or(("", ""), |own| (own.username(), own.password()));
    let config = ConfigBuilder::new()
        .uri(format!("bolt://{at}"))
        .user(user)
        .password(password)
        .connection_timeout(deadline)
        .max_connections(1)
        .build()?;
    Graph::connect(config)
}

async fn rows(graph: &Graph, statement: &str) -> Result<Vec<Row>, neo4rs::Error> {
    let mut stream = graph.execute(query(statement)).await?;
    let mut rows = Vec::new();
    while let Some(row) = stream.next().await? {
        rows.push(row.to::<Row>()?);
    }
    Ok(rows)
}

fn from_io(at: SocketAddr, error: &io::Error) -> BoltError {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => BoltError::Refused { at },
        _ if tls::is_untrusted(error) => BoltError::Untrusted {
            at,
            why: error.to_string(),
        },
        _ => broken(at, error),
    }
}

fn broken(at: SocketAddr, error: &io::Error) -> BoltError {
    BoltError::Broken {
        at,
        detail: error.to_string(),
    }
}

fn from_driver(at: SocketAddr, deadline: Duration, error: neo4rs::Error) -> BoltError {
    match error {
        neo4rs::Error::Neo4j(failure) => BoltError::Failure {
            code: failure.code().to_owned(),
            message: failure.message().to_owned(),
        },
        neo4rs::Error::IOError { detail } => from_io(at, &detail),
        neo4rs::Error::AuthenticationError(_) => BoltError::Unauthenticated { at },
        neo4rs::Error::ConnectionTimedOut => BoltError::Deadline { at, deadline },
        other => BoltError::Broken {
            at,
            detail: other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_watch_ends_when_the_server_ends_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut session = Neo4rsBolt::anonymous().session(at);
        let watch = session.watch(SOON);
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 20]).await.unwrap();
            stream.write_all(&[0, 0, 3, 4]).await.unwrap();
            stream
        };
        let mut watch = std::pin::pin!(watch);
        let stream = tokio::select! {
            ended = &mut watch => panic!("it has ended: {ended:?}"),
            stream = serve => stream,
        };
        assert!(timeout(Duration::from_millis(50), &mut watch).await.is_err());
        drop(stream);
        assert!(matches!(timeout(SOON, watch).await, Ok(Ok(()))));
    }

    #[tokio::test]
    async fn there_is_nothing_to_watch_where_nobody_listens_or_nobody_speaks_bolt() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let silent = Neo4rsBolt::anonymous()
            .session(at)
            .watch(Duration::from_millis(50))
            .await;
        assert!(matches!(silent, Err(BoltError::Deadline { .. })));
        drop(listener);
        let refused = Neo4rsBolt::anonymous().session(at).watch(SOON).await;
        assert!(matches!(refused, Err(BoltError::Refused { .. })));
    }
}
