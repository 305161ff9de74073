//! What Prometheus would read from operator and gateways while something is wrong, for e2e/alerts to evaluate the alerts on.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use e2e_cluster::process;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::node::OPERATOR_NAMESPACE;
use crate::scene::Scene;

/// With this variable in the environment, what was read replaces the recordings of this project.
const KEEP_VARIABLE: &str = "RECORD";

const ALERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../alerts");

/// The rules, which say what of a reading is of interest.
const RULES: &str = include_str!("../../../charts/memgraph-operator/files/alerts.yaml");

/// How long lies between two readings.
const PERIOD: Duration = Duration::from_secs(5);

/// What one process answers.
pub struct Answer {
    /// The namespace of its pod.
    pub namespace: String,
    /// The name of its pod.
    pub pod: String,
    /// All its metrics.
    pub metrics: String,
}

/// What every process of the operator and every gateway of this scene answers now. What does not answer is not there.
///
/// # Errors
/// When the pods cannot be listed.
pub async fn answers(scene: &Scene) -> Result<Vec<Answer>> {
    let operators: Api<Pod> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
    let of_operator = ListParams::default().labels("app.kubernetes.io/name=memgraph-operator");
    let mut pods = operators.list(&of_operator).await?.items;
    pods.extend(scene.gateways().await?);
    let mut answers = Vec::new();
    for pod in pods {
        let (namespace, pod) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:8080/proxy/metrics");
        // As for Prometheus: nothing is read from a target that hangs.
        let read = scene
            .node
            .kubectl(&["get", "--raw", &path, "--request-timeout=2s"]);
        answers.extend(read.ok().map(|metrics| Answer {
            namespace,
            pod,
            metrics,
        }));
    }
    Ok(answers)
}

/// Readings, one after the other.
pub struct Readings {
    text: String,
}

impl Readings {
    /// None yet. `alerts`: those that are to fire at the end.
    #[must_use]
    pub fn new(alerts: &[&str]) -> Self {
        Self {
            text: format!("alerts {}\n", alerts.join(" ")),
        }
    }

    /// Reads all that there is of operator and gateways now. What does not answer is not there.
    ///
    /// # Errors
    /// When the pods cannot be listed.
    pub async fn read(&mut self, scene: &Scene) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        writeln!(self.text, "at {now}")?;
        for Answer {
            namespace,
            pod,
            metrics,
        } in answers(scene).await?
        {
            writeln!(self.text, "target {{namespace=\"{namespace}\",pod=\"{pod}\"}}")?;
            for sample in metrics.lines().filter(|line| is_of_interest(line)) {
                writeln!(self.text, "{sample}")?;
            }
        }
        Ok(())
    }

    /// Reads again and again until this much time has passed.
    ///
    /// # Errors
    /// When the pods cannot be listed.
    pub async fn read_for(&mut self, scene: &Scene, time: Duration) -> Result<()> {
        let end = tokio::time::Instant::now() + time;
        loop {
            self.read(scene).await?;
            if tokio::time::Instant::now() >= end {
                return Ok(());
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Keeps the readings under a name, for [`evaluate`].
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep(&self, folder: &Path, name: &str) -> Result<()> {
        fs::create_dir_all(folder)?;
        let file = folder.join(format!("{name}.txt"));
        fs::write(&file, &self.text).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Whether a line is a sample of a metric that some rule asks for, in an expression of one line or of several.
fn is_of_interest(line: &str) -> bool {
    let name = line.split(['{', ' ']).next().unwrap_or_default();
    !line.starts_with('#')
        && RULES.lines().any(|rule| {
            let mut words = rule.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            words.any(|word| word == name)
        })
}

/// Where the readings of this run belong.
#[must_use]
pub fn folder() -> PathBuf {
    if env::var(KEEP_VARIABLE).is_ok_and(|value| value == "1") {
        Path::new(ALERTS).join("recorded")
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/readings")
    }
}

/// Evaluates the alerts on the readings of a folder, by Prometheus' own code: those that are named in them must fire, and every
/// critical one in some of them.
///
/// # Errors
/// When one does not.
pub fn evaluate(folder: &Path) -> Result<()> {
    let mut test = process::command("go", ["test", "-count=1", "-run", "WhatWasReadOnTheNode", "."]);
    test.current_dir(ALERTS).env("RECORDED", folder.canonicalize()?);
    tokio::task::block_in_place(|| process::output(&mut test)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::is_of_interest;

    #[test]
    fn what_rules_ask_for_is_kept_and_nothing_else() {
        for asked in [
            "memgraph_cluster_ready{cluster=\"demo\"} 0.0",
            "memgraph_operator_leader 1.0",
        ] {
            assert!(is_of_interest(asked), "{asked}");
        }
        for other in [
            "# HELP memgraph_cluster_ready 1",
            "memgraph_cluster_info 1.0",
            "process_open_fds 7",
        ] {
            assert!(!is_of_interest(other), "{other}");
        }
    }
}
