//! Memgraph's texts, by release, in one place. The strings are exact (semantics A to F).

use bolt_server::{Failure, Version};

use crate::{
    durability::state::ReplicaMode,
    engine::{CommitError, FailureReason, RegisterError, ReplicationFailure, SnapshotError, UnregisterError},
    storage::{Constraint, EnumError},
};

pub(crate) fn concurrent_system_queries() -> Failure {
    Failure::client("Multiple concurrent system queries are not supported.")
}

pub(crate) fn needs_transactional_storage() -> Failure {
    Failure::client("Replication query requires IN_MEMORY_TRANSACTIONAL mode.")
}

pub(crate) fn write_on_replica() -> Failure {
    Failure::client(
        "Write queries are forbidden on the replica instance. Replica instances accept only read queries, while the \
         main instance accepts read and write queries. Please retry your query on the main instance.",
    )
}

pub(crate) fn cannot_become_main() -> Failure {
    Failure::client("Couldn't set replication role to main!")
}

pub(crate) fn cannot_become_replica() -> Failure {
    Failure::client("Couldn't set role to replica!")
}

pub(crate) fn invalid_port() -> Failure {
    Failure::client("Port number invalid!")
}

pub(crate) fn invalid_address() -> Failure {
    Failure::client(
        "Invalid socket address. The socket address must be a string defining the address and port, delimited by a \
         single colon. The address must be valid and the port must be an integer.",
    )
}

pub(crate) fn not_registered(version: Version, name: &str, error: RegisterError) -> Failure {
    Failure::client(match error {
        RegisterError::NotMain => "Replica can't register another replica!".to_owned(),
        RegisterError::Analytical => format!(
            "Couldn't register replica {name} because a database is in analytical storage mode. Switch every \
             database back to IN_MEMORY_TRANSACTIONAL and retry."
        ),
        _ if version < Version::V3_5 => format!("Couldn't register replica {name}."),
        error => format!("Couldn't register replica {name}. Error: {}", error as u8),
    })
}

pub(crate) fn not_unregistered(name: &str, error: UnregisterError) -> Failure {
    Failure::client(match error {
        UnregisterError::NoAccess => {
            "Failed to unregister replica due to lack of unique access over the cluster \
                                      state. Please try again later on."
                .to_owned()
        }
        UnregisterError::NotMain => {
            "Replica can't unregister a replica! Please rerun the query on main in order \
                                     to unregister a replica from the cluster."
                .to_owned()
        }
        UnregisterError::Analytical => format!(
            "Couldn't unregister replica {name} because a database is in analytical storage mode. Switch every \
             database back to IN_MEMORY_TRANSACTIONAL and retry."
        ),
        UnregisterError::Unknown | UnregisterError::CouldNotBePersisted => {
            format!("Failed to unregister the replica {name}.")
        }
    })
}

pub(crate) fn replicas_on_replica() -> Failure {
    Failure::client("Show replicas query should only be run on the main instance.")
}

/// Storage access was not to be had in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessName {
    Shared,
    Unique,
    ReadOnly,
}

pub(crate) fn access_timeout(version: Version, access: AccessName) -> Failure {
    let name = match access {
        AccessName::Shared => "shared",
        AccessName::Unique => "unique",
        AccessName::ReadOnly if version < Version::V3_10 => "read only",
        AccessName::ReadOnly => "read-only",
    };
    if version < Version::V3_10 {
        return Failure::transient(format!(
            "Cannot get {name} access to the storage. Try stopping other queries that are running in parallel."
        ));
    }
    let note = match access {
        AccessName::Unique => "Note: Periodic snapshots also hold storage access. ",
        AccessName::Shared | AccessName::ReadOnly => "",
    };
    Failure::transient(format!(
        "Cannot get {name} access to the storage. Try stopping other parallel queries. {note}You can increase the \
         timeout via SET DATABASE SETTINGS 'storage.access_timeout_sec' TO 'value'; or via the \
         --storage-access-timeout-sec flag. Run SHOW CONFIG to return the current value. See: \
         https://memgraph.com/docs/help-center/errors/transactions#storage-access-timeout"
    ))
}

pub(crate) fn unknown_database(name: &str) -> Failure {
    Failure::transient(format!("Tried to retrieve an unknown database \"{name}\"."))
}

pub(crate) fn terminated() -> Failure {
    Failure::transient("Transaction was asked to abort by another user.")
}

/// A transaction ran for longer than `query.timeout` or `tx_timeout`.
pub(crate) fn timed_out() -> Failure {
    Failure::transient("Transaction was asked to abort because of transaction timeout.")
}

/// What a client hears of a failed commit. `autocommit` tells PULL from COMMIT.
pub(crate) fn commit_error(version: Version, error: &CommitError, autocommit: bool) -> Failure {
    match error {
        CommitError::NotMain => Failure::client("Cannot commit because instance is not main anymore."),
        CommitError::ReplicaShouldNotWrite => Failure::client("Queries on replica shouldn't write."),
        CommitError::Constraint(violation) => Failure::client(match &violation.0 {
            Constraint::Exists(label, key) => {
                format!("Unable to commit due to existence constraint violation on :{label}({key})")
            }
            Constraint::Unique(label, keys) => {
                format!(
                    "Unable to commit due to unique constraint violation on :{label}({})",
                    keys.join(", ")
                )
            }
        }),
        CommitError::Replication { failures, committed } => {
            let text = format!(
                "Replication Exception: {} Check the status of the replicas using 'SHOW REPLICAS' query.",
                replication_failure(version, failures, *committed)
            );
            if version < Version::V3_8 && autocommit {
                Failure::transient(text)
            } else {
                Failure::client(text)
            }
        }
    }
}

/// The title of the notification by which 3.13 tells of a SYNC replica that missed a commit.
pub(crate) fn sync_failure_title(version: Version, failures: &[ReplicationFailure]) -> String {
    format!(
        "{} Check the status of the replicas using 'SHOW REPLICAS' query.",
        replication_failure(version, failures, true)
    )
}

fn replication_failure(version: Version, failures: &[ReplicationFailure], committed: bool) -> String {
    if version < Version::V3_10 {
        return if committed {
            "At least one SYNC replica has not confirmed committing last transaction.".to_owned()
        } else {
            "At least one STRICT_SYNC replica has not confirmed committing last transaction. Transaction will be \
             aborted on all instances."
                .to_owned()
        };
    }
    let mut groups: Vec<(ReplicaMode, FailureReason, Vec<&str>)> = Vec::new();
    for failure in failures {
        let group = groups
            .iter_mut()
            .find(|(mode, reason, _)| (*mode, *reason) == (failure.mode, failure.reason));
        match group {
            Some((_, _, names)) => names.push(&failure.replica),
            None => groups.push((failure.mode, failure.reason, vec![&failure.replica])),
        }
    }
    let mut parts: Vec<String> = groups
        .iter()
        .map(|(mode, reason, names)| {
            let one = names.len() == 1;
            format!(
                "Failed to replicate to {} {} {}: {}.",
                mode.keyword(),
                if one { "replica" } else { "replicas" },
                quoted(names),
                reason_text(*reason, one)
            )
        })
        .collect();
    let subject = if failures.len() == 1 {
        "Replica"
    } else {
        "Replicas"
    };
    parts.push(format!("{subject} will be recovered automatically."));
    parts.push(
        if committed {
            "Transaction is still committed on the main instance and other alive replicas."
        } else {
            "Transaction was aborted on all instances."
        }
        .to_owned(),
    );
    let late: Vec<_> = failures
        .iter()
        .filter(|failure| failure.reason == FailureReason::Timeout)
        .map(|failure| failure.replica.as_str())
        .collect();
    if !late.is_empty() {
        parts.push(format!(
            "Main reached an RPC timeout while replicating to [{}]. One possible reason for this error is that the \
             replica is down and in that case make sure to recover it. If all of your replicas are up and running \
             normally, then please try setting a smaller parameter value for 'deltas_batch_progress_size' using 'SET \
             COORDINATOR SETTING' query on the coordinator.",
            late.join(", ")
        ));
    }
    parts.join(" ")
}

/// `'a', 'b' and 'c'`
fn quoted(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

const fn reason_text(reason: FailureReason, one: bool) -> &'static str {
    match (reason, one) {
        (FailureReason::NotInSync, true) => "replica is not reachable or not in sync with the main",
        (FailureReason::NotInSync, false) => "replicas are not reachable or not in sync with the main",
        (FailureReason::RpcError, _) => "RPC communication error",
        (FailureReason::Timeout, _) => "RPC timeout while replicating",
        (FailureReason::Diverged, true) => "replica has diverged from main",
        (FailureReason::Diverged, false) => "replicas have diverged from main",
    }
}

pub(crate) fn snapshot_error(version: Version, error: &SnapshotError) -> Failure {
    // 3.8 took the full stops away.
    let stop = if version < Version::V3_8 { "." } else { "" };
    Failure::transient(match error {
        SnapshotError::Busy => format!("Another snapshot creation is already in progress{stop}"),
        SnapshotError::Unchanged => format!("Nothing has been written since the last snapshot{stop}"),
        SnapshotError::Aborted => {
            "Failed to create snapshot. The current snapshot needs to be aborted.".to_owned()
        }
        SnapshotError::Replica => {
            "Failed to create a snapshot. Replica instances are not allowed to create them.".to_owned()
        }
        SnapshotError::Disk(error) => {
            return unsupported(format_args!("a snapshot on a disk that fails: {error}"));
        }
    })
}

/// The data could not be recovered at the start, and may only be replaced.
pub(crate) fn broken_database() -> Failure {
    Failure::client(
        "Database is in the broken state because the recovery process failed. Please recover your database using the \
         RECOVER SNAPSHOT query. If you have a backup of the whole data directory, please replace the current data \
         directory with the backup one and restart the process.",
    )
}

/// The refusal of multi-tenancy or metrics without a licence.
pub(crate) fn enterprise(version: Version, feature: &str) -> Failure {
    Failure::client(if version >= Version::V3_11 {
        format!("Access to {feature} requires an enterprise, ai_platform, or oem license.")
    } else if version >= Version::V3_10 {
        format!(
            "Your license has an invalid type. To use {feature} you need to have an enterprise or ai_platform license.\n"
        )
    } else {
        format!(
            "Your license has an invalid type. To use {feature} you need to have an enterprise license. \n"
        )
    })
}

pub(crate) fn users_on_replica() -> Failure {
    Failure::client(
        "Query forbidden on the replica! Update on MAIN, as it is the only source of truth for authentication data. \
         MAIN will then replicate the update to connected REPLICAs",
    )
}

/// Something that Memgraph can do and the simulator cannot.
pub(crate) fn unsupported(what: impl std::fmt::Display) -> Failure {
    Failure::client(format!("not supported by the simulator: {what}"))
}

pub(crate) fn not_implemented(feature: &str) -> Failure {
    Failure::transient(format!("Not yet implemented: {feature}"))
}

pub(crate) fn isolation_in_analytical_mode() -> Failure {
    // The missing space is Memgraph's.
    Failure::client(
        "Isolation level cannot be modified when storage mode is set to IN_MEMORY_ANALYTICAL.IN_MEMORY_ANALYTICAL mode \
         doesn't provide any isolation guarantees, you can think about it as an equivalent to READ_UNCOMMITED.",
    )
}

pub(crate) fn analytical_with_constraints() -> Failure {
    Failure::transient(
        "Constraints are not supported in analytical storage mode. Please drop them before changing storage mode to \
         analytical or use transactional mode.",
    )
}

pub(crate) fn analytical_with_replicas(count: usize) -> Failure {
    Failure::transient(format!(
        "Cannot switch to IN_MEMORY_ANALYTICAL while {count} replica(s) replicate from this database. Analytical writes \
         are not replicated; unregister every replica first."
    ))
}

/// A user cannot be created, since there is one of that name.
pub(crate) fn user_exists(version: Version, name: &str) -> Failure {
    Failure::client(if version < Version::V3_5 {
        format!(
            "User with username '{name}' already exists. Use the SHOW USERS query to list all users. In addition you can \
             rerun the current query with IF NOT EXISTS."
        )
    } else {
        format!(
            "User or role with name '{name}' already exists. Use the SHOW USERS or SHOW ROLES query to list all users and \
             roles. In addition you can rerun the current query with IF NOT EXISTS."
        )
    })
}

/// A user to be dropped is not there.
pub(crate) fn no_user_to_drop(name: &str) -> Failure {
    Failure::client(format!(
        "User with username '{name}' doesn't exist. A new user can be created via the CREATE USER query."
    ))
}

/// A user whose password is to be set is not there.
pub(crate) fn unknown_user(name: &str) -> Failure {
    Failure::client(format!("User '{name}' doesn't exist."))
}

/// A constraint cannot be created on the data that there is.
pub(crate) fn violated_constraint(kind: &str, label: &str, properties: &str) -> Failure {
    Failure::client(format!(
        "Unable to create {kind} constraint :{label}({properties}), because an existing node violates it."
    ))
}

/// CREATE ENUM failed.
pub(crate) fn enum_not_created(error: EnumError) -> Failure {
    Failure::client(match error {
        EnumError::DuplicateValue => "Enum value has duplicate.",
        _ => "Enum already exists.",
    })
}

/// ALTER ENUM .. ADD VALUE failed.
pub(crate) fn enum_value_not_added(error: EnumError) -> Failure {
    Failure::client(match error {
        EnumError::DuplicateValue => "Enum value already exists.",
        _ => "Unknown Enum type.",
    })
}

/// ALTER ENUM .. UPDATE VALUE `from` TO `to` failed.
pub(crate) fn enum_value_not_renamed(error: EnumError, name: &str, from: &str, to: &str) -> Failure {
    Failure::client(match error {
        EnumError::DuplicateValue => format!("Enum value {name}::{to} already exists."),
        EnumError::UnknownValue => format!("Unknown Enum value {name}::{from}."),
        _ => format!("Unknown Enum name {name}."),
    })
}

/// The users could not be stored.
pub(crate) fn user_not_saved(name: &str) -> Failure {
    Failure::client(format!("Couldn't save user '{name}'!"))
}

/// The removal of a user could not be stored.
pub(crate) fn user_not_removed(name: &str) -> Failure {
    Failure::client(format!("Couldn't remove user '{name}'!"))
}
