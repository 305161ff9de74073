//! The operations on one instance, each of one or a few statements.

use std::{net::SocketAddr, pin::pin, time::Duration};

use futures::future::{Either, select};

use super::{
    Bolt, BoltError, Session,
    hurry::Hurry,
    marker::{self, ENUM, Reading},
    rows::{self, SHOW_REPLICAS, SHOW_ROLE, SHOW_TRANSACTIONS, UnexpectedAnswer},
};
use crate::{
    api::{RegistrationMode, names::REPLICATION_PORT},
    plan::observation::{Marker, Role, StorageMode},
};

/// For how long a command that changes roles may take.
const ROLE_DEADLINE: Duration = Duration::from_secs(10);
/// For how long a registration may take: Memgraph connects (5 s), swaps the main's UUID (10 s), recovers the
/// system (30 s) and sends a heartbeat (10 s) before it answers.
const REGISTER_DEADLINE: Duration = Duration::from_secs(60);
/// For how long a commit may wait for its replicas: 30 s to prepare, and as long for the one before it.
const COMMIT_DEADLINE: Duration = Duration::from_secs(65);
/// For how long a port is tried before MAIN is asked to connect to it.
const REACH_DEADLINE: Duration = Duration::from_secs(1);

/// Why an operation on an instance was not done, or is not known to have been.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A statement has no answer.
    #[error("cannot {action}")]
    Bolt {
        /// What was to be done.
        action: String,
        /// Why not.
        source: BoltError,
    },
    /// An answer was not understood.
    #[error("cannot {action}")]
    Answer {
        /// What was to be done.
        action: String,
        /// What is wrong with the answer.
        source: UnexpectedAnswer,
    },
    /// MAIN refuses a replica because it holds writes that MAIN does not (`Error: 3`).
    #[error("{instance} has diverged: it holds writes that MAIN does not")]
    Diverged {
        /// The replica.
        instance: String,
    },
    /// Commits hold the lock that the command needs alone (a try-lock in Memgraph); nothing was changed.
    #[error("cannot {action} while commits are under way")]
    Busy {
        /// What was to be done.
        action: String,
    },
    /// What is waited for has not come yet; it may come by itself, very soon.
    #[error("{0}")]
    NotYet(String),
    /// The state is not the one in which the operation is allowed.
    #[error("{0}")]
    Precondition(String),
}

impl AdminError {
    /// Of a demotion: whether it was asked for and has not come about. Memgraph refuses it in a storage mode without replication, too
    /// (`ReplicationQuery` in `query/interpreter.cpp`), and says nothing while all its workers are busy.
    pub fn leaves_it_main(&self) -> bool {
        let answered =
            |source: &BoltError| matches!(source, BoltError::Failure { .. } | BoltError::Deadline { .. });
        matches!(self, Self::Busy { .. }) || matches!(self, Self::Bolt { source, .. } if answered(source))
    }
}

pub(super) fn bolt(action: impl Into<String>) -> impl FnOnce(BoltError) -> AdminError {
    let action = action.into();
    move |source| AdminError::Bolt { action, source }
}

fn answer(action: impl Into<String>) -> impl FnOnce(UnexpectedAnswer) -> AdminError {
    let action = action.into();
    move |source| AdminError::Answer { action, source }
}

async fn role<S: Session>(session: &mut S, action: &str) -> Result<Role, AdminError> {
    let rows = session
        .run(SHOW_ROLE, ROLE_DEADLINE)
        .await
        .map_err(bolt(action))?;
    rows::role(&rows).map_err(answer(action))
}

/// Makes a replica MAIN. One that is MAIN already stays it.
///
/// # Errors
/// When the instance does not show the role `main` afterwards.
pub async fn promote<B: Bolt>(client: &B, at: SocketAddr, instance: &str) -> Result<(), AdminError> {
    let hurry = Hurry::prepare(client, SocketAddr::new(at.ip(), REPLICATION_PORT)).await;
    let action = format!("promote {instance}");
    let promotion = pin!(change_role(
        client,
        at,
        &action,
        Role::Main,
        "SET REPLICATION ROLE TO MAIN",
    ));
    match select(promotion, pin!(hurry.finish())).await {
        Either::Left((promoted, _)) => promoted,
        Either::Right(((), promotion)) => promotion.await,
    }
}

/// Makes a MAIN a replica. One that is a replica already stays it.
///
/// # Errors
/// When the instance does not show the role `replica` afterwards. The command is a try-lock: it fails while a
/// commit is in flight, and may be tried again.
pub async fn demote<B: Bolt>(client: &B, at: SocketAddr, instance: &str) -> Result<(), AdminError> {
    let statement = format!("SET REPLICATION ROLE TO REPLICA WITH PORT {REPLICATION_PORT}");
    change_role(
        client,
        at,
        &format!("demote {instance}"),
        Role::Replica,
        &statement,
    )
    .await
}

/// Memgraph answers with the same words whether the role was there already, a lock was busy or a port was
/// taken: so the role itself is read before and after. That it is still the old one means: busy.
async fn change_role<B: Bolt>(
    client: &B,
    at: SocketAddr,
    action: &str,
    wanted: Role,
    statement: &str,
) -> Result<(), AdminError> {
    let mut session = client.session(at);
    if role(&mut session, action).await? == wanted {
        return Ok(());
    }
    let result = session.run(statement, ROLE_DEADLINE).await;
    let mut session = client.session(at);
    if role(&mut session, action).await? == wanted {
        return Ok(());
    }
    match result {
        Err(BoltError::Failure { message, .. }) if message.starts_with("Couldn't set role to replica") => {
            Err(AdminError::Busy {
                action: action.to_owned(),
            })
        }
        Err(error) => Err(bolt(action)(error)),
        Ok(_) => Err(AdminError::Precondition(format!(
            "{action}: the role is not {wanted:?} afterwards"
        ))),
    }
}

/// Registers a replica on MAIN, under a name that was never used before.
///
/// # Errors
/// [`AdminError::Diverged`] when MAIN refuses its data. A name that a failed attempt left behind (Memgraph keeps
/// it after `Error: 3` and `Error: 5`) is dropped again; after any other failure the caller must look first.
pub async fn register<B: Bolt>(
    client: &B,
    main: SocketAddr,
    instance: &str,
    name: &str,
    address: &str,
    mode: RegistrationMode,
) -> Result<(), AdminError> {
    let action = format!("register {instance} as {name}");
    // MAIN holds its replication lock while it connects: commits would wait for a black hole.
    if !client.reaches(address, REACH_DEADLINE).await {
        return Err(AdminError::Precondition(format!(
            "cannot {action}: {address} does not accept connections"
        )));
    }
    let mode = match mode {
        RegistrationMode::StrictSync => "STRICT_SYNC",
        RegistrationMode::Sync => "SYNC",
        RegistrationMode::Async => "ASYNC",
    };
    let mut session = client.session(main);
    let statement = format!("REGISTER REPLICA {name} {mode} TO \"{address}\"");
    let error = match session.run(&statement, REGISTER_DEADLINE).await {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let number = match &error {
        BoltError::Failure { message, .. } => registration_error(message),
        _ => None,
    };
    if matches!(number, Some(3 | 5)) {
        // Nobody else can mean this name: its number was reserved by this leader.
        let dropped = client
            .session(main)
            .run(&format!("DROP REPLICA {name}"), ROLE_DEADLINE)
            .await;
        if let Err(error) = dropped {
            tracing::debug!(%error, name, "the failed registration may be left behind as a ghost");
        }
    }
    if number == Some(6) {
        return Err(AdminError::Busy { action });
    }
    if number == Some(3) {
        return Err(AdminError::Diverged {
            instance: instance.to_owned(),
        });
    }
    Err(bolt(action)(error))
}

/// The number in `Couldn't register replica {name}. Error: {n}`.
fn registration_error(message: &str) -> Option<u32> {
    message
        .rsplit_once("Error: ")?
        .1
        .trim_end_matches('.')
        .parse()
        .ok()
}

/// Whether DROP was refused because commits hold the replication lock.
fn is_busy(error: &BoltError) -> bool {
    matches!(error, BoltError::Failure { message, .. } if message.contains("lack of unique access"))
}

/// Removes a registration from MAIN. One that is not there is no error.
///
/// # Errors
/// When MAIN still lists it.
pub async fn drop_replica<B: Bolt>(client: &B, main: SocketAddr, name: &str) -> Result<(), AdminError> {
    let action = format!("drop the registration {name}");
    let mut session = client.session(main);
    let result = session
        .run(&format!("DROP REPLICA {}", quoted(name)), ROLE_DEADLINE)
        .await;
    let Err(error) = result else { return Ok(()) };
    let mut session = client.session(main);
    let rows = session
        .run(SHOW_REPLICAS, ROLE_DEADLINE)
        .await
        .map_err(bolt(action.as_str()))?;
    let listed = rows::registrations(&rows).map_err(answer(action.as_str()))?;
    if listed.iter().any(|registration| registration.name == name) {
        Err(if is_busy(&error) {
            AdminError::Busy { action }
        } else {
            bolt(action)(error)
        })
    } else {
        Ok(())
    }
}

/// A name that somebody else may have given, back-quoted where it must be.
fn quoted(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    if plain {
        name.to_owned()
    } else {
        format!("`{}`", name.replace('`', "``"))
    }
}

/// Commits a transaction that reaches the WAL and every replica and leaves nothing behind.
///
/// # Errors
/// When MAIN did not commit it; also when a strict replica refused.
pub async fn probe_commit<B: Bolt>(client: &B, main: SocketAddr) -> Result<(), AdminError> {
    let mut session = client.session(main);
    commit(&mut session, COMMIT_DEADLINE)
        .await
        .map_err(bolt("commit a probe"))
}

/// Whether MAIN ends a commit, in whichever way, before the deadline or its connection does.
///
/// # Errors
/// When it is not known whether it did.
pub async fn ends_commit(session: &mut impl Session, deadline: Duration) -> Result<(), BoltError> {
    match commit(session, deadline).await {
        Ok(()) | Err(BoltError::Failure { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether MAIN has not even begun a commit that it was sent, and ends none either: all its workers are busy with queries, so that what
/// was sent waits for one. This very question does not (`SessionHL::ApproximateQueryPriority` in `glue/SessionHL.cpp`, and
/// `utils/priority_thread_pool.cpp`). Where no query runs, something else keeps the workers: a disk, say, that hangs. Before 3.9 it is not
/// told which transactions commit: any one may.
///
/// # Errors
/// When it gave no answer.
pub async fn keeps_commit_waiting<B: Bolt>(client: &B, main: SocketAddr) -> Result<bool, AdminError> {
    let action = "see whether a commit has begun";
    let mut session = client.session(main);
    let rows = session
        .run(SHOW_TRANSACTIONS, ROLE_DEADLINE)
        .await
        .map_err(bolt(action))?;
    let busy = rows::transactions(&rows).map_err(answer(action))? > 0;
    let under_way = rows::commits(&rows).map_err(answer(action))?;
    let begun = rows::has_begun(&rows, &trial()).map_err(answer(action))?;
    Ok(busy && !under_way && !begun)
}

/// Has a strict replica that lacks a transaction refuse another one, which leaves nothing behind: MAIN feeds it again then. Does
/// nothing while a commit is under way, because its second phase may only be slow.
///
/// # Errors
/// When it is not known what came of it.
pub async fn show_missing<B: Bolt>(client: &B, main: SocketAddr) -> Result<(), AdminError> {
    let action = "show a replica what it lacks";
    let mut session = client.session(main);
    let rows = session
        .run(SHOW_TRANSACTIONS, ROLE_DEADLINE)
        .await
        .map_err(bolt(action))?;
    if rows::commits(&rows).map_err(answer(action))? {
        return Ok(());
    }
    ends_commit(&mut session, COMMIT_DEADLINE)
        .await
        .map_err(bolt(action))
}

fn trial() -> String {
    format!("CREATE (n:{ENUM}) DELETE n")
}

async fn commit(session: &mut impl Session, deadline: Duration) -> Result<(), BoltError> {
    session.run(&trial(), deadline).await.map(drop)
}

/// Sets the marker in the data of a MAIN that has none. It is a commit of its own, which reaches replicas only by their
/// recovery: none may be registered, because one that was streamed a change of enums which is then aborted keeps it.
///
/// # Errors
/// When the instance is not MAIN or has replicas, when the enum is not ours, or when MAIN did not commit.
pub async fn mark<B: Bolt>(client: &B, main: SocketAddr, marker: &Marker) -> Result<(), AdminError> {
    let action = format!("mark the data as {}", marker.lineage);
    let mut session = client.session(main);
    let refused = |why: &str| Err(AdminError::Precondition(format!("cannot {action}: {why}")));
    if role(&mut session, &action).await? != Role::Main {
        return refused("the instance is not MAIN");
    }
    let enums = session
        .run("SHOW ENUMS", ROLE_DEADLINE)
        .await
        .map_err(bolt(action.as_str()))?;
    match marker::read(&enums) {
        Reading::Marker(found) if found == *marker => return Ok(()),
        Reading::None => {}
        Reading::Marker(Marker { lineage: found }) | Reading::Foreign(found) => {
            return refused(&format!(
                "the enum {ENUM} is reserved for this operator but holds {found}"
            ));
        }
    }
    let replicas = session
        .run(SHOW_REPLICAS, ROLE_DEADLINE)
        .await
        .map_err(bolt(action.as_str()))?;
    if !replicas.is_empty() {
        return refused("replicas are registered");
    }
    let statement = format!("CREATE ENUM {ENUM} VALUES {{ {} }}", marker.lineage);
    session
        .run(&statement, COMMIT_DEADLINE)
        .await
        .map(drop)
        .map_err(bolt(action))
}

/// Succeeds only if MAIN now shows every one of these registrations `ready` and not behind.
///
/// # Errors
/// [`AdminError::NotYet`] otherwise.
pub async fn confirm<B: Bolt>(client: &B, main: SocketAddr, names: &[String]) -> Result<(), AdminError> {
    let action = "confirm that replicas are in sync";
    let mut session = client.session(main);
    let rows = session
        .run(SHOW_REPLICAS, ROLE_DEADLINE)
        .await
        .map_err(bolt(action))?;
    let listed = rows::registrations(&rows).map_err(answer(action))?;
    for name in names {
        if !listed
            .iter()
            .any(|registration| registration.name == *name && registration.in_sync())
        {
            return Err(AdminError::NotYet(format!("{name} is not in sync yet")));
        }
    }
    Ok(())
}

/// Succeeds only if no transaction runs on MAIN. A client that was cut off may have left one behind: Memgraph goes on
/// with it until it has something to send.
///
/// # Errors
/// [`AdminError::NotYet`] otherwise.
pub async fn quiesced<B: Bolt>(client: &B, main: SocketAddr) -> Result<(), AdminError> {
    let action = "see whether transactions run";
    let mut session = client.session(main);
    let rows = session
        .run(SHOW_TRANSACTIONS, ROLE_DEADLINE)
        .await
        .map_err(bolt(action))?;
    match rows::transactions(&rows).map_err(answer(action))? {
        0 => Ok(()),
        running => Err(AdminError::NotYet(format!(
            "{running} transactions still run on MAIN"
        ))),
    }
}

/// In which storage mode an instance that runs this version is. None where what it tells is not understood.
///
/// # Errors
/// When it gave no answer.
pub async fn storage_mode<B: Bolt>(
    client: &B,
    at: SocketAddr,
    version: &str,
) -> Result<Option<StorageMode>, AdminError> {
    let answer = client
        .session(at)
        .run(rows::show_storage(version), ROLE_DEADLINE)
        .await;
    match answer {
        Ok(rows) => Ok(rows::storage_mode(&rows)),
        Err(BoltError::Failure { .. }) => Ok(None),
        Err(error) => Err(bolt("see the storage mode")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_registration_error_is_read() {
        assert_eq!(
            registration_error("Couldn't register replica pod_1_g4. Error: 3"),
            Some(3)
        );
        assert_eq!(registration_error("Couldn't register replica pod_1."), None);
    }

    #[test]
    fn names_that_others_gave_are_quoted() {
        assert_eq!(quoted("pod_1_g4"), "pod_1_g4");
        assert_eq!(quoted("mg-0"), "`mg-0`");
    }
}
