//! Values as mgconsole prints them (`PrintValue` in `src/utils/utils.cpp`).

use std::fmt::{self, Display, Formatter, Write as _};

use bolt_server::{Map, Node, Path, Value};

use crate::temporal;

/// Shows a value.
pub(crate) struct Shown<'a>(pub(crate) &'a Value);

impl Display for Shown<'_> {
    fn fmt(&self, output: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => output.write_str("Null"),
            Value::Boolean(value) => write!(output, "{value}"),
            Value::Integer(value) => write!(output, "{value}"),
            Value::Float(value) => output.write_str(&float(*value)),
            Value::String(text) => quoted(output, text),
            Value::List(items) => {
                output.write_char('[')?;
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        output.write_str(", ")?;
                    }
                    Shown(item).fmt(output)?;
                }
                output.write_char(']')
            }
            Value::Map(entries) => map(output, entries),
            Value::Node(value) => node(output, value),
            Value::Relationship(value) => relationship(output, &value.kind, &value.properties),
            Value::Path(value) => path(output, value),
            Value::Temporal(value) => temporal::show(output, *value),
        }
    }
}

fn quoted(output: &mut Formatter<'_>, text: &str) -> fmt::Result {
    output.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '\\' | '\'' | '"' => write!(output, "\\{letter}")?,
            '\u{8}' => output.write_str("\\b")?,
            '\u{c}' => output.write_str("\\f")?,
            '\n' => output.write_str("\\n")?,
            '\r' => output.write_str("\\r")?,
            '\t' => output.write_str("\\t")?,
            other => output.write_char(other)?,
        }
    }
    output.write_char('"')
}

fn map(output: &mut Formatter<'_>, entries: &Map) -> fmt::Result {
    // How Memgraph sends an enum's value.
    if entries.len() == 2
        && entries.get("__type").and_then(Value::as_str) == Some("mg_enum")
        && let Some(value) = entries.get("__value").and_then(Value::as_str)
    {
        return output.write_str(value);
    }
    output.write_char('{')?;
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 {
            output.write_str(", ")?;
        }
        write!(output, "{key}: {}", Shown(value))?;
    }
    output.write_char('}')
}

fn node(output: &mut Formatter<'_>, node: &Node) -> fmt::Result {
    output.write_char('(')?;
    for label in &node.labels {
        write!(output, ":{label}")?;
    }
    if !node.properties.is_empty() {
        if !node.labels.is_empty() {
            output.write_char(' ')?;
        }
        map(output, &node.properties)?;
    }
    output.write_char(')')
}

fn relationship(output: &mut Formatter<'_>, kind: &str, properties: &Map) -> fmt::Result {
    write!(output, "[:{kind}")?;
    if !properties.is_empty() {
        output.write_char(' ')?;
        map(output, properties)?;
    }
    output.write_char(']')
}

fn path(output: &mut Formatter<'_>, path: &Path) -> fmt::Result {
    if let Some(first) = path.nodes.first() {
        node(output, first)?;
    }
    for step in path.indices.chunks_exact(2) {
        let [along, to] = *step else { continue };
        let position = usize::try_from(along.unsigned_abs())
            .ok()
            .and_then(|it| it.checked_sub(1));
        let along_what = position.and_then(|position| path.relationships.get(position));
        let end = usize::try_from(to).ok().and_then(|to| path.nodes.get(to));
        let (Some(edge), Some(end)) = (along_what, end) else {
            // No server sends that.
            return output.write_str("{unknown value}");
        };
        output.write_str(if along < 0 { "<-" } else { "-" })?;
        relationship(output, &edge.kind, &edge.properties)?;
        output.write_str(if along < 0 { "-" } else { "->" })?;
        node(output, end)?;
    }
    Ok(())
}

/// A number as C++ streams print it: six significant digits, as `%g`.
fn float(value: f64) -> String {
    const DIGITS: i32 = 6;
    if value.is_nan() {
        return if value.is_sign_negative() { "-nan" } else { "nan" }.into();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf" } else { "inf" }.into();
    }
    // Rounded once: the exponent may grow by that.
    let scientific = format!("{value:.*e}", (DIGITS - 1) as usize);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..DIGITS).contains(&exponent) {
        let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
        without_zeros(&format!("{value:.decimals$}")).to_owned()
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs())
    }
}

fn without_zeros(number: &str) -> &str {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}

#[cfg(test)]
mod tests {
    use bolt_server::{Relationship, UnboundRelationship};

    use super::*;

    fn shown(value: impl Into<Value>) -> String {
        Shown(&value.into()).to_string()
    }

    fn properties(entries: &[(&str, Value)]) -> Map {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect()
    }

    #[test]
    fn scalars() {
        assert_eq!(shown(None::<bool>), "Null");
        assert_eq!(shown(true), "true");
        assert_eq!(shown(-7), "-7");
        assert_eq!(shown("a'b\"c\\d\ne"), r#""a\'b\"c\\d\ne""#);
        assert_eq!(
            shown(vec![1.into(), "x".into(), Value::Null]),
            r#"[1, "x", Null]"#
        );
    }

    #[test]
    fn floats_have_six_digits() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1.5, "1.5"),
            (123_456.7, "123457"),
            (1_234_567.0, "1.23457e+06"),
            (999_999.5, "1e+06"),
            (0.0001, "0.0001"),
            (0.000_012_34, "1.234e-05"),
            (-2.5e-300, "-2.5e-300"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(shown(value), text);
        }
    }

    #[test]
    fn maps_and_enums() {
        assert_eq!(
            shown(properties(&[("b", 1.into()), ("a", "x".into())])),
            r#"{a: "x", b: 1}"#
        );
        let good = properties(&[("__type", "mg_enum".into()), ("__value", "Status::Good".into())]);
        assert_eq!(shown(good), "Status::Good");
        let other = properties(&[("__type", "test".into()), ("__value", "v".into())]);
        assert_eq!(shown(other), r#"{__type: "test", __value: "v"}"#);
    }

    #[test]
    fn graphs() {
        let node = |labels: &[&str], properties| Node {
            id: 0,
            labels: labels.iter().map(|it| (*it).to_owned()).collect(),
            properties,
        };
        let named = properties(&[("p", 1.into())]);
        assert_eq!(shown(Value::Node(node(&[], Map::new()))), "()");
        assert_eq!(
            shown(Value::Node(node(&["A", "B"], named.clone()))),
            "(:A:B {p: 1})"
        );
        assert_eq!(shown(Value::Node(node(&[], named.clone()))), "({p: 1})");
        let edge = Relationship {
            kind: "R".into(),
            properties: named.clone(),
            ..Relationship::default()
        };
        assert_eq!(shown(Value::Relationship(edge)), "[:R {p: 1}]");
        let path = Path {
            nodes: vec![node(&["A"], Map::new()), node(&["B"], Map::new())],
            relationships: vec![UnboundRelationship {
                id: 0,
                kind: "R".into(),
                properties: Map::new(),
            }],
            indices: vec![1, 1, -1, 0],
        };
        assert_eq!(shown(Value::Path(path)), "(:A)-[:R]->(:B)<-[:R]-(:A)");
    }
}
