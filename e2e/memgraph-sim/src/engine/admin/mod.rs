//! Statements that are no graph queries: replication, schema, users, snapshots, information.
//!
//! As in Memgraph, what is wrong with a statement as such is found when it is prepared (RUN); everything else
//! when it is executed (PULL).

mod info;
mod replication;
mod schema;
mod storage;
mod users;

use std::rc::Rc;

use bolt_server::{Failure, Value as BoltValue, Version};
use cypher_subset::{
    ReplicaRefusal, StorageAccess,
    ast::{
        DatabaseInfo, Durability, Instance, MultiDatabase, Replication, ReplicationInfo, Settings, Statement,
        SystemInfo, TransactionQueue,
    },
};

use super::{Node, lock::Access, message::AccessKind, session::Answer, sessions::SessionInfo};
use crate::{messages, storage::Transaction};

/// An administrative statement that is ready to be executed.
pub(super) struct AdminPlan(Rc<Statement>, Version);

impl AdminPlan {
    /// Checks a statement.
    pub(super) fn new(node: &Node, statement: Rc<Statement>, explicit: bool) -> Result<Self, Failure> {
        let version = node.config.version;
        if explicit && let Some(refusal) = statement.refusal_in_transaction(version) {
            return Err(Failure::client(refusal));
        }
        match &*statement {
            Statement::Replication(_) if node.database.borrow().analytical => {
                return Err(messages::needs_transactional_storage());
            }
            Statement::Auth(auth) => users::check(node, auth)?,
            Statement::Trigger(_) => return Err(messages::unsupported("triggers")),
            Statement::Enum(change) => schema::check_enum(change)?,
            Statement::Instance(Instance::SetIsolationLevel { .. }) if node.database.borrow().analytical => {
                return Err(messages::isolation_in_analytical_mode());
            }
            _ => {}
        }
        Ok(Self(statement, node.config.version))
    }

    /// The hold on the storage that it needs, if it needs a transaction at all.
    pub(super) fn access(&self) -> Option<(Access, AccessKind)> {
        Some(match self.0.storage_access(self.1)? {
            StorageAccess::Read => (Access::Read, AccessKind::Write),
            StorageAccess::Write => (Access::Write, AccessKind::Write),
            StorageAccess::ReadOnly => (Access::ReadOnly, AccessKind::ReadOnly),
            StorageAccess::Unique => (Access::Unique, AccessKind::Unique),
        })
    }

    /// Whether a replica refuses to prepare it.
    pub(super) fn writes(&self) -> bool {
        self.0.refusal_on_replica(self.1) == Some(ReplicaRefusal::WhenPrepared)
    }

    /// The columns of its result.
    pub(super) fn fields(&self) -> Vec<String> {
        let version = self.1;
        let fields: &[&str] = match &*self.0 {
            Statement::ReplicationInfo(ReplicationInfo::ShowRole) => &["replication role"],
            Statement::ReplicationInfo(ReplicationInfo::ShowReplicas) => {
                &["name", "socket_address", "sync_mode", "system_info", "data_info"]
            }
            Statement::Durability(Durability::CreateSnapshot) if version >= Version::V3_5 => &["path"],
            Statement::Durability(Durability::ShowSnapshots) => {
                &["path", "timestamp", "creation_time", "size"]
            }
            Statement::Durability(Durability::ShowNextSnapshot) => &["path", "creation_time"],
            Statement::Durability(_) => &[],
            Statement::DatabaseInfo(DatabaseInfo::Indexes) => &["index type", "label", "property", "count"],
            Statement::DatabaseInfo(DatabaseInfo::Constraints) => {
                &["constraint type", "label", "properties", "data_type"]
            }
            Statement::DatabaseInfo(DatabaseInfo::Enums) => &["Enum Name", "Enum Values"],
            Statement::DatabaseInfo(DatabaseInfo::Metrics) => &["name", "type", "metric type", "value"],
            Statement::SystemInfo(SystemInfo::Version) => &["version"],
            Statement::SystemInfo(SystemInfo::Storage(_)) => &["storage info", "value"],
            Statement::SystemInfo(SystemInfo::Build) => &["build info", "value"],
            Statement::SystemInfo(SystemInfo::License) => &["license info", "value"],
            Statement::SystemInfo(SystemInfo::ActiveUsers) => {
                &["username", "session uuid", "login timestamp"]
            }
            Statement::SystemInfo(SystemInfo::Config) => {
                &["name", "default_value", "current_value", "description"]
            }
            Statement::Settings(Settings::Show { .. }) => &["setting_value"],
            Statement::Settings(Settings::ShowAll) => &["setting_name", "setting_value"],
            Statement::Auth(auth) => users::fields(auth),
            Statement::MultiDatabase(MultiDatabase::ShowCurrent) => &["Name"],
            Statement::MultiDatabase(MultiDatabase::ShowAll) if version >= Version::V3_12 => {
                &["Name", "State", "Health"]
            }
            Statement::MultiDatabase(MultiDatabase::ShowAll) => &["Name"],
            Statement::MultiDatabase(_) => &["STATUS"],
            Statement::TransactionQueue(TransactionQueue::Show { .. }) => info::transaction_fields(version),
            Statement::TransactionQueue(TransactionQueue::Terminate { .. }) => &["transaction_id", "killed"],
            Statement::Instance(Instance::DumpDatabase) => &["QUERY"],
            Statement::Instance(
                Instance::LockDataDirectory
                | Instance::UnlockDataDirectory
                | Instance::DataDirectoryLockStatus,
            ) => &["STATUS"],
            _ => &[],
        };
        fields.iter().map(|field| (*field).to_owned()).collect()
    }

    /// Executes the statement, inside `transaction` if it asked for [`access`](Self::access).
    pub(super) async fn execute(
        &self,
        node: &Rc<Node>,
        session: &SessionInfo,
        transaction: Option<&mut Transaction>,
    ) -> Result<Answer, Failure> {
        match (&*self.0, transaction) {
            (Statement::Replication(statement), _) => match statement {
                Replication::SetRole(role) => node.set_role(*role).await,
                Replication::RegisterReplica { name, mode, address } => {
                    node.register_replica(name, *mode, address).await
                }
                Replication::DropReplica { name } => node.drop_replica(name).await,
            },
            (Statement::ReplicationInfo(ReplicationInfo::ShowRole), _) => Ok(node.show_role().await),
            (Statement::ReplicationInfo(ReplicationInfo::ShowReplicas), _) => node.show_replicas().await,
            (Statement::Auth(auth), _) => node.change_users(auth).await,
            (Statement::Durability(statement), _) => node.durability_statement(statement).await,
            (Statement::Index { action, index }, Some(transaction)) => {
                Ok(node.change_index(transaction, *action, index))
            }
            (Statement::Constraint { action, constraint }, Some(transaction)) => {
                node.change_constraint(transaction, *action, constraint)
            }
            (Statement::Enum(change), Some(transaction)) => node.change_enum(transaction, change),
            (Statement::DatabaseInfo(DatabaseInfo::Metrics), _) => {
                Err(messages::enterprise(self.1, "SHOW METRICS INFO"))
            }
            (Statement::DatabaseInfo(info), _) => Ok(node.show_schema(*info)),
            (Statement::SystemInfo(info), _) => node.show_system(info, session),
            (Statement::MultiDatabase(statement), _) => info::databases(self.1, statement),
            (Statement::TransactionQueue(TransactionQueue::Show { statuses }), _) => {
                Ok(node.show_transactions(statuses))
            }
            (Statement::TransactionQueue(TransactionQueue::Terminate { ids }), _) => {
                Ok(node.terminate_transactions(ids))
            }
            (Statement::Settings(statement), _) => node.setting_statement(statement).await,
            (Statement::Instance(Instance::ReloadBoltTls), _) => node.reload_tls().await,
            (Statement::Instance(instance), transaction) => {
                node.instance_statement(instance, session, transaction).await
            }
            _ => Err(messages::unsupported("this statement")),
        }
    }
}

/// A row of texts.
fn texts<const N: usize>(row: [&str; N]) -> Vec<BoltValue> {
    row.into_iter().map(BoltValue::from).collect()
}
