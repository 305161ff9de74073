//! The files of instances: made, read, spoiled and listed.

use memgraph_sim::engine::{DiskOperation, DiskReply};

use crate::clients::text;
use crate::network::Network;

/// Makes a snapshot and returns its path.
pub fn snapshot(network: &mut Network, member: &str) -> String {
    network.must(member, "CREATE SNAPSHOT");
    text(&network.must(member, "SHOW SNAPSHOTS")[0][0])
}

pub fn read(network: &mut Network, member: &str, path: &str) -> Vec<u8> {
    match network.disk(member).perform(DiskOperation::Read(path.to_owned())) {
        Ok(DiskReply::Content(content)) => content,
        other => panic!("{path}: {other:?}"),
    }
}

pub fn write(network: &mut Network, member: &str, path: &str, content: Vec<u8>) {
    let written = network
        .disk(member)
        .perform(DiskOperation::Replace(path.to_owned(), content));
    assert!(written.is_ok());
}

pub fn files(network: &mut Network, member: &str, folder: &str) -> Vec<String> {
    network.disk(member).list(folder)
}
