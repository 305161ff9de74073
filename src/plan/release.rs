//! Whether the release of Memgraph that the instances run can do what the spec asks for.

use super::observation::{Instance, Observation};
use crate::api::ReplicationMode;

/// The first release that has STRICT_SYNC replicas (`MemgraphCypher.g4` of 3.5; 3.4 does not know the word).
const STRICT_SYNC_SINCE: (u32, u32) = (3, 5);

/// What is wrong with the release of an instance, and the remedy. What SHOW VERSION says of a build that is no release is
/// taken for new.
pub(super) fn unfit(seen: &Observation) -> Option<String> {
    if seen.settings.mode != ReplicationMode::StrictSync || seen.settings.sync_replicas == 0 {
        return None;
    }
    let old = seen.declared().find_map(|instance| {
        let version = &instance.view()?.version;
        (release(version)? < STRICT_SYNC_SINCE).then_some((&instance.name, version))
    });
    let (name, version) = old?;
    let (major, minor) = STRICT_SYNC_SINCE;
    Some(format!(
        "{name} runs Memgraph {version}, which has no STRICT_SYNC replicas: set replication.mode to Sync, or set image to \
         {major}.{minor} or newer and delete the pods"
    ))
}

/// Why the instances are not to be replaced by ones of the spec's image: it is an older release than one that runs, and could not
/// read what that one writes.
pub(super) fn downgrade(seen: &Observation) -> Option<String> {
    let image = &seen.settings.image;
    let views = seen.declared().filter_map(Instance::view);
    let running = &views.max_by_key(|view| release(&view.version))?.version;
    is_older(image, running).then(|| {
        format!(
            "image: {image} is older than Memgraph {running}, which runs: an older release cannot read the data of a newer \
             one. Set image to {running} or newer; no instance is replaced before"
        )
    })
}

/// Whether the tag of `image` is an older release than `version`. One that is no release is taken for new.
#[must_use]
pub fn is_older(image: &str, version: &str) -> bool {
    let wanted = tag(image).and_then(release);
    wanted
        .zip(release(version))
        .is_some_and(|(wanted, runs)| wanted < runs)
}

/// The tag of an image's name.
fn tag(image: &str) -> Option<&str> {
    let name = image.split('@').next()?;
    let last = name.rsplit('/').next()?;
    last.split_once(':').map(|(_, tag)| tag)
}

/// Major and minor number of a version such as `3.12.0` or `3.12.0+7~a1b2c3d`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(release("3.12.0+7~a1b2c3d"), Some((3, 12)));
        assert!(release("3.12.0") > Some(STRICT_SYNC_SINCE) && release("3.4.0") < Some(STRICT_SYNC_SINCE));
        assert_eq!(release("master"), None);
    }

    #[test]
    fn the_tag_of_an_image_is_not_its_registrys_port() {
        assert_eq!(tag("memgraph/memgraph:3.12.0"), Some("3.12.0"));
        assert_eq!(
            tag("registry.example:5000/memgraph:3.8.1@sha256:ab"),
            Some("3.8.1")
        );
        assert_eq!(tag("registry.example:5000/memgraph"), None);
    }
}
