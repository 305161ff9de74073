//! What users apply: the API server takes it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_cluster::process;
use e2e_node::installation::PROJECT;
use e2e_node::node::OPERATOR_NAMESPACE;
use e2e_node::scene::Scene;

/// Where Helm is, which is built if it is not there.
pub fn helm() -> Result<String> {
    let mut build = process::command("bash", [format!("{PROJECT}/e2e/chart/helm.sh")]);
    let helm = tokio::task::block_in_place(|| process::output(&mut build))?;
    Ok(helm.trim().to_owned())
}

fn folder(chart: &str) -> String {
    format!("{PROJECT}/charts/{chart}")
}

/// What `helm template` makes of a chart of this project.
pub fn template(helm: &str, release: &str, chart: &str, namespace: &str, more: &[String]) -> Result<String> {
    let arguments = ["template", release, &folder(chart), "--namespace", namespace];
    let mut template = process::command(helm, arguments);
    process::output(template.args(more))
}

/// Nothing is made. Fields of others are taken over in thought, as by whoever installs over what is there.
const DRY_RUN: [&str; 4] = ["apply", "--server-side", "--force-conflicts", "--dry-run=server"];

pub async fn the_api_server_takes_examples_charts_and_kustomizations(scene: Arc<Scene>) -> Result<()> {
    let mut examples = 0;
    for entry in fs::read_dir(format!("{PROJECT}/examples"))? {
        let path = entry?.path();
        if path.is_file() {
            examples += 1;
            dry_run(&scene, &scene.namespace, &["-f", &path.to_string_lossy()])
                .with_context(|| format!("{}", path.display()))?;
        }
    }
    ensure!(examples >= 6, "only {examples} examples");

    let helm = helm()?;
    for (chart, namespace) in [
        ("memgraph-cluster", scene.namespace.as_str()),
        ("memgraph-operator", OPERATOR_NAMESPACE),
    ] {
        let manifests = template(&helm, "memgraph-operator", chart, namespace, &[])?;
        let apply = ["--namespace", namespace, "apply", "--dry-run=server", "-f", "-"];
        let mut command = scene.node.cluster.kubectl().command(&apply);
        tokio::task::block_in_place(|| process::output_with_input(&mut command, &manifests))
            .with_context(|| chart.to_owned())?;
        process::run(&mut process::command(&helm, ["lint", "--strict", &folder(chart)]))?;
    }
    for (folder, namespace) in [
        ("default", OPERATOR_NAMESPACE),
        ("network-policy", OPERATOR_NAMESPACE),
        ("samples", scene.namespace.as_str()),
    ] {
        let folder = Path::new(PROJECT).join("config").join(folder);
        dry_run(&scene, namespace, &["-k", &folder.to_string_lossy()])
            .with_context(|| format!("{}", folder.display()))?;
    }
    Ok(())
}

fn dry_run(scene: &Scene, namespace: &str, what: &[&str]) -> Result<String> {
    let mut all = vec!["--namespace", namespace];
    all.extend(DRY_RUN);
    all.extend(what);
    scene.node.kubectl(&all)
}
