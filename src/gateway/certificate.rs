//! The certificate by which clients know the gateway, where TLS ends here: in a folder into which the kubelet mounts it from a
//! Secret that users make.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    mounted::{self, Unreadable},
    validity,
};

/// Why a certificate is not used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file is missing.
    #[error(transparent)]
    Read(#[from] Unreadable),
    /// A file is no PEM of what it should be.
    #[error("cannot read {file} as PEM; make the Secret of gateway.tls.secretRef of type kubernetes.io/tls")]
    Pem {
        /// Which one.
        file: &'static str,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// There is none in the file.
    #[error("tls.crt has no certificate; it must begin with the gateway's own, followed by those in between")]
    Empty,
    /// It cannot be read.
    #[error("cannot read the first certificate in tls.crt; renew it")]
    Malformed(#[source] x509_parser::nom::Err<x509_parser::error::X509Error>),
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error(
        "cannot use tls.crt with tls.key: they must belong together, with a key of RSA, ECDSA or Ed25519"
    )]
    Unusable(#[from] rustls::Error),
}

/// A certificate with its key, as they stand in the files.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificates (PEM), the gateway's own first.
    pub certificate: String,
    /// The private key (PEM).
    pub key: String,
}

/// What new sessions use.
#[derive(Clone, Debug)]
struct Served {
    config: Arc<ServerConfig>,
    ends: Timestamp,
}

/// The certificate that is in use.
#[derive(Debug)]
pub struct Certificate {
    served: watch::Sender<Option<Served>>,
    rejected: AtomicBool,
}

impl Default for Certificate {
    /// None yet.
    fn default() -> Self {
        Self {
            served: watch::Sender::new(None),
            rejected: AtomicBool::new(false),
        }
    }
}

impl Certificate {
    /// What a handshake that begins now uses; none: there is no certificate yet.
    #[must_use]
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        self.served
            .borrow()
            .as_ref()
            .map(|served| Arc::clone(&served.config))
    }

    /// When the certificate that is in use ends.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        self.served.borrow().as_ref().map(|served| served.ends)
    }

    /// Whether what is mounted cannot be used, so that what was used before goes on, if there was something.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Uses `tls.crt` and `tls.key` in this folder, and what they are replaced by, for ever. Sessions go on as they began.
    pub async fn follow(&self, folder: &Path) {
        let mut used = None;
        let look = || {
            let looked = Pair::read(folder).and_then(|pair| {
                if used.as_ref() != Some(&pair) {
                    self.use_from_now_on(&pair)?;
                    used = Some(pair);
                }
                Ok(())
            });
            self.rejected.store(looked.is_err(), Ordering::Relaxed);
            looked
        };
        mounted::follow("TLS with clients", look).await;
    }

    /// Uses this one for handshakes that begin from now on.
    ///
    /// # Errors
    /// When it cannot be used; what is used stays.
    pub fn use_from_now_on(&self, pair: &Pair) -> Result<(), CertificateError> {
        let served = pair.served()?;
        if served.ends <= Timestamp::now() {
            warn!(ended = %served.ends, "the certificate for clients has ended; renew it");
        } else {
            info!(ends = %served.ends, "a certificate for clients is in use");
        }
        self.served.send_replace(Some(served));
        Ok(())
    }
}

impl Pair {
    fn read(folder: &Path) -> Result<Self, CertificateError> {
        Ok(Self {
            certificate: mounted::text(&folder.join("tls.crt"))?,
            key: mounted::text(&folder.join("tls.key"))?,
        })
    }

    /// Whether a gateway can use it.
    ///
    /// # Errors
    /// When it cannot.
    pub fn examine(&self) -> Result<(), CertificateError> {
        self.served().map(drop)
    }

    fn served(&self) -> Result<Served, CertificateError> {
        let pem = |file| move |source| CertificateError::Pem { file, source };
        let chain =
            CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(pem("tls.crt"))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(pem("tls.key"))?;
        let own = chain.first().ok_or(CertificateError::Empty)?;
        let ends = validity::end(own).map_err(CertificateError::Malformed)?;
        // Versions 1.2 and 1.3, with forward secrecy only.
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Served {
            config: Arc::new(config),
            ends,
        })
    }
}
