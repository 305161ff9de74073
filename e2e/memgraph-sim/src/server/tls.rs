//! TLS: of clients (`--bolt-cert-file`, `--bolt-key-file`) and between instances (`--cluster-*-file`).

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use rustls::{
    ClientConfig, ConfigBuilder, ConfigSide, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme, WantsVerifier,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{ParsedCertificate, WebPkiClientVerifier},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::flags::Flags;

/// Certificates that cannot be used. The texts are Memgraph's (communication/context.cpp,
/// communication/cluster_tls.cpp, flags/general.cpp); only the reasons in them are worded by another library.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("Couldn't load server certificate from file {0}. Error: {1}")]
    Certificate(String, String),
    #[error("Couldn't load server private key from file {0}. Error: {1}")]
    Key(String, String),
    #[error("Unable to reload SSL configuration because key or certificate file aren't set.")]
    NotConfigured,
    #[error(
        "Failed to initialize cluster server TLS: Cluster server TLS: couldn't load {what} from {file}: {reason}"
    )]
    Cluster {
        what: &'static str,
        file: String,
        reason: String,
    },
    #[error(
        "Intra-cluster TLS requires --cluster-cert-file, --cluster-key-file, and --cluster-ca-file to be set together \
         (or all three to be empty). Refusing to start in a partially-configured TLS state. cert_file=\"{cert}\" \
         key_file=\"{key}\" ca_file=\"{ca}\""
    )]
    Partial { cert: String, key: String, ca: String },
}

fn read_certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    Ok(certificates)
}

fn read_key(path: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| error.to_string())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn with_versions<Side: ConfigSide>(
    builder: ConfigBuilder<Side, rustls::WantsVersions>,
) -> Result<ConfigBuilder<Side, WantsVerifier>, String> {
    builder
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())
}

/// The TLS of the ports for clients: Bolt, logs and metrics share it.
pub(super) struct ClientTls {
    /// The files of the certificates and of the key.
    files: Option<(String, String)>,
    acceptor: RefCell<Option<TlsAcceptor>>,
}

impl ClientTls {
    /// TLS is on when both files are given.
    pub(super) fn new(flags: &Flags) -> Result<Self, TlsError> {
        let [cert, key] = ["bolt_cert_file", "bolt_key_file"].map(|name| flags.text(name).to_owned());
        let tls = Self {
            files: (!cert.is_empty() && !key.is_empty()).then_some((cert, key)),
            acceptor: RefCell::default(),
        };
        if tls.files.is_some() {
            tls.reload()?;
        }
        Ok(tls)
    }

    /// Reads the files again; connections that exist go on with what they have.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        let (cert, key) = self.files.as_ref().ok_or(TlsError::NotConfigured)?;
        let bad_key = |error| TlsError::Key(key.clone(), error);
        let chain = read_certificates(cert).map_err(|error| TlsError::Certificate(cert.clone(), error))?;
        let config = with_versions(ServerConfig::builder_with_provider(provider()))
            .map_err(bad_key)?
            .with_no_client_auth()
            .with_single_cert(chain, read_key(key).map_err(bad_key)?)
            .map_err(|error| bad_key(error.to_string()))?;
        self.acceptor.replace(Some(TlsAcceptor::from(Arc::new(config))));
        Ok(())
    }

    /// What takes a new connection; `None` without TLS.
    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.acceptor.borrow().clone()
    }
}

/// Mutual TLS on the replication port (3.11 and later).
#[derive(Clone)]
pub(super) struct ClusterTls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl ClusterTls {
    /// Needs all three files, or none.
    pub(super) fn new(flags: &Flags) -> Result<Option<Self>, TlsError> {
        let [cert, key, ca] = ["cluster_cert_file", "cluster_key_file", "cluster_ca_file"]
            .map(|name| flags.text(name).to_owned());
        match [&cert, &key, &ca].iter().filter(|file| file.is_empty()).count() {
            3 => Ok(None),
            0 => Self::load(&cert, &key, &ca).map(Some),
            _ => Err(TlsError::Partial { cert, key, ca }),
        }
    }

    /// Shakes hands with an instance that has connected.
    pub(super) async fn accept<S>(&self, stream: S) -> io::Result<server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.acceptor.accept(stream).await
    }

    /// Shakes hands with an instance after connecting to it.
    pub(super) async fn connect<S>(&self, stream: S) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // The name is not verified, and none is sent.
        let name = ServerName::IpAddress(IpAddr::from(Ipv4Addr::UNSPECIFIED).into());
        self.connector.connect(name, stream).await
    }

    fn load(cert: &str, key: &str, ca: &str) -> Result<Self, TlsError> {
        let bad = |what: &'static str, file: &str| {
            let file = file.to_owned();
            move |reason| TlsError::Cluster { what, file, reason }
        };
        let bad_key = || bad("private key", key);
        let chain = read_certificates(cert).map_err(bad("certificate", cert))?;
        let private = read_key(key).map_err(bad_key())?;
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(ca).map_err(bad("CA", ca))? {
            let added = roots.add(certificate).map_err(|error| error.to_string());
            added.map_err(bad("CA", ca))?;
        }
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(|error| error.to_string())
            .map_err(bad("CA", ca))?;
        let server = with_versions(ServerConfig::builder_with_provider(provider()))
            .map_err(bad_key())?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), private.clone_key())
            .map_err(|error| bad_key()(error.to_string()))?;
        let client = with_versions(ClientConfig::builder_with_provider(provider()))
            .map_err(bad_key())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(SignedByCluster {
                roots,
                provider: provider(),
            }))
            .with_client_auth_cert(chain, private)
            .map_err(|error| bad_key()(error.to_string()))?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }
}

/// Takes every server with a certificate of the cluster's authority: Memgraph does not compare host names
/// (`BuildClusterSslContext` sets no expected host).
#[derive(Debug)]
struct SignedByCluster {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for SignedByCluster {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
