//! Certificates, and what trusts them.

use std::{io, sync::Arc};

use rcgen::CertifiedKey;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::harness::{TestGateway, soon};
use crate::gateway::certificate::Pair;

/// By which clients know the gateway.
pub(super) const NAME: &str = "demo-gateway.graphs";

/// A certificate that signs itself.
pub(super) struct Authority {
    name: String,
    pub(super) pair: Pair,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// That of a gateway.
    pub(super) fn new() -> Self {
        Self::of(NAME)
    }

    pub(super) fn of(name: &str) -> Self {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Self {
            name: name.to_owned(),
            pair: Pair {
                certificate: cert.pem(),
                key: signing_key.serialize_pem(),
            },
            certificate: cert.der().clone(),
        }
    }

    /// A client that trusts this one alone.
    pub(super) async fn client_of(&self, gateway: &TestGateway) -> io::Result<client::TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        soon(connector.connect(name, gateway.client().await)).await
    }

    /// The server's end of a connection, which shows this one.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        let key = PrivateKeyDer::from_pem_slice(self.pair.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .unwrap();
        soon(TlsAcceptor::from(Arc::new(config)).accept(stream)).await
    }
}
