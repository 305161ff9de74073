//! Functions over strings (`awesome_memgraph_functions.cpp`). Memgraph counts bytes, not characters.

use bolt_server::Failure;

use crate::{messages, value::Value};

/// Calls a function by its upper-case name. `None` if there is no such function over strings.
pub(super) fn call(name: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
    let known = matches!(
        (name, arguments.len()),
        (
            "LEFT" | "RIGHT" | "SPLIT" | "STARTSWITH" | "ENDSWITH" | "CONTAINS",
            2
        ) | ("SUBSTRING", 2 | 3)
            | ("REPLACE", 3)
            | ("LTRIM" | "RTRIM" | "REVERSE", 1)
    );
    if known && arguments.contains(&Value::Null) {
        return Some(Ok(Value::Null));
    }
    known.then(|| {
        known_call(name, arguments).unwrap_or_else(|| {
            let name = name.to_lowercase();
            Err(messages::unsupported(format_args!(
                "function {name} with such arguments"
            )))
        })
    })
}

/// `None` if the arguments do not fit.
fn known_call(name: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
    let string = |text: &str| Some(Ok(Value::String(text.to_owned())));
    match (name, arguments) {
        ("LTRIM", [Value::String(text)]) => string(text.trim_start_matches(is_space)),
        ("RTRIM", [Value::String(text)]) => string(text.trim_end_matches(is_space)),
        ("REVERSE", [Value::String(text)]) => Some(reverse(text)),
        ("LEFT", [Value::String(text), Value::Int(count)]) => Some(part(text, 0, length(*count)?)),
        ("RIGHT", [Value::String(text), Value::Int(count)]) => {
            Some(part(text, text.len().saturating_sub(length(*count)?), usize::MAX))
        }
        ("SUBSTRING", [Value::String(text), Value::Int(start)]) => {
            Some(part(text, length(*start)?, usize::MAX))
        }
        ("SUBSTRING", [Value::String(text), Value::Int(start), Value::Int(count)]) => {
            Some(part(text, length(*start)?, length(*count)?))
        }
        ("STARTSWITH", [Value::String(text), Value::String(part)]) => {
            Some(Ok(Value::Bool(text.starts_with(part.as_str()))))
        }
        ("ENDSWITH", [Value::String(text), Value::String(part)]) => {
            Some(Ok(Value::Bool(text.ends_with(part.as_str()))))
        }
        ("CONTAINS", [Value::String(text), Value::String(part)]) => {
            Some(Ok(Value::Bool(text.contains(part.as_str()))))
        }
        ("REPLACE", [Value::String(text), Value::String(from), Value::String(to)]) => {
            Some(replace(text, from, to))
        }
        ("SPLIT", [Value::String(text), Value::String(delimiter)]) => Some(split(text, delimiter)),
        _ => None,
    }
}

/// What C's `isspace` takes for white space.
pub(super) fn is_space(character: char) -> bool {
    character.is_ascii_whitespace() || character == '\u{b}'
}

fn length(count: i64) -> Option<usize> {
    usize::try_from(count).ok()
}

/// Strings of the simulator are UTF-8.
fn half_a_character(function: &str) -> Failure {
    messages::unsupported(format_args!("{function} that takes characters to pieces"))
}

fn part(text: &str, start: usize, count: usize) -> Result<Value, Failure> {
    let start = start.min(text.len());
    let end = start.saturating_add(count).min(text.len());
    text.get(start..end)
        .map(|part| Value::String(part.to_owned()))
        .ok_or_else(|| half_a_character("a substring"))
}

fn reverse(text: &str) -> Result<Value, Failure> {
    if !text.is_ascii() {
        return Err(half_a_character("reverse"));
    }
    Ok(Value::String(text.chars().rev().collect()))
}

fn replace(text: &str, from: &str, to: &str) -> Result<Value, Failure> {
    // Memgraph puts the replacement between all bytes then.
    if from.is_empty() && !text.is_ascii() {
        return Err(half_a_character("replace"));
    }
    Ok(Value::String(text.replace(from, to)))
}

fn split(text: &str, delimiter: &str) -> Result<Value, Failure> {
    let part = |part: &str| Value::String(part.to_owned());
    if text.is_empty() {
        return Ok(Value::List(Vec::new()));
    }
    if !delimiter.is_empty() {
        return Ok(Value::List(text.split(delimiter).map(part).collect()));
    }
    if !text.is_ascii() {
        return Err(half_a_character("split"));
    }
    let parts = text.chars().map(|character| Value::String(character.into()));
    Ok(Value::List(parts.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn bytes_are_counted() {
        let cut = |name: &str, arguments: &[Value]| call(name, arguments).unwrap();
        assert_eq!(cut("LEFT", &[text("hello"), Value::Int(2)]), Ok(text("he")));
        assert_eq!(cut("LEFT", &[text("hello"), Value::Int(9)]), Ok(text("hello")));
        assert_eq!(cut("RIGHT", &[text("hello"), Value::Int(2)]), Ok(text("lo")));
        assert_eq!(cut("RIGHT", &[text("hello"), Value::Int(9)]), Ok(text("hello")));
        assert_eq!(cut("SUBSTRING", &[text("hello"), Value::Int(3)]), Ok(text("lo")));
        assert_eq!(cut("SUBSTRING", &[text("hello"), Value::Int(9)]), Ok(text("")));
        let middle = [text("žabka"), Value::Int(2), Value::Int(2)];
        assert_eq!(cut("SUBSTRING", &middle), Ok(text("ab")));
        assert!(cut("LEFT", &[text("ž"), Value::Int(1)]).is_err());
        assert_eq!(cut("LEFT", &[Value::Null, Value::Int(1)]), Ok(Value::Null));
        assert!(cut("LEFT", &[text("hello"), Value::Int(-1)]).is_err());
    }

    #[test]
    fn texts_are_taken_apart_and_put_together() {
        let list = |parts: &[&str]| Ok(Value::List(parts.iter().map(|part| text(part)).collect()));
        let cases: [(&str, Vec<Value>, Result<Value, Failure>); 9] = [
            ("SPLIT", vec![text("a,b,"), text(",")], list(&["a", "b", ""])),
            ("SPLIT", vec![text(""), text(",")], list(&[])),
            ("SPLIT", vec![text("ab"), text("")], list(&["a", "b"])),
            (
                "REPLACE",
                vec![text("banana"), text("an"), text("-")],
                Ok(text("b--a")),
            ),
            (
                "REPLACE",
                vec![text("ab"), text(""), text("-")],
                Ok(text("-a-b-")),
            ),
            ("REVERSE", vec![text("abc")], Ok(text("cba"))),
            ("LTRIM", vec![text(" \ta ")], Ok(text("a "))),
            ("RTRIM", vec![text(" a\n")], Ok(text(" a"))),
            ("STARTSWITH", vec![text("abc"), text("ab")], Ok(Value::Bool(true))),
        ];
        for (name, arguments, expected) in cases {
            assert_eq!(call(name, &arguments), Some(expected), "{name} {arguments:?}");
        }
    }
}
