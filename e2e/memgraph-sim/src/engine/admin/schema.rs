//! Indexes, constraints and enums.

use bolt_server::{Failure, Notification, Value as BoltValue};
use cypher_subset::ast::{self, ConstraintKind, DatabaseInfo, EnumChange, SchemaAction};

use super::texts;
use crate::{
    engine::{Node, session::Answer},
    messages,
    storage::{Constraint, Index, SchemaChange, SchemaOutcome, Transaction},
};

/// Refuses what no release can do.
pub(super) fn check_enum(change: &EnumChange) -> Result<(), Failure> {
    match change {
        EnumChange::RemoveValue { .. } => Err(messages::not_implemented("Alter enum remove value")),
        EnumChange::Drop { .. } => Err(messages::not_implemented("Drop enum")),
        EnumChange::Create { .. } | EnumChange::AddValue { .. } | EnumChange::UpdateValue { .. } => Ok(()),
    }
}

impl Node {
    pub(super) fn change_index(
        &self,
        transaction: &mut Transaction,
        action: SchemaAction,
        index: &ast::Index,
    ) -> Answer {
        let on = format!(
            "on label {} on properties {}",
            index.label,
            index.properties.join(", ")
        );
        let index = if index.properties.is_empty() {
            Index::Label(index.label.clone())
        } else {
            Index::LabelProperties(index.label.clone(), index.properties.clone())
        };
        let mut database = self.database.borrow_mut();
        let (code, title) = match action {
            SchemaAction::Create => match database.graph.create_index(transaction, index) {
                SchemaOutcome::Changed => ("CreateIndex", format!("Created index {on}.")),
                SchemaOutcome::Unchanged => ("IndexAlreadyExists", format!("Index {on} already exists.")),
            },
            SchemaAction::Drop => match database.graph.drop_index(transaction, index) {
                SchemaOutcome::Changed => ("DropIndex", format!("Dropped index {on}.")),
                SchemaOutcome::Unchanged => ("IndexDoesNotExist", format!("Index {on} doesn't exist.")),
            },
        };
        Answer {
            rows: Vec::new(),
            notifications: vec![Notification::info(code, title)],
        }
    }

    pub(super) fn change_constraint(
        &self,
        transaction: &mut Transaction,
        action: SchemaAction,
        constraint: &ast::Constraint,
    ) -> Result<Answer, Failure> {
        let label = constraint.label.clone();
        let (kind, properties, constraint) = match &constraint.kind {
            ConstraintKind::Exists(key) => (
                "EXISTS",
                key.clone(),
                Constraint::Exists(label.clone(), key.clone()),
            ),
            ConstraintKind::Unique(keys) => (
                "UNIQUE",
                keys.join(", "),
                Constraint::Unique(label.clone(), keys.clone()),
            ),
        };
        let on = format!("on label {label} on properties {properties}");
        let mut database = self.database.borrow_mut();
        let (code, title) = match action {
            SchemaAction::Create => match database.graph.create_constraint(transaction, constraint) {
                Ok(SchemaOutcome::Changed) => {
                    ("CreateConstraint", format!("Created {kind} constraint {on}."))
                }
                Ok(SchemaOutcome::Unchanged) => (
                    "ConstraintAlreadyExists",
                    format!("Constraint {kind} {on} already exists."),
                ),
                Err(_) => {
                    let kind = if kind == "EXISTS" { "existence" } else { "unique" };
                    return Err(messages::violated_constraint(kind, &label, &properties));
                }
            },
            SchemaAction::Drop => match database.graph.drop_constraint(transaction, constraint) {
                SchemaOutcome::Changed => ("DropConstraint", format!("Dropped {kind} constraint {on}.")),
                SchemaOutcome::Unchanged => (
                    "ConstraintDoesNotExist",
                    format!("Constraint {kind} {on} doesn't exist."),
                ),
            },
        };
        Ok(Answer {
            rows: Vec::new(),
            notifications: vec![Notification::info(code, title)],
        })
    }

    pub(super) fn change_enum(
        &self,
        transaction: &mut Transaction,
        change: &EnumChange,
    ) -> Result<Answer, Failure> {
        check_enum(change)?;
        let mut database = self.database.borrow_mut();
        let mut apply = |change| database.graph.change_enum(transaction, change);
        match change.clone() {
            EnumChange::Create { name, values } => {
                apply(SchemaChange::CreateEnum { name, values }).map_err(messages::enum_not_created)?;
            }
            EnumChange::AddValue { name, value } => {
                apply(SchemaChange::AddEnumValue { name, value }).map_err(messages::enum_value_not_added)?;
            }
            EnumChange::UpdateValue { name, old, new } => {
                let renaming = SchemaChange::RenameEnumValue {
                    name: name.clone(),
                    from: old.clone(),
                    to: new.clone(),
                };
                apply(renaming)
                    .map_err(|error| messages::enum_value_not_renamed(error, &name, &old, &new))?;
            }
            EnumChange::RemoveValue { .. } | EnumChange::Drop { .. } => {
                return Err(messages::unsupported("this change of an enum"));
            }
        }
        Ok(Answer::default())
    }

    pub(super) fn show_schema(&self, info: DatabaseInfo) -> Answer {
        let database = self.database.borrow();
        let schema = database.graph.published_schema();
        let list = |items: &[String]| BoltValue::List(items.iter().map(|it| it.as_str().into()).collect());
        let rows = match info {
            DatabaseInfo::Indexes => {
                let row = |index: &Index| {
                    let count =
                        BoltValue::Integer(i64::try_from(database.graph.count(index)).unwrap_or(i64::MAX));
                    let (kind, name, property) = match index {
                        Index::Label(label) => ("label", label, BoltValue::Null),
                        Index::LabelProperties(label, keys) => ("label+property", label, list(keys)),
                        Index::RelationshipType(kind) => ("edge-type", kind, BoltValue::Null),
                        Index::RelationshipTypeProperty(kind, key) => {
                            ("edge-type+property", kind, key.as_str().into())
                        }
                    };
                    vec![kind.into(), name.as_str().into(), property, count]
                };
                let mut indexes: Vec<_> = schema.indexes.iter().collect();
                indexes.sort();
                indexes.into_iter().map(row).collect()
            }
            DatabaseInfo::Constraints => {
                let row = |constraint: &Constraint| {
                    let (kind, label, properties) = match constraint {
                        Constraint::Exists(label, key) => ("exists", label, key.as_str().into()),
                        Constraint::Unique(label, keys) => ("unique", label, list(keys)),
                    };
                    vec![kind.into(), label.as_str().into(), properties, "".into()]
                };
                let mut constraints: Vec<_> = schema.constraints.iter().collect();
                constraints.sort();
                constraints.into_iter().map(row).collect()
            }
            DatabaseInfo::Enums => schema
                .enums
                .iter()
                .map(|it| vec![it.name.as_str().into(), list(&it.values)])
                .collect(),
            DatabaseInfo::Metrics => vec![texts(["", "", "", ""])],
        };
        Answer {
            rows,
            notifications: Vec::new(),
        }
    }
}
