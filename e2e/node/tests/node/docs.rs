//! The commands of the guides in docs/, from top to bottom.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e_node::database::{Database, tokens};
use e2e_node::guide::Desk;
use e2e_node::scene::Scene;
use serde_json::json;

/// Runs every box of a document. Returns what each has printed.
fn play(scene: &Arc<Scene>, document: &str, headings: &[&str]) -> Result<Vec<String>> {
    let desk = Desk::new(scene, document)?;
    let there: Vec<_> = desk
        .guide()
        .boxes()
        .iter()
        .map(|(heading, _)| heading.to_string())
        .collect();
    ensure!(there == headings, "the boxes of {document} are {there:?}");
    let mut said = Vec::new();
    for (index, heading) in headings.iter().enumerate() {
        let number = headings[..index]
            .iter()
            .filter(|before| *before == heading)
            .count();
        said.push(desk.run(heading, number)?);
    }
    Ok(said)
}

fn shows(said: &str, expected: &[&str]) -> Result<()> {
    for text in expected {
        ensure!(said.contains(text), "{text:?} is not in {said}");
    }
    Ok(())
}

pub async fn the_first_steps_are_as_the_guide_says(scene: Arc<Scene>) -> Result<()> {
    let headings = [
        "A cluster",
        "Write and read",
        "Lose MAIN",
        "Lose MAIN",
        "Remove it",
    ];
    let said = play(&scene, "docs/getting-started.md", &headings)?;
    shows(&said[0], &["condition met", "demo-0"])?;
    shows(&said[1], &["Zagreb"])?;
    shows(&said[2], &["condition met", "\"cities\"\n\"1\"\n"])?;
    ensure!(
        said[3].lines().count() == 2 && said[3].contains("Bootstrap"),
        "the history is {}",
        said[3]
    );
    let left = scene.kubectl(&["get", "memgraphclusters,pvc", "--output=name"])?;
    ensure!(left.is_empty(), "there are still {left}");
    Ok(())
}

pub async fn a_cluster_grows_and_shrinks_as_the_guide_says(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let said = play(
        &scene,
        "docs/how-to/scale.md",
        &["Instances", "Instances", "Larger volumes"],
    )?;
    shows(&said[2], &["data-demo-0", "20Gi"])?;
    database.settled().await?;
    database.expect_everywhere(&["before"]).await
}

pub async fn a_running_cluster_is_looked_at_and_changed_as_the_guides_say(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let said = play(&scene, "docs/how-to/monitor.md", &[""])?;
    shows(
        &said[0],
        &["\"cluster_state\"", "\"demo-0\"", "memgraph_operator_ready 1"],
    )?;
    play(
        &scene,
        "docs/how-to/upgrade.md",
        &["Before", "Before", "Change and watch"],
    )?;
    database.settled().await?;
    database.expect_everywhere(&["before"]).await
}

pub async fn a_backup_is_made_and_restored_as_the_guide_says(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    database.settled().await?;
    let headings = ["Backup", "Restore", "Restore", "Restore"];
    let said = play(&scene, "docs/how-to/backup.md", &headings)?;
    shows(&said[3], &["\"nodes\"\n\"1\"\n"])?;
    let restored = Database::new(Arc::clone(&scene), "restored");
    restored.settled().await?;
    restored.expect_everywhere(&["before"]).await?;
    restored.write("after").await?;
    // The old one goes on, and knows nothing of it.
    let old = tokens(database.gateway().await?).await?;
    ensure!(
        old.iter().eq(["before"]),
        "the cluster that was backed up has {old:?}"
    );
    Ok(())
}
