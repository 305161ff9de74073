//! TLS with instances, where TLS with clients ends at the gateway.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::{net::TcpStream, sync::watch};
use tracing::{info, warn};

use super::tls::Tls;
use crate::{
    memgraph::{
        Trust,
        tls::{UnusableCertificate, is_untrusted, server_name},
    },
    mounted::{self, Unreadable},
};

/// Why no instance is trusted.
#[derive(Debug, thiserror::Error)]
enum TrustError {
    #[error(transparent)]
    Read(#[from] Unreadable),
    #[error(transparent)]
    Unusable(#[from] UnusableCertificate),
}

/// By what the gateway knows the instances of its cluster.
#[derive(Debug)]
pub struct Instances {
    namespace: String,
    cluster: String,
    trust: watch::Sender<Option<Trust>>,
    /// The last one was none that is trusted.
    untrusted: AtomicBool,
}

impl Instances {
    /// Trusts nobody yet.
    #[must_use]
    pub fn new(namespace: &str, cluster: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            cluster: cluster.to_owned(),
            trust: watch::Sender::new(None),
            untrusted: AtomicBool::new(false),
        }
    }

    /// Trusts the authorities in this file, and in what it is replaced by, for ever. Those that it replaces are trusted beside them, until
    /// they change again: who writes certificate and authorities at once, as cert-manager does, leaves instances behind that show a
    /// certificate of the former ones until they are replaced.
    pub async fn follow(&self, file: &Path) {
        let mut used: Option<String> = None;
        let look = || {
            let authorities = mounted::text(file)?;
            if used.as_ref() != Some(&authorities) {
                Trust::of(authorities.as_bytes())?;
                let former = used.replace(authorities.clone()).unwrap_or_default();
                self.trust_from_now_on(Trust::of(format!("{authorities}\n{former}").as_bytes())?);
                info!("the authorities of the instances' certificates are in use");
            }
            Ok::<_, TrustError>(())
        };
        mounted::follow("TLS with instances", look).await;
    }

    /// Trusts these in handshakes that begin from now on.
    pub fn trust_from_now_on(&self, trust: Trust) {
        self.trust.send_replace(Some(trust));
    }

    /// Agrees on TLS with this instance.
    ///
    /// # Errors
    /// When the connection breaks, or the other end does not show that it is this instance.
    pub async fn shake_hands(&self, stream: TcpStream, instance: &str) -> io::Result<Tls> {
        let shaken = self.shake(stream, instance).await;
        let untrusted = shaken.as_ref().is_err_and(is_untrusted);
        if untrusted && !self.untrusted.swap(true, Ordering::Relaxed) {
            warn!(
                instance,
                error = shaken.as_ref().err().map(tracing::field::display),
                "an instance is not trusted; tls.crt in the Secret of tls.secretRef must be for its name in the headless \
                 Service, and signed by one in ca.crt. Clients are refused until it is"
            );
        } else if shaken.is_ok() {
            self.untrusted.store(false, Ordering::Relaxed);
        }
        shaken
    }

    async fn shake(&self, stream: TcpStream, instance: &str) -> io::Result<Tls> {
        let trust = self.trust.borrow().clone();
        let trust =
            trust.ok_or_else(|| io::Error::other("no authority of instances' certificates is known"))?;
        let name = server_name(&self.cluster, &self.namespace, instance).map_err(io::Error::other)?;
        let (stream, connection) = trust.connect(stream, &name).await?.into_inner();
        Ok(Tls::new(stream, connection))
    }
}
