//! What statements do, and where they are refused.

use cypher_subset::{Access, Kind, ReplicaRefusal, StorageAccess, Version};

use crate::parsed;

#[test]
fn access_and_kind() {
    for (text, access, kind) in [
        ("RETURN 1", Access::None, Kind::Read),
        ("UNWIND [1] AS x RETURN x", Access::None, Kind::Read),
        ("MATCH (n) RETURN n", Access::Read, Kind::Read),
        ("CREATE (n)", Access::Write, Kind::Write),
        ("CREATE (n) DELETE n", Access::Write, Kind::Write),
        ("MATCH (n) SET n.x = 1", Access::ReadWrite, Kind::Write),
        ("MATCH (n) DELETE n", Access::ReadWrite, Kind::Write),
        ("MERGE (n:A)", Access::ReadWrite, Kind::Write),
        ("CREATE INDEX ON :L(p)", Access::Write, Kind::Schema),
        (
            "CREATE CONSTRAINT ON (n:L) ASSERT n.p IS UNIQUE",
            Access::None,
            Kind::Schema,
        ),
        ("ALTER ENUM E UPDATE VALUE A TO B", Access::Write, Kind::Schema),
        (
            "CREATE TRIGGER t AFTER COMMIT EXECUTE RETURN 1",
            Access::None,
            Kind::Schema,
        ),
        ("SHOW TRIGGERS", Access::None, Kind::Admin),
        ("DUMP DATABASE", Access::Read, Kind::Admin),
        ("SHOW REPLICAS", Access::None, Kind::Admin),
        ("BEGIN", Access::None, Kind::Transaction),
    ] {
        let statement = parsed(text);
        assert_eq!((statement.access(), statement.kind()), (access, kind), "{text}");
    }
}

#[test]
fn refusals_on_a_replica() {
    for (text, refusal) in [
        ("MATCH (n) RETURN n", None),
        ("RETURN 1", None),
        ("CREATE (n)", Some(ReplicaRefusal::WhenPrepared)),
        ("MERGE (n:A)", Some(ReplicaRefusal::WhenPrepared)),
        ("CREATE INDEX ON :L(p)", Some(ReplicaRefusal::WhenPrepared)),
        ("DROP INDEX ON :L(p)", Some(ReplicaRefusal::WhenPrepared)),
        ("CREATE ENUM E VALUES { A }", Some(ReplicaRefusal::WhenPrepared)),
        (
            "CREATE CONSTRAINT ON (n:L) ASSERT n.p IS UNIQUE",
            Some(ReplicaRefusal::WhenCommitted),
        ),
        ("DUMP DATABASE", None),
        ("SHOW ENUMS", None),
        ("SHOW REPLICATION ROLE", None),
    ] {
        assert_eq!(parsed(text).refusal_on_replica(Version::V3_12), refusal, "{text}");
    }
    let constraint = parsed("DROP CONSTRAINT ON (n:L) ASSERT EXISTS (n.p)");
    assert_eq!(constraint.refusal_on_replica(Version::V3_4), None);
}

#[test]
fn refusals_in_a_transaction() {
    for (text, what) in [
        ("SET REPLICATION ROLE TO MAIN", "Managing replication"),
        ("REGISTER REPLICA r ASYNC TO 'h'", "Managing replication"),
        ("DROP REPLICA r", "Managing replication"),
        ("SHOW REPLICAS", "Managing replication"),
        ("SHOW REPLICATION ROLE", "Managing replication"),
        ("CREATE INDEX ON :L", "Index manipulation"),
        (
            "CREATE CONSTRAINT ON (n:L) ASSERT n.p IS UNIQUE",
            "Constraint manipulation",
        ),
        ("CREATE ENUM E VALUES { A }", "Creating or modifying enums"),
        ("SHOW TRIGGERS", "Managing triggers"),
        ("CREATE USER u", "Managing users"),
        ("SHOW USERS", "Managing users"),
        ("CREATE SNAPSHOT", "Creating snapshots"),
        ("RECOVER SNAPSHOT 'x'", "Recovering from snapshot"),
        ("SHOW SNAPSHOTS", "Show schema info query"),
        ("SHOW STORAGE INFO", "Storage information query"),
        ("SHOW INDEX INFO", "Storage information query"),
        ("SHOW VERSION", "Version information query"),
        ("SHOW CONFIG", "Configuration information query"),
        ("SHOW TRANSACTIONS", "Querying transaction status"),
        ("SHOW DATABASE SETTINGS", "Updating or fetching settings"),
        ("STORAGE MODE IN_MEMORY_ANALYTICAL", "Modifying storage modes"),
        ("FREE MEMORY", "Free memory query"),
        ("LOCK DATA DIRECTORY", "Locking paths"),
        ("USE DATABASE x", "Switching the currently active database"),
        ("CREATE DATABASE x", "Creating/dropping databases"),
    ] {
        let message = parsed(text).refusal_in_transaction(Version::V3_12).unwrap();
        assert!(
            message.starts_with(&format!("{what} is not allowed in multicommand transactions. ")),
            "{text}"
        );
    }
    for text in [
        "RETURN 1",
        "CREATE (n)",
        "SHOW ENUMS",
        "DUMP DATABASE",
        "SHOW DATABASES",
        "SHOW DATABASE",
        "COMMIT",
    ] {
        assert_eq!(
            parsed(text).refusal_in_transaction(Version::V3_12),
            None,
            "{text}"
        );
    }
}

#[test]
fn the_transaction_message_of_each_release() {
    let message = |version| parsed("SHOW REPLICAS").refusal_in_transaction(version).unwrap();
    let start = "Managing replication is not allowed in multicommand transactions. A multicommand transaction, also \
                 known as an explicit transaction, groups multiple commands into a single atomic operation. Instead, \
                 please use an implicit transaction, also";
    let end = "For more details, visit https://memgraph.com/docs";
    for version in Version::ALL {
        let middle = if version >= Version::V3_8 {
            "known as an auto committing transaction, in order to execute this particularquery."
        } else {
            "knwon as an auto committing transaction, in order to execute this particular query."
        };
        assert_eq!(message(version), format!("{start} {middle} {end}"), "{version}");
    }
}

#[test]
fn system_queries() {
    for (text, system) in [
        ("SET REPLICATION ROLE TO MAIN", true),
        ("REGISTER REPLICA r ASYNC TO 'h'", true),
        ("CREATE USER u", true),
        ("SHOW USERS", true),
        ("SHOW REPLICAS", false),
        ("SHOW REPLICATION ROLE", false),
        ("CREATE SNAPSHOT", false),
        ("CREATE DATABASE x", true),
        ("SHOW DATABASES", false),
    ] {
        assert_eq!(parsed(text).is_system_query(), system, "{text}");
    }
}

#[test]
fn locks_on_the_storage() {
    use StorageAccess::{Read, ReadOnly, Unique, Write};
    for (text, access) in [
        ("MATCH (n) RETURN n", Some(Read)),
        ("CREATE (n)", Some(Write)),
        ("CREATE INDEX ON :L", Some(ReadOnly)),
        ("DROP INDEX ON :L", Some(Read)),
        ("ALTER ENUM E UPDATE VALUE A TO B", Some(Unique)),
        ("SHOW ENUMS", Some(Read)),
        ("RECOVER SNAPSHOT 'x'", Some(Unique)),
        ("CREATE SNAPSHOT", None),
        ("SHOW REPLICAS", None),
    ] {
        assert_eq!(parsed(text).storage_access(Version::V3_12), access, "{text}");
    }
    let constraint = parsed("CREATE CONSTRAINT ON (n:L) ASSERT EXISTS (n.p)");
    assert_eq!(constraint.storage_access(Version::V3_6), Some(Unique));
    assert_eq!(constraint.storage_access(Version::V3_8), Some(ReadOnly));
}
