//! What is none of the operator's must not cost it anything.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::{
    ByteString,
    api::core::v1::{Pod, Secret},
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    stand::Stand,
    table::{Table, mebibytes},
};

const PODS: usize = 5000;
const SECRETS: usize = 1000;
/// What one Secret may hold at most.
const SECRET: usize = 1 << 20;
/// So many requests are under way at most.
const REQUESTS: usize = 8;
/// So long nothing else happens before memory is looked at.
const SETTLE: Duration = Duration::from_secs(20);
/// The goal, in MiB.
const GOAL: f64 = 5.0;
/// Their namespace, which is made long before: nobody can make a pod in one that has no ServiceAccount yet.
pub const NAMESPACE: &str = "foreign";

/// Adds by how much the operator's memory grows while others make pods and Secrets.
pub async fn measure(stand: &mut Stand, table: &mut Table) -> Result<()> {
    stand.until_quiet(SETTLE).await?;
    let before = stand.usage()?.resident;
    make(stand)
        .await
        .context("cannot make the pods and Secrets of others")?;
    sleep(SETTLE).await;
    let grown = mebibytes(stand.usage()?.resident) - mebibytes(before);
    table.add_with_goal(
        format!("growth by {PODS} pods and {SECRETS} Secrets of 1 MiB of others"),
        grown,
        GOAL,
        "MiB",
    );
    Ok(())
}

async fn make(stand: &Stand) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(stand.client.clone(), NAMESPACE);
    stream::iter(0..PODS)
        .map(|number| {
            let pods = pods.clone();
            async move {
                let pod = serde_json::from_value(json!({
                    "metadata": {"name": format!("p{number}"), "labels": {"app.kubernetes.io/name": "other"}},
                    "spec": {
                        "automountServiceAccountToken": false,
                        "containers": [{"name": "c", "image": "localhost/other"}],
                    },
                }))?;
                pods.create(&PostParams::default(), &pod).await?;
                Ok::<_, anyhow::Error>(())
            }
        })
        .buffer_unordered(REQUESTS)
        .try_collect::<()>()
        .await?;
    let secrets: Api<Secret> = Api::namespaced(stand.client.clone(), NAMESPACE);
    stream::iter(0..SECRETS)
        .map(|number| {
            let secrets = secrets.clone();
            async move {
                let content: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(SECRET).collect();
                let secret = Secret {
                    metadata: ObjectMeta {
                        name: Some(format!("s{number}")),
                        ..ObjectMeta::default()
                    },
                    data: Some([("content".to_owned(), ByteString(content))].into()),
                    ..Secret::default()
                };
                secrets.create(&PostParams::default(), &secret).await?;
                Ok::<_, anyhow::Error>(())
            }
        })
        .buffer_unordered(REQUESTS)
        .try_collect::<()>()
        .await
}
