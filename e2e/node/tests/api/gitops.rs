//! What is in Git is what is live, for Argo CD, after an operator has worked on it.

use std::fs;
use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e_node::database::SETTLE_LIMIT;
use e2e_node::node::OPERATOR_NAMESPACE;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use kube::Api;
use memgraph_operator::api::MemgraphCluster;

use crate::manifests::{helm, template};
use crate::rest::at_rest;
use crate::rules::go_test;

/// How `kubectl apply` is called, as Argo CD does it: by default, and with its option ServerSideApply.
const WAYS: [(&str, &[&str]); 2] = [
    ("client-side", &["apply"]),
    (
        "server-side",
        &[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=argocd-controller",
        ],
    ),
];

/// Argo CD leaves them out: what Helm has as a hook, of a kind that Argo CD has not, it ignores (`pkg/sync/ignore` of gitops-engine).
const WITHOUT_TESTS: &str = "--skip-tests";

/// Spec of a cluster by the values of the chart: all that is by default, and much of what can be said.
const VALUES: [(&str, &str); 2] = [
    ("plain", "{}"),
    (
        "full",
        "{replicas: 5, storage: {size: 1024Mi}, config: {log-level: INFO}, resources: {limits: {cpu: 2000m, memory: 1024Mi}}, \
          failover: {detectionTimeout: 1000ms}, gateway: {replicas: 3, readWrite: {service: {type: NodePort, annotations: {a: b}}}}}",
    ),
];

pub async fn nothing_differs_from_git_for_argo_cd(scene: Arc<Scene>) -> Result<()> {
    let _operator = scene.leader("operator").await?;
    let helm = helm()?;
    let git = scene.node.cluster.folder().path().join("git");
    let mut clusters = Vec::new();
    for (way, apply) in WAYS {
        let folder = git.join(way);
        fs::create_dir_all(&folder)?;
        for (kind, values) in VALUES {
            let name = format!("{kind}-{way}");
            let file = folder.join(format!("{name}.yaml"));
            let values_file = git.join(format!("{name}.values"));
            fs::write(&values_file, values)?;
            let values = ["--values", &values_file.to_string_lossy(), WITHOUT_TESTS].map(str::to_owned);
            fs::write(
                &file,
                template(&helm, &name, "memgraph-cluster", &scene.namespace, &values)?,
            )?;
            let mut arguments = apply.to_vec();
            let path = file.to_string_lossy();
            arguments.extend(["-f", &path]);
            scene.kubectl(&arguments)?;
            clusters.push(name);
        }
        // What the operator itself is installed by: its definition, rights and pods.
        let file = folder.join("operator.yaml");
        let operator = template(
            &helm,
            "memgraph-operator",
            "memgraph-operator",
            OPERATOR_NAMESPACE,
            &[WITHOUT_TESTS.to_owned()],
        )?;
        fs::write(&file, operator)?;
        let mut arguments = vec!["--namespace", OPERATOR_NAMESPACE];
        arguments.extend(apply);
        let path = file.to_string_lossy();
        arguments.extend(["-f", &path]);
        scene.node.kubectl(&arguments)?;
    }
    until("the operator to have seen all", SETTLE_LIMIT, async || {
        for name in &clusters {
            let cluster = Api::<MemgraphCluster>::get(&scene.api(), name).await?;
            let status = cluster.status.as_ref();
            let seen = status.is_some_and(|status| status.replicas == cluster.spec.replicas);
            ensure!(seen, "{name}: {status:?}");
        }
        Ok(Some(()))
    })
    .await?;
    // Somebody asks for something by `kubectl memgraph`, which has a manager of its own.
    for name in &clusters {
        let patch = format!(r#"--patch={{"spec":{{"switchover":{{"requestId":"a","target":"{name}-1"}}}}}}"#);
        let manager = "--field-manager=kubectl-memgraph";
        scene.kubectl(&["patch", "memgraphcluster", name, "--type=merge", &patch, manager])?;
    }
    at_rest(&scene).await?;
    go_test(
        &scene,
        "TestNothingDiffersFromGitForArgoCD",
        &[("GIT_FOLDER", &git)],
    )?;
    // All that the operator has made belongs to the clusters: Argo CD takes none of it for something that Git does not have.
    let made = scene.kubectl(&[
        "get",
        crate::rest::KINDS,
        "--selector=app.kubernetes.io/managed-by=memgraph-operator",
        r#"--output=jsonpath={range .items[*]}{.kind}/{.metadata.name}={.metadata.ownerReferences[0].kind}{"\n"}{end}"#,
    ])?;
    let stray: Vec<_> = made
        .lines()
        .filter(|line| !line.ends_with("=MemgraphCluster"))
        .collect();
    ensure!(
        made.lines().count() > 40 && stray.is_empty(),
        "without an owner: {stray:?}"
    );
    Ok(())
}
