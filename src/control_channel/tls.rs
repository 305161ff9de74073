//! TLS as both ends of the channel want it: version 1.3, and each shows who it is.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier},
    version::TLS13,
};
use serde::{Deserialize, Serialize};

use super::authority::Leaf;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A text is no PEM of what it should be.
    #[error("cannot read {what}")]
    Pem {
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate or key is of no use.
    #[error("cannot use the certificates of the control channel")]
    Unusable(#[from] rustls::Error),
    /// The gateways have no name.
    #[error("{cluster} cannot be part of a name in a certificate")]
    Name {
        /// UID of the cluster.
        cluster: String,
    },
    /// Nobody would be trusted.
    #[error("cannot trust anybody on the control channel")]
    Nobody(#[from] VerifierBuilderError),
}

/// Who one is, and whom one trusts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The own certificate.
    pub leaf: Leaf,
    /// The certificates of those that are trusted to sign the other end's (PEM).
    pub bundle: String,
}

impl Credentials {
    /// For the end that is asked.
    ///
    /// # Errors
    /// When a certificate or a key cannot be used.
    pub fn server(&self) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(self.roots()?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
        let (chain, key) = self.own()?;
        Ok(ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?)
    }

    /// For the end that asks.
    ///
    /// # Errors
    /// When a certificate or a key cannot be used.
    pub fn client(&self) -> Result<ClientConfig, TlsError> {
        let (chain, key) = self.own()?;
        Ok(
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[&TLS13])?
                .with_root_certificates(self.roots()?)
                .with_client_auth_cert(chain, key)?,
        )
    }

    fn own(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates("the own certificate", &self.leaf.certificate)?;
        let key =
            PrivateKeyDer::from_pem_slice(self.leaf.key.as_bytes()).map_err(|source| TlsError::Pem {
                what: "the own private key",
                source,
            })?;
        Ok((chain, key))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("the authorities' certificates", &self.bundle)? {
            roots.add(certificate)?;
        }
        Ok(roots)
    }
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>();
    read.map_err(|source| TlsError::Pem { what, source })
}
