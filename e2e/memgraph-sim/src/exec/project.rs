//! WITH and RETURN.

use bolt_server::Failure;
use cypher_subset::ast::{Expression, Projection, ProjectionItem, SortItem, SortOrder};

use super::{
    Context, Table, errors,
    eval::{self, Env, Row, Scope},
};
use crate::value::Value;

/// The columns that a projection makes of a scope.
pub(super) fn columns(projection: &Projection, scope: &Scope) -> Result<Scope, Failure> {
    let mut names = if projection.all_variables {
        scope.names().to_vec()
    } else {
        Vec::new()
    };
    for item in &projection.items {
        eval::check_variables([&item.expression], scope)?;
        if names.contains(&item.name) {
            return Err(errors::same_column(&item.name));
        }
        names.push(item.name.clone());
    }
    Ok(Scope::new(names))
}

/// Projects, groups, sorts and cuts.
pub(super) fn run(context: &Context<'_>, table: Table, projection: &Projection) -> Result<Table, Failure> {
    let scope = columns(projection, &table.scope)?;
    let sort_by_group = projection
        .items
        .iter()
        .any(|item| item.expression.contains_aggregation());
    let mut produced = if sort_by_group {
        groups(context, &table, projection)?
    } else {
        let mut produced = Vec::with_capacity(table.rows.len());
        for row in table.rows {
            let columns = project(context, &table.scope, &row, None, projection)?;
            produced.push(Produced { columns, source: row });
        }
        produced
    };
    if projection.distinct {
        let mut seen = std::collections::BTreeSet::new();
        produced.retain(|row| seen.insert(Ordered(row.columns.clone())));
    }
    if !projection.order_by.is_empty() {
        sort(context, &table.scope, &scope, &mut produced, &projection.order_by)?;
    }
    let skip = projection
        .skip
        .as_ref()
        .map_or(Ok(0), |skip| eval::row_count(context, skip, errors::skip))?;
    let limit = projection.limit.as_ref().map_or(Ok(usize::MAX), |limit| {
        eval::row_count(context, limit, errors::limit)
    })?;
    let rows = produced
        .into_iter()
        .skip(skip)
        .take(limit)
        .map(|row| row.columns)
        .collect();
    Ok(Table { scope, rows })
}

/// A projected row, and the row that it was made of (for sort keys that are not projected).
struct Produced {
    columns: Row,
    source: Row,
}

fn project(
    context: &Context<'_>,
    scope: &Scope,
    row: &Row,
    group: Option<&[Row]>,
    projection: &Projection,
) -> Result<Row, Failure> {
    let env = Env {
        context,
        scope,
        row,
        group,
    };
    let mut columns = if projection.all_variables {
        row.clone()
    } else {
        Vec::new()
    };
    for item in &projection.items {
        columns.push(env.value(&item.expression)?);
    }
    Ok(columns)
}

/// One row per combination of the values that are not aggregated, in order of first appearance.
fn groups(context: &Context<'_>, table: &Table, projection: &Projection) -> Result<Vec<Produced>, Failure> {
    let is_key = |item: &&ProjectionItem| !item.expression.contains_aggregation();
    let keys: Vec<&Expression> = projection
        .items
        .iter()
        .filter(is_key)
        .map(|item| &item.expression)
        .collect();
    let mut places = std::collections::BTreeMap::new();
    let mut groups: Vec<Vec<Row>> = Vec::new();
    for row in &table.rows {
        let mut key = keys
            .iter()
            .map(|key| eval::value(context, &table.scope, row, key))
            .collect::<Result<Vec<_>, _>>()?;
        if projection.all_variables {
            key.extend(row.iter().cloned());
        }
        let place = *places.entry(Ordered(key)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[place].push(row.clone());
    }
    if groups.is_empty() && keys.is_empty() && !projection.all_variables {
        groups.push(Vec::new());
    }
    let mut produced = Vec::with_capacity(groups.len());
    for group in groups {
        let source = group
            .first()
            .cloned()
            .unwrap_or_else(|| vec![Value::Null; table.scope.len()]);
        let columns = project(context, &table.scope, &source, Some(&group), projection)?;
        produced.push(Produced { columns, source });
    }
    Ok(produced)
}

fn sort(
    context: &Context<'_>,
    before: &Scope,
    after: &Scope,
    rows: &mut Vec<Produced>,
    items: &[SortItem],
) -> Result<(), Failure> {
    // Sort keys see the columns first and then the variables before the projection.
    let names = after
        .names()
        .iter()
        .chain(before.names().iter().filter(|name| after.index(name).is_none()));
    let scope = Scope::new(names.cloned().collect());
    let hidden: Vec<usize> = before
        .names()
        .iter()
        .enumerate()
        .filter(|(_, name)| after.index(name).is_none())
        .map(|(at, _)| at)
        .collect();
    let mut keyed = Vec::with_capacity(rows.len());
    for row in rows.drain(..) {
        let mut values = row.columns.clone();
        values.extend(
            hidden
                .iter()
                .map(|at| row.source.get(*at).cloned().unwrap_or_default()),
        );
        let key = items
            .iter()
            .map(|item| eval::value(context, &scope, &values, &item.expression))
            .collect::<Result<Vec<_>, _>>()?;
        keyed.push((key, row));
    }
    keyed.sort_by(|(left, _), (right, _)| {
        for (item, (left, right)) in items.iter().zip(left.iter().zip(right)) {
            let order = left.order(right);
            let order = if item.order == SortOrder::Descending {
                order.reverse()
            } else {
                order
            };
            if order.is_ne() {
                return order;
            }
        }
        std::cmp::Ordering::Equal
    });
    rows.extend(keyed.into_iter().map(|(_, row)| row));
    Ok(())
}

/// Values under the total order, as keys of groups.
struct Ordered(Vec<Value>);

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let pairs = self.0.iter().zip(&other.0);
        pairs
            .map(|(a, b)| a.order(b))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| self.0.len().cmp(&other.0.len()))
    }
}
