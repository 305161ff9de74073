//! SET REPLICATION ROLE, REGISTER and DROP REPLICA, and the statements that show them.

use std::{collections::BTreeMap, rc::Rc};

use bolt_server::{Failure, Notification, Value as BoltValue};
use cypher_subset::ast::{ReplicationRole, SyncMode};

use super::texts;
use crate::{
    durability::state::ReplicaMode,
    engine::{
        Node,
        lock::Shared,
        session::{Answer, DATABASE},
    },
    messages,
};

/// The port that a replica should not use, whatever `--bolt-port` says (`PrepareReplicationQuery`).
const DEFAULT_BOLT_PORT: u16 = 7687;

/// The replication port of a replica whose address names none.
const DEFAULT_REPLICATION_PORT: u16 = 10_000;

impl Node {
    pub(super) async fn set_role(self: &Rc<Self>, role: ReplicationRole) -> Result<Answer, Failure> {
        let mut notifications = Vec::new();
        match role {
            ReplicationRole::Main => {
                self.promote().await.map_err(|_| messages::cannot_become_main())?;
                notifications.push(Notification::info("SetReplica", "Replica role set to MAIN."));
            }
            ReplicationRole::Replica { port } => {
                let port = u16::try_from(port).map_err(|_| messages::invalid_port())?;
                self.demote(port)
                    .await
                    .map_err(|_| messages::cannot_become_replica())?;
                if port == DEFAULT_BOLT_PORT {
                    notifications.push(Notification::warning(
                        "ReplicaPortWarning",
                        "Be careful the replication port must be different from the memgraph port!",
                    ));
                }
                notifications.push(Notification::info("SetReplica", "Replica role set to REPLICA."));
            }
        }
        Ok(Answer {
            rows: Vec::new(),
            notifications,
        })
    }

    pub(super) async fn register_replica(
        self: &Rc<Self>,
        name: &str,
        mode: SyncMode,
        address: &str,
    ) -> Result<Answer, Failure> {
        let mode = match mode {
            SyncMode::Sync => ReplicaMode::Sync,
            SyncMode::Async => ReplicaMode::Async,
            SyncMode::StrictSync => ReplicaMode::StrictSync,
        };
        let address = normalize(address).ok_or_else(messages::invalid_address)?;
        self.register(name.to_owned(), mode, address)
            .await
            .map_err(|error| messages::not_registered(self.config.version, name, error))?;
        let notification = Notification::info("RegisterReplica", format!("Replica {name} is registered."));
        Ok(Answer {
            rows: Vec::new(),
            notifications: vec![notification],
        })
    }

    pub(super) async fn drop_replica(self: &Rc<Self>, name: &str) -> Result<Answer, Failure> {
        self.unregister(name)
            .await
            .map_err(|error| messages::not_unregistered(name, error))?;
        let notification = Notification::info("DropReplica", format!("Replica {name} is dropped."));
        Ok(Answer {
            rows: Vec::new(),
            notifications: vec![notification],
        })
    }

    pub(super) async fn show_role(&self) -> Answer {
        let _lock = self.replication_lock.acquire(Shared::Read).await;
        let role = if self.is_main() { "main" } else { "replica" };
        Answer {
            rows: vec![texts([role])],
            notifications: Vec::new(),
        }
    }

    pub(super) async fn show_replicas(&self) -> Result<Answer, Failure> {
        let replicas = self.replicas().await.ok_or_else(messages::replicas_on_replica)?;
        let rows = replicas.into_iter().map(|replica| {
            let mut data = BTreeMap::new();
            if let Some((at, behind, status)) = replica.data {
                let of_database = BTreeMap::from([
                    (
                        "ts".to_owned(),
                        BoltValue::Integer(i64::try_from(at).unwrap_or(i64::MAX)),
                    ),
                    ("behind".to_owned(), BoltValue::Integer(behind)),
                    ("status".to_owned(), status.into()),
                ]);
                data.insert(DATABASE.to_owned(), BoltValue::Map(of_database));
            }
            vec![
                replica.name.into(),
                replica.address.into(),
                replica.mode.as_str().into(),
                // Only with a licence there is anything to say.
                BoltValue::Null,
                BoltValue::Map(data),
            ]
        });
        Ok(Answer {
            rows: rows.collect(),
            notifications: Vec::new(),
        })
    }
}

/// `host` or `host:port` as `host:port`; `None` if it is neither.
fn normalize(address: &str) -> Option<String> {
    let (host, port) = match address.split_once(':') {
        None => (address, DEFAULT_REPLICATION_PORT),
        Some((host, port)) => (host, port.parse().ok()?),
    };
    (!host.is_empty()).then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_completed() {
        assert_eq!(normalize("a.b").as_deref(), Some("a.b:10000"));
        assert_eq!(normalize("10.0.0.1:99").as_deref(), Some("10.0.0.1:99"));
        for wrong in ["", ":1", "a:b", "a:70000", "::1", "[::1]:10000"] {
            assert_eq!(normalize(wrong), None, "{wrong}");
        }
    }
}
