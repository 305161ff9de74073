//! Registering and dropping replicas (semantics B.4, B.5, D.1).

use std::rc::Rc;

use bolt_server::Version;

use super::{
    Node,
    event::Level,
    lock::{Exclusive, Shared},
    message::{Reply, Request},
    replica_client::{ReplicaClient, ReplicaState},
    role::Role,
};
use crate::durability::state::{ReplicaEntry, ReplicaMode};

/// Why a replica could not be registered. The numbers are those of the error messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegisterError {
    NotMain = 0,
    NameExists = 1,
    EndpointExists = 2,
    /// The replica has diverged.
    ConnectionFailed = 3,
    CouldNotBePersisted = 4,
    ErrorAcceptingMain = 5,
    NoAccess = 6,
    Analytical = 7,
}

/// Why a replica could not be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnregisterError {
    NotMain,
    CouldNotBePersisted,
    Unknown,
    NoAccess,
    Analytical,
}

impl Node {
    /// `REGISTER REPLICA name mode TO address`
    pub(crate) async fn register(
        self: &Rc<Self>,
        name: String,
        mode: ReplicaMode,
        address: String,
    ) -> Result<(), RegisterError> {
        // Commits and looks at the role wait until this is over.
        let _lock = self
            .replication_lock
            .try_acquire(Shared::Write)
            .ok_or(RegisterError::NoAccess)?;
        if self.config.version >= Version::Head && self.database.borrow().analytical {
            return Err(RegisterError::Analytical);
        }
        let entry = ReplicaEntry {
            address,
            mode,
            check_frequency: self.config.replica_check.as_secs(),
        };
        let client = ReplicaClient::new(name, entry);
        let main = {
            let mut role = self.role.borrow_mut();
            let Role::Main(main) = &mut *role else {
                return Err(RegisterError::NotMain);
            };
            if main.replicas.iter().any(|known| known.name == client.name) {
                return Err(RegisterError::NameExists);
            }
            if main
                .replicas
                .iter()
                .any(|known| known.entry.address == client.entry.address)
            {
                return Err(RegisterError::EndpointExists);
            }
            main.replicas.push(Rc::clone(&client));
            main.uuid
        };
        if self.save_role().await.is_err() {
            self.forget(&client.name);
            return Err(RegisterError::CouldNotBePersisted);
        }
        // From here on the entry stays, whatever happens: a ghost, if it goes wrong.
        let swap = Request::SwapMainUuid { main };
        if client.rpc.request(&self.io, &self.peers, swap).await != Ok(Reply::Success(true)) {
            return Err(RegisterError::ErrorAcceptingMain);
        }
        client.restore_system(self, main).await;
        // `RegisterReplica_` makes a storage's client in no other mode. This one gets none later either, unless it is made anew.
        if self.database.borrow().analytical {
            client.attached.set(false);
            return Ok(());
        }
        client.start(self, main).await;
        if client.state.get() == ReplicaState::Diverged {
            client.attached.set(false);
            client.shut_down(self);
            self.io.log(
                Level::Error,
                format!(
                    "Failed to register all databases for the replica {}.",
                    client.name
                ),
            );
            if self.config.version >= Version::Head {
                self.forget(&client.name);
                if self.save_role().await.is_err() {
                    self.io
                        .log(Level::Error, "Failed to persist the removal of the replica.");
                }
            }
            return Err(RegisterError::ConnectionFailed);
        }
        client.start_pings(self, main);
        Ok(())
    }

    /// `DROP REPLICA name`. The replica is not told.
    pub(crate) async fn unregister(self: &Rc<Self>, name: &str) -> Result<(), UnregisterError> {
        if self.config.version >= Version::Head && self.database.borrow().analytical {
            return Err(UnregisterError::Analytical);
        }
        let _lock = self
            .replication_lock
            .try_acquire(Shared::Write)
            .ok_or(UnregisterError::NoAccess)?;
        if !self.is_main() {
            return Err(UnregisterError::NotMain);
        }
        let client = self.forget(name).ok_or(UnregisterError::Unknown)?;
        client.shut_down(self);
        self.save_role()
            .await
            .map_err(|_| UnregisterError::CouldNotBePersisted)
    }

    fn forget(&self, name: &str) -> Option<Rc<ReplicaClient>> {
        let mut role = self.role.borrow_mut();
        let Role::Main(main) = &mut *role else { return None };
        let at = main.replicas.iter().position(|client| client.name == name)?;
        Some(main.replicas.remove(at))
    }
}

/// A row of SHOW REPLICAS.
pub(crate) struct ReplicaRow {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) mode: ReplicaMode,
    /// Timestamp, distance to MAIN (zero or negative) and status; `None` for a ghost.
    pub(crate) data: Option<(u64, i64, &'static str)>,
}

impl Node {
    /// `SHOW REPLICAS`, from what MAIN remembers; `None` on a replica.
    pub(crate) async fn replicas(&self) -> Option<Vec<ReplicaRow>> {
        let _lock = self.replication_lock.acquire(Shared::Read).await;
        let clients = match &*self.role.borrow() {
            Role::Main(main) => main.replicas.clone(),
            Role::Replica(_) => return None,
        };
        for client in clients {
            let _state = client.opening.acquire(Exclusive).await;
        }
        let (durable, analytical) = {
            let database = self.database.borrow();
            (database.durable, database.analytical)
        };
        let role = self.role.borrow();
        let Role::Main(main) = &*role else { return None };
        let row = |client: &Rc<ReplicaClient>| {
            let at = client.durable.get();
            let behind = i64::try_from(i128::from(at) - i128::from(durable)).unwrap_or(i64::MIN);
            ReplicaRow {
                name: client.name.clone(),
                address: client.entry.address.clone(),
                mode: client.entry.mode,
                // `ReplicationHandler::ShowReplicas` passes over a storage in any other mode.
                data: (client.attached.get() && !analytical)
                    .then(|| (at, behind, client.state.get().as_str())),
            }
        };
        Some(main.replicas.iter().map(row).collect())
    }
}
