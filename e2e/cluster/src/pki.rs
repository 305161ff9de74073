//! The cluster's certificates and kubeconfigs.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;

use crate::address::BoxName;
use crate::folders::{self, ClusterFolder};
use crate::spec::ClusterSpec;

/// An authority that signs certificates.
struct Authority {
    certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, both PEM.
struct Identity {
    certificate: String,
    key: String,
}

/// Makes all keys, certificates and kubeconfigs of a cluster.
///
/// # Errors
/// When one cannot be made or written.
pub fn make(spec: &ClusterSpec, folder: &ClusterFolder) -> Result<()> {
    let pki = folder.pki();
    folders::make(&pki)?;
    folders::make(&folder.path().join("kubeconfig"))?;

    let ca = Authority::new("e2e-cluster-ca")?;
    let front_proxy_ca = Authority::new("e2e-cluster-front-proxy-ca")?;
    folders::write(&pki.join("ca.crt"), &ca.certificate)?;
    folders::write(&pki.join("ca.key"), &ca.key)?;
    folders::write(&pki.join("front-proxy-ca.crt"), &front_proxy_ca.certificate)?;

    ca.sign("kube-apiserver", None, &api_server_names(spec)?)?
        .write(&pki, "apiserver")?;
    let to_kubelets = ca.sign("kube-apiserver-kubelet-client", Some("system:masters"), &[])?;
    to_kubelets.write(&pki, "apiserver-kubelet-client")?;
    front_proxy_ca
        .sign("front-proxy-client", None, &[])?
        .write(&pki, "front-proxy-client")?;
    let tokens = KeyPair::generate().context("cannot make the key of service account tokens")?;
    folders::write(&pki.join("service-accounts.key"), tokens.serialize_pem())?;
    folders::write(&pki.join("service-accounts.pub"), tokens.public_key_pem())?;

    let kubeconfig = |file: &str, identity: &Identity| {
        folders::write(
            &folder.kubeconfig_of(file),
            kubeconfig(spec, &ca.certificate, identity)?,
        )
    };
    for (file, user, group) in [
        ("admin", "kubernetes-admin", Some("system:masters")),
        ("kube-controller-manager", "system:kube-controller-manager", None),
        ("kube-scheduler", "system:kube-scheduler", None),
        ("kube-proxy", "system:kube-proxy", None),
        ("volume-provisioner", "volume-provisioner", None),
    ] {
        kubeconfig(file, &ca.sign(user, group, &[])?)?;
    }
    for name in spec.node_boxes() {
        let names = [
            dns(&name.to_string())?,
            SanType::IpAddress(IpAddr::V4(spec.addresses.address(name))),
        ];
        let node = ca.sign(&format!("system:node:{name}"), Some("system:nodes"), &names)?;
        node.write(&pki, &name.to_string())?;
        kubeconfig(&name.to_string(), &node)?;
    }
    Ok(())
}

fn api_server_names(spec: &ClusterSpec) -> Result<Vec<SanType>> {
    let service = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut names = service
        .into_iter()
        .chain(["localhost"])
        .map(dns)
        .collect::<Result<Vec<_>>>()?;
    let own = spec.addresses.address(BoxName::ControlPlane);
    for address in [own, spec.addresses.api_service(), std::net::Ipv4Addr::LOCALHOST] {
        names.push(SanType::IpAddress(IpAddr::V4(address)));
    }
    Ok(names)
}

fn dns(name: &str) -> Result<SanType> {
    Ok(SanType::DnsName(
        name.try_into()
            .with_context(|| format!("'{name}' is no DNS name"))?,
    ))
}

impl Authority {
    fn new(name: &str) -> Result<Self> {
        let failed = || format!("cannot make the certificate authority {name}");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate().with_context(failed)?;
        let certificate = params.self_signed(&key).with_context(failed)?.pem();
        Ok(Self {
            certificate,
            key: key.serialize_pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// A certificate for a client and, if it has names, a server. The group is what Kubernetes reads as one.
    fn sign(&self, user: &str, group: Option<&str>, names: &[SanType]) -> Result<Identity> {
        let failed = || format!("cannot make the certificate of {user}");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.subject_alt_names = names.to_vec();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let key = KeyPair::generate().with_context(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).with_context(failed)?.pem();
        Ok(Identity {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

impl Identity {
    fn write(&self, folder: &Path, name: &str) -> Result<()> {
        folders::write(&folder.join(format!("{name}.crt")), &self.certificate)?;
        folders::write(&folder.join(format!("{name}.key")), &self.key)
    }
}

/// A kubeconfig that holds its keys, so that it can be copied anywhere.
fn kubeconfig(spec: &ClusterSpec, ca: &str, identity: &Identity) -> Result<String> {
    let name = format!("e2e-{}", spec.name);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": spec.api_server(),
            "certificate-authority-data": STANDARD.encode(ca),
        }}],
        "users": [{"name": name, "user": {
            "client-certificate-data": STANDARD.encode(&identity.certificate),
            "client-key-data": STANDARD.encode(&identity.key),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    });
    serde_yaml::to_string(&config).context("cannot write a kubeconfig")
}
