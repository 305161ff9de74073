//! Which image the instances get.

use kube::core::DynamicObject;

use super::observe::{Inventory, database_image};
use crate::{
    api::{MemgraphCluster, names},
    plan::{image_release, is_older},
};

/// The image that the instances are to have in the end.
///
/// Where the spec names none, they keep the one that they run: an operator with another default would otherwise have them mixed by
/// what happens to be started next, and nothing leads back from a newer release to an older one.
pub(super) fn wanted(cluster: &MemgraphCluster, inventory: &Inventory) -> String {
    let asked = cluster.spec.image.clone();
    asked
        .or_else(|| kept(cluster, inventory))
        .unwrap_or_else(|| names::DEFAULT_IMAGE.to_owned())
}

/// The image of pods that are made now: the wanted one, unless it is an older release than one that has written data of an instance.
/// `newest`: the image of the newest release that has; see [`super::writers`].
pub(super) fn of_new_pods(cluster: &MemgraphCluster, inventory: &Inventory, newest: Option<&str>) -> String {
    let wanted = wanted(cluster, inventory);
    let older_than = |image: &&str| {
        let releases = image_release(&wanted).zip(image_release(image));
        releases.is_some_and(|(wanted, newest)| wanted < newest)
    };
    // MAIN's. One that is gone for good may have been of a newer release than all that are left.
    let version = cluster
        .status
        .as_ref()
        .and_then(|status| status.version.as_deref());
    let newest = newest.filter(|image| version.is_none_or(|version| !is_older(image, version)));
    if let Some(newest) = newest.filter(older_than) {
        newest.to_owned()
    } else if version.is_some_and(|version| is_older(&wanted, version)) {
        kept(cluster, inventory).unwrap_or(wanted)
    } else {
        wanted
    }
}

/// The image of instances that have run. Before there is a ledger, and where the status has been lost, the StatefulSet tells, if
/// anything shows that it was of use: one that no instance could start from must not outlive the spec that asked for it.
fn kept(cluster: &MemgraphCluster, inventory: &Inventory) -> Option<String> {
    let status = cluster.status.as_ref().filter(|status| status.ledger.is_some());
    status.and_then(|status| status.image.clone()).or_else(|| {
        let set = inventory.stateful_set.as_deref()?;
        inventory
            .have_run()
            .then(|| of_template(&set.unpack()?))
            .flatten()
    })
}

fn of_template(set: &DynamicObject) -> Option<String> {
    let containers = set.data["spec"]["template"]["spec"]["containers"].as_array()?;
    let database = containers
        .iter()
        .find(|container| container["name"] == names::INSTANCE_CONTAINER)?;
    database["image"].as_str().map(str::to_owned)
}

/// What `status.image` is to say. `newest`: as for [`of_new_pods`]. `configuration`: what pods that are made now are annotated with;
/// none: nobody knows.
///
/// A changed image counts once MAIN has come up with it, so that one which does not start is left by taking it out of the spec.
pub(super) fn told(
    cluster: &MemgraphCluster,
    inventory: &Inventory,
    newest: Option<&str>,
    main_serves: bool,
    configuration: impl FnOnce() -> Option<String>,
) -> String {
    let now = of_new_pods(cluster, inventory, newest);
    let status = cluster.status.as_ref();
    let before = status.and_then(|status| Some((status.image.clone()?, status.ledger.as_ref()?)));
    let Some((before, ledger)) = before.filter(|(before, _)| *before != now) else {
        return now;
    };
    let main = &ledger.main.instance;
    let image = inventory.pod(main).and_then(database_image);
    // Somebody may have pods get it from elsewhere.
    let another_release = image
        .and_then(image_release)
        .zip(image_release(&now))
        .is_some_and(|(runs, now)| runs != now);
    let made_by_now =
        || !another_release && configuration().is_some_and(|wanted| inventory.runs(main, &wanted));
    // The spec may have gone back since, and ask for another configuration than MAIN has been replaced with.
    let has_come = main_serves && (image == Some(now.as_str()) || made_by_now());
    if has_come { now } else { before }
}
