//! Clusters that ask for a password.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, run};
use e2e_node::scene::Scene;
use e2e_node::secrecy::nothing_shows_a_secret;
use e2e_node::wait::until;
use k8s_openapi::api::core::v1::{Secret, Service};
use memgraph_operator::api::names;
use memgraph_operator::memgraph::{Bolt, BoltError, Credentials, Neo4rsBolt, Session};
use memgraph_operator::resources;
use serde_json::json;

use super::plugin::call;

/// How long one statement may take: signing in computes a hash.
const STATEMENT_LIMIT: Duration = Duration::from_secs(10);

const FIRST: &str = r"first 'one' \ with marks";
const SECOND: &str = "the-second-one";

pub async fn whoever_has_no_password_gets_in_nowhere_and_another_password_restarts_nothing(
    scene: Arc<Scene>,
) -> Result<()> {
    let (first, second) = (Credentials::new("app", FIRST)?, Credentials::new("app", SECOND)?);
    let literal = format!("--from-literal=password={FIRST}");
    let user = "--from-literal=username=app";
    scene.kubectl(&["create", "secret", "generic", "graph-user", user, &literal])?;
    let license = "--from-literal=license=mglk-a-license-that-nobody-reads";
    let organization = "--from-literal=organization=Graphs";
    scene.kubectl(&[
        "create",
        "secret",
        "generic",
        "graph-license",
        license,
        organization,
    ])?;
    let spec = json!({
        "auth": {"secretRef": {"name": "graph-user"}},
        "license": {"secretRef": {"name": "graph-license"}},
    });
    let database = scene.start("demo", spec).await?;
    let gateway = database.gateway().await?;
    sign_in(gateway, &first, "CREATE (:Token {id: 'before'})").await?;
    expect_refused(gateway, None).await?;
    expect_refused(gateway, Some(&second)).await?;
    let reader = names::read_gateway("demo");
    ensure!(
        scene.api::<Service>().get_opt(&reader).await?.is_none(),
        "there is a read gateway, and replicas let everybody in"
    );
    expect_told(&scene, FIRST).await?;

    let mut session = Neo4rsBolt::signing_in(Some(first.clone())).session(gateway);
    session.run("RETURN 1", STATEMENT_LIMIT).await?;
    let pods = pod_uids(&database).await?;
    let patch = json!({"stringData": {"password": SECOND}}).to_string();
    scene.kubectl(&["patch", "secret", "graph-user", "--type=merge", "--patch", &patch])?;
    sign_in(gateway, &second, "CREATE (:Token {id: 'between'})").await?;
    expect_refused(gateway, Some(&first)).await?;
    session
        .run("RETURN 1", STATEMENT_LIMIT)
        .await
        .context("a session that had signed in before")?;
    expect_told(&scene, SECOND).await?;
    ensure!(pod_uids(&database).await? == pods, "pods were replaced");

    let removal = json!({"spec": {"auth": null}}).to_string();
    let refusal = scene.kubectl(&[
        "patch",
        "memgraphcluster",
        "demo",
        "--type=merge",
        "--patch",
        &removal,
    ]);
    let refusal = format!("{:#}", refusal.err().context("auth was removed")?);
    ensure!(refusal.contains("auth: cannot be removed"), "{refusal}");

    let backups = tempfile::tempdir()?;
    let backup = format!("backup demo --folder {}", backups.path().display());
    let said = call(&scene, &backup).await?;
    ensure!(said.contains("demo-0, which is MAIN in term"), "{said}");
    let folder = backups.path().join(&scene.namespace).join("demo");
    let kept = fs::read_dir(folder)?.filter(|entry| {
        let name = entry.as_ref().map(fs::DirEntry::file_name);
        name.is_ok_and(|name| name.to_string_lossy().contains("_timestamp_"))
    });
    ensure!(kept.count() == 1, "{said}");

    let before = database.ledger().await?.term;
    scene.node.kill(&database.pod("demo-0").await?)?;
    sign_in(gateway, &second, "CREATE (:Token {id: 'after'})").await?;
    expect_refused(gateway, None).await?;
    database.settled_after(before).await?;
    let rows = sign_in(gateway, &second, "MATCH (t:Token) RETURN t.id AS id").await?;
    ensure!(rows == 3, "{rows} tokens instead of three");

    nothing_shows_a_secret(&scene, &[FIRST]).await
}

/// Runs a statement through the gateway as soon as that takes these credentials. Returns the number of rows.
async fn sign_in(gateway: SocketAddr, credentials: &Credentials, statement: &str) -> Result<usize> {
    let bolt = Neo4rsBolt::signing_in(Some(credentials.clone()));
    let what = format!("{statement} through {gateway}");
    until(&what, SETTLE_LIMIT, async || {
        let rows = bolt.session(gateway).run(statement, STATEMENT_LIMIT).await?;
        Ok(Some(rows.len()))
    })
    .await
}

async fn expect_refused(gateway: SocketAddr, credentials: Option<&Credentials>) -> Result<()> {
    let what = format!("{gateway} to refuse {credentials:?}");
    until(&what, SETTLE_LIMIT, async || {
        let answer = match credentials {
            None => run(gateway, "RETURN 1").await,
            Some(_) => {
                let bolt = Neo4rsBolt::signing_in(credentials.cloned());
                bolt.session(gateway).run("RETURN 1", STATEMENT_LIMIT).await
            }
        };
        match answer {
            Err(BoltError::Unauthenticated { .. }) => Ok(Some(())),
            Ok(_) => Ok(None),
            // MAIN is being replaced, for example.
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// Waits until applications are told this password.
async fn expect_told(scene: &Scene, password: &str) -> Result<()> {
    until("the Secret for applications", SETTLE_LIMIT, async || {
        let secret = scene.api::<Secret>().get(&names::application("demo")).await?;
        ensure!(resources::text(&secret, "port") == Some("7687"), "another port");
        Ok((resources::text(&secret, resources::PASSWORD) == Some(password)).then_some(()))
    })
    .await
}

async fn pod_uids(database: &Database) -> Result<Vec<Option<String>>> {
    let mut uids = Vec::new();
    for instance in database.instances().await? {
        uids.push(database.pod(&instance).await?.metadata.uid);
    }
    Ok(uids)
}
