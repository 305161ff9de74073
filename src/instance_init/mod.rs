//! What runs in an instance's pod before Memgraph: waits until it may start at this address, and sets its data aside where the
//! ledger orders that.
//!
//! Nothing else may touch the data then: Memgraph has not started. So what was read of the ledger stays true until this
//! ends: an instance whose Bolt port is closed becomes neither MAIN, nor in sync, nor a candidate. Where in doubt nothing
//! is moved, and Memgraph starts: the order stays in the ledger, and the leader has the pod replaced once more.

mod decision;
mod gate;
pub mod memory_maps;
mod volume;

#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use kube::Client;

use crate::{
    api::{InitNote, MemgraphCluster, ResetNote, ResetOutcome, names},
    memgraph::{self, Bolt, Encryption, Question, Trust, tls},
    plan::observation::Sight,
};
pub use decision::{Decision, decide, refusal};
pub use gate::displaced_by;
pub use volume::{DataVolume, VolumeError};

/// For how long MAIN is waited for.
const MAIN_DEADLINE: Duration = Duration::from_secs(3);

/// A random number that the kernel makes at each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Who is about to start.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The cluster's name.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// The instance's name, which is its pod's.
    pub name: String,
    /// The addresses of its pod.
    pub addresses: Vec<IpAddr>,
    /// Where the data volume is mounted.
    pub mount: PathBuf,
    /// Memgraph's data directory.
    pub data: PathBuf,
    /// The file with the certificates of the authorities by which instances that take TLS are known (PEM).
    pub authorities: Option<PathBuf>,
}

/// Waits until the instance may start at its address; then sets the data aside if that is ordered and every condition holds.
/// Returns what is to be told about it.
///
/// # Errors
/// When data was being moved and the file system failed: Memgraph must not start on half of its data.
pub async fn prepare<B: Bolt>(
    instance: &Instance,
    client: Client,
    bolt: &B,
) -> Result<ResetNote, VolumeError> {
    let cluster = gate::wait(instance, client).await;
    let volume = DataVolume::new(&instance.mount, &instance.data);
    let Some(_lock) = volume.lock()? else {
        let why = "another process has the data open".to_owned();
        return Ok(note("", ResetOutcome::Later, why));
    };
    // A move that was broken off is finished in any case: Memgraph has not started since it was begun.
    if let Some(token) = volume.finish()? {
        tracing::info!(token, "finished to set the data aside");
    }
    let obeyed = volume.obeyed()?;
    let ledger = cluster.as_ref().and_then(|c| c.status.as_ref()?.ledger.as_ref());
    let order = match decide(ledger, &instance.name, &obeyed) {
        Decision::Start(note) => return Ok(note),
        Decision::SetAside(order) => order,
    };
    let Some(ledger) = ledger else {
        return Ok(note(
            &order.token,
            ResetOutcome::Later,
            "there is no ledger".to_owned(),
        ));
    };
    let main = &ledger.main.instance;
    let encryption = encryption(instance, cluster.as_ref(), main);
    let main = match look_at(instance, main, encryption, bolt).await {
        Ok(sight) => sight,
        Err(why) => return Ok(note(&order.token, ResetOutcome::Later, why)),
    };
    if let Some((outcome, why)) = refusal(ledger, &order, &main, volume.is_empty()?) {
        return Ok(note(&order.token, outcome, why));
    }
    match volume.make_room()? {
        Ok(()) => {}
        Err(why) => return Ok(note(&order.token, ResetOutcome::Refused, why)),
    }
    let folder = volume.set_aside(&order)?;
    Ok(note(
        &order.token,
        ResetOutcome::Done,
        folder.display().to_string(),
    ))
}

fn note(token: &str, outcome: ResetOutcome, detail: String) -> ResetNote {
    ResetNote {
        token: token.to_owned(),
        outcome,
        detail,
    }
}

/// How MAIN is spoken to.
fn encryption(instance: &Instance, cluster: Option<&MemgraphCluster>, main: &str) -> Encryption {
    let told = cluster.and_then(|cluster| cluster.status.as_ref());
    let mut told = told.into_iter().flat_map(|status| &status.instances);
    if !told.any(|told| told.name == main && told.tls) {
        return Encryption::None;
    }
    let authorities = instance
        .authorities
        .as_ref()
        .and_then(|file| std::fs::read(file).ok());
    let trust = authorities.and_then(|authorities| Trust::of(&authorities).ok());
    let name = tls::server_name(&instance.cluster, &instance.namespace, main).ok();
    match name.zip(trust) {
        Some((name, trust)) => Encryption::Verified { name, trust },
        // It shows that MAIN is there, and that is not enough.
        None => Encryption::Unverified,
    }
}

/// What MAIN shows now.
async fn look_at<B: Bolt>(
    instance: &Instance,
    main: &str,
    encryption: Encryption,
    bolt: &B,
) -> Result<Sight, String> {
    let headless = names::headless_service(&instance.cluster);
    let host = format!(
        "{main}.{headless}.{}.svc:{}",
        instance.namespace,
        names::BOLT_PORT
    );
    let resolved = tokio::time::timeout(MAIN_DEADLINE, tokio::net::lookup_host(&host)).await;
    let address: SocketAddr = match resolved {
        Ok(Ok(mut addresses)) => addresses.next().ok_or_else(|| format!("{host} has no address"))?,
        Ok(Err(error)) => return Err(format!("cannot resolve {host}: {error}")),
        Err(_) => return Err(format!("cannot resolve {host} in time")),
    };
    bolt.encrypt(address, encryption);
    let question = Question {
        version: None,
        emptiness: true,
        storage_mode: false,
        replica_mode: false,
        patience: MAIN_DEADLINE,
    };
    Ok(memgraph::look(bolt, address, &question).await)
}

/// Leaves the message where the kubelet reads it, for the pod's status.
///
/// # Errors
/// When it cannot be written. The order then counts as not obeyed.
pub fn tell(note: &InitNote, path: &Path) -> std::io::Result<()> {
    std::fs::write(path, serde_json::to_vec(note)?)
}

/// Identifies the node's boot; empty where the kernel does not tell.
#[must_use]
pub fn boot_id() -> String {
    let text = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    text.trim().to_owned()
}
