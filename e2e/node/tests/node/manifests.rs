//! What users apply: the API server takes it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_cluster::process;
use e2e_node::node::OPERATOR_NAMESPACE;
use e2e_node::scene::Scene;

const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

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

    let helm = process::output(&mut process::command(
        "bash",
        [format!("{PROJECT}/e2e/chart/helm.sh")],
    ))?;
    for (chart, namespace) in [
        ("memgraph-cluster", scene.namespace.as_str()),
        ("memgraph-operator", OPERATOR_NAMESPACE),
    ] {
        let chart = format!("{PROJECT}/charts/{chart}");
        let arguments = ["template", "memgraph-operator", &chart, "--namespace", namespace];
        let manifests = process::output(&mut process::command(helm.trim(), arguments))?;
        let mut all = vec!["--namespace", namespace];
        all.extend(DRY_RUN);
        all.extend(["-f", "-"]);
        let mut command = scene.node.cluster.kubectl().command(&all);
        tokio::task::block_in_place(|| process::output_with_input(&mut command, &manifests))
            .with_context(|| chart.clone())?;
        let lint = ["lint", "--strict", &chart];
        process::run(&mut process::command(helm.trim(), lint))?;
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
