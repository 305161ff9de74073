//! TLS with instances: whom to trust, and by which name an instance shows who it is.
//!
//! An instance is connected to at the address of its pod, and must have a certificate for its name in the headless Service
//! ([`instance_tls_name`](crate::api::names::instance_tls_name)). Memgraph takes no plain text beside TLS (`CreateSocket` in
//! `src/communication/v2/session.hpp`), and asks clients for no certificate (`BuildServerContext` in `src/memgraph.cpp`).

use std::{
    io,
    sync::{Arc, LazyLock},
};

use jiff::Timestamp;
use mgconsole::tls::Anybody;
use rustls::{
    ClientConfig, RootCertStore,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{api::names, validity};

/// How a server is spoken to.
#[derive(Clone, Debug, Default)]
pub enum Encryption {
    /// In plain text.
    #[default]
    None,
    /// By TLS, and nobody knows with whom: handshakes are made, and no statement is sent.
    Unverified,
    /// By TLS, with a server that shows that it is this one.
    Verified {
        /// Its name.
        name: ServerName<'static>,
        /// Who may have signed its certificate.
        trust: Trust,
    },
}

/// Why a certificate, or what comes with it, is of no use.
#[derive(Debug, thiserror::Error)]
pub enum UnusableCertificate {
    /// It is no PEM of what it should be.
    #[error("{key} cannot be read as PEM: {source}")]
    Pem {
        /// The key in the Secret, or the file.
        key: &'static str,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// There is no certificate in it.
    #[error("{0} has no certificate")]
    Empty(&'static str),
    /// The authorities' certificates cannot be used.
    #[error("ca.crt cannot be used: {0}")]
    Authority(rustls::Error),
    /// The key is not the certificate's, or of a kind that nobody knows.
    #[error("tls.key cannot be used with tls.crt: {0}")]
    Key(rustls::Error),
    /// The certificate has ended, say, or was signed by somebody else.
    #[error("tls.crt cannot be used: {0}")]
    Certificate(rustls::Error),
    /// It is for other names.
    #[error("tls.crt is not valid for {name}; make it for *.{}", .name.split_once('.').map_or("", |(_, rest)| rest))]
    Name {
        /// The name that it lacks.
        name: String,
    },
    /// An instance has a name that no certificate can have.
    #[error("{0} cannot be a name in a certificate")]
    NoName(String),
}

/// The authorities whose word is taken for who an instance is.
#[derive(Clone)]
pub struct Trust {
    roots: Arc<RootCertStore>,
    connector: TlsConnector,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust")
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

impl Trust {
    /// Trusts whoever has a certificate that one of these authorities has signed (PEM, one or more certificates). Sessions are
    /// resumed where the server allows it, by all who have a clone.
    ///
    /// # Errors
    /// When that is no PEM of certificates that can be used.
    pub fn of(authorities: &[u8]) -> Result<Self, UnusableCertificate> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("ca.crt", authorities)? {
            roots.add(certificate).map_err(UnusableCertificate::Authority)?;
        }
        let roots = Arc::new(roots);
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(UnusableCertificate::Authority)?
            .with_root_certificates(Arc::clone(&roots))
            .with_no_client_auth();
        Ok(Self {
            roots,
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Shakes hands with the server at the other end of `stream`, which must show that it is `name`.
    ///
    /// # Errors
    /// When the connection fails, or the server is not who it should be ([`is_untrusted`] tells).
    pub async fn connect(
        &self,
        stream: TcpStream,
        name: &ServerName<'static>,
    ) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(name.clone(), stream).await
    }

    /// Whether a server with this certificate and key (PEM, the certificate first and those between it and the authority after
    /// it) is trusted now as each of `names`.
    ///
    /// # Errors
    /// When it is not; the text says why.
    pub fn examine(
        &self,
        certificate: &[u8],
        key: &[u8],
        names: &[ServerName<'static>],
        now: UnixTime,
    ) -> Result<(), UnusableCertificate> {
        let chain = certificates("tls.crt", certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| UnusableCertificate::Pem {
            key: "tls.key",
            source,
        })?;
        let provider = provider();
        CertifiedKey::from_der(chain.clone(), key, &provider).map_err(UnusableCertificate::Key)?;
        let (leaf, between) = chain.split_first().ok_or(UnusableCertificate::Empty("tls.crt"))?;
        let leaf = ParsedCertificate::try_from(leaf).map_err(UnusableCertificate::Certificate)?;
        let algorithms = provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots, between, now, algorithms)
            .map_err(UnusableCertificate::Certificate)?;
        names.iter().try_for_each(|name| {
            verify_server_name(&leaf, name).map_err(|_| UnusableCertificate::Name {
                name: name.to_str().into_owned(),
            })
        })
    }
}

/// When the first of these certificates (PEM) ends; none: they cannot be read.
#[must_use]
pub fn end(certificate: &[u8]) -> Option<Timestamp> {
    let chain = certificates("tls.crt", certificate).ok()?;
    let ends = chain.iter().map(|certificate| validity::end(certificate));
    ends.collect::<Result<Vec<_>, _>>().ok()?.into_iter().min()
}

/// The name for which an instance must have a certificate.
///
/// # Errors
/// When it cannot be one.
pub fn server_name(
    cluster: &str,
    namespace: &str,
    instance: &str,
) -> Result<ServerName<'static>, UnusableCertificate> {
    let name = names::instance_tls_name(cluster, namespace, instance);
    ServerName::try_from(name.clone()).map_err(|_| UnusableCertificate::NoName(name))
}

/// Shakes hands with whoever is at the other end of `stream`. What is learnt by that is that somebody is there.
///
/// # Errors
/// When the connection fails, or there is no TLS.
pub(super) async fn connect_to_anybody(stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    static CONNECTOR: LazyLock<Result<TlsConnector, rustls::Error>> = LazyLock::new(|| {
        let anybody = Arc::new(Anybody::new(provider()));
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(anybody)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    });
    let connector = CONNECTOR.as_ref().map_err(io::Error::other)?;
    let name = ServerName::from(stream.peer_addr()?.ip());
    connector.connect(name, stream).await
}

/// Whether a handshake has failed because the server is not who it should be.
#[must_use]
pub fn is_untrusted(error: &io::Error) -> bool {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(key: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, UnusableCertificate> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let read = read.map_err(|source| UnusableCertificate::Pem { key, source })?;
    if read.is_empty() {
        return Err(UnusableCertificate::Empty(key));
    }
    Ok(read)
}
