//! Which image has written the data of each instance.
//!
//! Nothing leads back from a newer release to an older one, so a pod must not get an older one than its volume has had, also while
//! the pod that had the newer one ends, is not there, or starts. Kubernetes tells that of none of these; so this process remembers it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::observe::{Inventory, database, database_image};
use crate::{
    api::{MemgraphCluster, ledger::Ledger, names},
    plan::image_release,
};

/// By instance: what has written its data last.
#[derive(Default)]
pub(super) struct Writers(Mutex<BTreeMap<String, Writer>>);

struct Writer {
    /// UID of what the data ends with: see [`Inventory::data_uid`].
    data: String,
    image: String,
}

impl Writers {
    /// Takes note of what runs, and tells the image of the newest release that has written data of a declared instance. None: no tag
    /// names a release, or nothing has run.
    pub(super) fn newest(&self, cluster: &MemgraphCluster, inventory: &Inventory) -> Option<String> {
        let ledger = cluster.status.as_ref().and_then(|status| status.ledger.as_ref());
        let mut writers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for pod in inventory.instances.iter().filter(|pod| has_run(pod, ledger)) {
            let name = pod.name_any();
            if let Some((image, data)) = database_image(pod).zip(inventory.data_uid(&name)) {
                let image = image.to_owned();
                writers.insert(name, Writer { data, image });
            }
        }
        writers.retain(|instance, writer| inventory.data_uid(instance).as_ref() == Some(&writer.data));
        let declared = |instance: &str| {
            let ordinal = names::ordinal(&cluster.name_any(), instance);
            ordinal.is_some_and(|ordinal| ordinal < cluster.spec.replicas)
        };
        let images = writers.iter().filter(|(instance, _)| declared(instance));
        let releases = images.filter_map(|(_, writer)| Some((image_release(&writer.image)?, &writer.image)));
        releases.max().map(|(_, image)| image.clone())
    }
}

/// Whether the database in this pod has come up. One that never does, since its image is not to be had or ends at once, has
/// written nothing that would keep anybody from taking the image out of the spec.
fn has_run(pod: &Pod, ledger: Option<&Ledger>) -> bool {
    let uid = pod.metadata.uid.as_ref();
    let named = ledger.is_some_and(|ledger| {
        let members = ledger.in_sync.iter().chain(&ledger.candidates);
        let mut lives = members
            .map(|member| &member.incarnation)
            .chain([&ledger.main.incarnation]);
        lives.any(|life| Some(&life.pod_uid) == uid)
    });
    named || database(pod).is_some_and(|container| container.ready)
}
