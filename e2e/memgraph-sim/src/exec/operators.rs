//! Operators, and Cypher's logic of three values.

use bolt_server::Failure;
use cypher_subset::ast::{BinaryOperator, UnaryOperator};

use super::functions;
use crate::value::Value;

/// The truth value of a condition; `None` for null.
pub(super) fn truth(value: &Value) -> Result<Option<bool>, Failure> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(value) => Ok(Some(*value)),
        other => Err(Failure::client(format!(
            "Expected a boolean, got {}.",
            other.type_name()
        ))),
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
    let ordered = |test: fn(std::cmp::Ordering) -> bool| -> Result<Value, Failure> {
        if matches!(left, Value::Null) || matches!(right, Value::Null) {
            return Ok(Value::Null);
        }
        left.compare(&right)
            .map(|order| Value::Bool(test(order)))
            .ok_or_else(|| {
                Failure::client(format!(
                    "Invalid types: {} and {} for comparison.",
                    left.type_name(),
                    right.type_name()
                ))
            })
    };
    match operator {
        Op::And => Ok(from_truth(match (truth(&left)?, truth(&right)?) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        })),
        Op::Or => Ok(from_truth(match (truth(&left)?, truth(&right)?) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        })),
        Op::Xor => Ok(from_truth(
            truth(&left)?
                .zip(truth(&right)?)
                .map(|(left, right)| left != right),
        )),
        Op::Equal => Ok(from_truth(left.equals(&right))),
        Op::NotEqual => Ok(from_truth(left.equals(&right).map(|equal| !equal))),
        Op::Less => ordered(std::cmp::Ordering::is_lt),
        Op::LessOrEqual => ordered(std::cmp::Ordering::is_le),
        Op::Greater => ordered(std::cmp::Ordering::is_gt),
        Op::GreaterOrEqual => ordered(std::cmp::Ordering::is_ge),
        Op::In => is_in(&left, &right),
        Op::StartsWith => strings(&left, &right, |text, part| text.starts_with(part)),
        Op::EndsWith => strings(&left, &right, |text, part| text.ends_with(part)),
        Op::Contains => strings(&left, &right, |text, part| text.contains(part)),
        Op::Add => add(left, right),
        Op::Subtract => arithmetic("-", &left, &right, i64::checked_sub, |a, b| a - b),
        Op::Multiply => arithmetic("*", &left, &right, i64::checked_mul, |a, b| a * b),
        Op::Divide if right == Value::Int(0) && matches!(left, Value::Int(_)) => {
            Err(Failure::client("Division by zero."))
        }
        Op::Divide => arithmetic("/", &left, &right, i64::checked_div, |a, b| a / b),
        Op::Modulo if right == Value::Int(0) && matches!(left, Value::Int(_)) => {
            Err(Failure::client("Mod with zero."))
        }
        Op::Modulo => arithmetic("%", &left, &right, i64::checked_rem, |a, b| a % b),
        Op::Power => match (number(&left), number(&right)) {
            (Some(base), Some(exponent)) => Ok(Value::Float(base.powf(exponent))),
            _ if left == Value::Null || right == Value::Null => Ok(Value::Null),
            _ => Err(invalid_types("^", &left, &right)),
        },
    }
}

/// The value of a unary operator.
pub(super) fn unary(operator: UnaryOperator, value: Value) -> Result<Value, Failure> {
    match (operator, value) {
        (UnaryOperator::IsNull, value) => Ok(Value::Bool(value == Value::Null)),
        (UnaryOperator::IsNotNull, value) => Ok(Value::Bool(value != Value::Null)),
        (_, Value::Null) => Ok(Value::Null),
        (UnaryOperator::Not, value) => Ok(from_truth(truth(&value)?.map(|value| !value))),
        (UnaryOperator::Plus, value @ (Value::Int(_) | Value::Float(_))) => Ok(value),
        (UnaryOperator::Minus, Value::Int(value)) => value
            .checked_neg()
            .map(Value::Int)
            .ok_or_else(|| Failure::client("Integer overflow.")),
        (UnaryOperator::Minus, Value::Float(value)) => Ok(Value::Float(-value)),
        (UnaryOperator::Plus, value) => Err(Failure::client(format!(
            "Invalid type {} for '+'.",
            value.type_name()
        ))),
        (UnaryOperator::Minus, value) => Err(Failure::client(format!(
            "Invalid type {} for '-'.",
            value.type_name()
        ))),
    }
}

fn is_in(left: &Value, right: &Value) -> Result<Value, Failure> {
    let items = match right {
        Value::Null => return Ok(Value::Null),
        Value::List(items) => items,
        other => {
            return Err(Failure::client(format!(
                "IN expected a list, got {}.",
                other.type_name()
            )));
        }
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
        _ => Err(Failure::client("A string operator needs strings on both sides.")),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        _ => None,
    }
}

fn invalid_types(operator: &str, left: &Value, right: &Value) -> Failure {
    Failure::client(format!(
        "Invalid types: {} and {} for '{operator}'.",
        left.type_name(),
        right.type_name()
    ))
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
        (Value::Int(left), Value::Int(right)) => integers(*left, *right)
            .map(Value::Int)
            .ok_or_else(|| Failure::client("Integer overflow.")),
        _ => match (number(left), number(right)) {
            (Some(left), Some(right)) => Ok(Value::Float(floats(left, right))),
            _ => Err(invalid_types(name, left, right)),
        },
    }
}
