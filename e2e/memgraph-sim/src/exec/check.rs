//! What Memgraph finds wrong with a query before it runs: the failure of RUN
//! (`src/query/frontend/semantic/symbol_generator.cpp`, and `ParseQuery` for the parameters).

use bolt_server::Failure;
use cypher_subset::ast::{
    Clause, Direction, Expression, PatternPart, Projection, Properties, Query, RemoveItem, SetItem,
};

use super::{
    Parameters, errors,
    eval::{self, Scope},
    matching, project,
};

/// Checks a query, and returns the columns of its result.
///
/// # Errors
/// Parameters that are missing, variables that are unknown or known already, aggregations outside of WITH and
/// RETURN, and relationships that cannot be created.
pub(crate) fn query(query: &Query, parameters: &Parameters) -> Result<Vec<String>, Failure> {
    for clause in &query.clauses {
        check_parameters(clause, parameters)?;
    }
    let mut scope = Scope::default();
    for clause in &query.clauses {
        match clause {
            Clause::With { projection, filter } => {
                scope = project::columns(projection, &scope)?;
                check_filter(filter.as_ref(), &scope)?;
            }
            Clause::Return(projection) => return Ok(project::columns(projection, &scope)?.into_names()),
            other => check_clause(other, &mut scope)?,
        }
    }
    Ok(Vec::new())
}

/// Adds the variables of a pattern, of which the path has to be new.
fn declare(part: &PatternPart, scope: &mut Scope) -> Result<(), Failure> {
    if let Some(path) = part.path.as_ref().filter(|path| scope.index(path).is_some()) {
        return Err(errors::redeclared_variable(path));
    }
    matching::declare(part, scope);
    Ok(())
}

fn check_clause(clause: &Clause, scope: &mut Scope) -> Result<(), Failure> {
    match clause {
        Clause::Match { patterns, filter, .. } => {
            patterns.iter().try_for_each(|part| declare(part, scope))?;
            check_filter(filter.as_ref(), scope)?;
        }
        Clause::Create { patterns } => {
            for part in patterns {
                check_new(part, scope, true)?;
                declare(part, scope)?;
            }
        }
        Clause::Merge(merge) => {
            check_new(&merge.pattern, scope, false)?;
            declare(&merge.pattern, scope)?;
            check_variables_set(merge.on_create.iter().chain(&merge.on_match), scope)?;
        }
        Clause::Set(items) => check_variables_set(items, scope)?,
        Clause::Remove(items) => {
            for item in items {
                if let RemoveItem::Labels { variable, .. } = item {
                    check_bound(variable, scope)?;
                }
            }
        }
        Clause::Unwind { .. } | Clause::Delete { .. } | Clause::With { .. } | Clause::Return(_) => {}
    }
    let expressions = expressions(clause);
    if expressions.iter().any(|it| it.contains_aggregation()) {
        return Err(errors::misplaced_aggregation());
    }
    eval::check_variables(expressions, scope)?;
    if let Clause::Unwind { variable, .. } = clause {
        if scope.index(variable).is_some() {
            return Err(errors::redeclared_variable(variable));
        }
        scope.add(variable);
    }
    Ok(())
}

fn check_filter(filter: Option<&Expression>, scope: &Scope) -> Result<(), Failure> {
    if filter.is_some_and(Expression::contains_aggregation) {
        return Err(errors::misplaced_aggregation());
    }
    eval::check_variables(filter, scope)
}

/// A pattern of CREATE or MERGE. Only MERGE takes a relationship without a direction.
fn check_new(part: &PatternPart, scope: &Scope, create: bool) -> Result<(), Failure> {
    let known = |variable: &Option<String>| {
        let name = variable.as_ref().filter(|name| scope.index(name).is_some());
        name.map_or(Ok(()), |name| Err(errors::redeclared_variable(name)))
    };
    let Some(hop) = &part.hop else {
        return known(&part.start.variable);
    };
    if hop.relationship.types.len() != 1 {
        return Err(errors::relationship_without_type());
    }
    if create && hop.relationship.direction == Direction::Either {
        return Err(errors::relationship_without_direction());
    }
    known(&hop.relationship.variable)
}

fn check_bound(variable: &str, scope: &Scope) -> Result<(), Failure> {
    match scope.index(variable) {
        Some(_) => Ok(()),
        None => Err(errors::unbound_variable(variable)),
    }
}

fn check_variables_set<'a>(
    items: impl IntoIterator<Item = &'a SetItem>,
    scope: &Scope,
) -> Result<(), Failure> {
    items.into_iter().try_for_each(|item| match item {
        SetItem::Property { .. } => Ok(()),
        SetItem::Replace { variable, .. }
        | SetItem::Update { variable, .. }
        | SetItem::Labels { variable, .. } => check_bound(variable, scope),
    })
}

fn check_parameters(clause: &Clause, parameters: &Parameters) -> Result<(), Failure> {
    let check = |name: &String| match parameters.contains_key(name) {
        true => Ok(()),
        false => Err(errors::unprovided_parameter(name)),
    };
    for properties in patterns(clause).iter().flat_map(all_properties) {
        if let Properties::Parameter(name) = properties {
            check(name)?;
        }
    }
    let mut open = expressions(clause);
    while let Some(expression) = open.pop() {
        if let Expression::Parameter(name) = expression {
            check(name)?;
        }
        open.extend(expression.children());
    }
    Ok(())
}

fn patterns(clause: &Clause) -> &[PatternPart] {
    match clause {
        Clause::Match { patterns, .. } | Clause::Create { patterns } => patterns,
        Clause::Merge(merge) => std::slice::from_ref(&merge.pattern),
        _ => &[],
    }
}

fn all_properties(part: &PatternPart) -> impl Iterator<Item = &Properties> {
    let hop = part.hop.as_ref();
    let of_hop = hop.map(|hop| [hop.relationship.properties.as_ref(), hop.end.properties.as_ref()]);
    std::iter::once(part.start.properties.as_ref())
        .chain(of_hop.into_iter().flatten())
        .flatten()
}

/// All expressions of a clause that are not inside of another one.
fn expressions(clause: &Clause) -> Vec<&Expression> {
    let mut found = Vec::new();
    for properties in patterns(clause).iter().flat_map(all_properties) {
        if let Properties::Map(entries) = properties {
            found.extend(entries.iter().map(|(_, value)| value));
        }
    }
    match clause {
        Clause::Match { filter, .. } => found.extend(filter),
        Clause::Unwind { list, .. } => found.push(list),
        Clause::Create { .. } => {}
        Clause::Merge(merge) => found.extend(set_expressions(merge.on_create.iter().chain(&merge.on_match))),
        Clause::Set(items) => found.extend(set_expressions(items)),
        Clause::Remove(items) => found.extend(items.iter().filter_map(|item| match item {
            RemoveItem::Property { subject, .. } => Some(subject),
            RemoveItem::Labels { .. } => None,
        })),
        Clause::Delete { targets, .. } => found.extend(targets),
        Clause::With { projection, filter } => {
            found.extend(projection_expressions(projection));
            found.extend(filter);
        }
        Clause::Return(projection) => found.extend(projection_expressions(projection)),
    }
    found
}

fn set_expressions<'a>(items: impl IntoIterator<Item = &'a SetItem>) -> Vec<&'a Expression> {
    let mut found = Vec::new();
    for item in items {
        match item {
            SetItem::Property { subject, value, .. } => found.extend([subject, value]),
            SetItem::Replace { value, .. } | SetItem::Update { value, .. } => found.push(value),
            SetItem::Labels { .. } => {}
        }
    }
    found
}

fn projection_expressions(projection: &Projection) -> impl Iterator<Item = &Expression> {
    let items = projection.items.iter().map(|item| &item.expression);
    let order = projection.order_by.iter().map(|item| &item.expression);
    items
        .chain(order)
        .chain(&projection.skip)
        .chain(&projection.limit)
}
