//! Whether the release of Memgraph that the instances run can do what the spec asks for.

use super::observation::{Instance, Observation};
use crate::api::ReplicationMode;

/// The first release that has STRICT_SYNC replicas (`MemgraphCypher.g4` of 3.5; 3.4 does not know the word).
const STRICT_SYNC_SINCE: (u32, u32) = (3, 5);

/// The first release with `SHOW STORAGE INFO ON CURRENT DATABASE` (`MemgraphCypher.g4` of 3.11).
const DATABASE_INFO_SINCE: (u32, u32) = (3, 11);

/// The first release in which a file may go away while the files of the data directory are counted. Before, that was an exception
/// (`GetDirDiskUsage` in `utils/stat.hpp`; Memgraph's pull request 4247), which has ended a server.
///
/// It ends one only where nobody catches it, as in the thread that answers for metrics over HTTP
/// (`TryGetStorageSnapshotForMetrics`, `http_handlers/metrics.hpp`). What a session asks for is counted in its PULL, whose
/// `HandlePullDiscard` catches each `std::exception` (`bolt/v1/states/handlers.hpp`, 3.5 to 3.10) and makes it the answer
/// `DatabaseError`; no transaction is open then. So an older MAIN without replicas can be asked for its storage mode, which
/// nothing else tells: at worst it does not tell. For mere figures none is asked.
const COUNTS_FILES_SINCE: (u32, u32) = (3, 11);

/// The first release in which `DROP REPLICA` breaks off what is being sent to the replica (`ReplicationClient::Shutdown`).
const ABORTS_SINCE: (u32, u32) = (3, 12);

/// The first release that is looked after at all: the flags that the operator starts instances with are its.
const SUPPORTED_SINCE: (u32, u32) = (3, 4);

/// The newest release whose behaviour the operator was made for, and that the simulator has. Also what it takes by default.
const NEWEST_KNOWN: (u32, u32) = (3, 12);

/// What is wrong with the release of an instance before the cluster is set up, and the remedy. What SHOW VERSION says of a build that
/// is no release is taken for new.
pub(super) fn unfit(seen: &Observation) -> Option<String> {
    let strict = seen.settings.mode == ReplicationMode::StrictSync && seen.settings.sync_replicas > 0;
    let least = if strict {
        STRICT_SYNC_SINCE
    } else {
        SUPPORTED_SINCE
    };
    let old = seen.declared().find_map(|instance| {
        let version = &instance.view()?.version;
        (release(version)? < least).then_some((&instance.name, version))
    });
    let (name, version) = old?;
    let (major, minor) = least;
    let set_image = format!("set image to {major}.{minor} or newer and delete the pods");
    Some(if release(version)? < SUPPORTED_SINCE {
        format!("{name} runs Memgraph {version}, which is older than this operator knows: {set_image}")
    } else {
        format!(
            "{name} runs Memgraph {version}, which has no STRICT_SYNC replicas: set replication.mode to Sync, or {set_image}"
        )
    })
}

/// Whether a release has no STRICT_SYNC replicas.
#[must_use]
pub fn lacks_strict_sync(version: &str) -> bool {
    release(version).is_some_and(|release| release < STRICT_SYNC_SINCE)
}

/// Whether neither to drop a registration nor to step down waits for what is being sent to a replica.
pub(super) fn aborts_what_it_sends(version: &str) -> bool {
    release(version).is_none_or(|release| release >= ABORTS_SINCE)
}

/// Whether `SHOW STORAGE INFO` tells the storage mode of a database only where it is asked for one: without, it tells the flag's.
#[must_use]
pub fn tells_mode_of_a_database(version: &str) -> bool {
    release(version).is_none_or(|release| release >= DATABASE_INFO_SINCE)
}

/// Whether `SHOW STORAGE INFO` can be asked for without need, although it counts files that come and go.
#[must_use]
pub fn counts_files_safely(version: &str) -> bool {
    release(version).is_none_or(|release| release >= COUNTS_FILES_SINCE)
}

/// Why the mode that the spec asks for is not the one in effect. Nothing is wrong while a newer release is on its way.
pub(super) fn refused_mode(seen: &Observation) -> Option<String> {
    let version = seen.settings.not_strict.as_ref()?;
    let (major, minor) = STRICT_SYNC_SINCE;
    (seen.declared().all(Instance::is_current)).then(|| {
        format!(
            "replication.mode: StrictSync needs Memgraph {major}.{minor} or newer, and {version} runs: replicas stay as with Sync. \
             Set image to {major}.{minor} or newer, or replication.mode to Sync"
        )
    })
}

/// Why no further instance is to be replaced: one that has been runs an older release than MAIN. An image that is named by a digest or
/// by a word tells that only once it runs.
pub(super) fn older_than_main(seen: &Observation, main: &Instance) -> Option<String> {
    let runs = &main.view()?.version;
    let replaced = seen.declared().filter(|i| i.is_current() && i.name != main.name);
    let (name, version) = replaced
        .filter_map(|i| Some((&i.name, &i.view()?.version)))
        .find(|(_, version)| release(version) < release(runs) && release(version).is_some())?;
    Some(format!(
        "{name} runs Memgraph {version} by now, which is older than {runs}, which MAIN runs: an older release cannot read the data of a \
         newer one. Set image to {runs} or newer; no further instance is replaced before"
    ))
}

/// That instances run several releases although none is being changed, and the remedy.
pub(super) fn mixed(seen: &Observation, main: Option<&Instance>) -> Option<String> {
    let (main, runs) = main.and_then(|main| Some((&main.name, &main.view()?.version)))?;
    let others = seen
        .declared()
        .filter_map(|i| Some((&i.name, &i.view()?.version)));
    let others: Vec<_> = others
        .filter(|(_, version)| *version != runs)
        .map(|(name, version)| format!("{name} runs Memgraph {version}"))
        .collect();
    (!others.is_empty()).then(|| {
        format!(
            "{}, and {main}, which is MAIN, {runs}: image has come to mean another release. Name one release in image, which has all \
             instances replaced that do not have it yet",
            others.join(", ")
        )
    })
}

/// Whether the name of an image means another one from one day to the next.
pub(super) fn floats(image: &str) -> bool {
    !image.contains('@') && tag(image).is_none_or(|tag| tag == "latest")
}

/// That the image asked for, or an instance, is a release that came after this operator. What is no release is not spoken of: whoever has
/// it knows.
pub(super) fn unknown(seen: &Observation) -> Option<String> {
    let image = &seen.settings.image;
    let newer = |version: &str| release(version).is_some_and(|release| release > NEWEST_KNOWN);
    // What a tag means beyond its number, who runs it tells.
    let told = seen.declared().any(|i| i.is_current() && i.view().is_some());
    let named = || {
        tag(image)
            .filter(|_| !told)
            .filter(|tag| newer(tag))
            .map(|_| format!("image: {image}"))
    };
    let running = seen.declared().find_map(|instance| {
        let version = &instance.view()?.version;
        newer(version).then(|| format!("{} runs Memgraph {version}, which", instance.name))
    });
    let (major, minor) = NEWEST_KNOWN;
    named().or(running).map(|which| {
        format!(
            "{which} is newer than {major}.{minor}, the newest release that this operator is tested for: what it takes for granted may have \
             changed. Look for a newer operator"
        )
    })
}

/// Why the instances are not to be replaced by ones of the spec's image: it is an older release than one that runs, and could not
/// read what that one writes.
///
/// A release is its first two numbers. From 3.0 to 3.12 no patch release has changed what is on disk: neither the version of snapshots and
/// logs (`kVersion` in `storage/v2/durability/version.hpp`: 30 in 3.5.0 to 3.5.2, 31 in 3.6.0 to 3.7.2, 32 in 3.8.0 and 3.8.1, 34 in 3.10.0
/// and 3.10.1) nor that of what replication keeps (`DurabilityVersion` in `replication/status.hpp`). So the way back from a patch release
/// is open. Should one come that closes it, its predecessor does not start over its data, and the first replica is the last one replaced.
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
    image_release(image)
        .zip(release(version))
        .is_some_and(|(wanted, runs)| wanted < runs)
}

/// Major and minor number of the release that the tag of `image` names; none: it names no release.
#[must_use]
pub fn image_release(image: &str) -> Option<(u32, u32)> {
    tag(image).and_then(release)
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
    use crate::api::names::DEFAULT_IMAGE;

    #[test]
    fn what_a_new_cluster_gets_is_the_newest_release_that_is_known() {
        assert_eq!(image_release(DEFAULT_IMAGE), Some(NEWEST_KNOWN));
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(release("3.12.0+7~a1b2c3d"), Some((3, 12)));
        assert!(release("3.12.0") > Some(STRICT_SYNC_SINCE) && release("3.4.0") < Some(STRICT_SYNC_SINCE));
        assert_eq!(release("master"), None);
    }

    #[test]
    fn what_may_be_another_image_tomorrow_floats() {
        for image in [
            "memgraph/memgraph",
            "memgraph/memgraph:latest",
            "registry.example:5000/memgraph",
        ] {
            assert!(floats(image), "{image}");
        }
        for image in [
            "memgraph/memgraph:3.12.0",
            "memgraph/memgraph@sha256:ab",
            "memgraph/memgraph:latest@sha256:ab",
        ] {
            assert!(!floats(image), "{image}");
        }
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
