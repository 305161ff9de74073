//! Who owns which fields.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::SETTLE_LIMIT;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::DynamicObject;
use kube::core::ObjectList;
use kube::{Api, ResourceExt};
use memgraph_operator::api::{MemgraphCluster, names};
use serde_json::{Value, json};

const KINDS: &str = "statefulsets,deployments,services,serviceaccounts,configmaps,secrets,roles,rolebindings,\
                     poddisruptionbudgets,networkpolicies";

/// What the operator has made for cluster `demo`.
fn objects(scene: &Scene) -> Result<Vec<DynamicObject>> {
    let selector = format!("--selector={}=demo", names::CLUSTER_LABEL);
    let json = ["--output=json", "--show-managed-fields"];
    let objects = scene.kubectl(&["get", KINDS, &selector, json[0], json[1]])?;
    let objects: ObjectList<DynamicObject> = serde_json::from_str(&objects)?;
    Ok(objects.items)
}

fn title(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
    format!("{kind} {}", object.name_any())
}

/// What the operator owns of an object: how, of which subresource, and the fields.
fn owned(entries: &[ManagedFieldsEntry]) -> Vec<(String, String, Value)> {
    let own = entries
        .iter()
        .filter(|entry| entry.manager.as_deref() == Some(names::FIELD_MANAGER));
    own.map(|entry| {
        (
            entry.operation.clone().unwrap_or_default(),
            entry.subresource.clone().unwrap_or_default(),
            entry
                .fields_v1
                .as_ref()
                .map(|fields| fields.0.clone())
                .unwrap_or_default(),
        )
    })
    .collect()
}

/// Waits until the objects of the cluster are there, with what follows from its present spec, and returns them.
async fn made(scene: &Scene, kinds: usize) -> Result<Vec<DynamicObject>> {
    until("the cluster's objects", SETTLE_LIMIT, async || {
        let cluster = Api::<MemgraphCluster>::get(&scene.api(), "demo").await?;
        let observed = cluster
            .status
            .as_ref()
            .and_then(|status| status.observed_generation);
        let objects = objects(scene)?;
        ensure!(
            objects.len() >= kinds,
            "only {:?}",
            objects.iter().map(title).collect::<Vec<_>>()
        );
        Ok((observed == cluster.metadata.generation).then_some(objects))
    })
    .await
}

pub async fn the_operator_owns_what_it_applies_and_nothing_else(scene: Arc<Scene>) -> Result<()> {
    let _operator = scene.leader("operator").await?;
    scene.create("demo", json!({})).await?;
    for object in made(&scene, 18).await? {
        let title = title(&object);
        let owned = owned(object.managed_fields());
        let [(operation, subresource, fields)] = owned.as_slice() else {
            anyhow::bail!("{title}: the operator owns it {} times: {owned:?}", owned.len());
        };
        ensure!(
            (operation.as_str(), subresource.as_str()) == ("Apply", ""),
            "{title}: {operation} of '{subresource}'"
        );
        ensure!(
            fields.get("f:status").is_none(),
            "{title}: the operator owns its status"
        );
        let owners = object.owner_references();
        ensure!(
            owners.len() == 1 && owners[0].kind == "MemgraphCluster" && owners[0].controller == Some(true),
            "{title}: owners: {owners:?}"
        );
        // Kubernetes' own controllers tell in the status what they see, and number a Deployment's revisions by an annotation.
        for entry in object.managed_fields() {
            let manager = entry.manager.as_deref().unwrap_or_default();
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            let changes_nothing = fields.is_some_and(|fields| fields.get("f:spec").is_none());
            ensure!(
                manager == names::FIELD_MANAGER || manager == "kube-controller-manager" && changes_nothing,
                "{title}: {manager} owns a part of it: {entry:?}"
            );
        }
    }
    let cluster = Api::<MemgraphCluster>::get(&scene.api(), "demo").await?;
    let owned = owned(cluster.managed_fields());
    let [(operation, subresource, fields)] = owned.as_slice() else {
        anyhow::bail!("the operator owns the cluster {} times: {owned:?}", owned.len());
    };
    let fields: Vec<_> = fields.as_object().context("no fields")?.keys().cloned().collect();
    ensure!(
        (operation.as_str(), subresource.as_str(), fields.as_slice())
            == ("Apply", "status", &["f:status".to_owned()]),
        "of the cluster: {operation} of '{subresource}': {fields:?}"
    );
    Ok(())
}

/// Changes `demo` or an object of its as somebody who is called so in managedFields.
fn apply_as(scene: &Scene, manager: &str, object: &Value) -> Result<()> {
    let mut command = scene.node.cluster.kubectl().command(&[
        "--namespace",
        &scene.namespace,
        "apply",
        "--server-side",
        "--field-manager",
        manager,
        "-f",
        "-",
    ]);
    let text = object.to_string();
    tokio::task::block_in_place(|| e2e_cluster::process::output_with_input(&mut command, &text)).map(drop)
}

pub async fn what_others_write_stays_and_what_the_operator_applies_is_put_right(
    scene: Arc<Scene>,
) -> Result<()> {
    let _operator = scene.leader("operator").await?;
    let cluster = |spec: Value, annotations: Value| {
        json!({
            "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster",
            "metadata": {"name": "demo", "annotations": annotations}, "spec": spec,
        })
    };
    // By `kubectl apply` as most people know it.
    let path = scene.node.cluster.folder().path().join("demo.yaml");
    let file = path.to_string_lossy();
    std::fs::write(
        &path,
        cluster(json!({"config": {"log-level": "INFO"}}), json!({})).to_string(),
    )?;
    scene.kubectl(&["apply", "-f", &file])?;
    made(&scene, 18).await?;
    // Somebody else has a part of the spec, and annotates the cluster.
    let part = cluster(
        json!({"config": {"bolt-num-workers": "2"}}),
        json!({"team.example.com/cost": "7"}),
    );
    apply_as(&scene, "team", &part)?;
    // A mesh, a person and a backup tool write to what the operator has made.
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "demo-gateway", "annotations": {"mesh.example.com/inject": "true"}},
    });
    apply_as(&scene, "mesh", &service)?;
    scene.kubectl(&["label", "statefulset/demo", "team=graphs"])?;
    scene.kubectl(&[
        "annotate",
        "deployment/demo-gateway",
        "backup.example.com/skip=true",
    ])?;

    // The cluster is applied again, with something else: all that it concerns is applied again by the operator.
    let spec = json!({"config": {"log-level": "DEBUG"}, "gateway": {"readWrite": {"service": {"annotations": {"a": "b"}}}}});
    std::fs::write(&path, cluster(spec, json!({})).to_string())?;
    scene.kubectl(&["apply", "-f", &file])?;
    // A field that the operator owns, by force.
    scene.kubectl(&[
        "patch",
        "service/demo-gateway",
        "--type=merge",
        r#"--patch={"spec":{"selector":{"app.kubernetes.io/component":"nobody"}}}"#,
    ])?;

    until(
        "all that the operator applies to be right again",
        SETTLE_LIMIT,
        async || {
            let service = Api::<Service>::get(&scene.api(), "demo-gateway").await?;
            let selector = service
                .spec
                .as_ref()
                .and_then(|spec| spec.selector.clone())
                .unwrap_or_default();
            let right =
                selector.get("app.kubernetes.io/component").map(String::as_str) == Some(names::GATEWAY);
            ensure!(right, "the selector is {selector:?}");
            let all = service.annotations();
            ensure!(
                all.get("a").map(String::as_str) == Some("b"),
                "the annotation that the spec asks for is not there: {all:?}"
            );
            ensure!(
                all.contains_key("mesh.example.com/inject"),
                "the mesh's annotation is gone: {all:?}"
            );

            let set = Api::<StatefulSet>::get(&scene.api(), "demo").await?;
            ensure!(
                set.labels().contains_key("team"),
                "the label is gone: {:?}",
                set.labels()
            );
            let args = serde_json::to_string(&set.spec)?;
            ensure!(
                args.contains("--log-level=DEBUG") && args.contains("--bolt-num-workers=2"),
                "a part of the configuration is not in the template: {args}"
            );
            let gateway = Api::<Deployment>::get(&scene.api(), "demo-gateway").await?;
            ensure!(
                gateway.annotations().contains_key("backup.example.com/skip"),
                "the annotation is gone: {:?}",
                gateway.annotations()
            );
            let cluster = Api::<MemgraphCluster>::get(&scene.api(), "demo").await?;
            ensure!(
                cluster.annotations().contains_key("team.example.com/cost"),
                "the cluster's annotation is gone"
            );
            Ok(Some(()))
        },
    )
    .await
}
