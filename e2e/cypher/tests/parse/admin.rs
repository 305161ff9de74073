//! Statements about the instance.

use cypher_subset::{
    Version,
    ast::{
        Auth, DatabaseInfo, Durability, Instance, IsolationLevel, IsolationScope, MultiDatabase, Replication,
        ReplicationInfo, ReplicationRole, Settings, Statement, StorageInfoScope, StorageMode, SyncMode,
        SystemInfo, Transaction, TransactionQueue, TransactionStatus,
    },
    parse,
};

use crate::{exists_since, parsed, refusal, unsupported};

fn register(name: &str, mode: SyncMode, address: &str) -> Statement {
    Statement::Replication(Replication::RegisterReplica {
        name: name.to_owned(),
        mode,
        address: address.to_owned(),
    })
}

#[test]
fn replication() {
    for (text, expected) in [
        (
            "SET REPLICATION ROLE TO MAIN",
            Statement::Replication(Replication::SetRole(ReplicationRole::Main)),
        ),
        (
            "set replication role to replica with port 10000;",
            Statement::Replication(Replication::SetRole(ReplicationRole::Replica { port: 10000 })),
        ),
        (
            "REGISTER REPLICA r1 SYNC TO \"10.0.0.1:10000\"",
            register("r1", SyncMode::Sync, "10.0.0.1:10000"),
        ),
        (
            "REGISTER REPLICA R1 ASYNC TO 'host'",
            register("R1", SyncMode::Async, "host"),
        ),
        (
            "REGISTER REPLICA `mg-0` STRICT_SYNC TO \"h:1\"",
            register("mg-0", SyncMode::StrictSync, "h:1"),
        ),
        // Keywords are names, too.
        (
            "REGISTER REPLICA sync SYNC TO \"h\"",
            register("sync", SyncMode::Sync, "h"),
        ),
        (
            "DROP REPLICA pod_1_g41",
            Statement::Replication(Replication::DropReplica {
                name: "pod_1_g41".to_owned(),
            }),
        ),
        (
            "SHOW REPLICATION ROLE",
            Statement::ReplicationInfo(ReplicationInfo::ShowRole),
        ),
        (
            "SHOW REPLICAS",
            Statement::ReplicationInfo(ReplicationInfo::ShowReplicas),
        ),
    ] {
        assert_eq!(parsed(text), expected, "{text}");
    }
    for (text, message) in [
        (
            "SET REPLICATION ROLE TO MAIN WITH PORT 10000",
            "Main can't set a port!",
        ),
        ("SET REPLICATION ROLE TO REPLICA", "Replica must set a port!"),
        (
            "SET REPLICATION ROLE TO REPLICA WITH PORT '10000'",
            "Port must be an integer literal!",
        ),
        (
            "SET REPLICATION ROLE TO REPLICA WITH PORT 1.5",
            "Port must be an integer literal!",
        ),
        (
            "REGISTER REPLICA r SYNC TO 10000",
            "Socket address should be a string literal!",
        ),
    ] {
        for version in Version::ALL {
            assert_eq!(refusal(text, version), message, "{text}");
        }
    }
    // The range is no matter of reading.
    assert_eq!(
        parsed("SET REPLICATION ROLE TO REPLICA WITH PORT 70000"),
        Statement::Replication(Replication::SetRole(ReplicationRole::Replica { port: 70000 }))
    );
}

#[test]
fn names_with_a_minus_need_backticks() {
    assert_eq!(
        refusal("REGISTER REPLICA mg-0 SYNC TO \"h\"", Version::V3_12),
        "Error on line 1 position 21. The underlying parsing error is mismatched input '-' expecting {ASYNC, \
         STRICT_SYNC, SYNC}"
    );
    assert_eq!(
        refusal("REGISTER REPLICA mg-0 SYNC TO \"h\"", Version::V3_4),
        "Error on line 1 position 21. The underlying parsing error is mismatched input '-' expecting {ASYNC, SYNC}"
    );
    assert_eq!(
        refusal("DROP   REPLICA\n mg-0;", Version::V3_12),
        "Error on line 1 position 17. The underlying parsing error is mismatched input '-' expecting {';', <EOF>}"
    );
}

#[test]
fn parameters_are_no_names_or_addresses() {
    for text in [
        "REGISTER REPLICA $name SYNC TO \"h\"",
        "REGISTER REPLICA r SYNC TO $address",
        "REGISTER REPLICA r $mode TO \"h\"",
        "SET REPLICATION ROLE TO REPLICA WITH PORT $port",
        "DROP REPLICA $name",
    ] {
        assert!(
            refusal(text, Version::Head).starts_with("Error on line 1 position "),
            "{text}"
        );
    }
}

#[test]
fn everything_else() {
    let storage_info = |scope| Statement::SystemInfo(SystemInfo::Storage(scope));
    for (text, expected) in [
        (
            "CREATE SNAPSHOT",
            Statement::Durability(Durability::CreateSnapshot),
        ),
        ("SHOW SNAPSHOTS", Statement::Durability(Durability::ShowSnapshots)),
        (
            "SHOW NEXT SNAPSHOT",
            Statement::Durability(Durability::ShowNextSnapshot),
        ),
        (
            "RECOVER SNAPSHOT '/x/y'",
            Statement::Durability(Durability::RecoverSnapshot {
                path: "/x/y".to_owned(),
                force: false,
            }),
        ),
        (
            "RECOVER SNAPSHOT \"x\" FORCE",
            Statement::Durability(Durability::RecoverSnapshot {
                path: "x".to_owned(),
                force: true,
            }),
        ),
        ("SHOW STORAGE INFO", storage_info(StorageInfoScope::Unqualified)),
        (
            "SHOW STORAGE INFO ON DATABASE memgraph",
            storage_info(StorageInfoScope::Database("memgraph".to_owned())),
        ),
        (
            "SHOW STORAGE INFO ON CURRENT DATABASE",
            storage_info(StorageInfoScope::CurrentDatabase),
        ),
        ("SHOW VERSION", Statement::SystemInfo(SystemInfo::Version)),
        ("SHOW CONFIG", Statement::SystemInfo(SystemInfo::Config)),
        ("SHOW BUILD INFO", Statement::SystemInfo(SystemInfo::Build)),
        ("SHOW LICENSE INFO", Statement::SystemInfo(SystemInfo::License)),
        (
            "SHOW ACTIVE USERS INFO",
            Statement::SystemInfo(SystemInfo::ActiveUsers),
        ),
        (
            "SHOW METRICS INFO",
            Statement::DatabaseInfo(DatabaseInfo::Metrics),
        ),
        ("SHOW METRICS", Statement::DatabaseInfo(DatabaseInfo::Metrics)),
        ("SHOW INDEX INFO", Statement::DatabaseInfo(DatabaseInfo::Indexes)),
        ("SHOW INDEXES", Statement::DatabaseInfo(DatabaseInfo::Indexes)),
        (
            "SHOW CONSTRAINT INFO",
            Statement::DatabaseInfo(DatabaseInfo::Constraints),
        ),
        ("SHOW ENUMS", Statement::DatabaseInfo(DatabaseInfo::Enums)),
        ("SHOW DATABASES", Statement::MultiDatabase(MultiDatabase::ShowAll)),
        (
            "SHOW DATABASE",
            Statement::MultiDatabase(MultiDatabase::ShowCurrent),
        ),
        (
            "SHOW CURRENT DATABASE",
            Statement::MultiDatabase(MultiDatabase::ShowCurrent),
        ),
        (
            "USE DATABASE memgraph",
            Statement::MultiDatabase(MultiDatabase::Use("memgraph".to_owned())),
        ),
        (
            "CREATE DATABASE x",
            Statement::MultiDatabase(MultiDatabase::Create("x".to_owned())),
        ),
        (
            "DROP DATABASE x FORCE",
            Statement::MultiDatabase(MultiDatabase::Drop {
                name: "x".to_owned(),
                force: true,
            }),
        ),
        (
            "SHOW TRANSACTIONS",
            Statement::TransactionQueue(TransactionQueue::Show { statuses: vec![] }),
        ),
        (
            "SHOW RUNNING, ABORTING TRANSACTIONS",
            Statement::TransactionQueue(TransactionQueue::Show {
                statuses: vec![TransactionStatus::Running, TransactionStatus::Aborting],
            }),
        ),
        (
            "TERMINATE TRANSACTIONS '12', \"13\"",
            Statement::TransactionQueue(TransactionQueue::Terminate {
                ids: vec!["12".to_owned(), "13".to_owned()],
            }),
        ),
        (
            "SET DATABASE SETTING 'log.level' TO \"TRACE\"",
            Statement::Settings(Settings::Set {
                name: "log.level".to_owned(),
                value: "TRACE".to_owned(),
            }),
        ),
        (
            "SHOW DATABASE SETTING 'log.level'",
            Statement::Settings(Settings::Show {
                name: "log.level".to_owned(),
            }),
        ),
        ("SHOW DATABASE SETTINGS", Statement::Settings(Settings::ShowAll)),
        ("FREE MEMORY", Statement::Instance(Instance::FreeMemory)),
        ("DUMP DATABASE", Statement::Instance(Instance::DumpDatabase)),
        (
            "STORAGE MODE IN_MEMORY_ANALYTICAL",
            Statement::Instance(Instance::SetStorageMode(StorageMode::InMemoryAnalytical)),
        ),
        (
            "STORAGE MODE in_memory_transactional",
            Statement::Instance(Instance::SetStorageMode(StorageMode::InMemoryTransactional)),
        ),
        (
            "LOCK DATA DIRECTORY",
            Statement::Instance(Instance::LockDataDirectory),
        ),
        (
            "UNLOCK DATA DIRECTORY",
            Statement::Instance(Instance::UnlockDataDirectory),
        ),
        (
            "DATA DIRECTORY LOCK STATUS",
            Statement::Instance(Instance::DataDirectoryLockStatus),
        ),
        (
            "SET GLOBAL TRANSACTION ISOLATION LEVEL READ COMMITTED",
            Statement::Instance(Instance::SetIsolationLevel {
                scope: IsolationScope::Global,
                level: IsolationLevel::ReadCommitted,
            }),
        ),
    ] {
        assert_eq!(parsed(text), expected, "{text}");
    }
}

#[test]
fn users() {
    let create = |if_not_exists, password: Option<&str>| Auth::CreateUser {
        name: "u".to_owned(),
        if_not_exists,
        password: password.map(str::to_owned),
    };
    for (text, expected) in [
        ("CREATE USER u", create(false, None)),
        (
            "CREATE USER IF NOT EXISTS u IDENTIFIED BY 'p'",
            create(true, Some("p")),
        ),
        ("CREATE USER u IDENTIFIED BY null", create(false, None)),
        ("DROP USER `u`", Auth::DropUser { name: "u".to_owned() }),
        (
            "SET PASSWORD FOR u TO 'p'",
            Auth::SetPassword {
                name: "u".to_owned(),
                password: Some("p".to_owned()),
            },
        ),
        (
            "SET PASSWORD TO 'new' REPLACE 'old'",
            Auth::ChangePassword {
                new: "new".to_owned(),
                old: "old".to_owned(),
            },
        ),
        ("SHOW USERS", Auth::ShowUsers),
        ("SHOW CURRENT USER", Auth::ShowCurrentUser),
    ] {
        assert_eq!(parsed(text), Statement::Auth(expected), "{text}");
    }
    assert_eq!(
        refusal("CREATE USER u IDENTIFIED BY 7", Version::V3_12),
        "Password should be a string literal or null."
    );
    // Memgraph has no ALTER USER.
    assert!(
        refusal("ALTER USER u SET PASSWORD 'x'", Version::Head)
            .contains("mismatched input 'USER' expecting ENUM")
    );
    // Passwords stay out of logs.
    assert!(!format!("{:?}", parsed("CREATE USER u IDENTIFIED BY 'hunter2'")).contains("hunter2"));
}

#[test]
fn transactions_by_text() {
    for (text, expected) in [
        ("BEGIN", Transaction::Begin),
        (" commit\n", Transaction::Commit),
        ("Rollback", Transaction::Rollback),
    ] {
        assert_eq!(
            parse(text, Version::V3_12),
            Ok(Statement::Transaction(expected)),
            "{text}"
        );
    }
    // Memgraph compares the whole text.
    for text in ["BEGIN;", "/* x */ COMMIT"] {
        refusal(text, Version::V3_12);
    }
}

#[test]
fn newer_statements() {
    for (text, since) in [
        ("REGISTER REPLICA r STRICT_SYNC TO \"h\"", Version::V3_5),
        ("SHOW NEXT SNAPSHOT", Version::V3_5),
        ("SHOW INDEXES", Version::V3_5),
        ("SHOW CONSTRAINTS", Version::V3_5),
        ("SHOW METRICS", Version::V3_5),
        ("SHOW ACTIVE USERS", Version::V3_5),
        ("SHOW CURRENT DATABASE", Version::V3_5),
        ("SHOW TRIGGER INFO", Version::V3_5),
        ("RETURN EXISTS { MATCH (n) }", Version::V3_5),
        ("DROP DATABASE x FORCE", Version::V3_6),
        ("RECOVER SNAPSHOT 'x' WITH CONFIG {}", Version::V3_8),
        (
            "CREATE TRIGGER t SECURITY INVOKER AFTER COMMIT EXECUTE RETURN 1",
            Version::V3_8,
        ),
        ("SHOW STORAGE INFO ON DATABASE memgraph", Version::V3_10),
        ("SHOW RUNNING TRANSACTIONS", Version::V3_10),
        ("CREATE INDEX FOR (n:L) ON (n.p)", Version::V3_10),
        ("SHOW STORAGE INFO ON CURRENT DATABASE", Version::V3_11),
        ("RETURN COUNT { (n)-->() }", Version::Head),
        ("SHOW REPLICAS", Version::V3_4),
    ] {
        exists_since(text, since);
    }
}

#[test]
fn unsupported_statements() {
    for text in [
        "CREATE ROLE r",
        "GRANT ALL PRIVILEGES TO u",
        "SHOW SCHEMA INFO",
        "SHOW INSTANCES",
        "REGISTER INSTANCE i WITH CONFIG {}",
        "ANALYZE GRAPH",
        "SHOW REPLICATION LAG",
    ] {
        assert!(text.starts_with(&unsupported(text)), "{text}");
    }
}
