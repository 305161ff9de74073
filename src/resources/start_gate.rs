//! The start gate: what every instance runs before it opens Bolt.
//!
//! An instance that was MAIN comes back as MAIN, and an empty one starts as MAIN. With this file it is a
//! replica by the time anybody can connect, whatever it was before, and takes no write until the operator
//! has promoted it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::parent::Parent;
use crate::api::names;

/// Where the file's folder is mounted. `/etc/memgraph` itself holds the image's own configuration.
pub(super) const FOLDER: &str = "/etc/memgraph-operator";
/// The file, as `--init-file` names it.
pub(super) const PATH: &str = "/etc/memgraph-operator/start-gate.cypherl";
const FILE: &str = "start-gate.cypherl";

/// The role change gives up when it does not get its lock at once, and an init file's errors are only logged.
const ATTEMPTS: usize = 5;

/// The ConfigMap with the file. Memgraph reads it at start, so that a change waits for the next one.
pub(super) fn build(parent: &Parent<'_>) -> ConfigMap {
    // One statement a line; a comment would be run as one.
    let statement = format!(
        "SET REPLICATION ROLE TO REPLICA WITH PORT {};\n",
        names::REPLICATION_PORT
    );
    ConfigMap {
        metadata: parent.metadata(names::start_gate(&parent.name), names::INSTANCE),
        data: Some(BTreeMap::from([(FILE.to_owned(), statement.repeat(ATTEMPTS))])),
        ..ConfigMap::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_names_the_mounted_file() {
        assert_eq!(PATH, format!("{FOLDER}/{FILE}"));
    }
}
