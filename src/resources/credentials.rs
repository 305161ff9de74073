//! The Secrets about the user of a cluster: one for its own parts, and one for applications.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::{EnvVar, EnvVarSource, Secret, SecretKeySelector},
};
use serde::{Deserialize, Serialize};

use super::{Error, inheritance::inherits, parent::Parent};
use crate::{
    api::{MemgraphCluster, names},
    memgraph::Credentials,
};

/// Key of a Secret with the user's name.
pub const USERNAME: &str = "username";
/// Key of a Secret with the password.
pub const PASSWORD: &str = "password";
/// Key with the credentials that held before.
const FORMER: &str = "former.json";

/// What the Secret for applications may have.
const APPLICATION: [&str; 8] = [
    USERNAME, PASSWORD, "host", "port", "uri", "readHost", "readPort", "readUri",
];

/// Environment of Memgraph: the user that it makes at each start where there is no user of that name.
pub const USER_VARIABLE: &str = "MEMGRAPH_USER";
/// Environment of Memgraph: that user's password.
pub const PASSWORD_VARIABLE: &str = "MEMGRAPH_PASSWORD";

#[derive(Serialize, Deserialize)]
struct Former {
    username: String,
    password: String,
}

/// The Secret with these credentials, the newest first. Containers read the newest when they start.
///
/// # Errors
/// When the cluster was not read from the API server.
pub fn credentials(cluster: &MemgraphCluster, known: &[Credentials]) -> Result<Secret, Error> {
    let parent = Parent::of(cluster)?;
    let name = names::credentials(&parent.name);
    let former = known.iter().skip(1).map(|former| Former {
        username: former.username().to_owned(),
        password: former.password().to_owned(),
    });
    let former =
        serde_json::to_string(&former.collect::<Vec<_>>()).map_err(|source| Error::EncodeSecret {
            name: name.clone(),
            source,
        })?;
    let mut data = BTreeMap::from([(FORMER.to_owned(), former)]);
    if let Some(newest) = known.first() {
        data.insert(USERNAME.to_owned(), newest.username().to_owned());
        data.insert(PASSWORD.to_owned(), newest.password().to_owned());
    }
    Ok(secret(&parent, name, "memgraph.dev/credentials", data))
}

/// The credentials in such a Secret, the newest first; what cannot be read is left out.
#[must_use]
pub fn read_credentials(secret: &Secret) -> Vec<Credentials> {
    let newest = text(secret, USERNAME).zip(text(secret, PASSWORD));
    let newest = newest.and_then(|(username, password)| Credentials::new(username, password).ok());
    let former: Vec<Former> = text(secret, FORMER)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let former = former
        .iter()
        .filter_map(|f| Credentials::new(&f.username, &f.password).ok());
    newest.into_iter().chain(former).collect()
}

/// The Secret for applications: who to sign in as, and where.
///
/// # Errors
/// When the cluster was not read from the API server.
pub fn application(
    cluster: &MemgraphCluster,
    current: &Credentials,
    cluster_domain: &str,
) -> Result<Secret, Error> {
    let parent = Parent::of(cluster)?;
    let mut data = BTreeMap::from([
        (USERNAME.to_owned(), current.username().to_owned()),
        (PASSWORD.to_owned(), current.password().to_owned()),
    ]);
    // Who passes TLS on speaks it as MAIN does, which is the last one to change.
    let main = cluster.status.as_ref().and_then(|status| {
        let main = &status.ledger.as_ref()?.main.instance;
        status.instances.iter().find(|instance| instance.name == *main)
    });
    let takes_tls = main.map_or(parent.spec.tls.is_some(), |main| main.tls);
    let mut address = |service: String, port: i32, keys: [&str; 3]| {
        let host = format!("{service}.{}.svc.{cluster_domain}", parent.namespace);
        let scheme = match takes_tls || parent.spec.gateway.tls.is_some() {
            true => "bolt+s",
            false => "bolt",
        };
        let uri = format!("{scheme}://{host}:{port}");
        let values = [host, port.to_string(), uri];
        data.extend(keys.map(str::to_owned).into_iter().zip(values));
    };
    let gateway = &parent.spec.gateway;
    if gateway.enabled {
        let port = gateway.read_write.service.port;
        address(
            gateway.read_write_service(&parent.name),
            port,
            ["host", "port", "uri"],
        );
    }
    if parent.spec.has_read_gateway() {
        let port = gateway.read.service.port;
        address(
            gateway.read_service(&parent.name),
            port,
            ["readHost", "readPort", "readUri"],
        );
    }
    let name = names::application(&parent.name);
    Ok(secret(&parent, name, "Opaque", data))
}

/// Whether the Secret for applications has what it should have. What others have added does not count.
#[must_use]
pub fn is_application(cluster: &MemgraphCluster, live: &Secret, wanted: &Secret) -> bool {
    let mut keys = APPLICATION.into_iter();
    inherits(cluster, &live.metadata) && keys.all(|key| text(live, key) == text(wanted, key))
}

/// The text under a key of a Secret.
#[must_use]
pub fn text<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()
}

fn secret(parent: &Parent<'_>, name: String, type_: &str, data: BTreeMap<String, String>) -> Secret {
    let bytes = |(key, text): (String, String)| (key, ByteString(text.into_bytes()));
    Secret {
        metadata: parent.noted_metadata(name, names::INSTANCE),
        type_: Some(type_.to_owned()),
        data: Some(data.into_iter().map(bytes).collect()),
        ..Secret::default()
    }
}

/// The newest credentials as Memgraph takes them: at each start it makes the user where there is none of that name.
pub(super) fn environment(parent: &Parent<'_>) -> Option<Vec<EnvVar>> {
    parent.spec.auth.as_ref()?;
    let variable = |name: &str, key: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: names::credentials(&parent.name),
                key: key.to_owned(),
                ..SecretKeySelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    Some(vec![
        variable(USER_VARIABLE, USERNAME),
        variable(PASSWORD_VARIABLE, PASSWORD),
    ])
}
