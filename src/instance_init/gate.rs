//! Whether an instance may start at the address that its pod has got. It may not where the ledger has another instance there:
//! MAIN would feed this one in the other's place, and count its votes as the other's.
//!
//! Without the API server it is not known, and the instance waits. That costs little: a pod gets a new address only from a
//! kubelet that is told to run it, which needs the API server too; a process that ends and starts again in its pod
//! does not pass here. What can be lost is a pod whose network is set up anew while the API server is away; nobody could
//! register it then at its new address.

use std::{net::IpAddr, time::Duration};

use kube::{Api, Client};
use tokio::time::{sleep, timeout};

use super::Instance;
use crate::api::{
    MemgraphCluster,
    ledger::{InstanceAddress, Ledger},
};

/// For how long one answer of the API server is waited for.
const API_DEADLINE: Duration = Duration::from_secs(5);
/// How soon it is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Who keeps `instance` from starting at these addresses of its pod: the instance that MAIN is told to find there.
///
/// Pure: no clock, no I/O.
#[must_use]
pub fn displaced_by<'a>(ledger: Option<&'a Ledger>, instance: &str, addresses: &[IpAddr]) -> Option<&'a str> {
    // At another one nobody is registered.
    let address = addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(InstanceAddress::of(*address)),
        IpAddr::V6(_) => None,
    })?;
    ledger?.other_at(&address, instance)
}

/// Waits until the instance may start here. Returns the cluster as it was read then; none if there is no such cluster.
pub(super) async fn wait(instance: &Instance, client: Client) -> Option<MemgraphCluster> {
    let clusters = Api::<MemgraphCluster>::namespaced(client, &instance.namespace);
    let mut told = String::new();
    loop {
        let why = match read(&clusters, &instance.cluster).await {
            Ok(cluster) => {
                let ledger = cluster.as_ref().and_then(|c| c.status.as_ref()?.ledger.as_ref());
                match displaced_by(ledger, &instance.name, &instance.addresses) {
                    None => return cluster,
                    Some(other) => {
                        format!(
                            "{other} may still be registered at the address of this pod, which must be replaced"
                        )
                    }
                }
            }
            Err(why) => why,
        };
        if why != told {
            tracing::warn!(why, "not starting yet");
            told = why;
        }
        sleep(AGAIN).await;
    }
}

/// The cluster as it is now: a read without a resourceVersion is served by a quorum.
async fn read(clusters: &Api<MemgraphCluster>, name: &str) -> Result<Option<MemgraphCluster>, String> {
    match timeout(API_DEADLINE, clusters.get_opt(name)).await {
        Ok(Ok(cluster)) => Ok(cluster),
        Ok(Err(error)) => Err(format!("cannot read the cluster: {error}")),
        Err(_) => Err(format!(
            "the API server did not answer in {} s",
            API_DEADLINE.as_secs()
        )),
    }
}
