//! CREATE, MERGE, SET, REMOVE and DELETE.

use bolt_server::Failure;
use cypher_subset::ast::{
    Direction, Expression, Merge, NodePattern, PatternPart, Properties, RemoveItem, SetItem,
};

use super::{
    Context, Table,
    errors::{self, Write},
    eval::{self, Row, Scope},
    functions, matching,
};
use crate::{
    messages,
    value::{Gid, MAX_DEPTH, Path, Value},
};

/// CREATE
pub(super) fn create(
    context: &mut Context<'_>,
    table: Table,
    patterns: &[PatternPart],
) -> Result<Table, Failure> {
    let Table { mut scope, mut rows } = table;
    patterns
        .iter()
        .for_each(|part| matching::declare(part, &mut scope));
    for row in &mut rows {
        for part in patterns {
            create_part(context, &scope, row, part)?;
        }
    }
    Ok(Table { scope, rows })
}

fn create_part(
    context: &mut Context<'_>,
    scope: &Scope,
    row: &mut Row,
    part: &PatternPart,
) -> Result<(), Failure> {
    let Some(hop) = &part.hop else {
        if part
            .start
            .variable
            .as_ref()
            .and_then(|name| bound(scope, row, name))
            .is_some()
        {
            let name = part.start.variable.as_deref().unwrap_or_default();
            return Err(errors::redeclared_variable(name));
        }
        let start = create_node(context, scope, row, &part.start)?;
        bind_path(row, part, Path { start, hop: None });
        return Ok(());
    };
    // Variables are bound in the order of the pattern: node, relationship, node.
    let start = node_of(context, scope, row, &part.start)?;
    let relationship = &hop.relationship;
    let [kind] = relationship.types.as_slice() else {
        return Err(errors::relationship_without_type());
    };
    let end_is_bound = hop
        .end
        .variable
        .as_ref()
        .and_then(|name| bound(scope, row, name))
        .is_some();
    let properties = eval::properties(context, scope, row, relationship.properties.as_ref())?;
    let slot = relationship.variable.as_ref().map(|_| row.len());
    if slot.is_some() {
        // The place of the relationship, which can only be made after its end.
        row.push(Value::Null);
    }
    let end = if end_is_bound || hop.end.variable != part.start.variable || hop.end.variable.is_none() {
        node_of(context, scope, row, &hop.end)?
    } else {
        start
    };
    let (from, to) = match relationship.direction {
        Direction::Left => (end, start),
        Direction::Right => (start, end),
        Direction::Either => {
            return Err(errors::relationship_without_direction());
        }
    };
    let gid = context
        .graph
        .create_relationship(context.transaction, kind, from, to)
        .map_err(|error| errors::write(context.version, Write::Create, error))?;
    for (key, value) in properties {
        set_property(context, Target::Relationship(gid), &key, value, false)?;
    }
    if let Some(slot) = slot {
        row[slot] = Value::Relationship(gid);
    }
    bind_path(
        row,
        part,
        Path {
            start,
            hop: Some((gid, end)),
        },
    );
    Ok(())
}

/// Binds the name of the path that was created; it comes after all other variables of the pattern.
fn bind_path(row: &mut Row, part: &PatternPart, path: Path) {
    if part.path.is_some() {
        row.push(Value::Path(Box::new(path)));
    }
}

fn bound<'a>(scope: &Scope, row: &'a Row, name: &str) -> Option<&'a Value> {
    row.get(scope.index(name)?)
}

fn node_of(
    context: &mut Context<'_>,
    scope: &Scope,
    row: &mut Row,
    pattern: &NodePattern,
) -> Result<Gid, Failure> {
    let known = pattern
        .variable
        .as_ref()
        .and_then(|name| Some((name, bound(scope, row, name)?)));
    match known {
        Some((_, Value::Node(gid))) => Ok(*gid),
        Some((name, other)) => Err(errors::not_a_node(name, other)),
        None => create_node(context, scope, row, pattern),
    }
}

fn create_node(
    context: &mut Context<'_>,
    scope: &Scope,
    row: &mut Row,
    pattern: &NodePattern,
) -> Result<Gid, Failure> {
    let properties = eval::properties(context, scope, row, pattern.properties.as_ref())?;
    let gid = context.graph.create_node(context.transaction);
    for label in &pattern.labels {
        context
            .graph
            .add_label(context.transaction, gid, label)
            .map_err(|error| errors::write(context.version, Write::AddLabel, error))?;
    }
    for (key, value) in properties {
        set_property(context, Target::Node(gid), &key, value, false)?;
    }
    if pattern.variable.is_some() {
        row.push(Value::Node(gid));
    }
    Ok(gid)
}

/// MERGE: rows that match stay as they are; the others get the pattern created. Later rows find what earlier
/// ones created.
pub(super) fn merge(context: &mut Context<'_>, table: Table, merge: &Merge) -> Result<Table, Failure> {
    let Table { mut scope, rows } = table;
    matching::declare(&merge.pattern, &mut scope);
    refuse_null_properties(context, &scope, &rows, &merge.pattern)?;
    let mut result = Vec::with_capacity(rows.len());
    for row in rows {
        let found = matching::find(context, &scope, &row, &merge.pattern)?;
        if found.is_empty() {
            let mut row = row;
            create_merged(context, &scope, &mut row, &merge.pattern)?;
            set_row(context, &scope, &row, &merge.on_create)?;
            result.push(row);
        } else {
            for row in found {
                set_row(context, &scope, &row, &merge.on_match)?;
                result.push(row);
            }
        }
    }
    Ok(Table { scope, rows: result })
}

/// Like CREATE, but an undirected relationship gets a direction.
fn create_merged(
    context: &mut Context<'_>,
    scope: &Scope,
    row: &mut Row,
    part: &PatternPart,
) -> Result<(), Failure> {
    let mut part = part.clone();
    if let Some(hop) = &mut part.hop
        && hop.relationship.direction == Direction::Either
    {
        hop.relationship.direction = Direction::Right;
    }
    create_part(context, scope, row, &part)
}

fn refuse_null_properties(
    context: &Context<'_>,
    scope: &Scope,
    rows: &[Row],
    part: &PatternPart,
) -> Result<(), Failure> {
    let mut patterns: Vec<(Option<&String>, Option<&Properties>)> =
        vec![(part.start.variable.as_ref(), part.start.properties.as_ref())];
    if let Some(hop) = &part.hop {
        let relationship = &hop.relationship;
        patterns.push((relationship.variable.as_ref(), relationship.properties.as_ref()));
        patterns.push((hop.end.variable.as_ref(), hop.end.properties.as_ref()));
    }
    for row in rows {
        for (variable, properties) in &patterns {
            let values = eval::properties(context, scope, row, *properties)?;
            if let Some((key, _)) = values.iter().find(|(_, value)| *value == Value::Null) {
                // What has no name gets one from Memgraph, by its place in the query.
                return Err(match variable {
                    Some(variable) => errors::null_in_merge(variable, key),
                    None => messages::unsupported("a null in a part of MERGE that has no name"),
                });
            }
        }
    }
    Ok(())
}

/// SET
pub(super) fn set(context: &mut Context<'_>, table: Table, items: &[SetItem]) -> Result<Table, Failure> {
    for row in &table.rows {
        set_row(context, &table.scope, row, items)?;
    }
    Ok(table)
}

#[derive(Clone, Copy)]
enum Target {
    Node(Gid),
    Relationship(Gid),
}

/// What a variable refers to; `None` for null, which swallows all changes.
fn target(value: &Value) -> Result<Option<Target>, Failure> {
    match value {
        Value::Null => Ok(None),
        Value::Node(gid) => Ok(Some(Target::Node(*gid))),
        Value::Relationship(gid) => Ok(Some(Target::Relationship(*gid))),
        _ => Err(errors::not_to_be_set()),
    }
}

fn variable(scope: &Scope, row: &Row, name: &str) -> Result<Value, Failure> {
    bound(scope, row, name)
        .cloned()
        .ok_or_else(|| errors::unbound_variable(name))
}

fn set_row(context: &mut Context<'_>, scope: &Scope, row: &Row, items: &[SetItem]) -> Result<(), Failure> {
    for item in items {
        match item {
            SetItem::Property { subject, key, value } => {
                let value = eval::value(context, scope, row, value)?;
                if let Some(target) = target(&eval::value(context, scope, row, subject)?)? {
                    set_property(context, target, key, value, true)?;
                }
            }
            SetItem::Replace {
                variable: name,
                value,
            }
            | SetItem::Update {
                variable: name,
                value,
            } => {
                let value = eval::value(context, scope, row, value)?;
                let subject = variable(scope, row, name)?;
                let Some(target) = target(&subject)? else { continue };
                let Some(new) = functions::properties(context, &value) else {
                    return Err(errors::not_to_be_assigned());
                };
                if matches!(item, SetItem::Replace { .. }) {
                    for key in functions::properties(context, &subject)
                        .unwrap_or_default()
                        .into_keys()
                    {
                        if !new.contains_key(&key) {
                            set_property(context, target, &key, Value::Null, true)?;
                        }
                    }
                }
                for (key, value) in new {
                    set_property(context, target, &key, value, true)?;
                }
            }
            SetItem::Labels {
                variable: name,
                labels,
            } => match variable(scope, row, name)? {
                Value::Null => {}
                Value::Node(gid) => {
                    for label in labels {
                        context
                            .graph
                            .add_label(context.transaction, gid, label)
                            .map_err(|error| errors::write(context.version, Write::AddLabel, error))?;
                    }
                }
                other => return Err(errors::not_a_node(name, &other)),
            },
        }
    }
    Ok(())
}

/// Sets a property. A null in a CREATE is not even noted (`remove` is false there).
fn set_property(
    context: &mut Context<'_>,
    target: Target,
    key: &str,
    value: Value,
    remove: bool,
) -> Result<(), Failure> {
    if value == Value::Null && !remove {
        return Ok(());
    }
    if !value.is_storable() {
        return Err(errors::not_to_be_stored(&value));
    }
    if !value.nests_within(MAX_DEPTH) {
        return Err(messages::unsupported(format_args!(
            "a property whose lists and maps are nested deeper than {MAX_DEPTH}"
        )));
    }
    match target {
        Target::Node(gid) => context
            .graph
            .set_node_property(context.transaction, gid, key, value),
        Target::Relationship(gid) => {
            context
                .graph
                .set_relationship_property(context.transaction, gid, key, value)
        }
    }
    .map_err(|error| errors::write(context.version, Write::SetProperty, error))
}

/// REMOVE
pub(super) fn remove(
    context: &mut Context<'_>,
    table: Table,
    items: &[RemoveItem],
) -> Result<Table, Failure> {
    for row in &table.rows {
        for item in items {
            match item {
                RemoveItem::Property { subject, key } => {
                    if let Some(target) = target(&eval::value(context, &table.scope, row, subject)?)? {
                        set_property(context, target, key, Value::Null, true)?;
                    }
                }
                RemoveItem::Labels {
                    variable: name,
                    labels,
                } => match variable(&table.scope, row, name)? {
                    Value::Null => {}
                    Value::Node(gid) => {
                        for label in labels {
                            context
                                .graph
                                .remove_label(context.transaction, gid, label)
                                .map_err(|error| errors::write(context.version, Write::RemoveLabel, error))?;
                        }
                    }
                    other => return Err(errors::not_a_node(name, &other)),
                },
            }
        }
    }
    Ok(table)
}

/// DELETE and DETACH DELETE: relationships first, then nodes, whatever the order of the text.
pub(super) fn delete(
    context: &mut Context<'_>,
    table: Table,
    targets: &[Expression],
    detach: bool,
) -> Result<Table, Failure> {
    let mut nodes = std::collections::BTreeSet::new();
    let mut relationships = std::collections::BTreeSet::new();
    for row in &table.rows {
        for expression in targets {
            match eval::value(context, &table.scope, row, expression)? {
                Value::Null => {}
                Value::Node(gid) => {
                    nodes.insert(gid);
                }
                Value::Relationship(gid) => {
                    relationships.insert(gid);
                }
                _ => return Err(errors::not_to_be_deleted()),
            }
        }
    }
    let view = context.view();
    if detach {
        for gid in &nodes {
            relationships.extend(context.graph.outgoing(view, *gid));
            relationships.extend(context.graph.incoming(view, *gid));
        }
    }
    for gid in relationships {
        if context.graph.relationship(view, gid).is_some() {
            context
                .graph
                .delete_relationship(context.transaction, gid)
                .map_err(|error| errors::write(context.version, Write::Delete, error))?;
        }
    }
    for gid in nodes {
        if context.graph.node(view, gid).is_some() {
            context
                .graph
                .delete_node(context.transaction, gid)
                .map_err(|error| errors::write(context.version, Write::Delete, error))?;
        }
    }
    Ok(table)
}
