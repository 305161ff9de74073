//! Operators, and Cypher's logic of three values.

use std::cmp::Ordering;

use bolt_server::Failure;
use cypher_subset::ast::{BinaryOperator, UnaryOperator};

use super::{errors, functions};
use crate::{messages, value::Value};

/// The truth value of a condition: `None` for null, the value itself if it has none.
pub(super) fn truth(value: &Value) -> Result<Option<bool>, &Value> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(value) => Ok(Some(*value)),
        other => Err(other),
    }
}

fn from_truth(value: Option<bool>) -> Value {
    value.map_or(Value::Null, Value::Bool)
}

/// Whether the left side of AND and OR decides alone, so that the right one need not be looked at.
pub(super) fn decided(operator: BinaryOperator, left: &Value) -> Option<Value> {
    match (operator, left) {
        (BinaryOperator::And, Value::Bool(false)) => Some(Value::Bool(false)),
        (BinaryOperator::Or, Value::Bool(true)) => Some(Value::Bool(true)),
        _ => None,
    }
}

/// The value of a binary operator.
pub(super) fn binary(operator: BinaryOperator, left: Value, right: Value) -> Result<Value, Failure> {
    use BinaryOperator as Op;
    let ordered = |test: fn(Ordering) -> bool, name: &str| -> Result<Value, Failure> {
        compare(&left, &right)
            .map(|order| order.map_or(Value::Null, |order| Value::Bool(test(order))))
            .ok_or_else(|| errors::operands(name, &left, &right))
    };
    let truths = |name: &str| {
        let both = truth(&left).and_then(|left| Ok((left, truth(&right)?)));
        both.map_err(|_| errors::operands(name, &left, &right))
    };
    match operator {
        Op::And => Ok(from_truth(match truths("AND")? {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        })),
        Op::Or => Ok(from_truth(match truths("OR")? {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        })),
        Op::Xor => {
            let (left, right) = truths("XOR")?;
            Ok(from_truth(left.zip(right).map(|(left, right)| left != right)))
        }
        Op::Equal => Ok(from_truth(left.equals(&right))),
        Op::NotEqual => Ok(from_truth(left.equals(&right).map(|equal| !equal))),
        Op::Less => ordered(Ordering::is_lt, "<"),
        Op::LessOrEqual => ordered(Ordering::is_le, "<="),
        Op::Greater => ordered(Ordering::is_gt, ">"),
        Op::GreaterOrEqual => ordered(Ordering::is_ge, ">="),
        Op::In => is_in(&left, &right),
        Op::StartsWith => strings(&left, &right, |text, part| text.starts_with(part)),
        Op::EndsWith => strings(&left, &right, |text, part| text.ends_with(part)),
        Op::Contains => strings(&left, &right, |text, part| text.contains(part)),
        Op::Add => add(left, right),
        Op::Subtract => arithmetic("-", &left, &right, i64::checked_sub, |a, b| a - b),
        Op::Multiply => arithmetic("*", &left, &right, i64::checked_mul, |a, b| a * b),
        Op::Divide if right == Value::Int(0) && matches!(left, Value::Int(_)) => {
            Err(errors::operands("/", &left, &right))
        }
        Op::Divide => arithmetic("/", &left, &right, i64::checked_div, |a, b| a / b),
        Op::Modulo if right == Value::Int(0) && matches!(left, Value::Int(_)) => {
            Err(errors::operands("%", &left, &right))
        }
        Op::Modulo => arithmetic("%", &left, &right, i64::checked_rem, |a, b| a % b),
        Op::Power => match (number(&left), number(&right)) {
            (Some(base), Some(exponent)) => Ok(Value::Float(base.powf(exponent))),
            _ if left == Value::Null || right == Value::Null => Ok(Value::Null),
            _ => Err(errors::operands("^", &left, &right)),
        },
    }
}

/// The value of a unary operator.
pub(super) fn unary(operator: UnaryOperator, value: Value) -> Result<Value, Failure> {
    match (operator, value) {
        (UnaryOperator::IsNull, value) => Ok(Value::Bool(value == Value::Null)),
        (UnaryOperator::IsNotNull, value) => Ok(Value::Bool(value != Value::Null)),
        (_, Value::Null) => Ok(Value::Null),
        (UnaryOperator::Not, value) => truth(&value)
            .map(|truth| from_truth(truth.map(|value| !value)))
            .map_err(|value| errors::operand("NOT", value)),
        (UnaryOperator::Plus, value @ (Value::Int(_) | Value::Float(_))) => Ok(value),
        (UnaryOperator::Minus, Value::Int(value)) => {
            value.checked_neg().map(Value::Int).ok_or_else(too_large)
        }
        (UnaryOperator::Minus, Value::Float(value)) => Ok(Value::Float(-value)),
        (UnaryOperator::Plus, value) => Err(errors::operand("+", &value)),
        (UnaryOperator::Minus, value) => Err(errors::operand("-", &value)),
    }
}

fn is_in(left: &Value, right: &Value) -> Result<Value, Failure> {
    let items = match right {
        Value::Null => return Ok(Value::Null),
        Value::List(items) => items,
        other => return Err(errors::not_a_list_for_in(other)),
    };
    let mut unknown = false;
    for item in items {
        match left.equals(item) {
            Some(true) => return Ok(Value::Bool(true)),
            None => unknown = true,
            Some(false) => {}
        }
    }
    Ok(if unknown { Value::Null } else { Value::Bool(false) })
}

fn strings(left: &Value, right: &Value, test: fn(&str, &str) -> bool) -> Result<Value, Failure> {
    match (left, right) {
        (Value::String(text), Value::String(part)) => Ok(Value::Bool(test(text, part))),
        (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
        _ => Err(messages::unsupported("operators for strings with other operands")),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        _ => None,
    }
}

/// Memgraph leaves it to the processor what becomes of a result that has no place in 64 bits.
pub(super) fn too_large() -> Failure {
    messages::unsupported("integers beyond 64 bits")
}

/// The order of two values: `Some(None)` where Cypher answers null, `None` where Memgraph refuses to compare
/// (`operator<` in `src/query/typed_value.cpp`).
fn compare(left: &Value, right: &Value) -> Option<Option<Ordering>> {
    let orders = |value: &Value| {
        matches!(
            value,
            Value::Null | Value::Int(_) | Value::Float(_) | Value::String(_) | Value::Temporal(_)
        )
    };
    let canonical = |value: &Value| !matches!(value, Value::Enum { .. });
    if orders(left) && orders(right) {
        return Some(left.compare(right));
    }
    let differ = left.type_name() != right.type_name();
    (differ && (canonical(left) || canonical(right))).then_some(None)
}

fn add(left: Value, right: Value) -> Result<Value, Failure> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
        (Value::List(mut left), Value::List(right)) => {
            left.extend(right);
            Ok(Value::List(left))
        }
        (Value::List(mut left), right) => {
            left.push(right);
            Ok(Value::List(left))
        }
        (left, Value::List(mut right)) => {
            right.insert(0, left);
            Ok(Value::List(right))
        }
        (Value::String(left), Value::String(right)) => Ok(Value::String(left + &right)),
        (Value::String(left), right @ (Value::Int(_) | Value::Float(_))) => {
            Ok(Value::String(left + &functions::text(&right).unwrap_or_default()))
        }
        (left @ (Value::Int(_) | Value::Float(_)), Value::String(right)) => {
            Ok(Value::String(functions::text(&left).unwrap_or_default() + &right))
        }
        (left, right) => arithmetic("+", &left, &right, i64::checked_add, |a, b| a + b),
    }
}

fn arithmetic(
    name: &str,
    left: &Value,
    right: &Value,
    integers: fn(i64, i64) -> Option<i64>,
    floats: fn(f64, f64) -> f64,
) -> Result<Value, Failure> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
        (Value::Int(left), Value::Int(right)) => {
            integers(*left, *right).map(Value::Int).ok_or_else(too_large)
        }
        _ => match (number(left), number(right)) {
            (Some(left), Some(right)) => Ok(Value::Float(floats(left, right))),
            _ => Err(errors::operands(name, left, right)),
        },
    }
}
