//! What Memgraph says of queries that go wrong while they run. The strings are exact
//! (`src/query/interpret/eval.hpp`, `src/query/plan/operator.cpp`, `src/query/common.hpp` and
//! `src/query/exceptions.hpp`).

use bolt_server::{Failure, Version};

use crate::{storage::WriteError, value::Value};

/// A binary operator was given what it cannot take, which includes a zero to divide by. AND, OR and `^` are
/// shown without quotes.
pub(super) fn operands(operator: &str, left: &Value, right: &Value) -> Failure {
    let (left, right) = (left.type_name(), right.type_name());
    Failure::client(match operator {
        "AND" | "OR" | "^" => format!("Invalid types: {left} and {right} for {operator}."),
        _ => format!("Invalid types: {left} and {right} for '{operator}'."),
    })
}

pub(super) fn operand(operator: &str, value: &Value) -> Failure {
    Failure::client(format!("Invalid type {} for '{operator}'.", value.type_name()))
}

pub(super) fn not_a_condition(value: &Value) -> Failure {
    let kind = value.type_name();
    Failure::client(format!(
        "Filter expression must evaluate to bool or null, got {kind}."
    ))
}

pub(super) fn not_a_case(value: &Value) -> Failure {
    Failure::client(format!(
        "CASE expected boolean expression, got {}.",
        value.type_name()
    ))
}

pub(super) fn not_a_list_for_in(value: &Value) -> Failure {
    Failure::client(format!("IN expected a list, got {}.", value.type_name()))
}

pub(super) fn not_a_list_for_unwind(value: &Value) -> Failure {
    Failure::client(format!(
        "Argument of UNWIND must be a list, but '{}' was provided.",
        value.type_name()
    ))
}

pub(super) fn not_a_list_to_slice(value: &Value) -> Failure {
    Failure::client(format!("Expected a list to slice, got {}.", value.type_name()))
}

pub(super) fn not_a_slice_bound(value: &Value) -> Failure {
    Failure::client(format!(
        "Expected an integer for a bound in list slicing, got {}.",
        value.type_name()
    ))
}

/// `subject[index]` where one of them is of a wrong type.
pub(super) fn index(subject: &Value, index: &Value) -> Failure {
    let kind = index.type_name();
    Failure::client(match subject {
        Value::List(_) => format!("Expected an integer as a list index, got {kind}."),
        Value::Map(_) => format!("Expected a string as a map index, got {kind}."),
        Value::Node(_) | Value::Relationship(_) => {
            format!("Expected a string as a property name, got {kind}.")
        }
        other => format!(
            "Expected a list, a map, a node or an edge to index with '[]', got {}.",
            other.type_name()
        ),
    })
}

pub(super) fn no_properties_to_look_up() -> Failure {
    Failure::client("Only nodes, edges, maps, temporal types and graphs have properties to be looked up.")
}

pub(super) fn no_labels() -> Failure {
    Failure::client("Only nodes have labels.")
}

/// A variable that should be a node is something else.
pub(super) fn not_a_node(variable: &str, value: &Value) -> Failure {
    let kind = value.type_name();
    Failure::client(format!("Expected a vertex for '{variable}', but got {kind}."))
}

pub(super) fn not_to_be_set() -> Failure {
    Failure::client("Properties can only be set on edges and vertices.")
}

pub(super) fn not_to_be_assigned() -> Failure {
    Failure::client("Right-hand side in SET expression must be a node, an edge or a map.")
}

pub(super) fn not_to_be_stored(value: &Value) -> Failure {
    let kind = value.type_name();
    Failure::client(format!("'{kind}' cannot be used as a property value."))
}

pub(super) fn not_to_be_deleted() -> Failure {
    Failure::client("Edges, vertices and paths can be deleted.")
}

/// MERGE with a null among the properties of what `variable` names.
pub(super) fn null_in_merge(variable: &str, key: &str) -> Failure {
    Failure::client(format!(
        "Can't have null literal properties inside merge ({variable}.{key})!"
    ))
}

pub(super) fn not_a_sum() -> Failure {
    Failure::client("Only numeric values allowed in SUM and AVG aggregations.")
}

/// SKIP with something else than a number of rows.
pub(super) fn skip(value: &Value) -> Failure {
    Failure::client(match value {
        Value::Int(_) => "Number of elements to skip must be non-negative.",
        _ => "Number of elements to skip must be an integer.",
    })
}

/// LIMIT with something else than a number of rows.
pub(super) fn limit(value: &Value) -> Failure {
    Failure::client(match value {
        Value::Int(_) => "Limit on number of returned elements must be non-negative.",
        _ => "Limit on number of returned elements must be an integer.",
    })
}

pub(super) fn unknown_enum_value(name: &str, value: &str) -> Failure {
    Failure::client(format!("Enum value '{value}' in enum '{name}' not found."))
}

pub(super) fn unprovided_parameter(name: &str) -> Failure {
    Failure::client(format!("Parameter ${name} not provided."))
}

pub(super) fn unbound_variable(name: &str) -> Failure {
    Failure::client(format!("Unbound variable: {name}."))
}

pub(super) fn redeclared_variable(name: &str) -> Failure {
    Failure::client(format!("Redeclaring variable: {name}."))
}

pub(super) fn same_column(name: &str) -> Failure {
    Failure::client(format!(
        "Multiple results with the same name '{name}' are not allowed."
    ))
}

pub(super) fn misplaced_aggregation() -> Failure {
    Failure::client("Aggregation functions are only allowed in WITH and RETURN.")
}

pub(super) fn relationship_without_type() -> Failure {
    Failure::client("A single relationship type must be specified when creating an edge.")
}

pub(super) fn relationship_without_direction() -> Failure {
    Failure::client("Bidirectional relationship are not supported when creating an edge")
}

/// What a query was about to do when it met an object that is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Create,
    SetProperty,
    AddLabel,
    RemoveLabel,
    Delete,
}

/// A write that the storage refused.
pub(super) fn write(version: Version, write: Write, error: WriteError) -> Failure {
    match error {
        WriteError::Conflict => Failure::transient(
            "Cannot resolve conflicting transactions. Retry this transaction when the conflicting transaction is \
             finished. For more details, visit https://memgraph.com/docs",
        ),
        WriteError::Missing => Failure::client(match write {
            Write::Create => "Trying to create an edge on a deleted node.",
            Write::AddLabel => "Trying to set a label on a deleted node.",
            Write::RemoveLabel => "Trying to remove labels from a deleted node.",
            Write::SetProperty | Write::Delete => "Trying to set properties on a deleted object.",
        }),
        WriteError::HasRelationships if version < Version::V3_8 => Failure::client(
            "Failed to remove node because of it's existing connections. Consider using DETACH DELETE.",
        ),
        WriteError::HasRelationships => Failure::client(
            "Failed to remove node because of its existing connections. Consider using DETACH DELETE.",
        ),
    }
}
