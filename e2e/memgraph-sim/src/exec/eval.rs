//! Expressions.

use bolt_server::Failure;
use cypher_subset::ast::{CaseBranch, Expression, Literal, Properties};

use super::{Context, Table, aggregate, errors, functions, operators};
use crate::{
    messages,
    value::{EnumValue, Gid, Value},
};

/// The values of the variables of a scope.
pub(super) type Row = Vec<Value>;

/// Which variables there are; their values stand in rows in the same order.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope(Vec<String>);

impl Scope {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    pub(super) fn add(&mut self, name: &str) {
        if self.index(name).is_none() {
            self.0.push(name.to_owned());
        }
    }

    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|known| known == name)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn names(&self) -> &[String] {
        &self.0
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.0
    }
}

/// Checks that all variables exist.
pub(super) fn check_variables<'a>(
    expressions: impl IntoIterator<Item = &'a Expression>,
    scope: &Scope,
) -> Result<(), Failure> {
    for expression in expressions {
        if let Expression::Variable(name) = expression
            && scope.index(name).is_none()
        {
            return Err(errors::unbound_variable(name));
        }
        check_variables(expression.children(), scope)?;
    }
    Ok(())
}

/// Where an expression is evaluated.
#[derive(Clone, Copy)]
pub(super) struct Env<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) scope: &'a Scope,
    pub(super) row: &'a [Value],
    /// The rows that aggregations run over.
    pub(super) group: Option<&'a [Row]>,
}

/// The value of an expression without aggregations.
pub(super) fn value(
    context: &Context<'_>,
    scope: &Scope,
    row: &[Value],
    expression: &Expression,
) -> Result<Value, Failure> {
    Env {
        context,
        scope,
        row,
        group: None,
    }
    .value(expression)
}

/// Whether a condition holds; a missing one does.
pub(super) fn holds(
    context: &Context<'_>,
    scope: &Scope,
    row: &[Value],
    condition: Option<&Expression>,
) -> Result<bool, Failure> {
    let Some(condition) = condition else {
        return Ok(true);
    };
    let value = value(context, scope, row, condition)?;
    let truth = operators::truth(&value).map_err(errors::not_a_condition)?;
    Ok(truth == Some(true))
}

/// Keeps the rows for which the condition holds.
pub(super) fn filter(
    context: &Context<'_>,
    table: Table,
    condition: Option<&Expression>,
) -> Result<Table, Failure> {
    let Table { scope, rows } = table;
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        if holds(context, &scope, &row, condition)? {
            kept.push(row);
        }
    }
    Ok(Table { scope, rows: kept })
}

/// The properties of a pattern.
pub(super) fn properties(
    context: &Context<'_>,
    scope: &Scope,
    row: &[Value],
    properties: Option<&Properties>,
) -> Result<Vec<(String, Value)>, Failure> {
    match properties {
        None => Ok(Vec::new()),
        Some(Properties::Map(entries)) => entries
            .iter()
            .map(|(key, expression)| Ok((key.clone(), value(context, scope, row, expression)?)))
            .collect(),
        Some(Properties::Parameter(name)) => match parameter(context, name)? {
            Value::Map(map) => Ok(map.into_iter().collect()),
            _ => Err(messages::unsupported("properties that are no map")),
        },
    }
}

fn parameter(context: &Context<'_>, name: &str) -> Result<Value, Failure> {
    let known = context.parameters.get(name).cloned();
    known.ok_or_else(|| errors::unprovided_parameter(name))
}

impl Env<'_> {
    pub(super) fn value(&self, expression: &Expression) -> Result<Value, Failure> {
        if expression.is_aggregation() {
            return aggregate::value(self, expression);
        }
        match expression {
            Expression::Literal(literal) => Ok(match literal {
                Literal::Null => Value::Null,
                Literal::Boolean(value) => Value::Bool(*value),
                Literal::Integer(value) => Value::Int(*value),
                Literal::Float(value) => Value::Float(*value),
                Literal::String(value) => Value::String(value.clone()),
            }),
            Expression::Parameter(name) => parameter(self.context, name),
            Expression::Variable(name) => {
                let index = self
                    .scope
                    .index(name)
                    .ok_or_else(|| errors::unbound_variable(name))?;
                Ok(self.row.get(index).cloned().unwrap_or_default())
            }
            Expression::List(items) => Ok(Value::List(
                items
                    .iter()
                    .map(|item| self.value(item))
                    .collect::<Result<_, _>>()?,
            )),
            Expression::Map(entries) => {
                let mut map = std::collections::BTreeMap::new();
                for (key, expression) in entries {
                    if !map.contains_key(key) {
                        map.insert(key.clone(), self.value(expression)?);
                    }
                }
                Ok(Value::Map(map))
            }
            Expression::Property { subject, key } => self.property(&self.value(subject)?, key),
            Expression::Index { subject, index } => self.index(&self.value(subject)?, &self.value(index)?),
            Expression::Slice { subject, from, to } => self.slice(subject, from.as_deref(), to.as_deref()),
            Expression::Unary { operator, operand } => operators::unary(*operator, self.value(operand)?),
            Expression::Binary {
                operator,
                left,
                right,
            } => {
                let left = self.value(left)?;
                match operators::decided(*operator, &left) {
                    Some(value) => Ok(value),
                    None => operators::binary(*operator, left, self.value(right)?),
                }
            }
            Expression::HasLabels { subject, labels } => match self.value(subject)? {
                Value::Null => Ok(Value::Null),
                Value::Node(gid) => Ok(Value::Bool(labels.iter().all(|label| self.has_label(gid, label)))),
                _ => Err(errors::no_labels()),
            },
            Expression::Function { name, arguments, .. } => {
                let arguments = arguments
                    .iter()
                    .map(|it| self.value(it))
                    .collect::<Result<Vec<_>, _>>()?;
                functions::call(self.context, name, arguments)
            }
            Expression::CountAll => aggregate::value(self, expression),
            Expression::Case {
                operand,
                branches,
                otherwise,
            } => self.case(operand.as_deref(), branches, otherwise.as_deref()),
            Expression::EnumValue { name, value } => {
                if self.context.graph.schema().has_enum_value(name, value) {
                    Ok(Value::Enum(Box::new(EnumValue {
                        name: name.clone(),
                        value: value.clone(),
                    })))
                } else {
                    Err(errors::unknown_enum_value(name, value))
                }
            }
        }
    }

    fn has_label(&self, gid: Gid, label: &str) -> bool {
        let name = self.context.graph.find_name(label);
        let node = self.context.graph.node(self.context.view(), gid);
        name.zip(node)
            .is_some_and(|(name, node)| node.labels.contains(&name))
    }

    fn property(&self, subject: &Value, key: &str) -> Result<Value, Failure> {
        let graph = &self.context.graph;
        let view = self.context.view();
        Ok(match subject {
            Value::Null => Value::Null,
            Value::Map(map) => map.get(key).cloned().unwrap_or_default(),
            Value::Node(gid) => graph
                .find_name(key)
                .and_then(|key| graph.node(view, *gid)?.property(key).cloned())
                .unwrap_or_default(),
            Value::Relationship(gid) => graph
                .find_name(key)
                .and_then(|key| graph.relationship(view, *gid)?.property(key).cloned())
                .unwrap_or_default(),
            _ => return Err(errors::no_properties_to_look_up()),
        })
    }

    fn index(&self, subject: &Value, index: &Value) -> Result<Value, Failure> {
        match (subject, index) {
            (Value::Null, _) => Ok(Value::Null),
            (Value::List(_) | Value::Map(_) | Value::Node(_) | Value::Relationship(_), Value::Null) => {
                Ok(Value::Null)
            }
            (Value::List(items), Value::Int(index)) => Ok(position(items.len(), *index)
                .and_then(|at| items.get(at).cloned())
                .unwrap_or_default()),
            (Value::Map(_) | Value::Node(_) | Value::Relationship(_), Value::String(key)) => {
                self.property(subject, key)
            }
            _ => Err(errors::index(subject, index)),
        }
    }

    fn slice(
        &self,
        subject: &Expression,
        from: Option<&Expression>,
        to: Option<&Expression>,
    ) -> Result<Value, Failure> {
        let items = match self.value(subject)? {
            Value::Null => return Ok(Value::Null),
            Value::List(items) => items,
            other => return Err(errors::not_a_list_to_slice(&other)),
        };
        let bound = |expression: Option<&Expression>, default: usize| -> Result<Option<usize>, Failure> {
            let Some(expression) = expression else {
                return Ok(Some(default));
            };
            match self.value(expression)? {
                Value::Null => Ok(None),
                Value::Int(index) => {
                    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                    let at = if index < 0 { index + length } else { index };
                    Ok(Some(usize::try_from(at.clamp(0, length)).unwrap_or(0)))
                }
                other => Err(errors::not_a_slice_bound(&other)),
            }
        };
        let (Some(from), Some(to)) = (bound(from, 0)?, bound(to, items.len())?) else {
            return Ok(Value::Null);
        };
        Ok(Value::List(
            items.get(from..to.max(from)).unwrap_or_default().to_vec(),
        ))
    }

    fn case(
        &self,
        operand: Option<&Expression>,
        branches: &[CaseBranch],
        otherwise: Option<&Expression>,
    ) -> Result<Value, Failure> {
        let operand = operand.map(|operand| self.value(operand)).transpose()?;
        for branch in branches {
            let when = self.value(&branch.when)?;
            let taken = match &operand {
                Some(operand) => operand.equals(&when),
                None => operators::truth(&when).map_err(errors::not_a_case)?,
            };
            if taken == Some(true) {
                return self.value(&branch.then);
            }
        }
        otherwise.map_or(Ok(Value::Null), |otherwise| self.value(otherwise))
    }
}

/// A count of rows for SKIP and LIMIT; `otherwise` tells what is wrong with one that is none.
pub(super) fn row_count(
    context: &Context<'_>,
    expression: &Expression,
    otherwise: fn(&Value) -> Failure,
) -> Result<usize, Failure> {
    match value(context, &Scope::default(), &[], expression)? {
        Value::Int(count) if count >= 0 => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
        other => Err(otherwise(&other)),
    }
}

/// Turns an index that may count from the end into a position.
fn position(length: usize, index: i64) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let at = if index < 0 { index + length } else { index };
    usize::try_from(at).ok()
}
