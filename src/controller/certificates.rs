//! By which certificate the instances of a cluster with `spec.tls` are known: reads the Secret that the spec names, and sees to
//! it that each instance is spoken to as its own pod has been started.
//!
//! A pod keeps the certificate, and the TLS or plain text, that it was started with, whatever the spec says by now. So it is the
//! pods that tell which of them take TLS, and which Secrets they have had their certificates from: the authorities of those are
//! trusted, too, until their pods are replaced. The same goes for authorities that others have replaced in their Secret, as far as this
//! process has seen them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, Client, ResourceExt};
use rustls::pki_types::UnixTime;
use tokio::time::Instant;

use super::{observe::Inventory, sightings::Target};
use crate::{
    api::{MemgraphCluster, names},
    memgraph::{
        Bolt, Encryption, Trust,
        tls::{self, UnusableCertificate, server_name},
    },
    resources::tls::{AUTHORITIES, CERTIFICATE, KEY, VOLUME, fingerprint},
};

/// How soon Secrets are read again that were good.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// Why a certificate is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is no such Secret.
    #[error("Secret {0} of tls.secretRef does not exist; make it, with the keys tls.crt, tls.key and ca.crt")]
    Missing(String),
    /// A key is missing in it.
    #[error("Secret {secret} of tls.secretRef has no key {key}; add it")]
    MissingKey {
        /// The Secret.
        secret: String,
        /// The key.
        key: &'static str,
    },
    /// It cannot be used.
    #[error("Secret {secret} of tls.secretRef cannot be used: {why}; correct it")]
    Unusable {
        /// The Secret.
        secret: String,
        /// Why not.
        why: UnusableCertificate,
    },
    /// The API server refused.
    #[error("cannot read Secret {name}")]
    Request {
        /// The Secret.
        name: String,
        /// Why not.
        source: kube::Error,
    },
}

/// What is known of the certificates of one cluster.
#[derive(Default)]
pub(super) struct Certificates {
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// When the Secrets were read last, and which these were; None: something was wrong.
    read: Option<(Instant, BTreeSet<String>)>,
    /// The authorities' certificates (PEM), by the name of their Secret.
    authorities: BTreeMap<String, Vec<u8>>,
    /// Those that took the place of others in their Secret: what was there before, and when that was seen. Who writes certificate and
    /// authorities at once, as cert-manager does, leaves instances behind that show a certificate of the former ones.
    former: BTreeMap<String, (Timestamp, BTreeSet<Vec<u8>>)>,
    /// Whom all of these vouch for.
    trust: Option<Trust>,
    /// The newest certificate that was good: its Secret, and what tells it from others.
    good: Option<(String, String)>,
    /// When the certificate in the Secret of the spec ends, as far as it can be read.
    ends: Option<Timestamp>,
    /// Where instances are that take TLS.
    encrypted: BTreeSet<SocketAddr>,
}

impl Certificates {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether pods of this cluster can start: a certificate that can be used was seen.
    pub(super) fn allows_pods(&self, cluster: &MemgraphCluster) -> bool {
        cluster.spec.tls.is_none() || self.fingerprint(cluster).is_some()
    }

    /// What tells the newest certificate that could be used, of the Secret that the spec names, from others.
    pub(super) fn fingerprint(&self, cluster: &MemgraphCluster) -> Option<String> {
        let secret = &cluster.spec.tls.as_ref()?.secret_ref.name;
        let memory = self.memory();
        let (_, fingerprint) = memory.good.as_ref().filter(|(good, _)| good == secret)?;
        Some(fingerprint.clone())
    }

    /// When the certificate ends that the Secret of the spec held when it was read last, whether or not it can be used.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.memory().ends
    }

    /// Reads the Secrets, if it is time: that of the spec, and those whose certificates pods have.
    pub(super) async fn tend(
        &self,
        client: &Client,
        cluster: &MemgraphCluster,
        inventory: &Inventory,
    ) -> Result<(), CertificateError> {
        let declared = cluster.spec.tls.as_ref().map(|tls| tls.secret_ref.name.clone());
        let mounted = inventory.instances.iter().filter_map(|pod| mounted_secret(pod));
        let wanted: BTreeSet<String> = mounted.chain(declared.clone()).collect();
        if wanted.is_empty() {
            *self.memory() = Memory::default();
            return Ok(());
        }
        if self.was_read(&wanted) {
            return Ok(());
        }
        self.memory().read = None;
        let api = Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
        let mut found = BTreeMap::new();
        for name in &wanted {
            if let Some(secret) = read(&api, name).await? {
                found.insert(name.as_str(), secret);
            }
        }
        // Also those of a certificate that cannot be used: instances may have an earlier one.
        let oldest = |name: &str| {
            let pods = inventory.instances.iter();
            let with = pods.filter(|pod| mounted_secret(pod).as_deref() == Some(name));
            with.filter_map(|pod| Some(pod.creation_timestamp()?.0)).min()
        };
        self.trust_in(&wanted, &found, oldest, Timestamp::now());
        let certificate = declared
            .as_ref()
            .and_then(|name| value(found.get(name.as_str())?, CERTIFICATE));
        self.memory().ends = certificate.and_then(tls::end);
        if let Some(name) = declared {
            let secret = found.get(name.as_str());
            let secret = secret.ok_or_else(|| CertificateError::Missing(name.clone()))?;
            let fingerprint = examine(cluster, &name, secret)?;
            self.memory().good = Some((name, fingerprint));
        }
        self.memory().read = Some((Instant::now(), wanted));
        Ok(())
    }

    /// Whether these Secrets were found good a moment ago.
    fn was_read(&self, wanted: &BTreeSet<String>) -> bool {
        let memory = self.memory();
        let recent = |(at, read): &(Instant, BTreeSet<String>)| read == wanted && at.elapsed() < READ_AGAIN;
        memory.read.as_ref().is_some_and(recent)
    }

    /// Trusts the authorities in these Secrets, and no others but those that were there before, as long as a pod has a certificate of
    /// that time (`oldest`: when the first pod was made that has one of this Secret). What was known of a Secret that is gone holds while a
    /// pod names it.
    fn trust_in(
        &self,
        wanted: &BTreeSet<String>,
        found: &BTreeMap<&str, Secret>,
        oldest: impl Fn(&str) -> Option<Timestamp>,
        now: Timestamp,
    ) {
        let mut memory = self.memory();
        let (mut authorities, mut former) = (memory.authorities.clone(), memory.former.clone());
        authorities.retain(|name, _| wanted.contains(name));
        for (name, secret) in found {
            // What is no authority changes nothing.
            if let Some(pem) = value(secret, AUTHORITIES).filter(|pem| Trust::of(pem).is_ok()) {
                let before = authorities.insert((*name).to_owned(), pem.to_vec());
                if let Some(before) = before.filter(|before| before != pem) {
                    let (changed, earlier) = former.entry((*name).to_owned()).or_default();
                    earlier.insert(before);
                    earlier.remove(pem);
                    *changed = now;
                }
            }
        }
        former.retain(|name, (changed, _)| oldest(name).is_some_and(|made| made <= *changed));
        if (&authorities, &former) != (&memory.authorities, &memory.former) {
            let before = former.values().flat_map(|(_, earlier)| earlier);
            let all: Vec<&[u8]> = authorities.values().chain(before).map(Vec::as_slice).collect();
            memory.trust = Trust::of(&all.join(&b'\n')).ok();
            (memory.authorities, memory.former) = (authorities, former);
        }
    }

    /// Has each of these instances spoken to as its pod takes it.
    pub(super) fn guide<B: Bolt>(&self, client: &B, cluster: &MemgraphCluster, targets: &[Target]) {
        let mut memory = self.memory();
        let at = |ip: IpAddr| SocketAddr::new(ip, names::BOLT_PORT);
        let mut encrypted = BTreeSet::new();
        for target in targets {
            let Some(address) = target.address.map(at) else {
                continue;
            };
            if target.tls {
                client.encrypt(address, encryption(cluster, &target.name, memory.trust.as_ref()));
                encrypted.insert(address);
            } else {
                client.encrypt(address, Encryption::None);
            }
        }
        for gone in memory.encrypted.difference(&encrypted) {
            client.encrypt(*gone, Encryption::None);
        }
        memory.encrypted = encrypted;
    }
}

fn encryption(cluster: &MemgraphCluster, instance: &str, trust: Option<&Trust>) -> Encryption {
    let namespace = cluster.namespace().unwrap_or_default();
    let name = server_name(&cluster.name_any(), &namespace, instance);
    match (name, trust) {
        (Ok(name), Some(trust)) => Encryption::Verified {
            name,
            trust: trust.clone(),
        },
        _ => Encryption::Unverified,
    }
}

/// Whether the pod's Memgraph takes TLS only: a pod keeps the flags that it was started with.
pub(super) fn takes_tls(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut databases = containers.filter(|container| container.name == names::INSTANCE_CONTAINER);
    databases.any(|container| {
        let mut args = container.args.iter().flatten();
        args.any(|arg| arg.starts_with(names::CERTIFICATE_FLAG))
    })
}

/// The Secret from which the pod has its certificate.
pub(super) fn mounted_secret(pod: &Pod) -> Option<String> {
    let volumes = pod.spec.as_ref()?.volumes.as_ref()?;
    let volume = volumes.iter().find(|volume| volume.name == VOLUME)?;
    volume.secret.as_ref()?.secret_name.clone()
}

async fn read(api: &Api<Secret>, name: &str) -> Result<Option<Secret>, CertificateError> {
    api.get_opt(name)
        .await
        .map_err(|source| CertificateError::Request {
            name: name.to_owned(),
            source,
        })
}

/// Whether instances can start with this Secret and will be trusted. Returns what tells its certificate from others.
fn examine(cluster: &MemgraphCluster, name: &str, secret: &Secret) -> Result<String, CertificateError> {
    let value = |key: &'static str| {
        value(secret, key).ok_or_else(|| CertificateError::MissingKey {
            secret: name.to_owned(),
            key,
        })
    };
    let (certificate, key, authorities) = (value(CERTIFICATE)?, value(KEY)?, value(AUTHORITIES)?);
    let unusable = |why| CertificateError::Unusable {
        secret: name.to_owned(),
        why,
    };
    let namespace = cluster.namespace().unwrap_or_default();
    let own = cluster.name_any();
    let instances = (0..cluster.spec.replicas).map(|ordinal| names::instance(&own, ordinal));
    let names = instances
        .map(|instance| server_name(&own, &namespace, &instance))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unusable)?;
    Trust::of(authorities)
        .and_then(|trust| trust.examine(certificate, key, &names, UnixTime::now()))
        .map_err(unusable)?;
    Ok(fingerprint(certificate))
}

fn value<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    Some(secret.data.as_ref()?.get(key)?.0.as_slice())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use serde_json::json;

    use super::*;

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn an_authority_that_another_one_replaces_is_trusted_while_a_pod_may_have_its_certificate() {
        let certificates = Certificates::default();
        let wanted = BTreeSet::from(["graph-tls".to_owned()]);
        let [first, second] = ["first", "second"].map(authority);
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let sees = |authority: &CertifiedIssuer<'static, KeyPair>, oldest: i64, now: i64| {
            let pem = k8s_openapi::ByteString(authority.pem().into_bytes());
            let secret: Secret = serde_json::from_value(json!({"data": {"ca.crt": pem}})).unwrap();
            let found = BTreeMap::from([("graph-tls", secret)]);
            certificates.trust_in(&wanted, &found, |_| Some(at(oldest)), at(now));
        };
        let key = KeyPair::generate().unwrap();
        let signed = |authority: &CertifiedIssuer<'static, KeyPair>| {
            let params = CertificateParams::new(vec!["demo-0".to_owned()]).unwrap();
            params.signed_by(&key, authority).unwrap().pem()
        };
        let trusts = |authority: &CertifiedIssuer<'static, KeyPair>| {
            let trust = certificates.memory().trust.clone().unwrap();
            let name = "demo-0".to_owned().try_into().unwrap();
            let (shown, own) = (signed(authority), key.serialize_pem());
            trust
                .examine(shown.as_bytes(), own.as_bytes(), &[name], UnixTime::now())
                .is_ok()
        };
        sees(&first, 10, 20);
        assert!(trusts(&first) && !trusts(&second));
        sees(&second, 10, 30);
        assert!(trusts(&first) && trusts(&second), "an instance is as it was");
        sees(&second, 31, 40);
        assert!(!trusts(&first) && trusts(&second), "all were made since");
    }
}
