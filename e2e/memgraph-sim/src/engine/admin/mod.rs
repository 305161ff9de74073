//! Statements that are no graph queries: replication, schema, users, snapshots, information.
//!
//! As in Memgraph, what is wrong with a statement as such is found when it is prepared (RUN); everything else
//! when it is executed (PULL).

mod info;
mod replication;
mod schema;
mod users;

use std::rc::Rc;

use bolt_server::{Failure, Value as BoltValue, Version};
use cypher_subset::ast::{
    DatabaseInfo, Durability, Instance, MultiDatabase, Replication, ReplicationInfo, Statement, SystemInfo,
    TransactionQueue,
};

use super::{Node, lock::Access, message::AccessKind, session::Answer};
use crate::{
    messages::{self, Topic},
    storage::Transaction,
};

/// An administrative statement that is ready to be executed.
pub(super) struct AdminPlan(Rc<Statement>, Version);

impl AdminPlan {
    /// Checks a statement.
    pub(super) fn new(node: &Node, statement: Rc<Statement>, explicit: bool) -> Result<Self, Failure> {
        if explicit && let Some(topic) = topic(&statement) {
            return Err(messages::in_explicit_transaction(topic));
        }
        match &*statement {
            Statement::Replication(_) if node.database.borrow().analytical => {
                return Err(messages::needs_transactional_storage());
            }
            Statement::Auth(auth) => users::check(node, auth)?,
            Statement::Trigger(_) => return Err(messages::unsupported("triggers")),
            Statement::Settings(_) => return Err(messages::unsupported("run-time settings")),
            Statement::Enum(change) => schema::check_enum(change)?,
            _ => {}
        }
        Ok(Self(statement, node.config.version))
    }

    /// Whether only one such statement can run at a time.
    pub(super) fn is_system_query(&self) -> bool {
        matches!(&*self.0, Statement::Replication(_) | Statement::Auth(_))
    }

    /// The hold on the storage that it needs, if it needs a transaction at all.
    pub(super) fn access(&self) -> Option<(Access, AccessKind)> {
        match &*self.0 {
            Statement::Index { .. } | Statement::Constraint { .. } if self.1 < Version::V3_5 => {
                Some((Access::Unique, AccessKind::Unique))
            }
            Statement::Index { .. } | Statement::Constraint { .. } => {
                Some((Access::ReadOnly, AccessKind::ReadOnly))
            }
            Statement::Enum(_) => Some((Access::Unique, AccessKind::Unique)),
            Statement::DatabaseInfo(info) if *info != DatabaseInfo::Metrics => {
                Some((Access::Read, AccessKind::Write))
            }
            Statement::Instance(Instance::DumpDatabase) => Some((Access::Read, AccessKind::Write)),
            _ => None,
        }
    }

    /// Whether it is refused on a replica.
    pub(super) fn writes(&self) -> bool {
        matches!(
            &*self.0,
            Statement::Index { .. } | Statement::Constraint { .. } | Statement::Enum(_)
        )
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
            (Statement::DatabaseInfo(info), Some(_)) => Ok(node.show_schema(*info)),
            (Statement::DatabaseInfo(_), None) => Err(messages::enterprise(self.1, "SHOW METRICS INFO")),
            (Statement::SystemInfo(info), _) => node.show_system(info),
            (Statement::MultiDatabase(statement), _) => info::databases(self.1, statement),
            (Statement::TransactionQueue(TransactionQueue::Show { statuses }), _) => {
                Ok(node.show_transactions(statuses))
            }
            (Statement::TransactionQueue(TransactionQueue::Terminate { ids }), _) => {
                Ok(node.terminate_transactions(ids))
            }
            (Statement::Instance(instance), transaction) => node.instance_statement(instance, transaction),
            _ => Err(messages::unsupported("this statement")),
        }
    }
}

/// What a statement is called when it is refused inside an explicit transaction.
fn topic(statement: &Statement) -> Option<Topic> {
    Some(match statement {
        Statement::Replication(_) | Statement::ReplicationInfo(_) => Topic::Replication,
        Statement::Auth(_) => Topic::Users,
        Statement::Durability(Durability::CreateSnapshot) => Topic::CreateSnapshot,
        Statement::Durability(Durability::RecoverSnapshot { .. }) => Topic::RecoverSnapshot,
        Statement::Durability(Durability::ShowSnapshots | Durability::ShowNextSnapshot) => {
            Topic::ShowSnapshots
        }
        Statement::Index { .. } => Topic::Index,
        Statement::Constraint { .. } => Topic::Constraint,
        Statement::Enum(_) => Topic::Enum,
        Statement::DatabaseInfo(DatabaseInfo::Enums) => return None,
        Statement::DatabaseInfo(_) => Topic::DatabaseInfo,
        Statement::SystemInfo(SystemInfo::Version) => Topic::Version,
        Statement::SystemInfo(SystemInfo::Config) => Topic::Config,
        Statement::SystemInfo(_) => Topic::SystemInfo,
        Statement::MultiDatabase(MultiDatabase::Use(_)) => Topic::UseDatabase,
        Statement::MultiDatabase(_) => Topic::MultiDatabase,
        Statement::TransactionQueue(_) => Topic::Transactions,
        Statement::Settings(_) => Topic::Settings,
        Statement::Instance(Instance::FreeMemory) => Topic::FreeMemory,
        Statement::Instance(Instance::SetStorageMode(_)) => Topic::StorageMode,
        Statement::Instance(Instance::SetIsolationLevel { .. }) => Topic::IsolationLevel,
        Statement::Instance(
            Instance::LockDataDirectory | Instance::UnlockDataDirectory | Instance::DataDirectoryLockStatus,
        ) => Topic::DataDirectory,
        Statement::Instance(Instance::DumpDatabase)
        | Statement::Query(_)
        | Statement::Transaction(_)
        | Statement::Trigger(_) => return None,
    })
}

/// A row of texts.
fn texts<const N: usize>(row: [&str; N]) -> Vec<BoltValue> {
    row.into_iter().map(BoltValue::from).collect()
}
