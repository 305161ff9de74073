//! MATCH: the rows of a table, extended by everything in the graph that fits a pattern.

use bolt_server::Failure;
use cypher_subset::ast::{
    Direction, Expression, Hop, NodePattern, PatternPart, Properties, RelationshipPattern,
};

use super::{
    Context, Table,
    demands::Demands,
    eval::{self, Row, Scope},
};
use crate::{
    storage::Name,
    value::{Gid, Path, Value},
};

/// Adds the variables of a pattern to the scope, in the order in which matching binds them.
pub(super) fn declare(part: &PatternPart, scope: &mut Scope) {
    let names = [
        part.start.variable.as_ref(),
        part.hop
            .as_ref()
            .and_then(|hop| hop.relationship.variable.as_ref()),
        part.hop.as_ref().and_then(|hop| hop.end.variable.as_ref()),
        part.path.as_ref(),
    ];
    names.into_iter().flatten().for_each(|name| scope.add(name));
}

/// MATCH and OPTIONAL MATCH.
pub(super) fn run(
    context: &Context<'_>,
    table: Table,
    patterns: &[PatternPart],
    condition: Option<&Expression>,
    optional: bool,
) -> Result<Table, Failure> {
    let mut scope = table.scope;
    patterns.iter().for_each(|part| declare(part, &mut scope));
    let demands = Demands::of(condition);
    let mut rows = Vec::new();
    for row in table.rows {
        let mut found = vec![Partial {
            row: row.clone(),
            used: Vec::new(),
        }];
        for part in patterns {
            found = extend(context, &scope, &demands, found, part)?;
        }
        let before = rows.len();
        for Partial { row, .. } in found {
            if eval::holds(context, &scope, &row, condition)? {
                rows.push(row);
            }
        }
        if optional && rows.len() == before {
            let mut row = row;
            row.resize(scope.len(), Value::Null);
            rows.push(row);
        }
    }
    Ok(Table { scope, rows })
}

/// All rows in which `part` fits, starting from one row.
pub(super) fn find(
    context: &Context<'_>,
    scope: &Scope,
    row: &Row,
    part: &PatternPart,
) -> Result<Vec<Row>, Failure> {
    let start = vec![Partial {
        row: row.clone(),
        used: Vec::new(),
    }];
    Ok(extend(context, scope, &Demands::default(), start, part)?
        .into_iter()
        .map(|partial| partial.row)
        .collect())
}

/// A row that is being matched. It is as long as its bound variables: the scope has them in the same order.
#[derive(Clone)]
struct Partial {
    row: Row,
    /// Relationships of this MATCH so far: none can fit twice.
    used: Vec<Gid>,
}

impl Partial {
    fn bound(&self, scope: &Scope, variable: Option<&String>) -> Option<&Value> {
        self.row.get(scope.index(variable?)?)
    }

    /// Binds a variable; `false` if it is bound to something else.
    fn bind(&mut self, scope: &Scope, variable: Option<&String>, value: Value) -> bool {
        match (variable, self.bound(scope, variable)) {
            (None, _) => true,
            (Some(_), Some(known)) => *known == value,
            (Some(_), None) => {
                self.row.push(value);
                true
            }
        }
    }

    /// Binds the name of the path that a part has matched.
    fn bind_path(&mut self, scope: &Scope, part: &PatternPart, start: Gid, hop: Option<(Gid, Gid)>) {
        if part.path.is_some() {
            let path = Value::Path(Box::new(Path { start, hop }));
            self.bind(scope, part.path.as_ref(), path);
        }
    }
}

fn extend(
    context: &Context<'_>,
    scope: &Scope,
    demands: &Demands<'_>,
    partials: Vec<Partial>,
    part: &PatternPart,
) -> Result<Vec<Partial>, Failure> {
    let mut result = Vec::new();
    for partial in partials {
        match &part.hop {
            None => {
                for node in nodes(context, scope, demands, &partial, &part.start)? {
                    let mut next = partial.clone();
                    if next.bind(scope, part.start.variable.as_ref(), Value::Node(node)) {
                        next.bind_path(scope, part, node, None);
                        result.push(next);
                    }
                }
            }
            Some(hop) => expand(context, scope, demands, &partial, (part, hop), &mut result)?,
        }
    }
    Ok(result)
}

/// The nodes that fit a pattern: the bound one, or what a scan or an index finds.
fn nodes(
    context: &Context<'_>,
    scope: &Scope,
    demands: &Demands<'_>,
    partial: &Partial,
    pattern: &NodePattern,
) -> Result<Vec<Gid>, Failure> {
    let view = context.view();
    let wanted = Wanted::new(context, scope, &partial.row, pattern.properties.as_ref())?;
    let Some(labels) = labels(context, &pattern.labels) else {
        return Ok(Vec::new());
    };
    let candidates = match partial.bound(scope, pattern.variable.as_ref()) {
        Some(Value::Node(gid)) => vec![*gid],
        Some(_) => return Ok(Vec::new()),
        None => {
            let indexed = labels.iter().find_map(|label| {
                let by_value =
                    |(key, value): &(Name, Value)| context.graph.nodes_with_value(view, *label, *key, value);
                wanted.properties.as_ref()?.iter().find_map(by_value)
            });
            let indexed = indexed.or_else(|| {
                demands.candidates(context, scope, &partial.row, pattern.variable.as_ref(), &labels)
            });
            match (indexed, labels.first()) {
                (Some(found), _) => found,
                (None, Some(label)) => context.graph.nodes_with_label(view, *label),
                (None, None) => context.graph.all_nodes(view),
            }
        }
    };
    Ok(candidates
        .into_iter()
        .filter(|gid| node_fits(context, *gid, &labels, &wanted))
        .collect())
}

/// The labels as names; `None` when one of them was never used.
fn labels(context: &Context<'_>, texts: &[String]) -> Option<Vec<Name>> {
    texts.iter().map(|label| context.graph.find_name(label)).collect()
}

fn node_fits(context: &Context<'_>, gid: Gid, labels: &[Name], wanted: &Wanted) -> bool {
    context.graph.node(context.view(), gid).is_some_and(|node| {
        labels.iter().all(|label| node.labels.contains(label)) && wanted.fit(|key| node.property(key))
    })
}

/// Properties that a pattern demands.
struct Wanted {
    /// `None`: nothing can fit, because a key was never used.
    properties: Option<Vec<(Name, Value)>>,
}

impl Wanted {
    fn new(
        context: &Context<'_>,
        scope: &Scope,
        row: &Row,
        properties: Option<&Properties>,
    ) -> Result<Self, Failure> {
        let wanted = eval::properties(context, scope, row, properties)?;
        let named = wanted
            .into_iter()
            .map(|(key, value)| Some((context.graph.find_name(&key)?, value)));
        Ok(Self {
            properties: named.collect(),
        })
    }

    fn fit<'a>(&self, property: impl Fn(Name) -> Option<&'a Value>) -> bool {
        self.properties.as_ref().is_some_and(|wanted| {
            wanted
                .iter()
                .all(|(key, value)| property(*key).and_then(|it| it.equals(value)) == Some(true))
        })
    }
}

/// Follows the relationship of a pattern from whichever end is known.
fn expand(
    context: &Context<'_>,
    scope: &Scope,
    demands: &Demands<'_>,
    partial: &Partial,
    (part, hop): (&PatternPart, &Hop),
    result: &mut Vec<Partial>,
) -> Result<(), Failure> {
    let start = &part.start;
    let from_end = partial.bound(scope, start.variable.as_ref()).is_none()
        && partial.bound(scope, hop.end.variable.as_ref()).is_some();
    let (near, far) = if from_end {
        (&hop.end, start)
    } else {
        (start, &hop.end)
    };
    let Some(far_labels) = labels(context, &far.labels) else {
        return Ok(());
    };
    for near_node in nodes(context, scope, demands, partial, near)? {
        for (relationship, far_node) in relationships(context, near_node, &hop.relationship, from_end) {
            if partial.used.contains(&relationship) {
                continue;
            }
            let (first, last) = if from_end {
                (far_node, near_node)
            } else {
                (near_node, far_node)
            };
            let mut next = partial.clone();
            next.used.push(relationship);
            if !next.bind(scope, start.variable.as_ref(), Value::Node(first)) {
                continue;
            }
            let wanted = Wanted::new(context, scope, &next.row, hop.relationship.properties.as_ref())?;
            let data = context.graph.relationship(context.view(), relationship);
            if !data.is_some_and(|data| wanted.fit(|key| data.property(key)))
                || !next.bind(
                    scope,
                    hop.relationship.variable.as_ref(),
                    Value::Relationship(relationship),
                )
            {
                continue;
            }
            let wanted = Wanted::new(context, scope, &next.row, far.properties.as_ref())?;
            if node_fits(context, far_node, &far_labels, &wanted)
                && next.bind(scope, hop.end.variable.as_ref(), Value::Node(last))
            {
                next.bind_path(scope, part, first, Some((relationship, last)));
                result.push(next);
            }
        }
    }
    Ok(())
}

/// Relationships of the right type and direction at a node, each with the node at its other end.
fn relationships(
    context: &Context<'_>,
    node: Gid,
    pattern: &RelationshipPattern,
    from_end: bool,
) -> Vec<(Gid, Gid)> {
    let (out, into) = match (pattern.direction, from_end) {
        (Direction::Either, _) => (true, true),
        (Direction::Right, false) | (Direction::Left, true) => (true, false),
        (Direction::Left, false) | (Direction::Right, true) => (false, true),
    };
    let view = context.view();
    let mut found = Vec::new();
    let fits = |gid: &Gid| {
        let kind = context
            .graph
            .ends(*gid)
            .map(|(kind, ..)| context.graph.name(kind));
        pattern.types.is_empty() || pattern.types.iter().any(|wanted| kind == Some(wanted.as_str()))
    };
    if out {
        let gids = context.graph.outgoing(view, node).into_iter().filter(fits);
        found.extend(gids.filter_map(|gid| context.graph.ends(gid).map(|(_, _, to)| (gid, to))));
    }
    if into {
        let gids = context.graph.incoming(view, node).into_iter().filter(fits);
        let others = gids.filter_map(|gid| context.graph.ends(gid).map(|(_, from, _)| (gid, from)));
        // A loop is both outgoing and incoming, but fits once.
        found.extend(others.filter(|(_, from)| !(out && *from == node)));
    }
    found
}
