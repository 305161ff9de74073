//! Execution of graph queries, clause by clause on tables of rows.
//!
//! Every clause sees all rows of the clause before it, as Memgraph's plans do where reads and writes meet.

mod aggregate;
pub(crate) mod check;
mod demands;
mod errors;
mod eval;
mod functions;
mod matching;
mod operators;
mod project;
mod text;
mod write;

use std::collections::BTreeMap;

use bolt_server::{Failure, Map, Value as BoltValue, Version};
use cypher_subset::ast::{Clause, Query};

use self::eval::{Row, Scope};
use crate::{
    messages,
    storage::{Graph, Transaction, View},
    value::{Gid, Path, Value},
};

/// Values of `$name`.
pub(crate) type Parameters = BTreeMap<String, Value>;

/// Rows that all have the same variables.
#[derive(Debug, Clone, Default)]
struct Table {
    scope: Scope,
    rows: Vec<Row>,
}

/// What a clause works on.
struct Context<'a> {
    graph: &'a mut Graph,
    transaction: &'a mut Transaction,
    parameters: &'a Parameters,
    version: Version,
}

impl Context<'_> {
    fn view(&self) -> View {
        self.transaction.view
    }
}

/// Takes the parameters of a query.
pub(crate) fn parameters(map: Map) -> Result<Parameters, Failure> {
    map.into_iter()
        .map(|(name, value)| {
            let value = Value::from_bolt(value)
                .map_err(|error| messages::unsupported(format_args!("parameter ${name}: {error}")))?;
            Ok((name, value))
        })
        .collect()
}

/// Executes a query inside a transaction.
pub(crate) fn execute(
    query: &Query,
    graph: &mut Graph,
    transaction: &mut Transaction,
    parameters: &Parameters,
    version: Version,
) -> Result<Vec<Vec<BoltValue>>, Failure> {
    let mut context = Context {
        graph,
        transaction,
        parameters,
        version,
    };
    let mut table = Table {
        scope: Scope::default(),
        rows: vec![Row::new()],
    };
    for clause in &query.clauses {
        table = match clause {
            Clause::Match {
                optional,
                patterns,
                filter,
            } => matching::run(&context, table, patterns, filter.as_ref(), *optional)?,
            Clause::Unwind { list, variable } => unwind(&context, table, list, variable)?,
            Clause::Create { patterns } => write::create(&mut context, table, patterns)?,
            Clause::Merge(merge) => write::merge(&mut context, table, merge)?,
            Clause::Set(items) => write::set(&mut context, table, items)?,
            Clause::Remove(items) => write::remove(&mut context, table, items)?,
            Clause::Delete { detach, targets } => write::delete(&mut context, table, targets, *detach)?,
            Clause::With { projection, filter } => {
                let table = project::run(&context, table, projection)?;
                eval::filter(&context, table, filter.as_ref())?
            }
            Clause::Return(projection) => {
                let table = project::run(&context, table, projection)?;
                let bolt = |row: Row| row.into_iter().map(|value| to_bolt(&context, value)).collect();
                return Ok(table.rows.into_iter().map(bolt).collect());
            }
        };
    }
    Ok(vec![Vec::new(); table.rows.len()])
}

fn unwind(
    context: &Context<'_>,
    table: Table,
    list: &cypher_subset::ast::Expression,
    variable: &str,
) -> Result<Table, Failure> {
    let Table { mut scope, rows } = table;
    let mut result = Vec::new();
    for row in rows {
        match eval::value(context, &scope, &row, list)? {
            Value::Null => {}
            Value::List(items) => result.extend(items.into_iter().map(|item| {
                let mut row = row.clone();
                row.push(item);
                row
            })),
            other => {
                return Err(errors::not_a_list_for_unwind(&other));
            }
        }
    }
    scope.add(variable);
    Ok(Table { scope, rows: result })
}

/// The form in which a client gets a value.
fn to_bolt(context: &Context<'_>, value: Value) -> BoltValue {
    match value {
        Value::Null => BoltValue::Null,
        Value::Bool(value) => BoltValue::Boolean(value),
        Value::Int(value) => BoltValue::Integer(value),
        Value::Float(value) => BoltValue::Float(value),
        Value::String(value) => BoltValue::String(value),
        Value::List(values) => BoltValue::List(values.into_iter().map(|it| to_bolt(context, it)).collect()),
        Value::Map(map) => BoltValue::Map(
            map.into_iter()
                .map(|(key, value)| (key, to_bolt(context, value)))
                .collect(),
        ),
        // Bolt has no enums; Memgraph sends a map that says so.
        Value::Enum(it) => BoltValue::Map(BTreeMap::from([
            ("__type".to_owned(), "mg_enum".into()),
            ("__value".to_owned(), format!("{}::{}", it.name, it.value).into()),
        ])),
        Value::Node(gid) => BoltValue::Node(bolt_node(context, gid)),
        Value::Relationship(gid) => BoltValue::Relationship(bolt_relationship(context, gid)),
        Value::Temporal(value) => BoltValue::Temporal(value.to_bolt()),
        Value::Path(path) => BoltValue::Path(bolt_path(context, &path)),
    }
}

fn id(gid: Gid) -> i64 {
    i64::try_from(gid.0).unwrap_or(i64::MAX)
}

fn bolt_node(context: &Context<'_>, gid: Gid) -> bolt_server::Node {
    let Some(node) = context.graph.node(context.view(), gid) else {
        return bolt_server::Node {
            id: id(gid),
            ..bolt_server::Node::default()
        };
    };
    bolt_server::Node {
        id: id(gid),
        labels: node
            .labels
            .iter()
            .map(|label| context.graph.name(*label).to_owned())
            .collect(),
        properties: bolt_properties(context, &node.properties),
    }
}

fn bolt_relationship(context: &Context<'_>, gid: Gid) -> bolt_server::Relationship {
    let Some((kind, from, to)) = context.graph.ends(gid) else {
        return bolt_server::Relationship {
            id: id(gid),
            ..bolt_server::Relationship::default()
        };
    };
    let data = context.graph.relationship(context.view(), gid);
    bolt_server::Relationship {
        id: id(gid),
        start: id(from),
        end: id(to),
        kind: context.graph.name(kind).to_owned(),
        properties: data
            .map(|data| bolt_properties(context, &data.properties))
            .unwrap_or_default(),
    }
}

fn bolt_path(context: &Context<'_>, path: &Path) -> bolt_server::Path {
    let mut nodes = vec![bolt_node(context, path.start)];
    let Some((gid, end)) = path.hop else {
        return bolt_server::Path {
            nodes,
            ..bolt_server::Path::default()
        };
    };
    let relationship = bolt_relationship(context, gid);
    let end_index = if end == path.start {
        0
    } else {
        nodes.push(bolt_node(context, end));
        1
    };
    let along = relationship.start == id(path.start);
    bolt_server::Path {
        nodes,
        indices: vec![if along { 1 } else { -1 }, end_index],
        relationships: vec![bolt_server::UnboundRelationship {
            id: relationship.id,
            kind: relationship.kind,
            properties: relationship.properties,
        }],
    }
}

fn bolt_properties(context: &Context<'_>, properties: &[(crate::storage::Name, Value)]) -> Map {
    properties
        .iter()
        .map(|(key, value)| {
            (
                context.graph.name(*key).to_owned(),
                to_bolt(context, value.clone()),
            )
        })
        .collect()
}
