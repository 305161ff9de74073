//! The drivers that applications use, unmodified, in a pod of the cluster.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e_node::database::tokens;
use e2e_node::scene::Scene;
use serde_json::json;

const NEO4J: &str = r#"
import neo4j
with neo4j.GraphDatabase.driver("bolt://demo-gateway:7687") as driver:
    records, summary, keys = driver.execute_query("UNWIND range(1, 3) AS i CREATE (t:Token {id: 'neo4j-' + toString(i)}) RETURN t.id AS id")
    print(sorted(record["id"] for record in records))
with neo4j.GraphDatabase.driver("bolt://demo-instances:7687") as driver:
    driver.verify_connectivity()
"#;

const PYMGCLIENT: &str = r#"
import mgclient
connection = mgclient.connect(host="demo-gateway", port=7687)
cursor = connection.cursor()
cursor.execute("MERGE (t:Token {id: $id}) RETURN t.id", {"id": "pymgclient"})
print(cursor.fetchall())
connection.commit()
"#;

pub async fn official_drivers_in_a_pod_write_and_read_through_the_gateways(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    scene.start_client()?;
    for (program, expected) in [
        (NEO4J, "['neo4j-1', 'neo4j-2', 'neo4j-3']"),
        (PYMGCLIENT, "[('pymgclient',)]"),
    ] {
        let printed = scene.kubectl(&["exec", "client", "--", "python3", "-c", program])?;
        ensure!(printed.trim() == expected, "printed: {printed}");
    }
    let all = ["neo4j-1", "neo4j-2", "neo4j-3", "pymgclient"];
    database.expect_everywhere(&all).await?;
    let found = tokens(database.gateway().await?).await?;
    ensure!(found.len() == all.len(), "written more than once: {found:?}");
    Ok(())
}
