//! What operators type into a pod, word for word: the tools that Memgraph's image has are there and do their work.
//! (More of it, as docs/operations.md has it: `operations`.)

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e_cluster::process;
use e2e_node::scene::Scene;
use serde_json::json;

pub async fn what_operators_type_into_a_pod_works(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let main = database.main().await?;
    let instances = database.instances().await?;
    roles_and_replicas(&scene, &main, &instances)?;
    a_shell(&scene, &main)?;
    through_the_gateway(&scene, &instances)
}

/// What `mgconsole` shows for a statement that is piped into it, as lines of CSV.
fn query(scene: &Scene, instance: &str, statement: &str) -> Result<Vec<String>> {
    let recipe = format!("echo \"{statement}\" | mgconsole --output-format csv --username=memgraph");
    let said = scene.kubectl(&["exec", instance, "--", "bash", "-c", &recipe])?;
    Ok(said.lines().map(str::to_owned).collect())
}

fn roles_and_replicas(scene: &Scene, main: &str, instances: &[String]) -> Result<()> {
    for instance in instances {
        let role = if instance == main { "main" } else { "replica" };
        let said = query(scene, instance, "SHOW REPLICATION ROLE;")?;
        let expected = ["\"replication role\"".to_owned(), format!("\"\"\"{role}\"\"\"")];
        ensure!(said == expected, "{instance} says {said:?}");
    }
    let replicas = query(scene, main, "SHOW REPLICAS;")?;
    ensure!(replicas.len() == instances.len(), "replicas: {replicas:?}");
    for replica in &replicas[1..] {
        ensure!(replica.contains("ready"), "not ready: {replica}");
    }
    let dropped = query(scene, main, "SHOW REPLICATION ROLE")?;
    ensure!(dropped.is_empty(), "a statement without an end: {dropped:?}");
    let wrong = query(scene, main, "SHOW NONSENSE;");
    ensure!(wrong.is_err(), "nonsense is shown: {wrong:?}");
    Ok(())
}

/// `kubectl exec -i POD -- mgconsole`, and what lies around in the pod.
fn a_shell(scene: &Scene, main: &str) -> Result<()> {
    let mut console = scene.node.cluster.kubectl().command(&[
        "--namespace",
        &scene.namespace,
        "exec",
        "-i",
        main,
        "--",
        "mgconsole",
    ]);
    let said = tokio::task::block_in_place(|| {
        process::output_with_input(&mut console, "MATCH (t:Token) RETURN t.id AS id;\n")
    })?;
    let table = "+----------+\n| id       |\n+----------+\n| \"before\" |\n+----------+\n";
    ensure!(said == table, "a table: {said}");
    let identity = scene.kubectl(&["exec", main, "--", "bash", "-c", "id -u; id -g; id -un"])?;
    ensure!(identity == "101\n103\nmemgraph\n", "the user is {identity}");
    let settings = scene.kubectl(&["exec", main, "--", "cat", "/etc/memgraph/memgraph.conf"])?;
    ensure!(
        settings.contains("--storage-wal-enabled=true"),
        "settings: {settings}"
    );
    Ok(())
}

fn through_the_gateway(scene: &Scene, instances: &[String]) -> Result<()> {
    let recipe = "echo \"CREATE (:Token {id: 'gateway'});\" | mgconsole --host demo-gateway --port 7687 --username=memgraph";
    for instance in instances {
        scene.kubectl(&["exec", instance, "--", "bash", "-c", recipe])?;
    }
    let recipe =
        "echo 'MATCH (t:Token) RETURN count(t) AS n;' | mgconsole --host=demo-gateway --output-format=csv";
    let said = scene.kubectl(&["exec", &instances[0], "--", "bash", "-c", recipe])?;
    let expected = format!("\"n\"\n\"{}\"\n", instances.len() + 1);
    ensure!(said == expected, "through the gateway: {said}");
    Ok(())
}
