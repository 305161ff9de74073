//! What rests on the metrics names only those that there are, and all of them are documented.

use std::{collections::BTreeSet, fs, path::Path};

const OPERATOR: &str = include_str!("../fleet/metrics.golden");
const GATEWAY: &str = include_str!("../gateway/metrics.golden");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The names by which samples can be asked for.
fn samples() -> BTreeSet<String> {
    let families = OPERATOR.lines().chain(GATEWAY.lines());
    families
        .flat_map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            let suffixes: &[&str] = match kind {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
        })
        .collect()
}

/// The names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = [
        "memgraph_operator_",
        "memgraph_cluster_",
        "memgraph_instance_",
        "memgraph_gateway_",
        "process_",
    ];
    words
        .filter(|word| ours.iter().any(|prefix| word.starts_with(prefix)))
        .map(str::to_owned)
        .collect()
}

#[test]
fn alerts_rest_on_metrics_that_there_are() {
    let names = named(&read("charts/memgraph-operator/files/alerts.yaml"));
    assert!(names.len() > 5, "{names:?}");
    let unknown: Vec<_> = names.difference(&samples()).cloned().collect();
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn the_dashboard_rests_on_metrics_that_there_are() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("charts/memgraph-operator/files/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<_> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() > 15, "{queries:?}");
    let known = samples();
    for query in queries {
        let names = named(query);
        assert!(!names.is_empty() && names.is_subset(&known), "{query}");
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let alerts = read("charts/memgraph-operator/files/alerts.yaml");
    let alerts: Vec<_> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let runbooks = read("docs/alerts.md");
    let runbooks: Vec<_> = runbooks
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    assert_eq!(alerts, runbooks);
}

#[test]
fn every_metric_is_documented() {
    let documented: BTreeSet<_> = named(&read("docs/reference/metrics.md"))
        .into_iter()
        .map(|name| name.strip_suffix("_total").unwrap_or(&name).to_owned())
        .collect();
    let families: BTreeSet<_> = OPERATOR
        .lines()
        .chain(GATEWAY.lines())
        .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
        .collect();
    assert_eq!(documented, families);
}
