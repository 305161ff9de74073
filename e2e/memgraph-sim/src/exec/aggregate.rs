//! Aggregations over the rows of a group.

use bolt_server::Failure;
use cypher_subset::ast::Expression;

use super::{errors, eval::Env, operators};
use crate::{messages, value::Value};

/// The value of an aggregation over the group of `env`.
pub(super) fn value(env: &Env<'_>, expression: &Expression) -> Result<Value, Failure> {
    let Some(group) = env.group else {
        return Err(errors::misplaced_aggregation());
    };
    let Expression::Function {
        name,
        distinct,
        arguments,
    } = expression
    else {
        return Ok(count(group.len()));
    };
    let [argument] = arguments.as_slice() else {
        return Err(messages::unsupported(format_args!(
            "aggregation {name} of other than one value"
        )));
    };
    let mut values = Vec::with_capacity(group.len());
    for row in group {
        let value = Env {
            row,
            group: None,
            ..*env
        }
        .value(argument)?;
        if value != Value::Null {
            values.push(value);
        }
    }
    if *distinct {
        values.sort_by(Value::order);
        values.dedup_by(|a, b| a.order(b).is_eq());
    }
    match name.as_str() {
        "COUNT" => Ok(count(values.len())),
        "COLLECT" => Ok(Value::List(values)),
        "MIN" => Ok(values.into_iter().min_by(Value::order).unwrap_or_default()),
        "MAX" => Ok(values.into_iter().max_by(Value::order).unwrap_or_default()),
        "SUM" => sum(&values),
        "AVG" if values.is_empty() => Ok(Value::Null),
        "AVG" => {
            let count = values.len() as f64;
            Ok(Value::Float(match sum(&values)? {
                Value::Int(sum) => sum as f64 / count,
                Value::Float(sum) => sum / count,
                _ => 0.0,
            }))
        }
        other => Err(messages::unsupported(format_args!("aggregation {other}"))),
    }
}

fn count(length: usize) -> Value {
    Value::Int(i64::try_from(length).unwrap_or(i64::MAX))
}

fn sum(values: &[Value]) -> Result<Value, Failure> {
    let mut sum = Value::Int(0);
    for value in values {
        sum = match (sum, value) {
            (Value::Int(sum), Value::Int(value)) => {
                Value::Int(sum.checked_add(*value).ok_or_else(operators::too_large)?)
            }
            (Value::Int(sum), Value::Float(value)) => Value::Float(sum as f64 + value),
            (Value::Float(sum), Value::Int(value)) => Value::Float(sum + *value as f64),
            (Value::Float(sum), Value::Float(value)) => Value::Float(sum + value),
            _ => {
                return Err(errors::not_a_sum());
            }
        };
    }
    Ok(sum)
}
