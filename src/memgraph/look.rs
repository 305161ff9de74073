//! What an instance shows of itself when it is asked.

use std::{net::SocketAddr, pin::pin, time::Duration};

use futures::future::join;
use tokio::time::{Instant, timeout};

use super::{
    Bolt, BoltError, Row, Session,
    marker::{self, Reading},
    rows::{self, SHOW_REPLICAS, SHOW_ROLE, SHOW_VERSION, UnexpectedAnswer},
};
use crate::plan::observation::{Contents, Role, Sight, StorageMode, View};

/// For which part of its patience a look waits for answers alone.
const HEAD_START: u32 = 4;
/// For how long MAIN's marker is waited for in a look.
const MARKER_PATIENCE: Duration = Duration::from_millis(300);
/// For how long looks go over the same connection. Then a new one shows whether the instance still takes any, and which
/// certificate it has by now.
const USED_FOR: Duration = Duration::from_secs(30);

/// What to ask an instance beside its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The version, if it is known already: it is not asked for again.
    pub version: Option<String>,
    /// Whether to find out if the instance holds any data.
    pub emptiness: bool,
    /// Whether to ask a MAIN without replicas for its storage mode. Where it has some, what it says of them tells, or it is asked.
    pub storage_mode: bool,
    /// Whether to ask a replica for its storage mode.
    pub replica_mode: bool,
    /// For how long each of its answers is waited for.
    pub patience: Duration,
}

/// A connection on which an instance has answered, for the next look at it.
pub struct Kept<S> {
    session: S,
    made: Instant,
}

impl<S> Kept<S> {
    fn now(session: S) -> Self {
        let made = Instant::now();
        Self { session, made }
    }

    fn is_fresh(&self) -> bool {
        self.made.elapsed() < USED_FOR
    }
}

/// Looks at an instance on a connection of its own. Whatever it does not answer is no proof that it is not MAIN.
///
/// One that keeps its answers waiting is tried by a handshake meanwhile, so that it is known after `patience` to be silent.
pub async fn look<B: Bolt>(client: &B, at: SocketAddr, question: &Question) -> Sight {
    look_again(client, at, question, &mut None).await
}

/// As [`look`], over the connection that was kept from the last look, if it still stands, and keeps the one that has brought
/// the answers. For who looks again and again: a connection costs exchanges of its own before the first statement, and two lines
/// in Memgraph's log (`src/communication/v2/session.hpp`, at INFO).
pub async fn look_again<B: Bolt>(
    client: &B,
    at: SocketAddr,
    question: &Question,
    kept: &mut Option<Kept<B::Session>>,
) -> Sight {
    let mut view = pin!(view_again(client, at, question, kept));
    let head_start = question.patience / HEAD_START;
    let (failed, handshake) = match timeout(head_start, &mut view).await {
        Ok(Ok(view)) => return Sight::Serving(view),
        Ok(Err(error)) => (error, client.handshake(at, question.patience).await),
        Err(_) => {
            let handshake = client.handshake(at, question.patience.saturating_sub(head_start));
            match join(view, handshake).await {
                (Ok(view), _) => return Sight::Serving(view),
                (Err(error), handshake) => (error, handshake),
            }
        }
    };
    match (failed, handshake) {
        (BoltError::Unauthenticated { .. }, Ok(())) => Sight::Barred,
        (BoltError::Untrusted { why, .. }, Ok(())) => Sight::Untrusted { why },
        (_, Ok(())) => Sight::Handshake,
        (BoltError::Refused { .. }, Err(BoltError::Refused { .. })) => Sight::Refused,
        (_, Err(_)) => Sight::Silent,
    }
}

async fn view_again<B: Bolt>(
    client: &B,
    at: SocketAddr,
    question: &Question,
    kept: &mut Option<Kept<B::Session>>,
) -> Result<View, BoltError> {
    if let Some(mut before) = kept.take().filter(Kept::is_fresh) {
        match view(&mut before.session, at, question).await {
            Ok(view) => {
                *kept = Some(before);
                return Ok(view);
            }
            // It has ended since it was used last, which says nothing about who is there now.
            Err(BoltError::Refused { .. } | BoltError::Broken { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let mut new = Kept::now(client.session(at));
    let view = view(&mut new.session, at, question).await?;
    *kept = Some(new);
    Ok(view)
}

async fn view<S: Session>(session: &mut S, at: SocketAddr, question: &Question) -> Result<View, BoltError> {
    let patience = question.patience;
    let odd = |error: UnexpectedAnswer| BoltError::Broken {
        at,
        detail: error.to_string(),
    };
    let role = rows::role(&session.run(SHOW_ROLE, patience).await?).map_err(odd)?;
    let mut registrations = match role {
        Role::Main => rows::registrations(&session.run(SHOW_REPLICAS, patience).await?).map_err(odd)?,
        Role::Replica => Vec::new(),
    };
    let version = match &question.version {
        Some(version) => version.clone(),
        None => rows::version(&session.run(SHOW_VERSION, patience).await?).map_err(odd)?,
    };
    // In another mode than the usual one MAIN says of each replica what it says of a ghost (`ReplicationHandler::ShowReplicas`).
    let says_something = registrations
        .iter()
        .any(|registration| registration.status.is_some());
    let mut storage_mode = says_something.then_some(StorageMode::Transactional);
    if storage_mode.is_none() && !registrations.is_empty() {
        storage_mode = match session.run(rows::show_storage(&version), patience).await {
            Ok(told) => rows::storage_mode(&told),
            // The statement waits for a worker where those before it, which Memgraph puts first, do not; or it fails.
            Err(BoltError::Deadline { .. } | BoltError::Failure { .. }) => Some(StorageMode::Untold),
            Err(error) => return Err(error),
        };
        // It may have been left between the two statements.
        if storage_mode == Some(StorageMode::Transactional) {
            registrations = rows::registrations(&session.run(SHOW_REPLICAS, patience).await?).map_err(odd)?;
        }
    }
    // The data may be locked while the roles are not: what cannot be read now is left open. A transaction does not begin on
    // MAIN while a commit waits for a replica, which must not hold up what is done about that replica.
    let soon = match role {
        Role::Main => patience.min(MARKER_PATIENCE),
        Role::Replica => patience,
    };
    let enums = match storage_mode {
        // No worker is free for that either.
        Some(StorageMode::Untold) => None,
        _ => session.run("SHOW ENUMS", soon).await.ok(),
    };
    let (contents, empty) = match enums {
        Some(enums) => {
            let marker = match marker::read(&enums) {
                Reading::Marker(marker) => Some(marker),
                Reading::None | Reading::Foreign(_) => None,
            };
            let empty = if question.emptiness {
                is_empty(session, &enums, patience).await
            } else {
                None
            };
            (Some(Contents { marker }), empty)
        }
        None => (None, None),
    };
    if role == Role::Main && registrations.is_empty() && question.storage_mode {
        // An older release may fail to count its files meanwhile, which is answered like any failure
        // (`plan::counts_files_safely`): it has not told then.
        let told = session.run(rows::show_storage(&version), soon).await;
        storage_mode = told.ok().and_then(|told| rows::storage_mode(&told));
    }
    if role == Role::Replica && question.replica_mode {
        storage_mode = match session.run(rows::show_storage(&version), soon).await {
            Ok(told) => Some(rows::storage_mode(&told).unwrap_or(StorageMode::Untold)),
            Err(BoltError::Deadline { .. } | BoltError::Failure { .. }) => Some(StorageMode::Untold),
            Err(error) => return Err(error),
        };
    }
    Ok(View {
        role,
        registrations,
        contents,
        empty,
        version,
        storage_mode,
    })
}

/// Whether an instance holds nothing: measured, never assumed. None where it could not be measured.
async fn is_empty<S: Session>(session: &mut S, enums: &[Row], patience: Duration) -> Option<bool> {
    // One node is enough to know, and a count of a large graph would take longer than anybody waits.
    let nodes = session
        .run("MATCH (n) RETURN id(n) AS id LIMIT 1", patience)
        .await
        .ok()?;
    let indexes = session.run("SHOW INDEX INFO", patience).await.ok()?;
    let constraints = session.run("SHOW CONSTRAINT INFO", patience).await.ok()?;
    Some(nodes.is_empty() && indexes.is_empty() && constraints.is_empty() && marker::others(enums) == 0)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;
    use crate::memgraph::Credentials;

    /// A replica that counts the connections to it.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        connections: usize,
        /// Those before this one have ended.
        standing_from: usize,
        hangs: bool,
        /// What it says of its only replica, in turn, where it is MAIN.
        replicas: Vec<serde_json::Value>,
        /// Its storage mode; none: no worker is free to tell it.
        mode: Option<&'static str>,
        /// It fails to tell its storage mode.
        fails: bool,
    }

    struct Client {
        server: Server,
        /// None: not connected yet.
        number: Option<usize>,
    }

    impl Server {
        fn state(&self) -> std::sync::MutexGuard<'_, State> {
            self.0.lock().unwrap()
        }

        /// Another process takes the place of the one that was there.
        fn restart(&self) {
            let mut state = self.state();
            state.standing_from = state.connections;
        }

        async fn look(&self, kept: &mut Option<Kept<Client>>) -> Sight {
            look_again(self, at(), &question(), kept).await
        }
    }

    fn question() -> Question {
        Question {
            version: None,
            emptiness: false,
            storage_mode: false,
            replica_mode: false,
            patience: Duration::from_secs(1),
        }
    }

    impl Session for Client {
        async fn run(&mut self, statement: &str, deadline: Duration) -> Result<Vec<Row>, BoltError> {
            if self.server.state().hangs {
                tokio::time::sleep(deadline).await;
                return Err(BoltError::Deadline { at: at(), deadline });
            }
            let mut state = self.server.state();
            if self.number.is_some_and(|number| number < state.standing_from) {
                return Err(BoltError::Refused { at: at() });
            }
            if self.number.is_none() {
                self.number = Some(state.connections);
                state.connections += 1;
            }
            let row = |column: &str, value: &str| vec![Row::from([(column.to_owned(), json!(value))])];
            Ok(match statement {
                SHOW_ROLE if state.replicas.is_empty() => row("replication role", "replica"),
                SHOW_ROLE => row("replication role", "main"),
                SHOW_REPLICAS => {
                    let info = match state.replicas.len() {
                        1 => state.replicas[0].clone(),
                        _ => state.replicas.remove(0),
                    };
                    let columns = [
                        ("name", json!("pod_1_g4")),
                        ("socket_address", json!("10.0.0.2:10000")),
                        ("sync_mode", json!("strict_sync")),
                        ("data_info", info),
                    ];
                    vec![columns.map(|(column, value)| (column.to_owned(), value)).into()]
                }
                "SHOW STORAGE INFO ON CURRENT DATABASE" if state.fails => {
                    return Err(BoltError::Failure {
                        code: "Memgraph.TransientError.MemgraphError.MemgraphError".into(),
                        message: "filesystem error: cannot increment recursive directory iterator".into(),
                    });
                }
                "SHOW STORAGE INFO ON CURRENT DATABASE" => match state.mode {
                    Some(mode) => {
                        let columns = [("storage info", "storage_mode"), ("value", mode)];
                        vec![
                            columns
                                .map(|(column, value)| (column.to_owned(), json!(value)))
                                .into(),
                        ]
                    }
                    None => return Err(BoltError::Deadline { at: at(), deadline }),
                },
                SHOW_VERSION => row("version", "3.12.0"),
                _ => Vec::new(),
            })
        }

        async fn watch(&mut self, _: Duration) -> Result<(), BoltError> {
            std::future::pending().await
        }
    }

    impl Bolt for Server {
        type Session = Client;
        type Knock = ();

        fn session_as(&self, _: SocketAddr, _: Option<&Credentials>) -> Client {
            let server = self.clone();
            Client { server, number: None }
        }

        async fn handshake(&self, _: SocketAddr, _: Duration) -> Result<(), BoltError> {
            Ok(())
        }

        async fn knock(&self, _: SocketAddr, _: Duration) -> Option<()> {
            None
        }

        async fn reaches(&self, _: &str, _: Duration) -> bool {
            true
        }
    }

    fn at() -> SocketAddr {
        ([10, 0, 0, 1], 7687).into()
    }

    /// MAIN says the same of a ghost and of every replica while it replicates nothing.
    #[tokio::test]
    async fn what_main_says_nothing_of_is_a_ghost_only_in_the_usual_mode() {
        let ready = json!({"memgraph": {"ts": 4, "behind": 0, "status": "ready"}});
        let look = async |replicas: &[serde_json::Value], mode: Option<&'static str>| {
            let server = Server::default();
            *server.state() = State {
                replicas: replicas.to_vec(),
                mode,
                fails: mode == Some("fails"),
                ..State::default()
            };
            match server.look(&mut None).await {
                Sight::Serving(view) => (view.storage_mode, view.registrations[0].status.is_some()),
                other => panic!("{other:?}"),
            }
        };
        let (usual, analytical) = ("IN_MEMORY_TRANSACTIONAL", "IN_MEMORY_ANALYTICAL");
        let says_it = (Some(StorageMode::Transactional), true);
        assert_eq!(look(std::slice::from_ref(&ready), None).await, says_it);
        assert_eq!(
            look(&[json!({}), ready], Some(usual)).await,
            says_it,
            "left meanwhile"
        );
        let ghost = (Some(StorageMode::Transactional), false);
        assert_eq!(look(&[json!({})], Some(usual)).await, ghost);
        let silent = (Some(StorageMode::Analytical), false);
        assert_eq!(look(&[json!({})], Some(analytical)).await, silent);
        let untold = (Some(StorageMode::Untold), false);
        assert_eq!(look(&[json!({})], None).await, untold);
        assert_eq!(look(&[json!({})], Some("fails")).await, untold);
    }

    #[tokio::test]
    async fn a_replica_tells_its_storage_mode_where_it_is_asked() {
        let look = async |replica_mode, mode: Option<&'static str>| {
            let server = Server::default();
            (server.state().mode, server.state().fails) = (mode, mode == Some("fails"));
            let question = Question {
                replica_mode,
                ..question()
            };
            match look_again(&server, at(), &question, &mut None).await {
                Sight::Serving(view) => view.storage_mode,
                other => panic!("{other:?}"),
            }
        };
        let analytical = Some("IN_MEMORY_ANALYTICAL");
        assert_eq!(look(false, analytical).await, None);
        assert_eq!(look(true, analytical).await, Some(StorageMode::Analytical));
        for untold in [None, Some("fails"), Some("another")] {
            assert_eq!(look(true, untold).await, Some(StorageMode::Untold), "{untold:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn looks_go_over_one_connection_for_a_while() {
        let server = Server::default();
        let mut kept = None;
        for _ in 0..3 {
            assert!(matches!(server.look(&mut kept).await, Sight::Serving(_)));
        }
        assert_eq!(server.state().connections, 1);
        tokio::time::advance(USED_FOR).await;
        assert!(matches!(server.look(&mut kept).await, Sight::Serving(_)));
        assert_eq!(
            server.state().connections,
            2,
            "whether there is room for a new one"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_ended_says_nothing_about_who_is_there_now() {
        let server = Server::default();
        let mut kept = None;
        server.look(&mut kept).await;
        server.restart();
        assert!(matches!(server.look(&mut kept).await, Sight::Serving(_)));
        assert_eq!(server.state().connections, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_brought_no_answer_is_not_used_again() {
        let server = Server::default();
        let mut kept = None;
        server.look(&mut kept).await;
        server.state().hangs = true;
        assert_eq!(server.look(&mut kept).await, Sight::Handshake);
        assert!(kept.is_none());
        server.state().hangs = false;
        assert!(matches!(server.look(&mut kept).await, Sight::Serving(_)));
        assert_eq!(server.state().connections, 2);
    }
}
