//! What changed from release to release and is no numbered fact.

use std::{cell::Cell, rc::Rc};

use bolt_server::Version;
use memgraph_sim::flags::Flags;

use crate::clients::{Stage, text};
use crate::network::Network;
use crate::releases::{each_mode, each_release};

#[test]
fn strict_sync_is_a_keyword_since_3_5() {
    each_release(|version| {
        let mut network = Network::new(version, &["a", "b"]);
        network.must("b", "SET REPLICATION ROLE TO REPLICA WITH PORT 10000");
        let register = "REGISTER REPLICA b STRICT_SYNC TO 'b:10000'";
        if version < Version::V3_5 {
            let (stage, failure) = network.failure("a", register);
            assert_eq!(stage, Stage::Run);
            assert!(
                failure.message.contains("mismatched input 'STRICT_SYNC'"),
                "{failure:?}"
            );
            assert!(network.must("a", "SHOW REPLICAS").is_empty());
        } else {
            // Nobody asks for a licence.
            network.must("a", register);
            assert_eq!(text(&network.must("a", "SHOW REPLICAS")[0][2]), "strict_sync");
        }
    });
}

#[test]
fn show_replicas_asks_nobody() {
    each_release(|version| {
        let mut network = Network::pair(version, "SYNC");
        network.must("a", "CREATE (:T)");
        let known = network.replica("a", "b");
        network.black_hole("b");
        let messages = Rc::new(Cell::new(0));
        let counter = Rc::clone(&messages);
        network.lose(move |_, _, _| {
            counter.set(counter.get() + 1);
            false
        });
        let started = network.now;
        assert_eq!(network.replica("a", "b"), known);
        assert_eq!(network.now, started);
        assert_eq!(messages.get(), 0);
    });
}

#[test]
fn a_snapshot_tells_its_path_since_3_5() {
    each_release(|version| {
        let mut network = Network::new(version, &["a"]);
        network.must("a", "CREATE (:T)");
        let answer = network.answer("a", "CREATE SNAPSHOT").unwrap();
        if version < Version::V3_5 {
            assert!(answer.fields.is_empty());
            return;
        }
        assert_eq!(answer.fields, ["path"]);
        let path = text(&answer.rows[0][0]);
        assert_eq!(path, text(&network.must("a", "SHOW SNAPSHOTS")[0][0]));
        // It is made even if nothing has changed.
        assert_ne!(path, text(&network.must("a", "CREATE SNAPSHOT")[0][0]));
    });
}

/// The rows of SHOW STORAGE INFO (`PrepareSystemInfoQuery` in `src/query/interpreter.cpp` of each release).
fn storage_rows(version: Version) -> Vec<&'static str> {
    let rows = if version >= Version::V3_11 {
        "vm_max_map_count memory_res peak_memory_res disk_usage memory_tracked memory_limit license_memory_limit \
         query+graph_memory_tracked vector_index_memory_tracked global_isolation_level session_isolation_level \
         next_session_isolation_level global_storage_mode"
    } else if version >= Version::V3_10 {
        "name database_uuid vertex_count edge_count average_degree vm_max_map_count memory_res peak_memory_res \
         unreleased_delta_objects global_disk_usage global_memory_tracked global_runtime_allocation_limit \
         global_license_allocation_limit db_memory_tracked db_storage_memory_tracked db_embedding_memory_tracked \
         db_query_memory_tracked global_isolation_level session_isolation_level next_session_isolation_level \
         storage_mode"
    } else if version >= Version::V3_5 {
        "name database_uuid vertex_count edge_count average_degree vm_max_map_count memory_res peak_memory_res \
         unreleased_delta_objects disk_usage memory_tracked allocation_limit global_isolation_level \
         session_isolation_level next_session_isolation_level storage_mode"
    } else {
        "name vertex_count edge_count average_degree vm_max_map_count memory_res peak_memory_res \
         unreleased_delta_objects disk_usage memory_tracked allocation_limit global_isolation_level \
         session_isolation_level next_session_isolation_level storage_mode"
    };
    rows.split(' ').collect()
}

/// The rows of SHOW STORAGE INFO ON CURRENT DATABASE, which 3.11 brought.
fn database_rows(version: Version) -> Vec<&'static str> {
    let rows = if version >= Version::V3_12 {
        "name database_uuid state storage_mode vertex_count edge_count average_degree unreleased_delta_objects \
         disk_usage graph_memory_tracked query_memory_tracked vector_index_memory_tracked tenant_memory_tracked \
         tenant_peak_memory_tracked tenant_memory_limit storage_isolation_level health"
    } else {
        "name database_uuid storage_mode vertex_count edge_count average_degree unreleased_delta_objects \
         disk_usage graph_memory_tracked query_memory_tracked vector_index_memory_tracked tenant_memory_tracked \
         tenant_peak_memory_tracked tenant_memory_limit storage_isolation_level"
    };
    rows.split(' ').collect()
}

#[test]
fn storage_info_has_the_rows_of_the_release() {
    each_release(|version| {
        let mut network = Network::new(version, &["a"]);
        let names = |rows: &[Vec<_>]| rows.iter().map(|row| text(&row[0])).collect::<Vec<_>>();
        let answer = network.answer("a", "SHOW STORAGE INFO").unwrap();
        assert_eq!(answer.fields, ["storage info", "value"]);
        assert_eq!(names(&answer.rows), storage_rows(version));
        let current = network.answer("a", "SHOW STORAGE INFO ON CURRENT DATABASE");
        if version < Version::V3_11 {
            assert_eq!(current.unwrap_err().0, Stage::Run);
        } else {
            assert_eq!(names(&current.unwrap().rows), database_rows(version));
        }
        let named = network.answer("a", "SHOW STORAGE INFO ON DATABASE memgraph");
        assert_eq!(named.is_ok(), version >= Version::V3_10, "{named:?}");
    });
}

#[test]
fn the_flag_for_idle_sessions_went_away_with_3_8() {
    each_release(|version| {
        let flag = "--bolt-session-inactivity-timeout=60".to_owned();
        let parsed = Flags::new(version).parse([flag]);
        assert_eq!(parsed.is_ok(), version < Version::V3_8, "{parsed:?}");
    });
}

#[test]
fn replicas_take_every_mode_that_a_release_knows() {
    each_mode(|version, mode| {
        let mut network = Network::pair(version, mode);
        network.must("a", "CREATE (:T)");
        network.run(std::time::Duration::from_secs(1));
        assert_eq!(network.replica("a", "b"), Some((2, 0, "ready".into())));
        assert_eq!(network.count("b"), 1);
    });
}
