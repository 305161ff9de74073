//! The examples, as they stand there: what they ask for is all that is told to the operator.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::Database;
use e2e_node::installation::PROJECT;
use e2e_node::scene::Scene;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::tls::Authority;

/// What a storage class is marked with that claims get which name none.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

pub async fn each_comes_to_be_ready(scene: Arc<Scene>) -> Result<()> {
    let mut before: Option<Scene> = None;
    let examples = examples()?;
    ensure!(examples.len() >= 10, "only {examples:?}");
    for path in examples {
        // One of its own for each: they share names of clusters, which go on over volumes that are left.
        let own = Arc::new(Scene::new(Arc::clone(&scene.node), "example").await?);
        let ready = comes_to_be_ready(&own, &path).await;
        if ready.is_err() {
            own.tell_state();
        }
        own.remove().await?;
        ready.with_context(|| path.display().to_string())?;
        let own = Arc::into_inner(own).context("somebody still looks at the namespace")?;
        if let Some(before) = before.replace(own) {
            before.vanished().await?;
        }
    }
    match before {
        Some(last) => last.vanished().await,
        None => Ok(()),
    }
}

fn examples() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(Path::new(PROJECT).join("examples"))? {
        let path = entry?.path();
        if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

async fn comes_to_be_ready(scene: &Arc<Scene>, path: &Path) -> Result<()> {
    let mut example: Value = serde_yaml::from_str(&fs::read_to_string(path)?)?;
    prepare(scene, &example["spec"]).await?;
    adapt(&mut example["spec"], &scene.node.images.memgraph);
    scene.apply(&example.to_string())?;
    let name = example["metadata"]["name"].as_str().context("it has no name")?;
    let cluster = Database::new(Arc::clone(scene), name).settled().await?;
    // As its reader is told to.
    let ready = ["--for=condition=Ready", "--timeout=60s"];
    let object = format!("memgraphcluster/{name}");
    scene.kubectl(&[&["wait", &object], &ready[..]].concat())?;
    let asked = example["spec"]["replicas"].as_u64().unwrap_or(3);
    ensure!(
        u64::from(cluster.spec.replicas.unsigned_abs()) == asked,
        "it has {} instances",
        cluster.spec.replicas
    );
    Ok(())
}

/// Makes what the example takes for granted: Secrets and a storage class.
async fn prepare(scene: &Scene, spec: &Value) -> Result<()> {
    let (name, namespace) = ("demo", &scene.namespace);
    let authority = Authority::new("examples")?;
    if let Some(secret) = spec["tls"]["secretRef"]["name"].as_str() {
        authority.sign(scene, secret, &[&format!("*.{name}-instances.{namespace}.svc")])?;
    }
    if let Some(secret) = spec["gateway"]["tls"]["secretRef"]["name"].as_str() {
        authority.sign(scene, secret, &[&format!("{name}-gateway.{namespace}")])?;
    }
    if let Some(secret) = spec["auth"]["secretRef"]["name"].as_str() {
        let user = [
            "--from-literal=username=app",
            "--from-literal=password=a-password",
        ];
        scene.kubectl(&[&["create", "secret", "generic", secret], &user[..]].concat())?;
    }
    if let Some(class) = spec["storage"]["storageClassName"].as_str() {
        provide(scene, class).await?;
    }
    Ok(())
}

/// Makes the node's own storage class known by another name.
async fn provide(scene: &Scene, name: &str) -> Result<()> {
    let classes: Api<StorageClass> = Api::all(scene.node.client.clone());
    let known = classes.list(&ListParams::default()).await?.items;
    if known.iter().any(|class| class.name_any() == name) {
        return Ok(());
    }
    let is_default = |class: &StorageClass| class.annotations().contains_key(DEFAULT);
    let mut class = known
        .into_iter()
        .find(is_default)
        .context("the node has no storage class")?;
    class.metadata = kube::core::ObjectMeta {
        name: Some(name.to_owned()),
        ..Default::default()
    };
    classes.create(&PostParams::default(), &class).await?;
    Ok(())
}

/// Takes this machine for what it is: it has not the processors and the memory that a database asks for, and other images.
fn adapt(spec: &mut Value, image: &str) {
    spec["image"] = json!(image);
    for owner in ["", "/gateway"] {
        let owner = spec.pointer_mut(owner).and_then(Value::as_object_mut);
        owner.and_then(|owner| owner.remove("resources"));
    }
}
