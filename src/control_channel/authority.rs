//! The authority of a cluster, and the certificates that it signs. Pure but for the keys that are made.
//!
//! An authority lasts a year. A successor is made four months before its end, and signs after a day: by then everybody
//! trusts it, since both are trusted from the moment at which there are two. So certificates change without a moment in
//! which two parties do not trust each other.

use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use serde::{Deserialize, Serialize};

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// How long an authority lasts.
const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long before its end it gets a successor.
const SUCCESSOR_BEFORE: SignedDuration = SignedDuration::from_hours(120 * 24);
/// After so long everybody trusts a new authority: kubelets bring a changed Secret into pods within minutes.
const TRUSTED_AFTER: SignedDuration = DAY;
/// How long a signed certificate lasts.
const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long before its end it is replaced, and after a third of its time at the earliest: one that lasts only as long as an
/// authority that ends soon must not be replaced whenever it is looked at.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(10 * 24);
/// Clocks of nodes may differ by so much.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(1);

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The library refused.
    #[error("cannot make a certificate for the control channel")]
    Certificate(#[from] rcgen::Error),
    /// There is nothing to sign with.
    #[error("no authority of the control channel is valid now; check the clocks of the nodes")]
    NoAuthority,
}

/// Whom a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The gateways of a cluster, who are asked.
    Gateway,
    /// An operator process, which asks.
    Operator,
}

impl Role {
    /// The name in a certificate of this role.
    #[must_use]
    pub fn name(self, cluster: &str) -> String {
        let role = match self {
            Self::Gateway => "gateway",
            Self::Operator => "operator",
        };
        format!("{role}.{cluster}.memgraph.dev")
    }
}

/// What signs certificates. Its key is the cluster's secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authority {
    /// Its own certificate (PEM).
    pub certificate: String,
    /// Its private key (PEM).
    pub key: String,
    /// When it was made.
    pub made: Timestamp,
    /// When it ends.
    pub ends: Timestamp,
}

/// The authorities of one cluster that have not ended, from the oldest to the newest.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Authorities(Vec<Authority>);

/// A certificate with its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    /// The certificate (PEM).
    pub certificate: String,
    /// Its private key (PEM).
    pub key: String,
    /// When it is to be replaced.
    pub renew: Timestamp,
}

/// Whether a certificate that is to be replaced at `renew` is of use: it is not time yet, and it was not signed under a clock that was
/// further ahead than clocks may differ, so that it would not hold for hours.
#[must_use]
pub fn is_of_use(renew: Timestamp, now: Timestamp) -> bool {
    now < renew && renew <= now + (LEAF_LIFETIME - RENEW_BEFORE) + CLOCK_SKEW
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("made", &self.made)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf")
            .field("renew", &self.renew)
            .finish_non_exhaustive()
    }
}

impl Authority {
    fn make(cluster: &str, now: Timestamp) -> Result<Self, IdentityError> {
        let key = KeyPair::generate()?;
        let ends = now + AUTHORITY_LIFETIME;
        let mut params = authority_params(cluster, now);
        set_validity(&mut params, now, ends);
        Ok(Self {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
            made: now,
            ends,
        })
    }
}

/// What names an authority in the certificates that it signs.
fn authority_params(cluster: &str, made: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let name = format!("memgraph-operator {cluster} {}", made.as_second());
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The time since the beginning of 1970, in whole seconds as certificates have it.
fn since_1970(at: Timestamp) -> Duration {
    let since = SystemTime::from(at).duration_since(SystemTime::UNIX_EPOCH);
    Duration::from_secs(since.unwrap_or_default().as_secs())
}

/// From an hour before `made`, because clocks differ, to `ends`.
fn set_validity(params: &mut CertificateParams, made: Timestamp, ends: Timestamp) {
    let begin = date_time_ymd(1970, 1, 1);
    params.not_before = begin + since_1970(made - CLOCK_SKEW);
    params.not_after = begin + since_1970(ends);
}

impl Authorities {
    /// What should take the place of these now: without those that have ended, and with a successor in time. None: nothing.
    ///
    /// # Errors
    /// When a new one cannot be made.
    pub fn tended(&self, cluster: &str, now: Timestamp) -> Result<Option<Self>, IdentityError> {
        let mut next: Vec<_> = self.0.iter().filter(|a| now < a.ends).cloned().collect();
        let newest = next.last();
        if newest.is_none_or(|newest| now + SUCCESSOR_BEFORE >= newest.ends) {
            next.push(Authority::make(cluster, now)?);
        }
        let next = Self(next);
        Ok((next != *self).then_some(next))
    }

    /// The certificates of all of them (PEM): who is to be trusted.
    #[must_use]
    pub fn bundle(&self) -> String {
        self.0
            .iter()
            .map(|authority| authority.certificate.as_str())
            .collect()
    }

    /// Signs a certificate for this role.
    ///
    /// # Errors
    /// When no authority is valid, or its key cannot be read.
    pub fn sign(&self, role: Role, cluster: &str, now: Timestamp) -> Result<Leaf, IdentityError> {
        let valid = || self.0.iter().filter(|authority| now < authority.ends);
        let trusted = valid().rfind(|authority| now - TRUSTED_AFTER >= authority.made);
        let signer = trusted
            .or_else(|| valid().next())
            .ok_or(IdentityError::NoAuthority)?;
        let authority_key = KeyPair::from_pem(&signer.key)?;
        let issuer = Issuer::new(authority_params(cluster, signer.made), authority_key);

        let ends = signer.ends.min(now + LEAF_LIFETIME);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = role.name(cluster);
        params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match role {
            Role::Gateway => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Operator => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, ends);
        Ok(Leaf {
            certificate: params.signed_by(&key, &issuer)?.pem(),
            key: key.serialize_pem(),
            renew: (ends - RENEW_BEFORE).max(now + ends.duration_since(now) / 3),
        })
    }
}
