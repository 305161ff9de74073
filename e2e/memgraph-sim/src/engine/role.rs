//! The role of the instance and how it changes (semantics B.3, C.3).

use std::{collections::BTreeMap, rc::Rc};

use bolt_server::Version;

use super::{
    Node,
    event::{DiskError, DiskOperation, Effect, Level},
    lock::Shared,
    replica_client::ReplicaClient,
};
use crate::{
    durability::state::{self, RoleState},
    ident::Uuid,
};

/// MAIN or REPLICA, with what belongs to it.
pub(super) enum Role {
    Main(MainRole),
    Replica(ReplicaRole),
}

/// What MAIN knows.
pub(super) struct MainRole {
    /// By this replicas know that it is the MAIN that they obey.
    pub(super) uuid: Uuid,
    /// In order of registration.
    pub(super) replicas: Vec<Rc<ReplicaClient>>,
}

/// What a replica knows.
pub(super) struct ReplicaRole {
    pub(super) port: u16,
    /// The MAIN that it obeys. A random one, which no MAIN has, until it is registered.
    pub(super) main: Uuid,
}

/// The role could not be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoleUnchanged;

impl Role {
    pub(super) const fn is_main(&self) -> bool {
        matches!(self, Self::Main(_))
    }

    /// The form that is kept on disk.
    fn saved(&self) -> RoleState {
        match self {
            Self::Main(main) => {
                let replicas: BTreeMap<_, _> = main
                    .replicas
                    .iter()
                    .map(|client| (client.name.clone(), client.entry.clone()))
                    .collect();
                RoleState::Main {
                    main_uuid: main.uuid,
                    replicas,
                }
            }
            Self::Replica(replica) => RoleState::Replica {
                port: replica.port,
                main_uuid: replica.main,
            },
        }
    }
}

impl Node {
    pub(crate) fn is_main(&self) -> bool {
        self.role.borrow().is_main()
    }

    /// How many replicas get the commits of this MAIN.
    pub(super) fn attached_replicas(&self) -> usize {
        match &*self.role.borrow() {
            Role::Main(main) => main
                .replicas
                .iter()
                .filter(|client| client.attached.get())
                .count(),
            Role::Replica(_) => 0,
        }
    }

    /// Writes the role and the registered replicas to disk.
    pub(super) async fn save_role(&self) -> Result<(), DiskError> {
        let saved = self.role.borrow().saved();
        self.save_state(&state::role_file(), &saved).await
    }

    /// Writes a state file, unless the instance keeps no replication state.
    pub(super) async fn save_state<T: serde::Serialize>(
        &self,
        path: &str,
        value: &T,
    ) -> Result<(), DiskError> {
        if path == state::role_file() && !self.config.restore_replication {
            return Ok(());
        }
        let json = serde_json::to_vec_pretty(value).map_err(|error| DiskError::Failed(error.to_string()))?;
        self.io
            .perform(DiskOperation::Replace(path.to_owned(), json))
            .await
    }

    /// `SET REPLICATION ROLE TO MAIN`
    pub(crate) async fn promote(self: &Rc<Self>) -> Result<(), RoleUnchanged> {
        let _lock = self
            .replication_lock
            .try_acquire(Shared::Write)
            .ok_or(RoleUnchanged)?;
        if self.is_main() {
            return Err(RoleUnchanged);
        }
        // The port is closed before anything else, and whatever a MAIN has begun here is waited for.
        self.stop_replication_server().await;
        // Before 3.8 `ReplicationHandler::DoToMainPromotion` leaves alone what was prepared: it stays open, and keeps what it
        // has changed from everybody, until a MAIN sends something again or the process starts anew.
        if self.config.version >= Version::V3_8 {
            self.discard_prepared();
        }
        let uuid = self.new_uuid();
        let epoch = self.new_uuid();
        self.database.borrow_mut().remember_epoch();
        *self.role.borrow_mut() = Role::Main(MainRole {
            uuid,
            replicas: Vec::new(),
        });
        if let Err(error) = self.save_role().await {
            self.io
                .log(Level::Error, format!("Failed to persist the role MAIN: {error}"));
            return Err(RoleUnchanged);
        }
        let _engine_lock = self.engine_lock.acquire(super::lock::Exclusive).await;
        // The log file belongs to the epoch that ends.
        self.finish_wal();
        let mut database = self.database.borrow_mut();
        database.epoch = epoch;
        database.catch_up();
        self.io.log(Level::Info, format!("Generated new epoch {epoch}"));
        Ok(())
    }

    /// `SET REPLICATION ROLE TO REPLICA WITH PORT ..`
    ///
    /// When the port cannot be opened, the role is changed all the same (semantics B.3).
    pub(crate) async fn demote(self: &Rc<Self>, port: u16) -> Result<(), RoleUnchanged> {
        let _lock = self
            .replication_lock
            .try_acquire(Shared::Write)
            .ok_or(RoleUnchanged)?;
        let before = {
            let mut role = self.role.borrow_mut();
            if !role.is_main() {
                return Err(RoleUnchanged);
            }
            let main = self.new_uuid();
            std::mem::replace(&mut *role, Role::Replica(ReplicaRole { port, main }))
        };
        if let Role::Main(main) = before {
            for client in main.replicas {
                client.shut_down(self);
            }
        }
        if let Err(error) = self.save_role().await {
            self.io.log(
                Level::Error,
                format!("Failed to persist the role REPLICA: {error}"),
            );
            return Err(RoleUnchanged);
        }
        self.io.log(
            Level::Info,
            "Role set to replica, instance-level clients destroyed.",
        );
        if self.start_replication_server(port).await {
            Ok(())
        } else {
            Err(RoleUnchanged)
        }
    }

    /// Opens the replication port.
    pub(super) async fn start_replication_server(&self, port: u16) -> bool {
        let open = self.io.listen(port).await;
        self.serving.set(open);
        self.handlers.start(self.io.now());
        if !open {
            self.io.log(
                Level::Error,
                format!("Unable to start REPLICATION server on 0.0.0.0:{port}."),
            );
        }
        open
    }

    /// Closes the replication port, waits for what is being handled, and closes the connections.
    async fn stop_replication_server(&self) {
        if self.serving.replace(false) {
            self.io.effect(Effect::StopListening);
        }
        self.handlers.stop(&self.io).await;
        let connections = self.peers.incoming.take();
        for id in connections.into_keys() {
            self.io.effect(Effect::Disconnect(id));
        }
    }
}
