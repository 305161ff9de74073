//! DUMP DATABASE: the graph as Cypher, in Memgraph's form (`src/query/dump.cpp`).

use super::{
    graph::Graph,
    mvcc::View,
    names::Name,
    schema::{Constraint, Index},
};
use crate::{temporal::Temporal, value::Value};

impl Graph {
    /// The statements that build what `view` sees.
    pub(crate) fn dump(&self, view: View) -> Vec<String> {
        let mut lines = Vec::new();
        let schema = self.published_schema();
        for it in &schema.enums {
            let values: Vec<_> = it.values.iter().map(|value| quote(value)).collect();
            lines.push(format!(
                "CREATE ENUM {} VALUES {{ {} }};",
                quote(&it.name),
                values.join(", ")
            ));
        }
        for index in &schema.indexes {
            lines.push(match index {
                Index::Label(label) => format!("CREATE INDEX ON :{};", quote(label)),
                Index::LabelProperties(label, keys) => {
                    format!("CREATE INDEX ON :{}({});", quote(label), quote_all(keys))
                }
                Index::RelationshipType(kind) => format!("CREATE EDGE INDEX ON :{};", quote(kind)),
                Index::RelationshipTypeProperty(kind, key) => {
                    format!("CREATE EDGE INDEX ON :{}({});", quote(kind), quote(key))
                }
            });
        }
        for constraint in &schema.constraints {
            lines.push(match constraint {
                Constraint::Exists(label, key) => {
                    format!(
                        "CREATE CONSTRAINT ON (u:{}) ASSERT EXISTS (u.{});",
                        quote(label),
                        quote(key)
                    )
                }
                Constraint::Unique(label, keys) => {
                    let keys: Vec<_> = keys.iter().map(|key| format!("u.{}", quote(key))).collect();
                    format!(
                        "CREATE CONSTRAINT ON (u:{}) ASSERT {} IS UNIQUE;",
                        quote(label),
                        keys.join(", ")
                    )
                }
            });
        }
        let before = lines.len();
        lines.push("CREATE INDEX ON :__mg_vertex__(__mg_id__);".to_owned());
        for (gid, node) in self.nodes.iter() {
            let Some(data) = node.versions.get(view) else {
                continue;
            };
            let labels: String = data
                .labels
                .iter()
                .map(|label| format!(":{}", quote(self.name(*label))))
                .collect();
            let properties = self.dumped(&data.properties);
            let separator = if properties.is_empty() { "" } else { ", " };
            lines.push(format!(
                "CREATE (:__mg_vertex__{labels} {{__mg_id__: {}{separator}{properties}}});",
                gid.0
            ));
        }
        if lines.len() == before + 1 {
            lines.truncate(before);
            return lines;
        }
        for it in self.relationships.values() {
            let Some(data) = it.versions.get(view) else {
                continue;
            };
            let properties = self.dumped(&data.properties);
            let properties = if properties.is_empty() {
                properties
            } else {
                format!(" {{{properties}}}")
            };
            lines.push(format!(
                "MATCH (u:__mg_vertex__), (v:__mg_vertex__) WHERE u.__mg_id__ = {} AND v.__mg_id__ = {} CREATE \
                 (u)-[:{}{properties}]->(v);",
                it.from.0,
                it.to.0,
                quote(self.name(it.kind))
            ));
        }
        lines.push("DROP INDEX ON :__mg_vertex__(__mg_id__);".to_owned());
        lines.push("MATCH (u) REMOVE u:__mg_vertex__, u.__mg_id__;".to_owned());
        lines
    }

    fn dumped(&self, properties: &[(Name, Value)]) -> String {
        let pairs: Vec<_> = properties
            .iter()
            .map(|(key, value)| format!("{}: {}", quote(self.name(*key)), literal(value)))
            .collect();
        pairs.join(", ")
    }
}

fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn quote_all(names: &[String]) -> String {
    names
        .iter()
        .map(|name| quote(name))
        .collect::<Vec<_>>()
        .join(", ")
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null | Value::Node(_) | Value::Relationship(_) | Value::Path(_) => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::String(text) => format!("{text:?}"),
        Value::List(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let pairs: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{}: {}", quote(key), literal(value)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::Enum(it) => format!("{}::{}", quote(&it.name), quote(&it.value)),
        Value::Temporal(value) => {
            let function = match value {
                Temporal::Date(_) => "DATE",
                Temporal::LocalTime(_) => "LOCALTIME",
                Temporal::LocalDateTime(_) => "LOCALDATETIME",
                Temporal::DateTime { .. } => "DATETIME",
                Temporal::Duration(_) => "DURATION",
            };
            format!("{function}(\"{value}\")")
        }
    }
}
