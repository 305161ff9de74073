//! Asks as a client does, until it is answered: the tests of the charts run it (`helm test`), where there is nothing but this program.

use std::{net::SocketAddr, path::Path, time::Duration};

use http::{StatusCode, Uri};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, Error as HttpError},
    rt::TokioExecutor,
};
use rustls::pki_types::ServerName;
use tokio::{
    net::lookup_host,
    time::{Instant, error::Elapsed, sleep, timeout},
};

use crate::memgraph::{
    Bolt, BoltError, Credentials, Encryption, Neo4rsBolt, Session, Trust, UnusableCertificate,
};

/// How long a single try may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long after one try the next one begins.
const PAUSE: Duration = Duration::from_millis(500);

/// What is asked.
#[derive(Clone, Debug)]
pub enum Target {
    /// Something that answers `GET` over plain HTTP, which must be with 200.
    Http(Uri),
    /// A Memgraph, or a gateway that leads to one.
    Bolt(Database),
}

/// Where a database is, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Database {
    host: String,
    port: u16,
    credentials: Option<Credentials>,
    encryption: Encryption,
}

/// Why something cannot be asked, or has not answered.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It is no address of a database.
    #[error("{0:?} is no host and port; write it as demo-gateway:7687")]
    Address(String),
    /// There is no name that a certificate could have.
    #[error("{0:?} is no name for which there can be a certificate")]
    Name(String),
    /// The authorities' certificates cannot be used.
    #[error("the authorities of {host} cannot be used")]
    Authorities {
        /// Whose.
        host: String,
        /// What is wrong with them.
        source: UnusableCertificate,
    },
    /// The name has no address.
    #[error("the name {0} has no address")]
    NoAddress(String),
    /// It cannot be looked up.
    #[error("the name {host} cannot be looked up")]
    Lookup {
        /// The name.
        host: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It did not answer a single try in time.
    #[error("no answer")]
    Slow(#[from] Elapsed),
    /// It cannot be reached over HTTP.
    #[error("it cannot be asked")]
    Http(#[from] HttpError),
    /// It has answered something else.
    #[error("it answers {0}")]
    Status(StatusCode),
    /// The database has not answered.
    #[error(transparent)]
    Bolt(#[from] BoltError),
    /// All tries were in vain.
    #[error("{target} has not answered as it should within {within:?}")]
    InVain {
        /// What was asked.
        target: String,
        /// For how long.
        within: Duration,
        /// Why the last try was in vain.
        source: Box<ProbeError>,
    },
}

impl Database {
    /// The one at this `host:port`, which is spoken to in plain text, and asked as a user if there are `credentials`.
    ///
    /// # Errors
    /// When that is no host and port.
    pub fn at(address: &str, credentials: Option<Credentials>) -> Result<Self, ProbeError> {
        let split = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let split = split.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = split.ok_or_else(|| ProbeError::Address(address.to_owned()))?;
        Ok(Self {
            // As addresses of IPv6 are written beside a port.
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            credentials,
            encryption: Encryption::None,
        })
    }

    /// The same one by TLS, if it shows that it is its host: by a certificate that the authorities in this file vouch for (PEM).
    /// Where there is no such file nobody can tell who answers: the handshakes must come about then, and nothing is asked.
    ///
    /// # Errors
    /// When these cannot be read, or the host is no name for a certificate.
    pub fn known_by(self, authorities: &Path) -> Result<Self, ProbeError> {
        let encryption = match std::fs::read(authorities) {
            Err(_) => Encryption::Unverified,
            Ok(authorities) => Encryption::Verified {
                name: ServerName::try_from(self.host.clone())
                    .map_err(|_| ProbeError::Name(self.host.clone()))?,
                trust: Trust::of(&authorities).map_err(|source| ProbeError::Authorities {
                    host: self.host.clone(),
                    source,
                })?,
            },
        };
        Ok(Self { encryption, ..self })
    }

    async fn address(&self) -> Result<SocketAddr, ProbeError> {
        let found = lookup_host((self.host.as_str(), self.port)).await;
        let found = found.map_err(|source| ProbeError::Lookup {
            host: self.host.clone(),
            source,
        })?;
        let mut found: Vec<_> = found.collect();
        // Instances have addresses of IPv4.
        found.sort_by_key(SocketAddr::is_ipv6);
        let first = found.first().copied();
        first.ok_or_else(|| ProbeError::NoAddress(self.host.clone()))
    }

    async fn ask(&self) -> Result<String, ProbeError> {
        let bolt = Neo4rsBolt::signing_in(self.credentials.clone());
        let at = timeout(DEADLINE, self.address()).await??;
        bolt.encrypt(at, self.encryption.clone());
        if matches!(self.encryption, Encryption::Unverified) {
            bolt.handshake(at, DEADLINE).await?;
            return Ok(
                "completes handshakes of TLS and Bolt; nothing was asked, since nobody vouches for it"
                    .to_owned(),
            );
        }
        bolt.session(at).run("RETURN 1", DEADLINE).await?;
        Ok(match &self.credentials {
            Some(user) => format!("answers the user {}", user.username()),
            None => "answers".to_owned(),
        })
    }
}

impl Target {
    /// Asks until it answers as it should, and says what it has answered.
    ///
    /// # Errors
    /// When it does not within this time; with the reason of the last try.
    pub async fn answers(&self, within: Duration) -> Result<String, ProbeError> {
        let until = Instant::now() + within;
        loop {
            let tried = match self {
                Self::Http(uri) => get(uri).await,
                Self::Bolt(database) => database.ask().await,
            };
            let failed = match tried {
                Ok(said) => return Ok(format!("{self} {said}")),
                Err(failed) => failed,
            };
            if Instant::now() + PAUSE >= until {
                return Err(ProbeError::InVain {
                    target: self.to_string(),
                    within,
                    source: Box::new(failed),
                });
            }
            tracing::info!(asked = %self, reason = crate::controller::chain(&failed), "trying again");
            sleep(PAUSE).await;
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(uri) => write!(f, "{uri}"),
            Self::Bolt(database) => write!(f, "{}:{}", database.host, database.port),
        }
    }
}

async fn get(uri: &Uri) -> Result<String, ProbeError> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = timeout(DEADLINE, client.get(uri.clone())).await??;
    match answer.status() {
        StatusCode::OK => Ok("answers 200".to_owned()),
        other => Err(ProbeError::Status(other)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::net::TcpListener;
    use warp::Filter;

    use super::*;

    #[test]
    fn a_database_has_a_host_and_a_port() {
        for (address, host, port) in [
            ("demo-gateway.graphs:7687", "demo-gateway.graphs", 7687),
            ("[::1]:1", "::1", 1),
        ] {
            let database = Database::at(address, None).unwrap();
            assert_eq!((database.host.as_str(), database.port), (host, port));
        }
        for address in [
            "demo-gateway",
            ":7687",
            "demo-gateway:bolt",
            "demo-gateway:70000",
            "",
        ] {
            let said = Database::at(address, None).unwrap_err().to_string();
            assert!(said.contains("write it as demo-gateway:7687"), "{said}");
        }
    }

    #[tokio::test]
    async fn it_is_asked_until_it_is_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("http://{}/readyz", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        // Ready when it is asked for the second time.
        let asked = AtomicBool::new(false);
        let asked: &'static AtomicBool = Box::leak(Box::new(asked));
        let check = || match asked.swap(true, Ordering::SeqCst) {
            true => Ok(()),
            false => Err("not yet"),
        };
        tokio::spawn(crate::http::serve(
            listener,
            crate::http::readyz(check).or(crate::http::livez()),
            Default::default(),
        ));
        let said = Target::Http(uri.clone())
            .answers(Duration::from_secs(30))
            .await
            .unwrap();
        assert_eq!(said, format!("{uri} answers 200"));

        let missing: Uri = uri.to_string().replace("readyz", "other").parse().unwrap();
        let error = Target::Http(missing).answers(Duration::ZERO).await.unwrap_err();
        assert!(
            crate::controller::chain(&error).contains("it answers 404"),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_database_that_is_not_there_is_named_with_the_reason() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let target = Target::Bolt(Database::at(&address, None).unwrap());
        let error = target.answers(Duration::ZERO).await.unwrap_err();
        let said = crate::controller::chain(&error);
        assert!(said.starts_with(&format!("{address} has not answered")), "{said}");
        assert!(said.contains("refuses connections"), "{said}");
    }

    #[test]
    fn without_authorities_nothing_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::at("demo-gateway:7687", None).unwrap();
        let unknown = database.clone().known_by(&folder.path().join("ca.crt")).unwrap();
        assert!(matches!(unknown.encryption, Encryption::Unverified));
        let broken = folder.path().join("broken.crt");
        std::fs::write(&broken, "no certificate").unwrap();
        let error = database.known_by(&broken).unwrap_err();
        assert!(
            crate::controller::chain(&error).contains("has no certificate"),
            "{error:?}"
        );
    }
}
