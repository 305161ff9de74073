//! A namespace of its own for each test.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e_cluster::process;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use memgraph_operator::api::{MemgraphCluster, names};
use serde_json::{Value, json};

use crate::database::Database;
use crate::node::{Node, OPERATOR_NAMESPACE};
use crate::wait::until;

/// How long a namespace may take to vanish.
const REMOVAL_LIMIT: Duration = Duration::from_secs(300);

/// What the namespaces of tests are known by.
const TEST_LABEL: &str = "memgraph.dev/test";

/// One test's part of the cluster.
pub struct Scene {
    /// Where it plays.
    pub node: Arc<Node>,
    /// Its namespace, which admits only restricted pods.
    pub namespace: String,
}

impl Scene {
    /// Makes a namespace whose name comes from the test's.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn new(node: Arc<Node>, test: &str) -> Result<Self> {
        let words = test.rsplit("::").next().unwrap_or(test);
        let base: String = words.replace('_', "-").chars().take(40).collect();
        let namespace: Namespace = serde_json::from_value(json!({
            "metadata": {
                "generateName": format!("{}-", base.trim_end_matches('-')),
                "labels": {"pod-security.kubernetes.io/enforce": "restricted", TEST_LABEL: "scene"},
            },
        }))?;
        let created = Api::all(node.client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .context("cannot make a namespace")?;
        Ok(Self {
            node,
            namespace: created.name_any(),
        })
    }

    /// Objects of a kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.node.client.clone(), &self.namespace)
    }

    /// The pods of the gateways.
    ///
    /// # Errors
    /// When the API server cannot list them.
    pub async fn gateways(&self) -> Result<Vec<Pod>> {
        let selector = format!("{}={}", names::COMPONENT_LABEL, names::GATEWAY);
        let gateways = ListParams::default().labels(&selector);
        Ok(self.api::<Pod>().list(&gateways).await?.items)
    }

    /// Runs kubectl in this namespace and returns what it prints.
    ///
    /// # Errors
    /// When it fails; the error has what it said.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut all = vec!["--namespace", &self.namespace];
        all.extend(args);
        self.node.kubectl(&all)
    }

    /// Creates or changes objects in this namespace.
    ///
    /// # Errors
    /// When the API server refuses them.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        let mut command = self.node.cluster.kubectl().command(&[
            "--namespace",
            &self.namespace,
            "apply",
            "--server-side",
            "-f",
            "-",
        ]);
        tokio::task::block_in_place(|| process::output_with_input(&mut command, manifests)).map(drop)
    }

    /// A MemgraphCluster with this spec, but with the image under test and a small volume where the spec names none.
    ///
    /// # Errors
    /// When the spec does not fit the type.
    pub fn manifest(&self, name: &str, mut spec: Value) -> Result<MemgraphCluster> {
        for (pointer, field, value) in [
            ("", "image", json!(self.node.images.memgraph)),
            ("", "storage", json!({})),
            ("/storage", "size", json!("1Gi")),
        ] {
            if let Some(parent) = spec.pointer_mut(pointer).and_then(Value::as_object_mut) {
                parent.entry(field).or_insert(value);
            }
        }
        let spec = serde_json::from_value(spec).context("the test's spec does not fit")?;
        Ok(MemgraphCluster::new(name, spec))
    }

    /// Creates a MemgraphCluster.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create(self: &Arc<Self>, name: &str, spec: Value) -> Result<Database> {
        let cluster = self.manifest(name, spec)?;
        self.api::<MemgraphCluster>()
            .create(&PostParams::default(), &cluster)
            .await
            .with_context(|| format!("cannot create MemgraphCluster {name}"))?;
        Ok(Database::new(Arc::clone(self), name))
    }

    /// Creates a MemgraphCluster and waits until it is as its spec says.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn start(self: &Arc<Self>, name: &str, spec: Value) -> Result<Database> {
        let database = self.create(name, spec).await?;
        database.settled().await?;
        Ok(database)
    }

    /// Begins to remove the namespace, unless the test has done it. [`Self::vanished`] waits for the end.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn remove(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.node.client.clone());
        match namespaces.delete(&self.namespace, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            deleted => deleted.context("cannot delete the test's namespace")?,
        };
        // Nobody needs their good end any more.
        self.kubectl(&["delete", "pods", "--all", "--grace-period=0", "--force"])
            .map(drop)
    }

    /// Waits until the namespace that was removed is gone, and all in it.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn vanished(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.node.client.clone());
        let what = format!("the namespace {} to vanish", self.namespace);
        until(&what, REMOVAL_LIMIT, async || {
            Ok(namespaces.get_opt(&self.namespace).await?.is_none().then_some(()))
        })
        .await
    }

    /// Waits until no other test's namespace is left, for a test that has the whole cluster for itself.
    ///
    /// # Errors
    /// When one stays.
    pub async fn alone(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.node.client.clone());
        let tests = ListParams::default().labels(TEST_LABEL);
        until(
            "the other tests' namespaces to vanish",
            REMOVAL_LIMIT,
            async || {
                let all = namespaces.list(&tests).await?.items;
                Ok(all
                    .iter()
                    .all(|other| other.name_any() == self.namespace)
                    .then_some(()))
            },
        )
        .await
    }

    /// Prints what an engineer looks at first when a test has failed.
    pub fn tell_state(&self) {
        let operator = [
            "--namespace",
            OPERATOR_NAMESPACE,
            "logs",
            "deployment/memgraph-operator",
            "--all-pods",
            "--tail=200",
        ];
        let own = ["--namespace", &self.namespace];
        let with_own = |args: &[&'static str]| -> Vec<&str> {
            own.iter().copied().chain(args.iter().copied()).collect()
        };
        for args in [
            with_own(&["get", "memgraphclusters", "--output", "yaml"]),
            with_own(&["get", "pods,persistentvolumeclaims", "--output", "wide"]),
            with_own(&["get", "events", "--sort-by", ".metadata.creationTimestamp"]),
            with_own(&[
                "logs",
                "--selector",
                "app.kubernetes.io/name=memgraph",
                "--all-containers",
                "--prefix",
                "--tail=60",
            ]),
            operator.to_vec(),
        ] {
            let said = self
                .node
                .kubectl(&args)
                .unwrap_or_else(|error| format!("{error:#}"));
            eprintln!("$ kubectl {}\n{said}", args.join(" "));
        }
        self.tell_operators();
    }
}
