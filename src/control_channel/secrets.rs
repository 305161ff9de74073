//! The Secrets in which the authority of a cluster and the certificate of its gateways are kept.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};

use super::{
    authority::{Authorities, IdentityError, Role, is_of_use},
    tls::Credentials,
};
use crate::{
    api::{MemgraphCluster, names},
    controller::Acquaintance,
    resources,
};

/// Why the certificates are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The API server refused.
    #[error("cannot {action} Secret {name}")]
    Request {
        /// What was to be done.
        action: &'static str,
        /// The Secret.
        name: String,
        /// Why not.
        source: kube::Error,
    },
    /// Something else has a Secret of that name.
    #[error(
        "Secret {0} exists and does not belong to this cluster; delete or rename it, or give the cluster another name"
    )]
    Foreign(String),
    /// A certificate could not be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The Secrets cannot be built.
    #[error(transparent)]
    Build(#[from] resources::Error),
}

/// Brings both Secrets to what they should be now, and returns what this process is known by: `known`, if that is still good.
pub(super) async fn tend(
    client: &Client,
    cluster: &MemgraphCluster,
    known: Option<&Credentials>,
) -> Result<Credentials, SecretError> {
    let now = Timestamp::now();
    let uid = cluster.uid().unwrap_or_default();
    let api = Api::<Secret>::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());

    let authority = read(&api, cluster, &names::control_authority(&cluster.name_any())).await?;
    let found: Authorities = authority
        .as_ref()
        .and_then(resources::read_authorities)
        .unwrap_or_default();
    let tended = found.tended(&uid, now)?;
    let inherits = |secret: &Option<Secret>| {
        let secret = secret.as_ref();
        secret.is_some_and(|secret| resources::inherits(cluster, &secret.metadata))
    };
    let stands = tended.is_none() && inherits(&authority);
    let authorities = tended.unwrap_or(found);
    if !stands {
        let secret = resources::control_authority(cluster, &authorities)?;
        write(&api, secret, authority.as_ref()).await?;
    }
    let bundle = authorities.bundle();

    let gateway = read(&api, cluster, &names::control_certificates(&cluster.name_any())).await?;
    let good = gateway
        .as_ref()
        .is_some_and(|secret| resources::is_good_for_gateways(secret, &bundle, now));
    if !good || !inherits(&gateway) {
        let leaf = authorities.sign(Role::Gateway, &uid, now)?;
        let secret = resources::control_certificates(cluster, &leaf, &bundle)?;
        write(&api, secret, gateway.as_ref()).await?;
    }
    identify(&authorities, &uid, known, now)
}

/// What this process is known by, for one that changes nothing: `known`, if that is still good.
pub(super) async fn learn(
    client: &Client,
    cluster: &Acquaintance,
    known: Option<&Credentials>,
) -> Result<Credentials, SecretError> {
    let now = Timestamp::now();
    let api = Api::<Secret>::namespaced(client.clone(), &cluster.namespace);
    let name = names::control_authority(&cluster.name);
    let secret = api.get_opt(&name).await.map_err(|source| SecretError::Request {
        action: "read",
        name: name.clone(),
        source,
    })?;
    let is_owned = |secret: &Secret| {
        secret
            .owner_references()
            .iter()
            .any(|owner| owner.uid == cluster.uid)
    };
    let secret = match secret {
        Some(secret) if !is_owned(&secret) => return Err(SecretError::Foreign(name)),
        secret => secret,
    };
    let authorities = secret.as_ref().and_then(resources::read_authorities);
    identify(&authorities.unwrap_or_default(), &cluster.uid, known, now)
}

/// What this process is known by where these are trusted.
fn identify(
    authorities: &Authorities,
    cluster: &str,
    known: Option<&Credentials>,
    now: Timestamp,
) -> Result<Credentials, SecretError> {
    let bundle = authorities.bundle();
    match known.filter(|known| known.bundle == bundle && is_of_use(known.leaf.renew, now)) {
        Some(known) => Ok(known.clone()),
        None => Ok(Credentials {
            leaf: authorities.sign(Role::Operator, cluster, now)?,
            bundle,
        }),
    }
}

async fn read(
    api: &Api<Secret>,
    cluster: &MemgraphCluster,
    name: &str,
) -> Result<Option<Secret>, SecretError> {
    let found = api.get_opt(name).await.map_err(|source| SecretError::Request {
        action: "read",
        name: name.to_owned(),
        source,
    })?;
    match found {
        Some(secret) if !resources::is_controlled_by(&secret.metadata, cluster) => {
            Err(SecretError::Foreign(name.to_owned()))
        }
        found => Ok(found),
    }
}

/// Writes it, unless somebody else has since it was read.
async fn write(api: &Api<Secret>, mut secret: Secret, over: Option<&Secret>) -> Result<(), SecretError> {
    secret.metadata.resource_version = over.and_then(ResourceExt::resource_version);
    let name = secret.name_any();
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    let written = api.patch(&name, &params, &Patch::Apply(&secret)).await;
    written.map_err(|source| SecretError::Request {
        action: "apply",
        name: name.clone(),
        source,
    })?;
    tracing::info!(name, "certificates of the control channel renewed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::tests::fake_api::FakeApi;

    fn cluster(inherited: Value) -> MemgraphCluster {
        serde_json::from_value(json!({
            "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster",
            "metadata": {"name": "demo", "namespace": "graphs", "uid": "0a1b-2c3d"},
            "spec": {"inheritedMetadata": inherited},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn what_secrets_inherit_changes_no_authority_and_is_written_once() {
        let api = FakeApi::default();
        let client = api.client();
        let names = [
            names::control_authority("demo"),
            names::control_certificates("demo"),
        ];
        let secrets = || {
            names
                .clone()
                .map(|name| api.get("v1", "secrets", "graphs", &name).unwrap())
        };
        let team = |secret: Value| secret["metadata"]["labels"]["team"].clone();
        let written = || {
            let requests = api.take_requests().into_iter();
            requests.filter(|request| request.starts_with("PATCH")).count()
        };
        let first = tend(&client, &cluster(json!({})), None).await.unwrap();
        let authority = secrets()[0]["data"].clone();
        assert_eq!((secrets().map(team), written()), ([Value::Null, Value::Null], 2));
        for (inherited, label) in [
            (json!({"labels": {"team": "graphs"}}), json!("graphs")),
            (json!({"labels": {"team": "others"}}), json!("others")),
            (json!({}), Value::Null),
        ] {
            let cluster = cluster(inherited);
            for writes in [2, 0] {
                let known = tend(&client, &cluster, Some(&first)).await.unwrap();
                assert_eq!(known, first, "it is trusted as before");
                assert_eq!(
                    (secrets().map(team), written()),
                    ([label.clone(), label.clone()], writes)
                );
            }
        }
        assert_eq!(secrets()[0]["data"], authority);
    }
}
