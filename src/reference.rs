//! Pages of the reference documentation that are made from the types: what they say is what the code has.

use std::fmt::Write as _;

use clap::{Arg, Command};
use schemars::schema_for;
use serde_json::Value;

use crate::api::MemgraphCluster;

const MADE: &str = "<!-- Made by `make reference` from the Rust types. -->";

/// Kubernetes' own types, with the page that describes each: not described a second time.
const FOREIGN: [(&str, &str); 3] = [
    (
        "NetworkPolicyPeer",
        "https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/#NetworkPolicySpec",
    ),
    (
        "ResourceRequirements",
        "https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#resources",
    ),
    (
        "Condition",
        "https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.33/#condition-v1-meta",
    ),
];

/// The `MemgraphCluster` resource as Markdown: a section for each object in it, with its fields and rules.
#[must_use]
pub fn resource() -> String {
    let schema = schema_for!(MemgraphCluster);
    let schema = Schema(schema.as_value());
    let mut page = format!(
        "# MemgraphCluster\n\n{MADE}\n\n`memgraph.dev/v1alpha1`, short name `mgc`, namespaced. The API server fills in the \
         defaults and refuses what breaks a rule.\n"
    );
    rules(&mut page, schema.0);
    for part in ["spec", "status"] {
        schema.section(
            &mut page,
            part,
            schema.resolved(&schema.0["properties"][part]).target,
        );
    }
    page
}

/// What a program can be told: its subcommands with their flags, as Markdown.
#[must_use]
pub fn program(command: &Command, title: &str, about: &str) -> String {
    let mut page = format!("# {title}\n\n{MADE}\n\n{about}\n");
    let global: Vec<_> = command.get_arguments().filter(|arg| is_shown(arg)).collect();
    if !global.is_empty() {
        page += "\n## Every call\n\n";
        arguments(&mut page, &global);
    }
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help" && !sub.is_hide_set())
    {
        let positional = sub
            .get_positionals()
            .map(|arg| format!(" {}", arg.get_id().as_str().to_uppercase()));
        let _ = write!(
            page,
            "\n## {}{}\n\n",
            sub.get_name(),
            positional.collect::<String>()
        );
        if let Some(about) = sub.get_about() {
            let _ = writeln!(page, "{about}.");
        }
        let own: Vec<_> = sub.get_arguments().filter(|arg| is_shown(arg)).collect();
        if !own.is_empty() {
            page.push('\n');
            arguments(&mut page, &own);
        }
    }
    page
}

fn is_shown(arg: &Arg) -> bool {
    !matches!(arg.get_id().as_str(), "help" | "version") && !arg.is_hide_set()
}

fn arguments(page: &mut String, all: &[&Arg]) {
    *page += "| argument | environment | default | what it is |\n| --- | --- | --- | --- |\n";
    for arg in all {
        let name = match (arg.get_short(), arg.get_long()) {
            (Some(short), Some(long)) => format!("`-{short}`, `--{long}`"),
            (None, Some(long)) => format!("`--{long}`"),
            _ => format!("`{}`", arg.get_id().as_str().to_uppercase()),
        };
        let environment = arg
            .get_env()
            .map_or_else(String::new, |name| format!("`{}`", name.to_string_lossy()));
        let takes_a_value = arg.get_action().takes_values();
        let default = arg
            .get_default_values()
            .first()
            .filter(|_| takes_a_value)
            .map_or_else(String::new, |value| format!("`{}`", value.to_string_lossy()));
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let values: Vec<_> = arg
            .get_possible_values()
            .iter()
            .filter(|_| takes_a_value)
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        let values = if values.is_empty() {
            String::new()
        } else {
            format!(". One of {}", values.join(", "))
        };
        let _ = writeln!(
            page,
            "| {name} | {environment} | {default} | {} |",
            cell(&(help + &values))
        );
    }
}

/// The other types of the core API that are in a spec are parts of a pod.
const CORE: &str = "io.k8s.api.core.v1.";
const POD: &str = "https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/";

struct Schema<'a>(&'a Value);

/// What a reference leads to.
struct Resolved<'a> {
    /// Name of the type; empty where the schema stands in its place.
    name: &'a str,
    target: &'a Value,
}

impl Resolved<'_> {
    fn foreign(&self) -> Option<&'static str> {
        let short = self.name.rsplit('.').next();
        let found = FOREIGN.iter().find(|(name, _)| short == Some(name));
        let part_of_a_pod = || self.name.starts_with(CORE).then_some(POD);
        found.map(|(_, page)| *page).or_else(part_of_a_pod)
    }
}

impl<'a> Schema<'a> {
    /// Of what may be null, it is the other thing.
    fn resolved(&self, value: &'a Value) -> Resolved<'a> {
        let some = value["anyOf"]
            .as_array()
            .and_then(|all| all.iter().find(|one| one["type"] != "null"));
        let target = some.unwrap_or(value);
        let name = target["$ref"]
            .as_str()
            .and_then(|path| path.strip_prefix("#/$defs/"));
        match name {
            Some(name) => Resolved {
                name,
                target: &self.0["$defs"][name],
            },
            None => Resolved { name: "", target },
        }
    }

    /// An object, and after it those in it.
    fn section(&self, page: &mut String, path: &str, object: &'a Value) {
        let level = if path.contains('.') { "###" } else { "##" };
        let _ = writeln!(page, "\n{level} {path}\n\n{}\n", text(object));
        *page += "| field | type | default | what it is |\n| --- | --- | --- | --- |\n";
        for (name, field) in properties(object) {
            let required = path.starts_with("spec") && is_required(object, name);
            self.row(page, name, field, required);
        }
        let own = properties(object)
            .map(|(_, field)| self.resolved(field).target)
            .filter(|field| field.get("properties").is_none());
        let all: Vec<_> = std::iter::once(object).chain(own).flat_map(messages).collect();
        listed(page, &all);
        for (name, field) in properties(object) {
            let field = self.resolved(field);
            let item = self.resolved(&field.target["items"]);
            if field.foreign().or_else(|| item.foreign()).is_some() {
                continue;
            }
            if field.target.get("properties").is_some() {
                self.section(page, &format!("{path}.{name}"), field.target);
            } else if item.target.get("properties").is_some() {
                self.section(page, &format!("{path}.{name}[]"), item.target);
            }
        }
    }

    fn row(&self, page: &mut String, name: &str, field: &'a Value, required: bool) {
        let resolved = self.resolved(field);
        let target = resolved.target;
        let mut what = text(if field.get("description").is_some() {
            field
        } else {
            target
        })
        .to_owned();
        let item = self.resolved(&target["items"]);
        if let Some(page) = resolved.foreign().or_else(|| item.foreign()) {
            let _ = write!(what, " ([Kubernetes]({page}))");
        }
        what += &values(target);
        let default = match field.get("default") {
            None if required => "required".to_owned(),
            None | Some(Value::Object(_) | Value::Null) => String::new(),
            Some(Value::String(default)) if default.is_empty() => String::new(),
            Some(Value::String(default)) => format!("`{default}`"),
            Some(default) => format!("`{default}`"),
        };
        let type_ = self.type_of(target);
        let _ = writeln!(page, "| `{name}` | {type_} | {default} | {} |", cell(&what));
    }

    fn type_of(&self, target: &'a Value) -> String {
        if target.get("oneOf").is_some() || target.get("enum").is_some() {
            return "one of".to_owned();
        }
        let plain = match &target["type"] {
            Value::Array(types) => types.iter().find(|one| *one != "null"),
            one => Some(one),
        };
        match plain.and_then(Value::as_str).unwrap_or("any") {
            "array" => format!("list of {}", self.type_of(self.resolved(&target["items"]).target)),
            "object" if target["additionalProperties"].is_object() => "map of text".to_owned(),
            "string" => "text".to_owned(),
            "boolean" => "true or false".to_owned(),
            other => other.to_owned(),
        }
    }
}

fn properties(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object["properties"].as_object().into_iter().flatten()
}

fn is_required(object: &Value, name: &str) -> bool {
    let all = object["required"].as_array();
    all.is_some_and(|all| all.iter().any(|one| one == name))
}

fn text(value: &Value) -> &str {
    value["description"].as_str().unwrap_or_default()
}

/// The values that are accepted, or the bounds.
fn values(target: &Value) -> String {
    if let Some(all) = target["oneOf"].as_array() {
        let each = all.iter().map(|one| {
            let name = one["const"].as_str().unwrap_or_default();
            format!(" **`{name}`**: {}", text(one))
        });
        return each.collect();
    }
    match (target["minimum"].as_i64(), target["maximum"].as_i64()) {
        (Some(least), Some(most)) => format!(" {least} to {most}."),
        (Some(least), None) if least != 0 => format!(" At least {least}."),
        _ => String::new(),
    }
}

/// A text in one line of a table.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn messages(value: &Value) -> impl Iterator<Item = &str> {
    let rules = value["x-kubernetes-validations"].as_array();
    rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule["message"].as_str())
}

fn rules(page: &mut String, object: &Value) {
    listed(page, &messages(object).collect::<Vec<_>>());
}

fn listed(page: &mut String, messages: &[&str]) {
    if !messages.is_empty() {
        *page += "\nRules:\n\n";
    }
    for message in messages {
        let _ = writeln!(page, "- {}", cell(message));
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt;

    use super::*;

    /// Fields of a type of Kubernetes' own.
    const FOREIGN_FIELDS: [&str; 26] = [
        "resources",
        "conditions",
        "clients",
        "metrics",
        "tolerations",
        "affinity",
        "topologySpreadConstraints",
        "seLinuxOptions",
        "sysctls",
        "configMap",
        "secret",
        "persistentVolumeClaim",
        "emptyDir",
        "image",
        "csi",
        "configMapKeyRef",
        "secretKeyRef",
        "fieldRef",
        "configMapRef",
        "secretRef",
        "ports",
        "readinessProbe",
        "livenessProbe",
        "startupProbe",
        "postStart",
        "preStop",
    ];

    /// Names of all fields of objects that are not Kubernetes' own.
    fn fields(schema: &Value, names: &mut Vec<String>) {
        for (name, field) in properties(schema) {
            names.push(name.clone());
            // A container's is, and a pod's is not.
            let has_all_rights = field["properties"]["privileged"].is_object();
            if !FOREIGN_FIELDS.contains(&name.as_str()) && !has_all_rights {
                fields(field, names);
                fields(&field["items"], names);
            }
        }
    }

    #[test]
    fn every_field_of_the_resource_is_on_its_page() {
        let definition = serde_json::to_value(MemgraphCluster::crd()).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut names = Vec::new();
        fields(schema, &mut names);
        assert!(names.len() > 100, "{names:?}");
        let page = resource();
        for name in names {
            let there =
                ["spec", "status"].contains(&name.as_str()) || page.contains(&format!("\n| `{name}` | "));
            assert!(there, "{name}");
        }
        assert!(page.contains("| `requestId` | text | required |"));
        assert!(page.contains("| `replicas` | integer | `3` |"));
        assert!(page.contains("**`MostRecent`**: Where there is no such copy"));
    }
}
