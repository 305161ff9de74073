//! The rules of the definition, case by case: those of `e2e/chart`, asked of a real API server.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_cluster::process;
use e2e_node::installation::PROJECT;
use e2e_node::scene::Scene;

pub async fn each_refuses_what_it_is_about_and_no_more(scene: Arc<Scene>) -> Result<()> {
    go_test(&scene, "TestARealAPIServerJudgesTheRulesAlike", &[])
}

/// Runs a test of `e2e/chart` against this API server.
pub fn go_test(scene: &Scene, test: &str, environment: &[(&str, &Path)]) -> Result<()> {
    let mut go = Command::new("go");
    go.current_dir(format!("{PROJECT}/e2e/chart"))
        .args(["test", "-count=1", "-v", "-run", &format!("^{test}$"), "."])
        .env("API_SERVER_KUBECONFIG", scene.node.cluster.kubeconfig())
        .env("API_SERVER_NAMESPACE", &scene.namespace);
    for (name, value) in environment {
        go.env(name, value);
    }
    let output = tokio::task::block_in_place(|| go.output()).context("cannot start `go`")?;
    let said = String::from_utf8_lossy(&output.stdout);
    // A test that is left out, or is not there, succeeds as well.
    ensure!(
        output.status.success() && said.contains(&format!("--- PASS: {test}")),
        "{} failed: {said}{}",
        process::line(&go),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
